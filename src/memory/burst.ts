import { MillraceError } from "../errors.js";
import {
  BURST_BYTES,
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_SIZE,
  FAULT_ADDRESS,
  FAULT_DANGLING,
  FAULT_LENGTH,
  FAULT_OPTIONS,
  FAULT_OWNER,
  META_SIZE,
} from "../kernels/structs.js";
import type { ArenaMemory } from "./arena.js";
import { allocateRegion, freeRegion } from "./region.js";

/** Bytes of the arena that a burst of `capacity` descriptors takes. */
export function burstBytes(capacity: number): number {
  return BURST_BYTES + capacity * (DESC_SIZE + META_SIZE + 4);
}

/** Makes an empty burst for up to `capacity` descriptors (and so as many packets); returns its offset. */
export function createBurst(arena: ArenaMemory, capacity: number): number {
  const burst = allocateRegion(arena, burstBytes(capacity));
  const metas = burst + BURST_BYTES + capacity * DESC_SIZE;
  arena.u32[(burst + BURST_CAPACITY) >>> 2] = capacity;
  arena.u32[(burst + BURST_DESCS) >>> 2] = burst + BURST_BYTES;
  arena.u32[(burst + BURST_METAS) >>> 2] = metas;
  arena.u32[(burst + BURST_STARTS) >>> 2] = metas + capacity * META_SIZE;
  return burst;
}

/** Frees the packets still in a burst, then the burst. */
export function destroyBurst(arena: ArenaMemory, burst: number): void {
  throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  freeRegion(arena, burst, burstBytes(arena.u32[(burst + BURST_CAPACITY) >>> 2]));
}

/**
 * Appends one packet to a burst and returns its number, or -1 when the burst is full: descriptors from
 * `pieces` (address, length, address, length, …), metadata all zero. The frames must be this worker's.
 */
export function appendPacket(arena: ArenaMemory, burst: number, pieces: readonly number[]): number {
  const { u32 } = arena;
  const count = u32[(burst + BURST_COUNT) >>> 2];
  const packet = u32[(burst + BURST_PACKETS) >>> 2];
  const fragments = pieces.length >>> 1;
  if (count + fragments > u32[(burst + BURST_CAPACITY) >>> 2]) return -1;
  const descs = u32[(burst + BURST_DESCS) >>> 2];
  for (let i = 0; i < fragments; i++) {
    const at = (descs + (count + i) * DESC_SIZE) >>> 2;
    u32[at] = pieces[2 * i];
    u32[at + 1] = 0;
    u32[at + 2] = pieces[2 * i + 1];
    u32[at + 3] = i + 1 < fragments ? 1 : 0;
  }
  const meta = (u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE) >>> 2;
  u32.fill(0, meta, meta + META_SIZE / 4);
  u32[(u32[(burst + BURST_STARTS) >>> 2] >>> 2) + packet] = count;
  u32[(burst + BURST_COUNT) >>> 2] = count + fragments;
  u32[(burst + BURST_PACKETS) >>> 2] = packet + 1;
  return packet;
}

const FAULTS: Readonly<Record<number, string>> = {
  [FAULT_OPTIONS]: "has option bits that are not defined",
  [FAULT_ADDRESS]: "names an address outside the frames",
  [FAULT_LENGTH]: "goes past the end of its frame",
  [FAULT_OWNER]: "names a frame that is not its holder's (freed twice, or never its own)",
  [FAULT_DANGLING]: "breaks off, or continues, a packet where it must not",
};

/** Throws ERR_FRAME for a negative result of a kernel over `burst`; returns any other result as it is. */
export function throwFault(arena: ArenaMemory, burst: number, result: number): number {
  if (result >= 0) return result;
  const index = -result >>> 8;
  const at = (arena.u32[(burst + BURST_DESCS) >>> 2] + index * DESC_SIZE) >>> 2;
  const [address, high, length, options] = arena.u32.subarray(at, at + 4);
  const what = FAULTS[-result & 0xff] ?? "contradicts its ring's indices";
  throw new MillraceError(
    "ERR_FRAME",
    `descriptor ${index} of the burst (address ${high * 2 ** 32 + address}, length ${length}, options ${options}) ${what}`,
  );
}
