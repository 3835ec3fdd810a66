import { MillraceError } from "../errors.js";
import { OWNER_LIMIT } from "../kernels/structs.js";
import {
  type ArenaMemory,
  type ArenaOptions,
  type ArenaPlan,
  attachArena,
  createArenaMemory,
} from "../memory/arena.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { workerArena } from "./worker-context.js";

/** One memory for packets, rings and chunks, shared by all workers of a program. */
export interface Arena {
  readonly buffer: SharedArrayBuffer;
  /** Frames in all, and the bytes of each. */
  readonly frames: number;
  readonly frameSize: number;
  /** Frames that nobody holds now. Counts the frame table: takes some 50 µs. */
  readonly free: number;
}

const memories = new WeakMap<Arena, ArenaMemory>();
let shared: Arena | undefined;

function wrap(memory: ArenaMemory): Arena {
  const arena: Arena = {
    buffer: memory.buffer,
    frames: memory.frames - 1, // number 0 is never handed out
    frameSize: memory.frameSize,
    get free() {
      return frameCensus(memory).get(0) ?? 0;
    },
  };
  memories.set(arena, memory);
  return arena;
}

/**
 * Makes an arena of `bytes` bytes (256 MiB by default; 16 MiB to 4,078 MiB) in frames of 2,048 or 4,096 bytes.
 * Memory is committed as it is touched. Throws ERR_MEMORY.
 */
export function createArena(options: ArenaOptions = {}): Arena {
  return planArena(options);
}

/** The same, for a command that knows what its ports want. */
export function planArena(plan: ArenaPlan): Arena {
  return wrap(createArenaMemory(plan));
}

/** The arena this thread works on unless told otherwise: its worker's, or one a process, made when first asked for. */
export function defaultArena(): Arena {
  if (shared === undefined) {
    const share = workerArena();
    shared = share === undefined ? createArena() : wrap(attachArena(share));
  }
  return shared;
}

/** The memory behind a public arena. Throws ERR_USAGE for an object that createArena() did not make. */
export function memoryOf(arena: Arena): ArenaMemory {
  const memory = memories.get(arena);
  if (memory === undefined)
    throw new MillraceError("ERR_USAGE", "this is no arena", { hint: "make one with createArena()" });
  return memory;
}

/** Frames by owner number; 0: free. */
export function frameCensus(memory: ArenaMemory): Map<number, number> {
  const bytes = 4 * OWNER_LIMIT;
  const at = allocateRegion(memory, bytes);
  try {
    memory.kernels.census(at);
    const census = new Map<number, number>();
    memory.u32.subarray(at >>> 2, (at + bytes) >>> 2).forEach((frames, owner) => {
      if (frames > 0) census.set(owner, frames);
    });
    return census;
  } finally {
    freeRegion(memory, at, bytes);
  }
}
