// Packets in and out of bursts, as plain bytes.
import assert from "node:assert/strict";
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_SIZE,
  META_SIZE,
} from "../../src/kernels/structs.js";
import type { ArenaMemory } from "../../src/memory/arena.js";
import { appendPacket } from "../../src/memory/burst.js";

/** The bytes of packet number `packet`, and where its metadata lies. */
function copyPacket(arena: ArenaMemory, burst: number, packet: number): Buffer {
  const { u32, u8 } = arena;
  const starts = u32[(burst + BURST_STARTS) >>> 2] >>> 2;
  const descs = u32[(burst + BURST_DESCS) >>> 2];
  const packets = u32[(burst + BURST_PACKETS) >>> 2];
  const end = packet + 1 < packets ? u32[starts + packet + 1] : u32[(burst + BURST_COUNT) >>> 2];
  const pieces: Uint8Array[] = [];
  for (let index = u32[starts + packet]; index < end; index++) {
    const at = (descs + index * DESC_SIZE) >>> 2;
    pieces.push(u8.slice(u32[at], u32[at] + u32[at + 2]));
  }
  return Buffer.concat(pieces);
}

export function metaOf(arena: ArenaMemory, burst: number, packet: number): number {
  return arena.u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
}

/** Every packet in the burst as bytes; the burst is empty afterwards. */
export function drain(arena: ArenaMemory, burst: number): Buffer[] {
  const packets = arena.u32[(burst + BURST_PACKETS) >>> 2];
  const all = Array.from({ length: packets }, (_, packet) => copyPacket(arena, burst, packet));
  assert.equal(arena.kernels.burstRelease(burst, 0), 0);
  return all;
}

/** Appends `bytes` cut after each of `cuts`, each piece in a frame of its own at an offset from `offsets`. */
export function appendCut(
  arena: ArenaMemory,
  burst: number,
  bytes: Uint8Array,
  cuts: readonly number[] = [],
  offsets: readonly number[] = [],
): number {
  const pieces: number[] = [];
  let from = 0;
  for (const [index, to] of [...cuts, bytes.length].entries()) {
    const frame = arena.kernels.takeFrame() >>> 0;
    assert.notEqual(frame, 0, "the pool is empty");
    const length = to - from;
    const at = frame + Math.min(offsets[index] ?? 64, arena.frameSize - length);
    arena.u8.set(bytes.subarray(from, to), at);
    pieces.push(at, length);
    from = to;
  }
  const packet = appendPacket(arena, burst, pieces);
  assert.notEqual(packet, -1, "the burst is full");
  return packet;
}
