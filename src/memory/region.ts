import { MillraceError } from "../errors.js";
import {
  CONTROL_PAGE_COUNT,
  CONTROL_PAGE_HINT,
  CONTROL_PAGES,
  CONTROL_REGIONS,
  REGION_PAGE_SHIFT,
} from "../kernels/structs.js";
import type { ArenaMemory } from "./arena.js";

function pagesOf(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / (1 << REGION_PAGE_SHIFT)));
}

/**
 * Reserves `bytes` of the arena for a ring, a table or a burst: zeroed, 16 KiB aligned, in whole pages of
 * 16 KiB, so that foreign memory can be mapped over it. It belongs to this thread's worker until freed.
 * Any thread may call it at any time. Throws ERR_MEMORY when no free stretch is long enough.
 */
export function allocateRegion(arena: ArenaMemory, bytes: number): number {
  const offset = reserveRegion(arena, bytes);
  arena.u8.fill(0, offset, offset + pagesOf(bytes) * 2 ** REGION_PAGE_SHIFT);
  return offset;
}

/** The same, but not zeroed nor touched: for what is mapped over, or written before it is looked at. */
export function reserveRegion(arena: ArenaMemory, bytes: number): number {
  const word = (offset: number) => arena.u32[(arena.control + offset) >>> 2];
  const count = word(CONTROL_PAGE_COUNT);
  const page = arena.kernels.claimRun(
    word(CONTROL_PAGES),
    0,
    count,
    arena.control + CONTROL_PAGE_HINT,
    pagesOf(bytes),
    arena.worker,
  );
  if (page < 0)
    throw new MillraceError(
      "ERR_MEMORY",
      `the arena has no ${bytes} contiguous bytes left for rings and tables`,
      {
        hint: "make a larger arena, or open fewer ports or ones with smaller rings",
      },
    );
  return word(CONTROL_REGIONS) + page * 2 ** REGION_PAGE_SHIFT;
}

/** Bytes of the arena's regions that nobody has at this moment. */
export function freeRegionBytes(arena: ArenaMemory): number {
  const first = arena.u32[(arena.control + CONTROL_PAGES) >>> 2] >>> 2;
  const count = arena.u32[(arena.control + CONTROL_PAGE_COUNT) >>> 2];
  const free = arena.u32
    .subarray(first, first + count)
    .reduce((sum, owner) => sum + (owner === 0 ? 1 : 0), 0);
  return free * 2 ** REGION_PAGE_SHIFT;
}

/** Returns a region of `bytes` bytes. Nothing foreign may be mapped over it any more. */
export function freeRegion(arena: ArenaMemory, offset: number, bytes: number): void {
  const regions = arena.u32[(arena.control + CONTROL_REGIONS) >>> 2];
  const pages = arena.u32[(arena.control + CONTROL_PAGES) >>> 2] >>> 2;
  const first = (offset - regions) / 2 ** REGION_PAGE_SHIFT;
  if (!Number.isInteger(first) || first < 0)
    throw new MillraceError("ERR_MEMORY", `no region starts at offset ${offset}`);
  for (let page = first; page < first + pagesOf(bytes); page++) Atomics.store(arena.u32, pages + page, 0);
}
