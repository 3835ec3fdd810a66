import {
  C_NEXT,
  C_SIZE,
  E_SIZE,
  G_BUCKET_MASK,
  G_BUCKETS,
  G_CHUNK_FREE,
  G_CHUNK_SIZE,
  G_DONE,
  G_DONE_MASK,
  G_EVENT_LIMIT,
  G_EVENTS,
  G_GAP,
  G_HELD_FREE,
  G_ID_BOUNDS,
  G_MAX_BYTES,
  G_MODE,
  G_OPEN,
  G_SEQUENCE_MASK,
  G_SIZE,
  G_STREAM_FREE,
  G_TIMEOUT,
  G_WINDOW,
  G_WINDOW_FREE,
  H_NEXT,
  H_SIZE,
  MODE_ARRIVAL,
  MODE_OFFSET,
  S_CHAIN,
  S_SIZE,
} from "../kernels/gather-structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion, freeRegion } from "../memory/region.js";

/** How one gather is set up, all in numbers. */
export interface GatherPlan {
  readonly mode: number;
  readonly gap: number;
  /** Datagrams, a power of two. */
  readonly window: number;
  readonly open: number;
  readonly chunkSize: number;
  readonly maxBytes: number;
  readonly maxStreams: number;
  readonly sequenceBits: number;
  /** First and last chunk id of each case of the layout, by its number. */
  readonly idBounds: readonly (readonly [first: bigint, last: bigint])[];
  readonly timeout: number;
}

export interface GatherState {
  /** Offset of the state, which the kernels take. */
  readonly offset: number;
  /** What the bounds came to: memory for windows and chunks may allow fewer than asked for. */
  readonly streams: number;
  readonly chunks: number;
  free(): void;
}

/** Gap events that wait for TypeScript; gather stops a burst when they are full. */
const EVENTS = 4096;
/** Memory at most for windows, and for chunk records in an arena of up to 256 MiB, in bytes; a larger one has more. */
const WINDOW_BYTES = 8 * 2 ** 20;
const CHUNK_BYTES = 4 * 2 ** 20;
const CHUNK_SHARE = 64;
const HELD_RECORDS = 16_384;

/** Links `count` records of `size` bytes at `first` into a free list through the word at `next` of each. */
function linkFree(arena: ArenaMemory, first: number, count: number, size: number, next: number): number {
  for (let i = 0; i < count; i++)
    arena.u32[(first + i * size + next) >>> 2] = i + 1 < count ? first + (i + 1) * size : 0;
  return count === 0 ? 0 : first;
}

/** Lays out a gather's state, streams, chunks, windows and queues in the arena. */
export function createGatherState(arena: ArenaMemory, plan: GatherPlan): GatherState {
  const sequenced = (plan.mode & (MODE_OFFSET | MODE_ARRIVAL)) === 0;
  const windowBytes = 8 * plan.window;
  const streams = Math.max(
    1,
    Math.min(plan.maxStreams, sequenced ? Math.floor(WINDOW_BYTES / windowBytes) : plan.maxStreams),
  );
  // Chunks under way, and as many again that are on their way out.
  const chunkBytes = Math.max(CHUNK_BYTES, arena.buffer.byteLength / CHUNK_SHARE);
  const chunks = Math.max(64, Math.min(2 * streams * plan.open + 64, Math.floor(chunkBytes / C_SIZE)));
  const queue = 2 ** Math.ceil(Math.log2(chunks + 1));
  const buckets = 2 ** Math.ceil(Math.log2(2 * streams));
  const places = { bytes: G_SIZE };
  const place = (bytes: number) => {
    const at = places.bytes;
    places.bytes = Math.ceil((at + bytes) / 64) * 64;
    return at;
  };
  const bucketsAt = place(4 * buckets);
  const streamsAt = place(S_SIZE * streams);
  const chunksAt = place(C_SIZE * chunks);
  const queueAt = place(4 * queue);
  const eventsAt = place(E_SIZE * EVENTS);
  const heldAt = place(H_SIZE * HELD_RECORDS);
  const windowsAt = place(sequenced ? windowBytes * streams : 0);
  const boundsAt = place(16 * plan.idBounds.length);
  const offset = allocateRegion(arena, places.bytes);
  const set = (field: number, value: number) => {
    arena.u32[(offset + field) >>> 2] = value;
  };
  set(G_MODE, plan.mode);
  set(G_GAP, plan.gap);
  set(G_WINDOW, plan.window);
  set(G_OPEN, plan.open);
  set(G_CHUNK_SIZE, plan.chunkSize);
  set(G_MAX_BYTES, plan.maxBytes);
  set(G_BUCKETS, offset + bucketsAt);
  set(G_BUCKET_MASK, buckets - 1);
  set(G_DONE, offset + queueAt);
  set(G_DONE_MASK, queue - 1);
  set(G_EVENTS, offset + eventsAt);
  set(G_EVENT_LIMIT, EVENTS);
  set(G_STREAM_FREE, linkFree(arena, offset + streamsAt, streams, S_SIZE, S_CHAIN));
  set(G_CHUNK_FREE, linkFree(arena, offset + chunksAt, chunks, C_SIZE, C_NEXT));
  set(G_HELD_FREE, linkFree(arena, offset + heldAt, HELD_RECORDS, H_SIZE, H_NEXT));
  set(G_WINDOW_FREE, sequenced ? linkFree(arena, offset + windowsAt, streams, windowBytes, 0) : 0);
  arena.u64[(offset + G_SEQUENCE_MASK) >>> 3] = 2n ** BigInt(plan.sequenceBits) - 1n;
  set(G_ID_BOUNDS, offset + boundsAt);
  plan.idBounds.forEach((bounds, number) => {
    arena.u64.set(bounds, (offset + boundsAt + 16 * number) >>> 3);
  });
  arena.f64[(offset + G_TIMEOUT) >>> 3] = plan.timeout;
  return { offset, streams, chunks, free: () => freeRegion(arena, offset, places.bytes) };
}
