// Inboxes and outboxes in the arena, as src/kernels/structs-messages.ts draws them: what udp:, packet: and tap:
// hand to the kernel's vectored calls.
import { CONTROL_POOL_FRAMES, DATAGRAM_HEAD_LIMIT } from "../kernels/structs.js";
import {
  INBOX_BASE,
  INBOX_CONTROL_SIZE,
  INBOX_CONTROLS,
  INBOX_DIRTY,
  INBOX_HEADER,
  INBOX_HEADERS,
  INBOX_IOVECS,
  INBOX_MESSAGES,
  INBOX_NAMES,
  INBOX_OWNER,
  INBOX_SENDERS,
  INBOX_SIZE,
  INBOX_SLOTS,
  INBOX_VECTORS,
  MESSAGE_CONTROL,
  MESSAGE_NAME,
  MESSAGE_SIZE,
  MESSAGE_VECTOR_COUNT,
  MESSAGE_VECTORS,
  MOST_VECTORS,
  OUTBOX_BASE,
  OUTBOX_CONTROL_SIZE,
  OUTBOX_CONTROLS,
  OUTBOX_FRAME_MASK,
  OUTBOX_FRAMES,
  OUTBOX_HEADERS,
  OUTBOX_HELD_BY,
  OUTBOX_ID_MASK,
  OUTBOX_IDS,
  OUTBOX_IOVEC_LIMIT,
  OUTBOX_IOVECS,
  OUTBOX_MESSAGES,
  OUTBOX_OWNER,
  OUTBOX_PIECE_LIMIT,
  OUTBOX_RANGES,
  OUTBOX_SCRATCH,
  OUTBOX_SIZE,
  SENDER_SIZE,
  VECTOR_SIZE,
} from "../kernels/structs-messages.js";
import { arenaBase } from "../linux/mapping.js";
import type { ArenaMemory } from "../memory/arena.js";
import { claimOwner, releaseOwner } from "../memory/owners.js";
import { allocateRegion, freeRegion, reserveRegion } from "../memory/region.js";

/** Memory of the arena that a port takes piece by piece and gives back at once. */
export interface Regions {
  take(bytes: number): number;
  /** The same, but not zeroed nor touched: for what is mapped over. */
  reserve(bytes: number): number;
  free(): void;
}

export function createRegions(arena: ArenaMemory): Regions {
  const taken: [offset: number, bytes: number][] = [];
  const keep = (offset: number, bytes: number) => {
    taken.push([offset, bytes]);
    return offset;
  };
  return {
    take: (bytes) => keep(allocateRegion(arena, bytes), bytes),
    reserve: (bytes) => keep(reserveRegion(arena, bytes), bytes),
    free() {
      for (const [offset, bytes] of taken) freeRegion(arena, offset, bytes);
      taken.length = 0;
    },
  };
}

/** The longest packet that is received into frames: a GRO buffer, a super-frame, the longest datagram. */
const LONGEST = 65536;
const ZERO_COPY_CALLS = 1024;
const ZERO_COPY_FRAMES = 8192;
const ZERO_COPY_PIECES = 17; // MAX_SKB_FRAGS: the kernel holds no more pages for one packet

/**
 * Lays out an inbox of at most `messages` messages: fewer in a small arena, as what is posted is out of the
 * pool. `senders`: a table of socket addresses, or 0. Frames are posted by the first inboxPost.
 */
export function createInbox(arena: ArenaMemory, regions: Regions, most: number, senders: number): number {
  const vectors = LONGEST / arena.frameSize;
  const poolFrames = arena.u32[(arena.control + CONTROL_POOL_FRAMES) >>> 2];
  const messages = Math.max(1, Math.min(most, Math.floor(poolFrames / 8 / vectors)));
  const all = messages * vectors;
  const perMessage = MESSAGE_SIZE + SENDER_SIZE + INBOX_CONTROL_SIZE;
  const state = regions.take(INBOX_SIZE + messages * perMessage + all * (VECTOR_SIZE + 4) + 2 * VECTOR_SIZE);
  const headers = state + INBOX_SIZE;
  const front = headers + messages * MESSAGE_SIZE; // what comes before a packet, then the vector that names it
  const iovecs = front + 2 * VECTOR_SIZE;
  const names = iovecs + all * VECTOR_SIZE;
  const controls = names + messages * SENDER_SIZE;
  const base = arenaBase(arena);
  setAddress(arena, state + INBOX_BASE, base);
  setWords(arena, state, [
    [INBOX_MESSAGES, messages],
    [INBOX_VECTORS, vectors],
    [INBOX_HEADERS, headers],
    [INBOX_HEADER, front],
    [INBOX_IOVECS, iovecs],
    [INBOX_NAMES, names],
    [INBOX_CONTROLS, controls],
    [INBOX_SLOTS, controls + messages * INBOX_CONTROL_SIZE],
    [INBOX_OWNER, claimOwner(arena, { counts: false })],
    [INBOX_DIRTY, messages],
    [INBOX_SENDERS, senders],
  ]);
  setAddress(arena, front + VECTOR_SIZE, base + front);
  for (let message = 0; message < messages; message++) {
    const header = headers + message * MESSAGE_SIZE;
    setAddress(arena, header + MESSAGE_NAME, base + names + message * SENDER_SIZE);
    setAddress(arena, header + MESSAGE_VECTORS, base + iovecs + message * vectors * VECTOR_SIZE);
    setAddress(arena, header + MESSAGE_VECTOR_COUNT, vectors);
    setAddress(arena, header + MESSAGE_CONTROL, base + controls + message * INBOX_CONTROL_SIZE);
  }
  return state;
}

/** Gives back what an inbox holds: its frames and its owner number. */
export function closeInbox(arena: ArenaMemory, inbox: number): void {
  arena.kernels.inboxUnpost(inbox);
  releaseOwner(arena, arena.u32[(inbox + INBOX_OWNER) >>> 2]);
}

export interface OutboxOptions {
  /** Most messages a call. */
  readonly messages: number;
  /** Most vectors a call. */
  readonly vectors: number;
  readonly zeroCopy: boolean;
  /** Further words of the structure: OUTBOX_… offset and value. */
  readonly words: readonly (readonly [offset: number, value: number])[];
}

/** Lays out an outbox. */
export function createOutbox(arena: ArenaMemory, regions: Regions, options: OutboxOptions): number {
  const { messages, vectors, zeroCopy, words } = options;
  const kept = zeroCopy ? 8 * ZERO_COPY_CALLS + 4 * ZERO_COPY_FRAMES : 0;
  const perMessage = MESSAGE_SIZE + OUTBOX_CONTROL_SIZE + 8;
  const state = regions.take(
    OUTBOX_SIZE + messages * perMessage + vectors * VECTOR_SIZE + DATAGRAM_HEAD_LIMIT + kept,
  );
  const headers = state + OUTBOX_SIZE;
  const iovecs = headers + messages * MESSAGE_SIZE;
  const controls = iovecs + vectors * VECTOR_SIZE;
  const ranges = controls + messages * OUTBOX_CONTROL_SIZE;
  const scratch = ranges + messages * 8;
  const ids = scratch + DATAGRAM_HEAD_LIMIT;
  setAddress(arena, state + OUTBOX_BASE, arenaBase(arena));
  setWords(arena, state, [
    [OUTBOX_MESSAGES, messages],
    [OUTBOX_HEADERS, headers],
    [OUTBOX_IOVECS, iovecs],
    [OUTBOX_IOVEC_LIMIT, vectors],
    [OUTBOX_CONTROLS, controls],
    [OUTBOX_RANGES, ranges],
    [OUTBOX_SCRATCH, scratch],
    [OUTBOX_PIECE_LIMIT, zeroCopy ? ZERO_COPY_PIECES : MOST_VECTORS],
    ...words,
  ]);
  if (!zeroCopy) return state;
  setWords(arena, state, [
    [OUTBOX_OWNER, claimOwner(arena, { counts: false })],
    [OUTBOX_IDS, ids],
    [OUTBOX_ID_MASK, ZERO_COPY_CALLS - 1],
    [OUTBOX_HELD_BY, ids + 4 * ZERO_COPY_CALLS],
    [OUTBOX_FRAMES, ids + 8 * ZERO_COPY_CALLS],
    [OUTBOX_FRAME_MASK, ZERO_COPY_FRAMES - 1],
  ]);
  return state;
}

/** Gives back the frames that the kernel never gave up, and their owner number. */
export function closeOutbox(arena: ArenaMemory, outbox: number): void {
  const owner = arena.u32[(outbox + OUTBOX_OWNER) >>> 2];
  if (owner !== 0) releaseOwner(arena, owner);
}

/** Writes u32 words of a structure at `at`. */
export function setWords(
  arena: ArenaMemory,
  at: number,
  words: readonly (readonly [offset: number, value: number])[],
): void {
  for (const [offset, value] of words) arena.u32[(at + offset) >>> 2] = value;
}

/** Writes a u64: an address or a length of a kernel structure. */
export function setAddress(arena: ArenaMemory, at: number, value: number): void {
  arena.u64[at / 8] = BigInt(value);
}
