import {
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  CHECKSUM_PARTIAL,
  DESC_SIZE,
  META_FLAGS,
  META_HASH,
  META_QUEUE,
} from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { appendPacket, createBurst, destroyBurst } from "../../memory/burst.js";
import type { Card } from "../e1000e/card.js";
import { openE1000e } from "../e1000e/open.js";
import { arm, clean, closeCard, linkUp, receive, send } from "../e1000e/run.js";
import type { CardOptions } from "../e1000e/settings.js";
import type { ModelBus } from "../model/bus.js";
import { createModelE1000e } from "../model/e1000e/model.js";
import { createStillMachine, type StillMachine } from "../model/inthread.js";
import { createWire } from "../model/wire.js";

/** A card whose cable comes back to itself, and a burst to send and receive with. */
interface Bench {
  readonly arena: ArenaMemory;
  readonly machine: StillMachine;
  readonly bus: ModelBus;
  readonly card: Card;
  readonly burst: number;
}

async function withCard<Result>(
  arena: ArenaMemory,
  options: CardOptions,
  use: (bench: Bench) => Result,
): Promise<Result> {
  const machine = createStillMachine(arena);
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const bus = machine.fit("e1000e@model", (host) => createModelE1000e(host, createWire(true), mac).device);
  const card = openE1000e(bus, options);
  await linkUp(card);
  machine.settle();
  const burst = createBurst(arena, 256);
  const result = use({ arena, machine, bus, card, burst });
  destroyBurst(arena, burst);
  await closeCard(card);
  machine.close();
  return result;
}

/** A flow by its ports, from 10.0.0.1 to 10.0.0.2. */
export interface FlowPorts {
  readonly protocol: "tcp" | "udp";
  readonly source: number;
  readonly destination: number;
}

/** Sends one packet of a flow; the card finishes its checksum. */
function sendFlow({ arena, card, burst, machine }: Bench, flow: FlowPorts, payload: number): void {
  const tcp = flow.protocol === "tcp";
  const frame = arena.kernels.takeFrame() >>> 0;
  const at = frame + 64;
  const length = 34 + (tcp ? 20 : 8) + payload;
  const view = new DataView(arena.buffer, at, length);
  arena.u8.fill(0, at, at + length);
  arena.u8.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45], at);
  view.setUint16(16, length - 14);
  view.setUint8(22, 64);
  view.setUint8(23, tcp ? 6 : 17);
  arena.u8.set([10, 0, 0, 1, 10, 0, 0, 2], at + 26);
  const words = [0x4500, length - 14, (64 << 8) | (tcp ? 6 : 17), 0x0a00, 1, 0x0a00, 2];
  view.setUint16(24, ~fold(words) & 0xffff);
  view.setUint16(34, flow.source);
  view.setUint16(36, flow.destination);
  if (tcp) view.setUint16(46, 0x5010);
  else view.setUint16(38, length - 34);
  view.setUint16(tcp ? 50 : 40, fold([0x0a00, 1, 0x0a00, 2, tcp ? 6 : 17, length - 34]));
  appendPacket(arena, burst, [at, length]);
  arena.u16[(arena.u32[(burst + BURST_METAS) >>> 2] + META_FLAGS) >>> 1] = CHECKSUM_PARTIAL;
  send(card, 0, burst, 0);
  arena.kernels.burstRelease(burst, 0);
  machine.settle();
  clean(card);
}

function fold(words: readonly number[]): number {
  let sum = words.reduce((total, word) => total + word, 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

export interface Spreading extends FlowPorts {
  readonly hash: number;
  /** Entry of the indirection table: the hash's low 7 bits. */
  readonly entry: number;
  readonly queue: number;
}

/** Where RSS sends flows, over two queues and an alternating table. */
export function traceRss(arena: ArenaMemory, flows: readonly FlowPorts[]): Promise<Spreading[]> {
  return withCard(arena, { queues: 2 }, (bench) =>
    flows.map((flow) => {
      sendFlow(bench, flow, 100);
      const { card, burst } = bench;
      if (receive(card, 0, burst, 1) === 0) receive(card, 1, burst, 1);
      const meta = arena.u32[(burst + BURST_METAS) >>> 2];
      const hash = arena.u32[(meta + META_HASH) >>> 2];
      const queue = arena.u8[meta + META_QUEUE];
      arena.kernels.burstRelease(burst, 0);
      return { ...flow, hash, entry: hash & 127, queue };
    }),
  );
}

export interface Splitting extends FlowPorts {
  readonly bytes: number;
  /** Each piece: its bytes, and where in its frame it starts. */
  readonly pieces: readonly { readonly bytes: number; readonly offset: number }[];
}

/** How header split lays packets into frames. */
export function traceSplit(
  arena: ArenaMemory,
  packets: readonly (FlowPorts & { readonly payload: number })[],
): Promise<Splitting[]> {
  return withCard(arena, { headerSplit: true }, (bench) =>
    packets.map(({ payload, ...flow }) => {
      sendFlow(bench, flow, payload);
      const { card, burst } = bench;
      receive(card, 0, burst, 1);
      const count = arena.u32[(burst + 4) >>> 2];
      const descs = arena.u32[(burst + BURST_DESCS) >>> 2];
      const pieces = Array.from({ length: count }, (_, i) => ({
        bytes: arena.u32[(descs + i * DESC_SIZE + 8) >>> 2],
        offset: arena.u32[(descs + i * DESC_SIZE) >>> 2] % arena.frameSize,
      }));
      arena.kernels.burstRelease(burst, 0);
      return { ...flow, bytes: pieces.reduce((sum, piece) => sum + piece.bytes, 0), pieces };
    }),
  );
}

export interface Moderating {
  /** Least microseconds between two interrupts. */
  readonly moderation: number;
  readonly packets: number;
  readonly interrupts: number;
}

/** Interrupts for `packets` packets that come every `interval` microseconds, each interrupt served at once. */
export async function traceModeration(
  arena: ArenaMemory,
  settings: readonly number[],
  packets: number,
  interval: number,
): Promise<Moderating[]> {
  const results: Moderating[] = [];
  for (const moderation of settings)
    results.push(
      await withCard(arena, { moderation }, (bench) => {
        const { card, bus, machine, burst } = bench;
        const counter = bus.counter(0) >>> 2;
        const first = Atomics.load(arena.u32, counter);
        let served = first;
        arm(card, { receive: true, transmit: false });
        for (let i = 0; i < packets; i++) {
          sendFlow(bench, { protocol: "udp", source: 1, destination: 2 }, 18);
          machine.advance(interval);
          machine.settle();
          if (Atomics.load(arena.u32, counter) === served) continue;
          served = Atomics.load(arena.u32, counter);
          receive(card, 0, burst, 256);
          arena.kernels.burstRelease(burst, 0);
          arm(card, { receive: true, transmit: false });
        }
        return { moderation, packets, interrupts: served - first };
      }),
    );
  return results;
}

export interface Guarding {
  readonly what: string;
  /** Packets the card completed. A write is posted and gets no answer: a card does not learn that it was stopped. */
  readonly packets: number;
  /** Where the IOMMU stopped an access; undefined: it did not. */
  readonly stopped: number | undefined;
}

/** A card's DMA when all is mapped, when an address is not, and when bus mastering is off. */
export async function traceIommu(arena: ArenaMemory): Promise<Guarding[]> {
  const attempt = (what: string, spoil: (bench: Bench) => void) =>
    withCard(arena, {}, (bench) => {
      const before = bench.bus.ledger().faults;
      spoil(bench);
      sendFlow(bench, { protocol: "udp", source: 1, destination: 2 }, 18);
      receive(bench.card, 0, bench.burst, 64);
      const packets = arena.u32[(bench.burst + BURST_PACKETS) >>> 2];
      const fault = bench.bus.ledger().faults > before ? bench.bus.lastFault()?.iova : undefined;
      bench.bus.setBusMaster(true);
      return { what, packets, stopped: fault };
    });
  return [
    await attempt("all as it should be", () => {}),
    await attempt("a receive buffer that was never mapped", ({ card }) => {
      // The first descriptor of the receive ring now names an address beyond the frames.
      const beyond = arena.frames * arena.frameSize;
      arena.u32[card.rx[0].descs >>> 2] = beyond;
    }),
    await attempt("bus mastering off", ({ bus }) => bus.setBusMaster(false)),
  ];
}
