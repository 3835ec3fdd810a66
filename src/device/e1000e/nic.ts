import {
  RXQ_BYTES,
  RXQ_COPIED,
  RXQ_ERRORS,
  RXQ_FAULTS,
  RXQ_PACKETS,
  TXQ_BYTES,
  TXQ_COPIED,
  TXQ_HELD,
  TXQ_PACKETS,
  TXQ_REFUSED,
} from "../../kernels/e1000e.js";
import { BURST_CAPACITY } from "../../kernels/structs.js";
import type { Bus } from "../bus/bus.js";
import { type Nic, type NicCounters, numberOption, sendSpread, switchOption } from "../nic.js";
import { FRAGMENTS } from "./assumptions.js";
import type { Card } from "./card.js";
import { openE1000e } from "./open.js";
import { arm, clean, linkUp, quietCard, receive, releaseCard, send, vectorsOf, watch } from "./run.js";
import type { CardOptions } from "./settings.js";
import { counter } from "./statistics.js";

const SHORTEST = 64;
const DRAIN = 1000; // milliseconds

/** Brings an 82574L up with the options of a locator. */
export async function openE1000eNic(bus: Bus, parameters: ReadonlyMap<string, string>): Promise<Nic> {
  const card = openE1000e(bus, optionsOf(parameters));
  let first = 0;
  let last: NicCounters | undefined; // what a closed card had counted
  return {
    bus,
    queues: card.settings.queues,
    mtu: card.settings.mtu,
    fragments: FRAGMENTS,
    checksum: { rx: true, tx: true },
    segmentation: true,
    headerSplit: card.settings.headerSplit,
    hash: true,
    linkUp: (milliseconds) => linkUp(card, milliseconds),
    receive: (burst) => {
      const most = bus.arena.u32[(burst + BURST_CAPACITY) >>> 2];
      let packets = 0;
      // Each time another queue goes first: one flood does not starve the other.
      for (let i = 0; i < card.rx.length; i++)
        packets += receive(card, (first + i) % card.rx.length, burst, most);
      first++;
      return packets;
    },
    send: (burst, from) =>
      card.tx.length === 1
        ? send(card, 0, burst, from)
        : sendSpread(bus.arena, card.tx.length, burst, from, (queue, first, end) =>
            send(card, queue, burst, first, end),
          ),
    clean: () => clean(card),
    arm: (what) => arm(card, what),
    vectors: (what) => vectorsOf(card, what),
    watch: (now) => {
      watch(card, now);
    },
    counters: () => last ?? countersOf(card),
    close: async () => {
      await quietCard(card, DRAIN);
      last = countersOf(card);
      await releaseCard(card);
    },
  };
}

/** The names of the options in a locator: `nic:e1000e@model?queues=2&split`. */
function optionsOf(parameters: ReadonlyMap<string, string>): CardOptions {
  const number = (key: string, least: number, most: number) => numberOption(parameters, key, least, most);
  const options: { -readonly [Key in keyof CardOptions]: CardOptions[Key] | undefined } = {
    queues: number("queues", 1, 2) as 1 | 2 | undefined,
    rxRing: number("ring", 64, 4096),
    txRing: number("ring", 64, 4096),
    mtu: number("mtu", SHORTEST, 9018),
    headerSplit: switchOption(parameters, "split"),
    copybreak: number("copybreak", 0, 2048),
    vlan: switchOption(parameters, "vlan"),
    promiscuous: switchOption(parameters, "promiscuous"),
    moderation: number("moderation", 0, 16_000),
    flowControl: switchOption(parameters, "pause"),
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as CardOptions;
}

function countersOf(card: Card): NicCounters {
  const { arena } = card;
  const sum = (queues: Card["rx"], offset: number) =>
    queues.reduce((total, queue) => total + counter(arena, queue.state + offset), 0);
  const errors = sum(card.rx, RXQ_ERRORS);
  const faults = sum(card.rx, RXQ_FAULTS);
  const refused = sum(card.tx, TXQ_REFUSED);
  return {
    received: {
      packets: sum(card.rx, RXQ_PACKETS) + errors + faults,
      bytes: sum(card.rx, RXQ_BYTES),
    },
    transmitted: { packets: sum(card.tx, TXQ_PACKETS), bytes: sum(card.tx, TXQ_BYTES) },
    dropped: {
      error: errors,
      fault: faults,
      refused,
      reset: card.lost,
      // As of the last watch: asking the card takes a read of each counter.
      missed: card.counted.get("rx_missed") ?? 0,
    },
    copies: { copybreak: sum(card.rx, RXQ_COPIED), linearize: sum(card.tx, TXQ_COPIED) },
    held: card.tx.reduce((total, queue) => total + arena.u32[(queue.state + TXQ_HELD) >>> 2], 0),
  };
}
