// Records that a port names where they lie, on their way into a capture file.
import {
  RECORDS_ARENA,
  RECORDS_BLOCK,
  RECORDS_BLOCK_END,
  RECORDS_BYTES,
  RECORDS_COPIED,
  RECORDS_COUNT,
  RECORDS_LIMIT,
  RECORDS_SIZE,
  RECORDS_VECTORS,
} from "../../kernels/captures.js";
import { MOST_VECTORS, VECTOR_SIZE } from "../../kernels/structs-messages.js";
import { libc } from "../../linux/libc.js";
import { arenaBase } from "../../linux/mapping.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import { type CaptureSink, type Piece, writePieces, writesAtOnce } from "./sink.js";

/** What PortDriver.record() names its records in, and the block that it makes their heads in. */
export interface Records {
  readonly arena: ArenaMemory;
  /** Offset of the RECORDS_ structure. */
  readonly offset: number;
  /** Absolute address of its vectors. */
  readonly vectors: number;
}

const BLOCK_AT = RECORDS_SIZE + MOST_VECTORS * VECTOR_SIZE;
const BLOCK_BYTES = 2 ** 19;
const BYTES = BLOCK_AT + BLOCK_BYTES;
/** Two vectors more cost what it costs to fetch and copy so many bytes. */
const COPIED = 256;
/** For a write by another thread, which wants a view of each vector. */
const MOSTLY_COPIED = BLOCK_BYTES / 2;

export function createRecords(arena: ArenaMemory): Records {
  const offset = allocateRegion(arena, BYTES);
  arena.u64[(offset + RECORDS_ARENA) / 8] = BigInt(arenaBase(arena));
  arena.u32[(offset + RECORDS_VECTORS) >>> 2] = offset + RECORDS_SIZE;
  arena.u32[(offset + RECORDS_LIMIT) >>> 2] = MOST_VECTORS;
  arena.u32[(offset + RECORDS_BLOCK) >>> 2] = offset + BLOCK_AT;
  arena.u32[(offset + RECORDS_BLOCK_END) >>> 2] = offset + BYTES;
  return { arena, offset, vectors: arenaBase(arena) + offset + RECORDS_SIZE };
}

export function freeRecords({ arena, offset }: Records): void {
  freeRegion(arena, offset, BYTES);
}

/** To be called before records are named for this sink. */
export function prepareRecords({ arena, offset }: Records, sink: CaptureSink): void {
  arena.u32[(offset + RECORDS_COPIED) >>> 2] = writesAtOnce(sink) ? COPIED : MOSTLY_COPIED;
}

/**
 * Writes what was named, behind all else: at once, and then returns undefined, as long as that takes no time, or
 * through another thread. Throws what a write has failed with.
 */
export function writeRecords(
  { arena, offset, vectors }: Records,
  sink: CaptureSink,
): Promise<void> | undefined {
  const count = arena.u32[(offset + RECORDS_COUNT) >>> 2];
  let done = 0;
  if (writesAtOnce(sink)) {
    const began = performance.now();
    done = Math.max(0, libc().writev(sink.fd, vectors, count));
    sink.took = performance.now() - began;
    sink.written += done;
    if (done === arena.u32[(offset + RECORDS_BYTES) >>> 2]) return undefined;
  }
  // The other thread's write says why this one has failed.
  return writePieces(sink, piecesOf(arena, offset + RECORDS_SIZE, count), done);
}

function piecesOf(arena: ArenaMemory, list: number, count: number): Piece[] {
  const base = arenaBase(arena);
  return Array.from({ length: count }, (_, index) => {
    const at = (list + index * VECTOR_SIZE) / 8;
    return { offset: Number(arena.u64[at]) - base, bytes: Number(arena.u64[at + 1]) };
  });
}
