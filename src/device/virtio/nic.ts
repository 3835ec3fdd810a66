import { MillraceError } from "../../errors.js";
import { BURST_CAPACITY } from "../../kernels/structs.js";
import type { Bus } from "../bus/bus.js";
import { type Nic, numberOption, sendSpread, switchOption, waitForLink } from "../nic.js";
import { cardCounters, linkIsUp, mostFragments, openVirtioCard, type VirtioOptions } from "./card.js";
import { arm, clean, closeCard, receive, send, vectorsOf, watch } from "./run.js";

const OPTIONS = ["queues", "ring", "promiscuous"];
const MODEL_OPTIONS = ["wire", "mac", "bias", "interrupts", "force"]; // for the bus, not for the card

/** Brings a virtio network card up with the options of a locator. */
export async function openVirtioNic(bus: Bus, parameters: ReadonlyMap<string, string>): Promise<Nic> {
  const card = openVirtioCard(bus, optionsOf(parameters));
  const { features } = card;
  let first = 0;
  return {
    bus,
    queues: card.pairs,
    mtu: card.mtu,
    fragments: mostFragments(card),
    checksum: { rx: features.has("guestChecksum"), tx: features.has("checksum") },
    segmentation: features.has("hostTso4") && features.has("hostTso6"),
    headerSplit: false,
    hash: features.has("hashReport"),
    linkUp: (milliseconds) => waitForLink(() => linkIsUp(card), milliseconds),
    receive: (burst) => {
      const most = bus.arena.u32[(burst + BURST_CAPACITY) >>> 2];
      let packets = 0;
      // Each time another queue goes first: one flood does not starve the others.
      for (let i = 0; i < card.pairs; i++) packets += receive(card, (first + i) % card.pairs, burst, most);
      first++;
      return packets;
    },
    send: (burst, from) =>
      card.pairs === 1
        ? send(card, 0, burst, from)
        : sendSpread(bus.arena, card.pairs, burst, from, (pair, start, end) =>
            send(card, pair, burst, start, end),
          ),
    clean: () => clean(card),
    arm: (what) => arm(card, what),
    vectors: () => vectorsOf(card),
    watch: (now) => {
      watch(card, now);
    },
    counters: () => {
      const rx = cardCounters(card, "rx");
      const tx = cardCounters(card, "tx");
      return {
        received: { packets: rx.packets + rx.runts + rx.tooLong, bytes: rx.bytes },
        transmitted: { packets: tx.packets, bytes: tx.bytes },
        dropped: { runt: rx.runts, long: rx.tooLong, refused: tx.unoffered, reset: card.lost },
        copies: { copybreak: 0, linearize: 0 },
        held: tx.outstanding,
      };
    },
    close: () => closeCard(card),
  };
}

function optionsOf(parameters: ReadonlyMap<string, string>): VirtioOptions {
  for (const key of parameters.keys())
    if (![...OPTIONS, ...MODEL_OPTIONS].includes(key))
      throw new MillraceError("ERR_LOCATOR", `a virtio card has no option "${key}"`, {
        hint: `it takes ${OPTIONS.join(", ")}`,
      });
  const options = {
    pairs: numberOption(parameters, "queues", 1, 16),
    queueSize: numberOption(parameters, "ring", 16, 32768),
    promiscuous: switchOption(parameters, "promiscuous"),
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as VirtioOptions;
}
