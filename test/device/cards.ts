// Two drivers, each with a modelled 82574L, on one wire, in this very thread: nothing moves but by `settle`.
import assert from "node:assert/strict";
import type { Card } from "../../src/device/e1000e/card.js";
import { openE1000e } from "../../src/device/e1000e/open.js";
import { closeCard, serveLink } from "../../src/device/e1000e/run.js";
import type { CardOptions } from "../../src/device/e1000e/settings.js";
import type { ModelBus } from "../../src/device/model/bus.js";
import type { ModelCard } from "../../src/device/model/e1000e/card.js";
import { createModelE1000e } from "../../src/device/model/e1000e/model.js";
import { createStillMachine } from "../../src/device/model/inthread.js";
import { createWire } from "../../src/device/model/wire.js";
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  META_SIZE,
} from "../../src/kernels/structs.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst, throwFault } from "../../src/memory/burst.js";

export interface End {
  readonly card: Card;
  readonly bus: ModelBus;
  readonly model: ModelCard;
}

export interface Pair {
  readonly arena: ArenaMemory;
  readonly a: End;
  readonly b: End;
  /** Frames that went over the wire, as they were there. */
  readonly seen: Uint8Array[];
  readonly wire: ReturnType<typeof createWire>;
  step(): void;
  settle(): void;
  advance(microseconds: number): void;
  close(): Promise<void>;
}

export interface PairOptions {
  readonly a?: CardOptions;
  readonly b?: CardOptions;
  readonly frameSize?: 2048 | 4096;
  readonly bias?: number;
  readonly bytes?: number;
  readonly interrupts?: "msix" | "msi" | "intx";
  /** Whether freed frames are filled with a pattern, as tests want it; frames go back another way without. */
  readonly poison?: boolean;
}

export function openPair(options: PairOptions = {}): Pair {
  const { MILLRACE_POISON } = process.env;
  if (options.poison === false) delete process.env.MILLRACE_POISON;
  const arena = createArenaMemory({
    bytes: options.bytes ?? 64 * 2 ** 20,
    frameSize: options.frameSize ?? 4096,
  });
  if (MILLRACE_POISON !== undefined) process.env.MILLRACE_POISON = MILLRACE_POISON;
  const probe = newBurst(arena);
  const free = freeFrames(arena, probe);
  const machine = createStillMachine(arena);
  const wire = createWire(false);
  const seen: Uint8Array[] = [];
  wire.tap = (frame) => seen.push(frame.slice());
  const parameters = new Map([
    ["bias", String(options.bias ?? 0)],
    ["interrupts", options.interrupts ?? "msix"],
  ]);
  const open = (name: string, last: number, settings: CardOptions): End => {
    let model: ModelCard | undefined;
    const bus = machine.fit(
      name,
      (host) => {
        const made = createModelE1000e(host, wire, Uint8Array.of(2, 0, 0, 0, 0, last));
        model = made.card;
        return made.device;
      },
      { parameters },
    );
    return { card: openE1000e(bus, settings), bus, model: model! };
  };
  const a = open("a@model", 1, options.a ?? {});
  const b = open("b@model", 2, options.b ?? {});
  machine.advance(1000);
  machine.settle();
  serveLink(a.card);
  serveLink(b.card);
  machine.advance(1000);
  machine.settle();
  return {
    arena,
    a,
    b,
    seen,
    wire,
    step: machine.step,
    settle: machine.settle,
    advance: machine.advance,
    close: async () => {
      await closeCard(a.card, 0);
      await closeCard(b.card, 0);
      machine.close();
      assert.equal(freeFrames(arena, probe), free, "every frame is back in the pool");
    },
  };
}

export interface Received {
  readonly bytes: Buffer;
  /** Bytes of each piece. */
  readonly pieces: readonly number[];
  readonly addresses: readonly number[];
  readonly meta: DataView;
}

/** Copies every packet out of a burst, then frees the burst's frames. */
export function drainBurst(arena: ArenaMemory, burst: number): Received[] {
  const { u32, u8 } = arena;
  const packets = u32[(burst + BURST_PACKETS) >>> 2];
  const count = u32[(burst + BURST_COUNT) >>> 2];
  const out: Received[] = [];
  for (let packet = 0; packet < packets; packet++) {
    const starts = u32[(burst + BURST_STARTS) >>> 2] >>> 2;
    const start = u32[starts + packet];
    const end = packet + 1 < packets ? u32[starts + packet + 1] : count;
    const parts: Uint8Array[] = [];
    const addresses: number[] = [];
    for (let i = start; i < end; i++) {
      const at = (u32[(burst + BURST_DESCS) >>> 2] + 16 * i) >>> 2;
      addresses.push(u32[at]);
      parts.push(u8.slice(u32[at], u32[at] + u32[at + 2]));
    }
    const meta = new ArrayBuffer(META_SIZE);
    const from = u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
    new Uint8Array(meta).set(u8.subarray(from, from + META_SIZE));
    out.push({
      bytes: Buffer.concat(parts),
      pieces: parts.map((part) => part.length),
      addresses,
      meta: new DataView(meta),
    });
  }
  throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  return out;
}

/** Puts bytes into a burst as one packet, cut into pieces of the given lengths, each in a frame at the given offset. */
export function putPacket(
  arena: ArenaMemory,
  burst: number,
  bytes: Uint8Array,
  lengths: readonly number[] = [bytes.length],
  offset: (piece: number) => number = () => 64,
): number {
  const pieces: number[] = [];
  let at = 0;
  lengths.forEach((length, index) => {
    const frame = arena.kernels.takeFrame() >>> 0;
    if (frame === 0) throw new Error("the pool is empty");
    const place = frame + offset(index);
    arena.u8.set(bytes.subarray(at, at + length), place);
    pieces.push(place, length);
    at += length;
  });
  return appendPacket(arena, burst, pieces);
}

export function metaAt(arena: ArenaMemory, burst: number, packet: number): number {
  return arena.u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
}

export function newBurst(arena: ArenaMemory, capacity = 512): number {
  return createBurst(arena, capacity);
}

/** Frames that nobody but the pool has: the census's count of owner 0. */
export function freeFrames(arena: ArenaMemory, burst: number): number {
  // The census adds to 1,024 words; a burst's region has them to spare once it is empty.
  const words = arena.u32[(burst + BURST_DESCS) >>> 2];
  arena.u32.fill(0, words >>> 2, (words >>> 2) + 1024);
  arena.kernels.census(words);
  return arena.u32[words >>> 2];
}
