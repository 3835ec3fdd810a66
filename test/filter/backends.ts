// The verdicts of the back ends that run here, on many packets at once.
import type { ClassicProgram } from "../../src/filter/classic.js";
import { interpret } from "../../src/filter/interpret.js";
import { compileModule, instantiateClassifier } from "../../src/filter/wasm.js";
import {
  BURST_METAS,
  META_SIZE,
  META_VERDICT,
  META_WIRE_LENGTH,
  VERDICT_PASS,
} from "../../src/kernels/structs.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst } from "../../src/memory/burst.js";
import type { CapturedPacket } from "./oracle.js";

export function interpreted(program: ClassicProgram, packets: readonly CapturedPacket[]): boolean[] {
  return packets.map(({ bytes, wireLength }) => interpret(program, bytes, wireLength) !== 0);
}

/** Packets laid out in an arena, each cut into pieces at random places where `random` is given. */
export interface LoadedBurst {
  readonly arena: ArenaMemory;
  readonly burst: number;
  readonly packets: readonly CapturedPacket[];
}

export function loadBurst(packets: readonly CapturedPacket[], random?: () => number): LoadedBurst {
  const bytes = packets.reduce((sum, packet) => sum + packet.bytes.length + 64, 0);
  const arena = createArenaMemory({ bytes: Math.max(16 * 2 ** 20, 4 * bytes) });
  const burst = createBurst(arena, 4 * packets.length + 4);
  let at = arena.frameSize;
  for (const packet of packets) {
    const cuts = random === undefined ? [] : [random(), random(), random()];
    const places = cuts.map((cut) => Math.floor(cut * packet.bytes.length)).sort((a, b) => a - b);
    const pieces = [0, ...places].map((start, i) =>
      packet.bytes.subarray(start, places[i] ?? packet.bytes.length),
    );
    const descriptors: number[] = [];
    for (const piece of pieces) {
      arena.u8.set(piece, at);
      descriptors.push(at, piece.length);
      at += piece.length + 3;
    }
    const index = appendPacket(arena, burst, descriptors);
    const meta = arena.u32[(burst + BURST_METAS) >>> 2] + index * META_SIZE;
    arena.u32[(meta + META_WIRE_LENGTH) >>> 2] = packet.wireLength;
  }
  return { arena, burst, packets };
}

/** Verdicts of one run over a burst, read from the metadata; the bitmap and the count must agree with them. */
export function classified({ arena, burst, packets }: LoadedBurst, program: ClassicProgram): boolean[] {
  const classifier = instantiateClassifier(compileModule([program]), arena.memory);
  const metas = arena.u32[(burst + BURST_METAS) >>> 2];
  const bitmap = arena.u32[(burst + BURST_METAS) >>> 2] + packets.length * META_SIZE;
  const verdictAt = (index: number) => metas + index * META_SIZE + META_VERDICT;
  for (let i = 0; i < packets.length; i++) arena.u8[verdictAt(i)] = VERDICT_PASS;
  const count = classifier.classify(0, burst, 7, bitmap);
  const verdicts = packets.map((_, i) => arena.u8[verdictAt(i)] === VERDICT_PASS);
  const bits = packets.map((_, i) => ((arena.u8[bitmap + (i >>> 3)] >>> (i & 7)) & 1) === 1);
  if (count !== verdicts.filter(Boolean).length || bits.some((bit, i) => bit !== verdicts[i]))
    throw new Error("the count, the bitmap and the verdicts of one run differ");
  return verdicts;
}
