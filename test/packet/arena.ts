// What packet tests share: packets in an arena from plain bytes, and the frame count that must come out even.
import assert from "node:assert/strict";
import { BURST_METAS, META_SIZE } from "../../src/kernels/structs.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst } from "../../src/memory/burst.js";
import { type BurstView, createBurstView } from "../../src/packet/burst.js";
import type { LinkType } from "../../src/packet/types.js";

export interface Bench {
  readonly arena: ArenaMemory;
  readonly burst: number;
}

export function makeBench(capacity = 512, frameSize: 2048 | 4096 = 2048): Bench {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20, frameSize });
  return { arena, burst: createBurst(arena, capacity) };
}

/** Appends a packet made of the given pieces, each in a frame of its own with `headroom` before it. Returns its number. */
export function addPacket({ arena, burst }: Bench, pieces: readonly Uint8Array[], headroom = 64): number {
  const places: number[] = [];
  for (const piece of pieces) {
    const frame = arena.kernels.takeFrame() >>> 0;
    assert.notEqual(frame, 0, "the pool is empty");
    const at = frame + Math.min(headroom, arena.frameSize - piece.length);
    arena.u8.set(piece, at);
    places.push(at, piece.length);
  }
  const packet = appendPacket(arena, burst, places);
  assert.notEqual(packet, -1, "the burst is full");
  return packet;
}

/** Cuts bytes into pieces of at most `size`; an empty packet has one empty piece. */
export function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const pieces = [bytes.subarray(0, size)];
  for (let at = size; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
  return pieces;
}

export function viewBurst(bench: Bench, linkType: LinkType = "EN10MB"): BurstView {
  return createBurstView(bench.arena, bench.burst, linkType);
}

export function metaOf({ arena, burst }: Bench, packet: number): number {
  return arena.u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
}

export function emptyBurst({ arena, burst }: Bench): void {
  assert.equal(arena.kernels.burstRelease(burst, 0), 0);
}

const counts = new WeakMap<ArenaMemory, number>();

/** Frames that are free now: none may be lost between two calls. */
export function freeFrames(arena: ArenaMemory): number {
  let out = counts.get(arena);
  if (out === undefined) {
    out = createBurst(arena, 128); // 1,024 words of scratch
    counts.set(arena, out);
  }
  arena.u8.fill(0, out, out + 4096);
  arena.kernels.census(out);
  return arena.u32[out >>> 2];
}
