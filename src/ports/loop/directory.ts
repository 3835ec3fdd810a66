import { MillraceError } from "../../errors.js";
import {
  CONTROL_LOOPS,
  LOOP_CLAIMS,
  LOOP_DATA,
  LOOP_ENDS,
  LOOP_LIMIT,
  LOOP_NAME,
  LOOP_RECORD_SIZE,
  LOOP_STATE,
} from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";

// The directory of loops lies in the arena, so that the two ends find each other from any thread by name.
// States of a record: 0 free, 1 being made or unmade, 2 ready.
const FREE = 0;
const BUSY = 1;
const READY = 2;
const NAME_BYTES = LOOP_STATE - LOOP_NAME;

/** One end of a loop, as the directory knows it. */
export interface LoopEnd {
  readonly record: number;
  /** 0: the end that was opened first; 1: the other. */
  readonly end: 0 | 1;
  /** Offset of what `make` made. */
  readonly data: number;
}

function lock(arena: ArenaMemory, record: number, from: number): boolean {
  return Atomics.compareExchange(arena.u32, (record + LOOP_STATE) >>> 2, from, BUSY) === from;
}

function unlock(arena: ArenaMemory, record: number, state: number): void {
  Atomics.store(arena.u32, (record + LOOP_STATE) >>> 2, state);
}

function nameBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(NAME_BYTES);
  const encoded = new TextEncoder().encode(text);
  if (encoded.length === 0 || encoded.length > NAME_BYTES)
    throw new MillraceError("ERR_LOCATOR", `"loop:${text}": a loop's name has 1 to ${NAME_BYTES} bytes`);
  bytes.set(encoded);
  return bytes;
}

function hasName(arena: ArenaMemory, record: number, name: Uint8Array): boolean {
  for (let i = 0; i < NAME_BYTES; i++) if (arena.u8[record + LOOP_NAME + i] !== name[i]) return false;
  return true;
}

/**
 * Takes the free end of the loop `text`, making the loop with `make` when nobody has opened it yet. Throws
 * ERR_LOCATOR when both ends are taken, ERR_MEMORY when there are too many loops.
 */
export function joinLoop(arena: ArenaMemory, text: string, make: () => number): LoopEnd {
  const name = nameBytes(text);
  const first = arena.u32[(arena.control + CONTROL_LOOPS) >>> 2];
  const state = (record: number) => Atomics.load(arena.u32, (record + LOOP_STATE) >>> 2);
  for (;;) {
    let free = 0;
    let busy = false;
    for (let i = 0; i < LOOP_LIMIT; i++) {
      const record = first + i * LOOP_RECORD_SIZE;
      if (state(record) === FREE) free ||= record;
      else if (state(record) === BUSY) busy ||= hasName(arena, record, name);
      else if (hasName(arena, record, name) && lock(arena, record, READY)) {
        const claims = arena.u32[(record + LOOP_CLAIMS) >>> 2];
        const end = (claims & 1) === 0 ? 0 : 1;
        if (claims === 3) {
          unlock(arena, record, READY);
          throw new MillraceError("ERR_LOCATOR", `both ends of loop:${text} are open already`);
        }
        arena.u32[(record + LOOP_CLAIMS) >>> 2] = claims | (1 << end);
        arena.u32[(record + LOOP_ENDS) >>> 2] += 1;
        const data = arena.u32[(record + LOOP_DATA) >>> 2];
        unlock(arena, record, READY);
        return { record, end, data };
      }
    }
    if (busy) continue; // another thread is making or unmaking it at this moment
    if (free === 0) throw new MillraceError("ERR_MEMORY", `there are ${LOOP_LIMIT} loops already`);
    if (!lock(arena, free, FREE)) continue;
    arena.u8.set(name, free + LOOP_NAME);
    try {
      const data = make();
      arena.u32[(free + LOOP_DATA) >>> 2] = data;
      arena.u32[(free + LOOP_ENDS) >>> 2] = 1;
      arena.u32[(free + LOOP_CLAIMS) >>> 2] = 1;
      unlock(arena, free, READY);
      return { record: free, end: 0, data };
    } catch (error) {
      unlock(arena, free, FREE);
      throw error;
    }
  }
}

/** Leaves a loop. True: that was the last end, and the caller is to unmake it; the record is free again. */
export function leaveLoop(arena: ArenaMemory, record: number): boolean {
  while (!lock(arena, record, READY)) {
    // the other end is joining or leaving at this moment
  }
  const left = arena.u32[(record + LOOP_ENDS) >>> 2] - 1;
  arena.u32[(record + LOOP_ENDS) >>> 2] = left;
  unlock(arena, record, left === 0 ? FREE : READY);
  return left === 0;
}

/** Whether anybody has opened this end. */
export function isTaken(arena: ArenaMemory, record: number, end: number): boolean {
  return (Atomics.load(arena.u32, (record + LOOP_CLAIMS) >>> 2) & (1 << end)) !== 0;
}
