import { MillraceError } from "../../errors.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { Bar } from "./bus.js";

/** Throws ERR_BOUNDS unless an access of `width` bytes at `offset` is aligned and inside `bytes`. */
export function checkAccess(what: string, bytes: number, offset: number, width: number): void {
  if (offset >= 0 && offset + width <= bytes && offset % width === 0) return;
  throw new MillraceError("ERR_BOUNDS", `${what}: no ${8 * width}-bit access at offset ${offset}`, {
    hint: `offsets go from 0 to ${bytes - width} in steps of ${width}`,
  });
}

/**
 * A range of device memory that is mapped into the arena at `window`. Reads are atomic loads: the compiler
 * merges and drops plain reads of a typed array, and a register is not memory. Writes are plain stores, which it
 * keeps; an atomic store would be a locked read and write on the bus.
 */
export function createWindowBar(arena: ArenaMemory, index: number, window: number, bytes: number): Bar {
  const { u8, u16, u32, u64 } = arena;
  const what = `BAR ${index}`; // made once: an access must not make anything
  const place = (offset: number, width: number) => {
    checkAccess(what, bytes, offset, width);
    return (window + offset) / width;
  };
  return {
    index,
    bytes,
    space: "memory",
    window,
    read8: (offset) => Atomics.load(u8, place(offset, 1)),
    read16: (offset) => Atomics.load(u16, place(offset, 2)),
    read32: (offset) => Atomics.load(u32, place(offset, 4)),
    read64: (offset) => Atomics.load(u64, place(offset, 8)),
    write8: (offset, value) => {
      u8[place(offset, 1)] = value;
    },
    write16: (offset, value) => {
      u16[place(offset, 2)] = value;
    },
    write32: (offset, value) => {
      u32[place(offset, 4)] = value;
    },
    write64: (offset, value) => {
      u64[place(offset, 8)] = value;
    },
  };
}
