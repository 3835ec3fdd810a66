import { MillraceError } from "../errors.js";
import {
  CONTROL_OWNERS,
  CONTROL_PAGE_COUNT,
  CONTROL_PAGES,
  CONTROL_REGIONS,
  OWNER_DESCRIPTOR,
  OWNER_FIRST_RING,
  OWNER_LIMIT,
  OWNER_LOADED,
  OWNER_PARENT,
  OWNER_PREVIOUS,
  OWNER_REFERENCES,
  OWNER_SHARED,
  OWNER_SIZE,
  OWNER_USES,
  REGION_PAGE_SHIFT,
  WORKER_LIMIT,
} from "../kernels/structs.js";
import { releaseAbandonedRings } from "../linux/abandoned.js";
import { libc } from "../linux/libc.js";
import type { ArenaMemory } from "./arena.js";
import { allocateRegion, freeRegion } from "./region.js";

function entryOf(arena: ArenaMemory, owner: number): number {
  return arena.u32[(arena.control + CONTROL_OWNERS) >>> 2] + owner * OWNER_SIZE;
}

function claimEntry(arena: ArenaMemory, from: number, to: number, parent: (owner: number) => number): number {
  for (let owner = from; owner < to; owner++) {
    const at = (entryOf(arena, owner) + OWNER_PARENT) >>> 2;
    if (Atomics.compareExchange(arena.u32, at, 0, parent(owner)) === 0) return owner;
  }
  throw new MillraceError("ERR_MEMORY", `all ${to - from} owner numbers of the arena are taken`, {
    hint: "close ports and workers that are no longer needed",
  });
}

/** Claims an owner number for this thread, with counts for shared frames and two empty magazines. */
export function startWorker(unowned: ArenaMemory): number {
  const owner = claimEntry(unowned, 1, WORKER_LIMIT, (number) => number);
  const arena = { ...unowned, worker: owner };
  const entry = entryOf(arena, owner);
  const counts = allocateRegion(arena, 2 * arena.frames);
  arena.u32[(entry + OWNER_REFERENCES) >>> 2] = counts;
  arena.kernels.attach(arena.control, owner);
  arena.u32[(entry + OWNER_LOADED) >>> 2] = arena.kernels.takeEmptyMagazine();
  arena.u32[(entry + OWNER_PREVIOUS) >>> 2] = arena.kernels.takeEmptyMagazine();
  return owner;
}

/**
 * Claims an owner number for a ring that belongs to this thread's worker. With `counts` the ring can hold
 * shared frames out of the program's sight (a kernel's or a card's transmit ring); without, its entries in the
 * arena are the record (a link).
 */
export function claimOwner(arena: ArenaMemory, options: { readonly counts: boolean }): number {
  const owner = claimEntry(arena, OWNER_FIRST_RING, Math.min(OWNER_SHARED, OWNER_LIMIT), () => arena.worker);
  if (options.counts)
    arena.u32[(entryOf(arena, owner) + OWNER_REFERENCES) >>> 2] = allocateRegion(arena, 2 * arena.frames);
  return owner;
}

/**
 * Records a descriptor that stays open when this thread is terminated: whoever sweeps up after it closes it. Returns
 * the number to give to releaseOwner() before the descriptor is closed by its user.
 */
export function recordDescriptor(arena: ArenaMemory, fd: number): number {
  const owner = claimOwner(arena, { counts: false });
  arena.u32[(entryOf(arena, owner) + OWNER_DESCRIPTOR) >>> 2] = fd + 1;
  return owner;
}

/**
 * Records that this thread's worker uses what stands at `offset`, until releaseOwner() is given the number returned
 * or the worker is swept up after.
 */
export function recordUse(arena: ArenaMemory, offset: number): number {
  const owner = claimOwner(arena, { counts: false });
  Atomics.store(arena.u32, (entryOf(arena, owner) + OWNER_USES) >>> 2, offset);
  return owner;
}

/** How many uses of what stands at `offset` are recorded. */
export function countUses(arena: ArenaMemory, offset: number): number {
  let uses = 0;
  for (let owner = OWNER_FIRST_RING; owner < OWNER_SHARED; owner++)
    if (Atomics.load(arena.u32, (entryOf(arena, owner) + OWNER_USES) >>> 2) === offset) uses++;
  return uses;
}

/** Frees whatever frames the ring's owner number still holds, then the number. Returns how many frames came back. */
export function releaseOwner(arena: ArenaMemory, owner: number): number {
  const freed = arena.kernels.sweepFrames(owner);
  const entry = entryOf(arena, owner);
  const counts = arena.u32[(entry + OWNER_REFERENCES) >>> 2];
  if (counts !== 0) freeRegion(arena, counts, 2 * arena.frames);
  arena.u32.fill(0, entry >>> 2, (entry + OWNER_SIZE) >>> 2);
  return freed;
}

/**
 * Takes back everything a worker held: its rings' frames, its own, its magazines, its regions. To be called
 * by another thread, when nothing of the worker runs any more. Sockets whose rings it had mapped are closed, and
 * descriptors it had recorded. Returns how many frames came back.
 */
export function sweepWorker(arena: ArenaMemory, gone: number): number {
  const word = (offset: number) => arena.u32[(arena.control + offset) >>> 2];
  const pageOf = (offset: number) => (offset - word(CONTROL_REGIONS)) >>> REGION_PAGE_SHIFT;
  releaseAbandonedRings(arena, (offset) => arena.u32[(word(CONTROL_PAGES) >>> 2) + pageOf(offset)] === gone);
  let freed = 0;
  for (let owner = OWNER_FIRST_RING; owner < OWNER_SHARED; owner++) {
    if (arena.u32[(entryOf(arena, owner) + OWNER_PARENT) >>> 2] !== gone) continue;
    const entry = entryOf(arena, owner);
    const descriptor = arena.u32[(entry + OWNER_DESCRIPTOR) >>> 2] - 1;
    if (descriptor >= 0) libc().close(descriptor);
    freed += arena.kernels.sweepFrames(owner);
    arena.u32.fill(0, entry >>> 2, (entry + OWNER_SIZE) >>> 2);
  }
  freed += arena.kernels.sweepOwner(gone);
  const entry = entryOf(arena, gone);
  arena.u32.fill(0, entry >>> 2, (entry + OWNER_SIZE) >>> 2);
  const pages = arena.u32[(arena.control + CONTROL_PAGES) >>> 2] >>> 2;
  const count = arena.u32[(arena.control + CONTROL_PAGE_COUNT) >>> 2];
  for (let page = pages; page < pages + count; page++)
    if (arena.u32[page] === gone) Atomics.store(arena.u32, page, 0);
  return freed;
}
