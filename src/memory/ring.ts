import {
  META_SIZE,
  RING_CONSUMER,
  RING_ENTRIES,
  RING_ENTRY_SHIFT,
  RING_FLAGS,
  RING_LOCAL,
  RING_MASK,
  RING_METAS,
  RING_OWNER,
  RING_PEER,
  RING_PRODUCER,
  RING_SIDE_SIZE,
} from "../kernels/structs.js";
import type { ArenaMemory } from "./arena.js";
import { claimOwner, releaseOwner } from "./owners.js";
import { allocateRegion, freeRegion } from "./region.js";

/** A ring in the arena: offsets of its two sides, for the kernels, and what it takes to give it back. */
export interface Ring {
  readonly producer: number;
  readonly consumer: number;
  /** Owner number of the frames that lie in it; 0 for a ring that holds none. */
  readonly owner: number;
  readonly entries: number;
  readonly offset: number;
  readonly bytes: number;
}

export interface RingOptions {
  /** A power of two. */
  readonly entries: number;
  /** 16: descriptors; 8: addresses. */
  readonly entrySize: 8 | 16;
  /** One metadata record beside each entry. */
  readonly metas: boolean;
  /** Owner number of the frames in it; by default a new one for descriptor rings. */
  readonly owner?: number;
}

// The shared words stand on cache lines of their own, or producer and consumer fight for them.
const SHARED_PRODUCER = 0;
const SHARED_CONSUMER = 128;
const SHARED_FLAGS = 256;
const SIDES = 384;
const HEADER = SIDES + 4 * RING_SIDE_SIZE;

/** Makes a ring whose two sides may live in different threads. */
export function createRing(arena: ArenaMemory, options: RingOptions): Ring {
  const { entries, entrySize, metas } = options;
  const bytes = HEADER + entries * entrySize + (metas ? entries * META_SIZE : 0);
  const offset = allocateRegion(arena, bytes);
  const owner = options.owner ?? (entrySize === 16 ? claimOwner(arena, { counts: false }) : 0);
  const shared = {
    producer: offset + SHARED_PRODUCER,
    consumer: offset + SHARED_CONSUMER,
    flags: offset + SHARED_FLAGS,
    entries: offset + HEADER,
    metas: metas ? offset + HEADER + entries * entrySize : 0,
    mask: entries - 1,
    entrySize,
    owner,
  };
  const producer = offset + SIDES;
  const consumer = producer + 2 * RING_SIDE_SIZE;
  initRingSide(arena, producer, "producer", shared);
  initRingSide(arena, consumer, "consumer", shared);
  return { producer, consumer, owner, entries, offset, bytes };
}

/** Frees what lies in a ring of ours and then the ring. Neither side may be in use any more. */
export function destroyRing(arena: ArenaMemory, ring: Ring): void {
  if (ring.owner !== 0) {
    drainShared(arena, ring);
    releaseOwner(arena, ring.owner);
  }
  freeRegion(arena, ring.offset, ring.bytes);
}

// Shared frames in a link are recorded by its entries alone, so they are released entry by entry.
function drainShared(arena: ArenaMemory, ring: Ring): void {
  const { u32 } = arena;
  const entries = u32[(ring.consumer + RING_ENTRIES) >>> 2];
  const mask = u32[(ring.consumer + RING_MASK) >>> 2];
  const end = Atomics.load(u32, u32[(ring.consumer + RING_PRODUCER) >>> 2] >>> 2);
  let at = Atomics.load(u32, u32[(ring.consumer + RING_CONSUMER) >>> 2] >>> 2);
  for (; at !== end; at = (at + 1) >>> 0)
    arena.kernels.releaseFrom(u32[(entries + 16 * (at & mask)) >>> 2], ring.owner);
}

/** Where one ring's words lie, in the arena or in kernel memory mapped into it. */
export interface RingPlaces {
  readonly producer: number;
  readonly consumer: number;
  readonly flags: number;
  readonly entries: number;
  readonly metas: number;
  readonly mask: number;
  readonly entrySize: 8 | 16;
  readonly owner: number;
}

/** Writes one side's private header (RING_SIDE_SIZE bytes at `side`) from the shared words as they stand now. */
export function initRingSide(
  arena: ArenaMemory,
  side: number,
  which: "producer" | "consumer",
  places: RingPlaces,
): void {
  const set = (offset: number, value: number) => {
    arena.u32[(side + offset) >>> 2] = value;
  };
  const consumed = Atomics.load(arena.u32, places.consumer >>> 2);
  set(RING_PRODUCER, places.producer);
  set(RING_CONSUMER, places.consumer);
  set(RING_FLAGS, places.flags);
  set(RING_ENTRIES, places.entries);
  set(RING_MASK, places.mask);
  set(RING_METAS, places.metas);
  set(RING_ENTRY_SHIFT, places.entrySize === 16 ? 4 : 3);
  set(RING_OWNER, places.owner);
  set(RING_LOCAL, which === "producer" ? Atomics.load(arena.u32, places.producer >>> 2) : consumed);
  set(RING_PEER, consumed);
}
