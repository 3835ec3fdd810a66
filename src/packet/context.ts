import {
  BURST_BYTES,
  BURST_CAPACITY,
  BURST_DESCS,
  BURST_METAS,
  BURST_STARTS,
  DESC_SIZE,
  META_SIZE,
} from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion } from "../memory/region.js";
import { createReasonTable, type ReasonTable } from "./reasons.js";

/** What packet operations did in this worker, for the engine's accounts: packets by operation, bytes copied. */
export interface PacketLedger {
  /** Packets made of others: `clone`, `split`, `segment`, `fragment`. */
  readonly created: Record<string, number>;
  /** Packets that went into others, or were given up: `append`, `coalesce`, `reassemble`, `released`. */
  readonly consumed: Record<string, number>;
  /** Held packets dropped, by reason. */
  readonly dropped: Record<string, number>;
  /** Bytes copied because a frame was shared, or to make a packet linear. */
  linearized: number;
  /** Packets that their users hold now. */
  held: number;
}

/** What packets over one arena share in one worker. */
export interface PacketContext {
  readonly arena: ArenaMemory;
  readonly reasons: ReasonTable;
  readonly ledger: PacketLedger;
  /** Arena bytes for one kernel call at a time: SCRATCH_BYTES. */
  readonly scratch: number;
  /** A burst for one packet of up to `descriptors` descriptors, to be given back with `freeSlot`. */
  takeSlot(descriptors: number): number;
  freeSlot(burst: number): void;
}

/** A page: what a packet's headers are copied into when fragments cut them, and small results. */
export const SCRATCH_BYTES = 16_384;

const contexts = new WeakMap<ArenaMemory, PacketContext>();

/** The packet context of this worker over `arena`. */
export function packetContext(arena: ArenaMemory): PacketContext {
  let context = contexts.get(arena);
  if (context === undefined) {
    context = createContext(arena);
    contexts.set(arena, context);
  }
  return context;
}

/** Drop reasons of this worker over `arena`: the numbers that stand in META_VERDICT. */
export function reasonsOf(arena: ArenaMemory): ReasonTable {
  return packetContext(arena).reasons;
}

// Slots for held packets: bursts with room for one packet, cut from regions of 16 KiB, in two sizes. The
// larger takes the longest packet a capture file may hold (256 KiB in frames of 2,048).
const SMALL = 1024;
const LARGE = 16_384;
const SLAB = 16_384;

function capacityOf(slot: number): number {
  return ((slot - BURST_BYTES - META_SIZE - 16) / DESC_SIZE) | 0;
}

/** The most descriptors a held packet can have. */
export const SLOT_LIMIT = capacityOf(LARGE);

function createContext(arena: ArenaMemory): PacketContext {
  const { u32 } = arena;
  const free = new Map<number, number[]>([
    [SMALL, []],
    [LARGE, []],
  ]);
  const carve = (size: number, slots: number[]) => {
    const slab = allocateRegion(arena, SLAB);
    for (let burst = slab; burst < slab + SLAB; burst += size) {
      const metas = burst + BURST_BYTES + capacityOf(size) * DESC_SIZE;
      u32[(burst + BURST_CAPACITY) >>> 2] = capacityOf(size);
      u32[(burst + BURST_DESCS) >>> 2] = burst + BURST_BYTES;
      u32[(burst + BURST_METAS) >>> 2] = metas;
      u32[(burst + BURST_STARTS) >>> 2] = metas + META_SIZE;
      slots.push(burst);
    }
  };
  return {
    arena,
    scratch: allocateRegion(arena, SCRATCH_BYTES),
    reasons: createReasonTable(),
    ledger: { created: {}, consumed: {}, dropped: {}, linearized: 0, held: 0 },
    takeSlot(descriptors) {
      const size = descriptors <= capacityOf(SMALL) ? SMALL : LARGE;
      const slots = free.get(size) as number[];
      if (slots.length === 0) carve(size, slots);
      return slots.pop() as number;
    },
    freeSlot(burst) {
      const size = u32[(burst + BURST_CAPACITY) >>> 2] === capacityOf(SMALL) ? SMALL : LARGE;
      (free.get(size) as number[]).push(burst);
    },
  };
}

/** Adds one to a named count. */
export function count(counts: Record<string, number>, name: string, by = 1): void {
  counts[name] = (counts[name] ?? 0) + by;
}
