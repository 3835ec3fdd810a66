// A chunk's end: what is missing, what becomes of the gaps, and out in the stream's order.
import {
  C_ADDRESS,
  C_CAPACITY,
  C_EXPECTED,
  C_FLAGS,
  C_ID,
  C_LENGTH,
  C_MISSING,
  C_NEXT,
  C_PACKETS,
  C_RANGES,
  C_RECEIVED,
  C_SUB,
  C_UNIT,
  CHUNK_COMPLETE,
  CHUNK_COUNTED,
  CHUNK_DONE,
  CHUNK_ENDED,
  CHUNK_LINKED,
  CHUNK_OVERRUN,
  CHUNK_SIZED,
  CHUNK_STARTED,
  G_CHUNK_SIZE,
  G_DONE,
  G_DONE_HEAD,
  G_DONE_MASK,
  G_GAP,
  G_LENT,
  G_MODE,
  G_OPEN,
  G_READY,
  GAP_DROP,
  GAP_SKIP,
  GAP_ZERO,
  LIST_COUNT,
  MODE_COUNTER,
  MODE_HAS_END,
  MODE_HAS_START,
  MODE_OFFSET,
  N_COMPLETE,
  N_DROPPED_CHUNKS,
  N_GAP,
  N_GAP_BYTES,
  N_HELD,
  N_INCOMPLETE,
  N_LOST_CHUNKS,
  N_MOVED,
  RANGE_END,
  RANGE_START,
  S_CURRENT,
  S_FIRST,
  S_FLAGS,
  S_ID_FIRST,
  S_ID_LAST,
  S_LAST,
  S_LAST_LENGTH,
  S_OPEN,
  S_OUT,
  S_RECENT,
  S_RECENT_AT,
  S_RECENT_STATE,
  S_RECENT_SUB,
  S_SUB_OUT,
  S_UNIT,
  STREAM_HAS_OUT,
} from "../gather-structs";
import { frameShift } from "./arena";
import { chunkFree, chunkReserve, count, framesOf, listAt, listMissing, unclaim } from "./gather-memory";
import { settleOnly } from "./gather-unit";

/** Bytes the chunk should have; only what came tells where no size and no end is known. */
function expectedLength(g: u32, c: u32): u32 {
  const flags = load<u32>(c, C_FLAGS);
  const length = load<u32>(c, C_LENGTH);
  if ((flags & CHUNK_SIZED) != 0) return max<u32>(load<u32>(c, C_EXPECTED), length);
  if ((flags & CHUNK_COUNTED) != 0) {
    const unit = load<u32>(c, C_UNIT);
    const datagrams = load<u32>(c, C_EXPECTED);
    // The last datagram may be short: a length within it is the whole.
    if (datagrams == 0 || <u64>length > <u64>(datagrams - 1) * unit) return length;
    const whole = <u64>datagrams * unit;
    return whole > <u64>0xffffffff ? length : <u32>whole;
  }
  // A later part of the same chunk is under way: this one is full.
  const size = load<u32>(g, G_CHUNK_SIZE);
  const next = load<u32>(c, C_NEXT);
  if (size != 0 && next != 0 && load<u64>(next, C_ID) == load<u64>(c, C_ID)) return size;
  return length;
}

/** True when every byte up to the chunk's known end has come, and its first and last datagrams too where it has such. */
export function chunkWhole(g: u32, c: u32): bool {
  const mode = load<u32>(g, G_MODE);
  const flags = load<u32>(c, C_FLAGS);
  if ((mode & MODE_OFFSET) == 0) return load<u32>(c + C_MISSING, LIST_COUNT) == 0;
  if ((mode & MODE_HAS_START) != 0 && (flags & CHUNK_STARTED) == 0) return false;
  if ((mode & MODE_HAS_END) != 0 && (flags & (CHUNK_ENDED | CHUNK_SIZED)) == 0) return false;
  if ((mode & MODE_HAS_END) != 0 && (mode & MODE_HAS_START) != 0 && (flags & CHUNK_ENDED) == 0) return false;
  // The end counts datagrams, but their places are bytes, or none has come yet: the count alone decides.
  if ((flags & CHUNK_COUNTED) != 0 && load<u32>(c, C_UNIT) == 0 && load<u32>(c, C_EXPECTED) != 0)
    return (
      load<u32>(c, C_PACKETS) == load<u32>(c, C_EXPECTED) &&
      load<u32>(c, C_RECEIVED) == load<u32>(c, C_LENGTH)
    );
  const expected = expectedLength(g, c);
  return load<u32>(c, C_RECEIVED) == expected && load<u32>(c, C_LENGTH) == expected;
}

/** Fills C_MISSING from C_RANGES; bytes missing. */
function findMissing(g: u32, c: u32): u64 {
  let at: u32 = 0;
  let missing: u64 = 0;
  const ranges = load<u32>(c + C_RANGES, LIST_COUNT);
  const expected = expectedLength(g, c);
  for (let i: u32 = 0; i <= ranges; i++) {
    const start = i < ranges ? load<u32>(listAt(c + C_RANGES, i), RANGE_START) : expected;
    if (start > at) {
      listMissing(g, c + C_MISSING, at, start - at);
      missing += start - at;
    }
    if (i < ranges) at = load<u32>(listAt(c + C_RANGES, i), RANGE_END);
  }
  return missing;
}

/** Zeroes the holes of a contiguous chunk. False: no memory up to its end. */
function fillHoles(g: u32, c: u32): bool {
  const expected = expectedLength(g, c);
  if (!chunkReserve(g, c, expected)) return false;
  const address = load<u32>(c, C_ADDRESS);
  let at: u32 = 0;
  const ranges = load<u32>(c + C_RANGES, LIST_COUNT);
  for (let i: u32 = 0; i <= ranges; i++) {
    const start = i < ranges ? load<u32>(listAt(c + C_RANGES, i), RANGE_START) : expected;
    if (start > at) memory.fill(<usize>(address + at), 0, <usize>(start - at));
    if (i < ranges) at = load<u32>(listAt(c + C_RANGES, i), RANGE_END);
  }
  store<u32>(c, expected, C_LENGTH);
  return true;
}

/** Joins what came of a contiguous chunk. */
function closeHoles(g: u32, c: u32): void {
  const address = load<u32>(c, C_ADDRESS);
  let to: u32 = 0;
  const ranges = load<u32>(c + C_RANGES, LIST_COUNT);
  for (let i: u32 = 0; i < ranges; i++) {
    const start = load<u32>(listAt(c + C_RANGES, i), RANGE_START);
    const length = load<u32>(listAt(c + C_RANGES, i), RANGE_END) - start;
    if (start != to) {
      memory.copy(<usize>(address + to), <usize>(address + start), <usize>length);
      count(g, N_MOVED, length);
    }
    to += length;
  }
  store<u32>(c, to, C_LENGTH);
}

/** Frees the frames past the chunk's end. */
function trimMemory(g: u32, c: u32): void {
  const address = load<u32>(c, C_ADDRESS);
  if (address == 0) return;
  const kept = framesOf(load<u32>(c, C_LENGTH)) << frameShift;
  const capacity = load<u32>(c, C_CAPACITY);
  if (kept < capacity) unclaim(g, address + kept, capacity - kept);
  store<u32>(c, kept, C_CAPACITY);
  if (kept == 0) store<u32>(c, 0, C_ADDRESS);
}

function remember(s: u32, c: u32, complete: bool): void {
  const slot = load<u32>(s, S_RECENT_AT) & 7;
  store<u64>(s + S_RECENT + (slot << 3), load<u64>(c, C_ID));
  store<u32>(s + S_RECENT_SUB + (slot << 2), load<u32>(c, C_SUB));
  store<u8>(s + S_RECENT_STATE + slot, complete ? 1 : 2);
  store<u32>(s, load<u32>(s, S_RECENT_AT) + 1, S_RECENT_AT);
}

/** Ids between the last chunk out and this one, of which nothing came. */
function countLost(g: u32, s: u32, c: u32): void {
  const id = load<u64>(c, C_ID);
  if ((load<u32>(g, G_MODE) & MODE_COUNTER) != 0 && (load<u32>(s, S_FLAGS) & STREAM_HAS_OUT) != 0) {
    const last = load<u64>(s, S_OUT);
    if (id > last) count(g, N_LOST_CHUNKS, id - last - 1);
    else if (id < last) {
      // Round the end of the counter; a step backwards was a restart and is counted there.
      const round = load<u64>(s, S_ID_LAST) - last + (id - load<u64>(s, S_ID_FIRST));
      if (round < 1024) count(g, N_LOST_CHUNKS, round);
    }
  }
  store<u64>(s, id, S_OUT);
  store<u32>(s, load<u32>(c, C_SUB), S_SUB_OUT);
  store<u32>(s, load<u32>(s, S_FLAGS) | STREAM_HAS_OUT, S_FLAGS);
}

/** Sends one chunk on its way: to TypeScript, or back where gaps or overrun say so. */
function out(g: u32, s: u32, c: u32): void {
  const flags = load<u32>(c, C_FLAGS);
  const packets = load<u32>(c, C_PACKETS);
  const overrun = (flags & CHUNK_OVERRUN) != 0;
  settleOnly(g, c);
  const complete = !overrun && chunkWhole(g, c);
  countLost(g, s, c);
  remember(s, c, complete);
  if (overrun) {
    count(g, N_DROPPED_CHUNKS, 1);
    chunkFree(g, c);
    return;
  }
  count(g, N_HELD, -(<i64>packets));
  let keep = true;
  if (complete) count(g, N_COMPLETE, 1);
  else {
    count(g, N_INCOMPLETE, 1);
    const byOffset = (load<u32>(g, G_MODE) & MODE_OFFSET) != 0;
    if (byOffset) count(g, N_GAP_BYTES, findMissing(g, c));
    const gap = load<u32>(g, G_GAP);
    if (gap == GAP_DROP) keep = false;
    else if (byOffset && (flags & CHUNK_LINKED) == 0) {
      if (gap == GAP_ZERO && !fillHoles(g, c)) keep = false;
      else if (gap == GAP_SKIP) closeHoles(g, c);
    } else if (byOffset) store<u32>(c, load<u32>(c, C_RECEIVED), C_LENGTH); // its pieces, one after the other
  }
  const length = load<u32>(c, C_LENGTH);
  if (length == 0) keep = false;
  if (!keep) {
    count(g, N_GAP, packets);
    count(g, N_DROPPED_CHUNKS, 1);
    chunkFree(g, c);
    return;
  }
  trimMemory(g, c);
  store<u32>(s, length, S_LAST_LENGTH);
  if (packets > 1) store<u32>(s, load<u32>(c, C_UNIT), S_UNIT);
  store<u32>(c, flags | CHUNK_DONE | (complete ? CHUNK_COMPLETE : 0), C_FLAGS);
  const head = load<u32>(g, G_DONE_HEAD);
  store<u32>(load<u32>(g, G_DONE) + ((head & load<u32>(g, G_DONE_MASK)) << 2), c);
  store<u32>(g, head + 1, G_DONE_HEAD);
  store<u32>(g, load<u32>(g, G_LENT) + 1, G_LENT);
  store<u32>(g, load<u32>(g, G_READY) + length, G_READY);
}

/**
 * Nothing can come before chunk `c`, the oldest under way: it follows what went out last, or no more chunks
 * may be under way. Else one before it is waited for of which nothing has come yet.
 */
function isNext(g: u32, s: u32, c: u32): bool {
  const mode = load<u32>(g, G_MODE);
  if ((mode & MODE_OFFSET) == 0 || load<u32>(s, S_OPEN) >= load<u32>(g, G_OPEN)) return true;
  const id = load<u64>(c, C_ID);
  const sub = load<u32>(c, C_SUB);
  const last = load<u64>(s, S_OUT);
  const any = (load<u32>(s, S_FLAGS) & STREAM_HAS_OUT) != 0;
  if (any && id == last) return sub <= load<u32>(s, S_SUB_OUT) + 1;
  if (sub != 0) return false;
  if ((mode & MODE_COUNTER) == 0) return true;
  if (id == load<u64>(s, S_ID_FIRST)) return !any || last == load<u64>(s, S_ID_LAST);
  return any && id == last + 1;
}

/** Sends out, oldest first, every chunk of the stream that nothing is waited for; the oldest in any case with `force`. */
export function outDone(g: u32, s: u32, force: bool = false): void {
  let c = load<u32>(s, S_FIRST);
  while (c != 0 && (load<u32>(c, C_FLAGS) & CHUNK_DONE) != 0 && (force || isNext(g, s, c))) {
    force = false;
    const next = load<u32>(c, C_NEXT);
    store<u32>(s, next, S_FIRST);
    if (next == 0) store<u32>(s, 0, S_LAST);
    store<u32>(s, load<u32>(s, S_OPEN) - 1, S_OPEN);
    if (load<u32>(s, S_CURRENT) == c) store<u32>(s, 0, S_CURRENT);
    out(g, s, c);
    c = next;
  }
}

/** Nothing more is waited for in the oldest chunk of the stream. */
export function outOldest(g: u32, s: u32): void {
  const c = load<u32>(s, S_FIRST);
  if (c == 0) return;
  store<u32>(c, load<u32>(c, C_FLAGS) | CHUNK_DONE, C_FLAGS);
  outDone(g, s, true);
}
