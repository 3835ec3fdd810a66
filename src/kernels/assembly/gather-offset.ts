// Placement by offset: the header says where in which chunk the data belongs.

import {
  C_ADDRESS,
  C_ANCHOR,
  C_DATAGRAMS,
  C_EXPECTED,
  C_FLAGS,
  C_ID,
  C_LENGTH,
  C_NEXT,
  C_PACKETS,
  C_RANGES,
  C_RECEIVED,
  C_SUB,
  C_UNIT,
  CHUNK_COUNTED,
  CHUNK_DONE,
  CHUNK_ENDED,
  CHUNK_OVERRUN,
  CHUNK_SIZED,
  CHUNK_STARTED,
  G_CHUNK_SIZE,
  G_LENT,
  G_MAX_BYTES,
  G_MODE,
  G_OPEN,
  H_NEXT,
  H_PIECE,
  H_PIECES,
  LIST_COUNT,
  MODE_COUNTER,
  MODE_LINKED,
  MODE_LIVE,
  N_DATA,
  N_DATA_BYTES,
  N_DUPLICATE,
  N_HELD,
  N_LATE,
  N_MALFORMED,
  N_MEMORY,
  N_OUTPUT,
  N_REORDERED,
  N_RESYNC,
  RANGE_END,
  RANGE_START,
  S_CURRENT,
  S_FIRST,
  S_FLAGS,
  S_ID_FIRST,
  S_ID_LAST,
  S_LAST,
  S_OPEN,
  S_OUT,
  S_RECENT,
  S_RECENT_STATE,
  S_RECENT_SUB,
  S_UNIT,
  STREAM_HAS_OUT,
} from "../gather-structs";
import {
  CUT_BY_DATAGRAM,
  CUT_BYTES,
  CUT_CHUNK,
  CUT_DATA,
  CUT_END,
  CUT_FIELDS,
  CUT_FLAGS,
  CUT_IS_CONTROL,
  CUT_KIND,
  CUT_LENGTH,
  CUT_POSITION,
  CUT_SIZE,
  CUT_SIZED,
  CUT_START,
  CUT_WHAT,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
} from "../structs";
import {
  chunkOverrun,
  chunkReserve,
  chunkTake,
  count,
  listAt,
  listInsert,
  listRemove,
  listRoom,
} from "./gather-memory";
import { chunkWhole, outDone, outOldest } from "./gather-out";
import {
  copyData,
  heldPieces,
  hold,
  keepHead,
  letGo,
  linkPiece,
  nanosecondsOf,
  secondsOf,
  stamp,
  taken,
} from "./gather-pieces";
import { dropOne, gapEvent } from "./gather-sequence";
import { learnUnit } from "./gather-unit";

// ── Which chunk.

function findChunk(s: u32, id: u64, sub: u32): u32 {
  const current = load<u32>(s, S_CURRENT);
  if (current != 0 && load<u64>(current, C_ID) == id && load<u32>(current, C_SUB) == sub) return current;
  for (let c = load<u32>(s, S_FIRST); c != 0; c = load<u32>(c, C_NEXT))
    if (load<u64>(c, C_ID) == id && load<u32>(c, C_SUB) == sub) return c;
  return 0;
}

/** 0: not among the last chunks that went out; 1: it went out complete; 2: it did not. */
function recentState(s: u32, id: u64, sub: u32): u32 {
  for (let i: u32 = 0; i < 8; i++)
    if (
      load<u8>(s + S_RECENT_STATE + i) != 0 &&
      load<u64>(s + S_RECENT + (i << 3)) == id &&
      load<u32>(s + S_RECENT_SUB + (i << 2)) == sub
    )
      return load<u8>(s + S_RECENT_STATE + i);
  return 0;
}

/** How far `id` lies behind `from` on the counter's circle. */
function behind(s: u32, from: u64, id: u64): u64 {
  if (id <= from) return from - id;
  return from - load<u64>(s, S_ID_FIRST) + (load<u64>(s, S_ID_LAST) - id) + 1;
}

/** How far behind is still behind; farther, the counter began anew. Half of a small counter's circle. */
function horizon(s: u32): u64 {
  return min<u64>(1024, ((load<u64>(s, S_ID_LAST) - load<u64>(s, S_ID_FIRST)) >> 1) + 1);
}

/** Does chunk `a` come before (id, sub) in the stream's order? */
function before(g: u32, s: u32, a: u32, id: u64, sub: u32): bool {
  const other = load<u64>(a, C_ID);
  if (other == id) return load<u32>(a, C_SUB) < sub;
  if ((load<u32>(g, G_MODE) & MODE_COUNTER) == 0) return true; // opaque: in order of arrival
  const far = horizon(s);
  return behind(s, id, other) < far || behind(s, other, id) >= far;
}

/** Just behind what went out last, though not among the chunks remembered. */
function justPast(g: u32, s: u32, id: u64): bool {
  if ((load<u32>(g, G_MODE) & MODE_COUNTER) == 0 || (load<u32>(s, S_FLAGS) & STREAM_HAS_OUT) == 0)
    return false;
  const distance = behind(s, load<u64>(s, S_OUT), id);
  return distance != 0 && distance <= 8;
}

/** Opens a chunk in its place in the stream's order; 0: no chunk record is free. */
function openChunk(g: u32, s: u32, id: u64, sub: u32): u32 {
  while (load<u32>(s, S_OPEN) >= load<u32>(g, G_OPEN)) outOldest(g, s);
  const c = chunkTake(g, s);
  if (c == 0) return 0;
  store<u64>(c, id, C_ID);
  store<u32>(c, sub, C_SUB);
  let previous: u32 = 0;
  let next = load<u32>(s, S_FIRST);
  while (next != 0 && before(g, s, next, id, sub)) {
    previous = next;
    next = load<u32>(next, C_NEXT);
  }
  store<u32>(c, next, C_NEXT);
  if (previous == 0) store<u32>(s, c, S_FIRST);
  else store<u32>(previous, c, C_NEXT);
  if (next == 0) store<u32>(s, c, S_LAST);
  store<u32>(s, load<u32>(s, S_OPEN) + 1, S_OPEN);
  return c;
}

/** The chunk's record, opened if need be; 0: none to be had; 1: it is over already, and was complete; 2: it was not. */
function chunkFor(g: u32, s: u32, id: u64, sub: u32): u32 {
  let c = findChunk(s, id, sub);
  if (c == 0) {
    const state = recentState(s, id, sub);
    if (state != 0) return state;
    if (justPast(g, s, id)) return 2;
    c = openChunk(g, s, id, sub);
    if (c == 0) return 0;
  }
  store<u32>(s, c, S_CURRENT);
  return c;
}

// ── Where in it. Ranges are sorted and do not overlap; in a contiguous chunk neighbours are joined.

/** Number of ranges that begin at or before `start`. */
function rangesUpTo(c: u32, start: u32): u32 {
  let low: u32 = 0;
  let high = load<u32>(c + C_RANGES, LIST_COUNT);
  if (high != 0 && load<u32>(listAt(c + C_RANGES, high - 1), RANGE_START) <= start) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u32>(listAt(c + C_RANGES, middle), RANGE_START) <= start) low = middle + 1;
    else high = middle;
  }
  return low;
}

const FREE: u32 = 0;
const SAME: u32 = 1; // all of it came before
const CLASH: u32 = 2; // some of it came before

function lookUp(c: u32, start: u32, end: u32): u32 {
  const index = rangesUpTo(c, start);
  const ranges = load<u32>(c + C_RANGES, LIST_COUNT);
  let covered = start; // how far from `start` the ranges reach without a hole
  let touched = false;
  for (let i: u32 = index == 0 ? 0 : index - 1; i < ranges; i++) {
    const at = listAt(c + C_RANGES, i);
    const from = load<u32>(at, RANGE_START);
    const to = load<u32>(at, RANGE_END);
    if (from >= end) break;
    if (to <= start) continue;
    touched = true;
    if (from > covered) return CLASH;
    covered = max<u32>(covered, to);
    if (covered >= end) return SAME;
  }
  return touched ? CLASH : FREE;
}

/** Notes that [start, end) came. False: no memory for the list. */
function addRange(g: u32, c: u32, start: u32, end: u32): bool {
  const index = rangesUpTo(c, start);
  const ranges = load<u32>(c + C_RANGES, LIST_COUNT);
  const joinsBefore = index != 0 && load<u32>(listAt(c + C_RANGES, index - 1), RANGE_END) == start;
  const joinsAfter = index < ranges && load<u32>(listAt(c + C_RANGES, index), RANGE_START) == end;
  if (joinsBefore && joinsAfter) {
    store<u32>(listAt(c + C_RANGES, index - 1), load<u32>(listAt(c + C_RANGES, index), RANGE_END), RANGE_END);
    listRemove(c + C_RANGES, index);
  } else if (joinsBefore) store<u32>(listAt(c + C_RANGES, index - 1), end, RANGE_END);
  else if (joinsAfter) store<u32>(listAt(c + C_RANGES, index), start, RANGE_START);
  else {
    const at = listInsert(g, c + C_RANGES, index);
    if (at == 0) return false;
    store<u32>(at, start, RANGE_START);
    store<u32>(at, end, RANGE_END);
  }
  return true;
}

// ── Placing.

/** No memory: true where the datagram is dropped with its chunk, false where the engine should wait. */
function dropOrWait(g: u32, s: u32, c: u32, burst: u32, datagram: u32): bool {
  // What only keeps its turn makes room first.
  const oldest = load<u32>(s, S_FIRST);
  if (oldest != 0 && (load<u32>(oldest, C_FLAGS) & CHUNK_DONE) != 0) outOldest(g, s);
  const lent = load<u32>(g, G_LENT);
  if (lent != 0 && (load<u32>(g, G_MODE) & MODE_LIVE) == 0) return false;
  const reason = lent != 0 ? N_OUTPUT : N_MEMORY;
  if (c != 0) chunkOverrun(g, c, reason);
  return dropOne(g, burst, datagram, reason);
}

/** A leader, a trailer, a stop: opens its chunk, tells its size and end, keeps its fields. */
export function placeControl(g: u32, s: u32, burst: u32, datagram: u32, cut: u32): void {
  const c = chunkFor(g, s, load<u64>(cut, CUT_CHUNK), 0);
  if (c <= 2) return;
  notePlan(c, cut, 0);
  if ((load<u32>(cut, CUT_FLAGS) & CUT_FIELDS) != 0)
    keepHead(
      c,
      load<u32>(cut, CUT_KIND),
      load<u32>(datagram, DATAGRAM_HEAD),
      load<u32>(datagram, DATAGRAM_HEAD_LENGTH),
    );
  if (load<u32>(c, C_PACKETS) == 0)
    stamp(c, secondsOf(g, burst, datagram), nanosecondsOf(g, burst, datagram));
  finishIfWhole(g, s, c);
}

/** What a cut says of its chunk as a whole. `end` is where its data ends, in bytes. */
function notePlan(c: u32, cut: u32, end: u32): void {
  const flags = load<u32>(cut, CUT_FLAGS);
  let state = load<u32>(c, C_FLAGS);
  const counts = (flags & CUT_BY_DATAGRAM) != 0 && load<u64>(cut, CUT_POSITION) <= <u64>0xffffffff;
  if ((flags & CUT_END) != 0 && (flags & CUT_WHAT) == CUT_IS_CONTROL && counts)
    store<u32>(c, <u32>load<u64>(cut, CUT_POSITION), C_DATAGRAMS);
  if ((flags & CUT_START) != 0) state |= CHUNK_STARTED;
  if ((flags & CUT_SIZED) != 0 && load<u64>(cut, CUT_SIZE) <= <u64>0xffffffff) {
    state |= CHUNK_SIZED;
    store<u32>(c, <u32>load<u64>(cut, CUT_SIZE), C_EXPECTED);
  }
  if ((flags & CUT_END) != 0) {
    state |= CHUNK_ENDED;
    if ((state & CHUNK_SIZED) == 0) {
      if ((flags & CUT_WHAT) != CUT_IS_CONTROL) {
        state |= CHUNK_SIZED;
        store<u32>(c, end, C_EXPECTED);
      } else if (counts) {
        state |= CHUNK_COUNTED;
        store<u32>(c, <u32>load<u64>(cut, CUT_POSITION), C_EXPECTED);
      }
    }
  }
  store<u32>(c, state, C_FLAGS);
}

function finishIfWhole(g: u32, s: u32, c: u32): bool {
  const flags = load<u32>(c, C_FLAGS);
  const size = load<u32>(g, G_CHUNK_SIZE);
  const full = size != 0 && load<u32>(c, C_LENGTH) == size && load<u32>(c, C_RECEIVED) == size;
  if (!full && (flags & (CHUNK_SIZED | CHUNK_COUNTED | CHUNK_ENDED)) == 0) return false;
  if (!full && !chunkWhole(g, c)) return false;
  if ((flags & CHUNK_OVERRUN) != 0) return false;
  store<u32>(c, flags | CHUNK_DONE, C_FLAGS);
  outDone(g, s);
  return true;
}

/**
 * Places one datagram, whose `cuts` cuts begin at `cut`: all of its slices or none. False: no memory now,
 * call again with the same.
 */
export function placeOffset(g: u32, s: u32, burst: u32, datagram: u32, cut: u32, cuts: u32): bool {
  const id = load<u64>(cut, CUT_CHUNK);
  const size = load<u32>(g, G_CHUNK_SIZE);
  const limit = <u64>load<u32>(g, G_MAX_BYTES);
  let unit: u32 = 1;
  if ((load<u32>(cut, CUT_FLAGS) & CUT_BY_DATAGRAM) != 0) {
    const length = load<u32>(cut, CUT_LENGTH);
    // With a size that cuts, positions are needed before the chunk is known: the unit is then the stream's.
    const c = size != 0 ? 0 : chunkFor(g, s, id, 0);
    if (c == 1 || c == 2) return dropOne(g, burst, datagram, c == 1 ? N_DUPLICATE : N_LATE);
    if (c == 0 && size == 0) return dropOrWait(g, s, 0, burst, datagram);
    if (c == 0) {
      unit = max<u32>(length, load<u32>(s, S_UNIT));
      store<u32>(s, unit, S_UNIT);
    } else unit = learnUnit(g, s, c, length);
    if (unit == 0) return dropOne(g, burst, datagram, N_MALFORMED);
    if (c != 0) {
      store<u32>(c, unit, C_UNIT);
      if (load<u32>(c, C_PACKETS) == 0) store<u32>(c, <u32>load<u64>(cut, CUT_POSITION), C_ANCHOR);
    }
  }
  // First look at every slice, then place: a datagram is taken whole or not at all.
  let fresh = false;
  for (let i: u32 = 0; i < cuts; i++) {
    const at = cut + i * CUT_BYTES;
    const position = load<u64>(at, CUT_POSITION);
    const length = load<u32>(at, CUT_LENGTH);
    if (position > <u64>0xffffffff || position * unit + length > <u64>0xffffffff)
      return dropOne(g, burst, datagram, N_MALFORMED);
    if (size == 0 && position * unit + length > limit) return dropOne(g, burst, datagram, N_MEMORY);
    const start = <u32>position * unit;
    for (let k: u32 = 0; k < i; k++) {
      const other = <u32>load<u64>(cut + k * CUT_BYTES, CUT_POSITION) * unit;
      if (start < other + load<u32>(cut + k * CUT_BYTES, CUT_LENGTH) && other < start + length)
        return dropOne(g, burst, datagram, N_MALFORMED); // its own slices overlap
    }
    if ((load<u32>(at, CUT_FLAGS) & CUT_SIZED) != 0) {
      const whole = load<u64>(at, CUT_SIZE);
      if (<u64>start + length > whole) return dropOne(g, burst, datagram, N_MALFORMED);
      if (size == 0 && whole > limit) return dropOne(g, burst, datagram, N_MEMORY);
    }
    let done: u32 = 0;
    do {
      const sub = size == 0 ? 0 : (start + done) / size;
      const from = start + done - sub * size;
      const part = size == 0 ? length : min<u32>(length - done, size - from);
      const c = findChunk(s, id, sub);
      if (c != 0 && part != 0) {
        const found = lookUp(c, from, from + part);
        if (found == CLASH) return dropOne(g, burst, datagram, N_MALFORMED);
        if (found == FREE) fresh = true;
      } else if (c != 0 || (recentState(s, id, sub) == 0 && !justPast(g, s, id))) fresh = true;
      done += part;
    } while (done < length);
  }
  if (!fresh) return dropOne(g, burst, datagram, isLate(s, id, cut, unit, size) ? N_LATE : N_DUPLICATE);
  let last: u32 = 0;
  let reordered = false;
  const linked = (load<u32>(g, G_MODE) & MODE_LINKED) != 0;
  let bytes: u32 = 0;
  for (let i: u32 = 0; i < cuts; i++) {
    const at = cut + i * CUT_BYTES;
    const start = <u32>load<u64>(at, CUT_POSITION) * unit;
    const length = load<u32>(at, CUT_LENGTH);
    let done: u32 = 0;
    do {
      const sub = size == 0 ? 0 : (start + done) / size;
      const from = start + done - sub * size;
      const part = size == 0 ? length : min<u32>(length - done, size - from);
      const c = chunkFor(g, s, id, sub);
      if (c == 0) return dropOrWait(g, s, 0, burst, datagram);
      if (c > 2) {
        if ((load<u32>(c, C_FLAGS) & CHUNK_OVERRUN) != 0) return dropOne(g, burst, datagram, N_OUTPUT);
        if (part != 0 && lookUp(c, from, from + part) == FREE) {
          if (!linked && !chunkReserve(g, c, from + part)) return dropOrWait(g, s, c, burst, datagram);
          if (from < load<u32>(c, C_LENGTH)) reordered = true;
          if (
            !placePart(
              g,
              c,
              burst,
              datagram,
              from,
              load<u32>(at, CUT_DATA) + done,
              part,
              linked,
              cuts == 1 && part == length,
            )
          )
            return dropOrWait(g, s, c, burst, datagram);
          if (from > load<u32>(c, C_LENGTH))
            gapEvent(g, s, 0, id, load<u32>(c, C_LENGTH), from - load<u32>(c, C_LENGTH));
          store<u32>(c, max<u32>(load<u32>(c, C_LENGTH), from + part), C_LENGTH);
          store<u32>(c, load<u32>(c, C_RECEIVED) + part, C_RECEIVED);
          bytes += part;
        }
        // With parts, size and end are told of the whole: they hold for the part in which they fall.
        if (size == 0) notePlan(c, at, start + length);
        else if (done + part == length) notePart(c, at, sub, size, from + part);
        last = c;
      }
      done += part;
    } while (done < length);
  }
  if (last == 0) return dropOne(g, burst, datagram, N_LATE);
  finishDatagram(g, s, last, burst, datagram, cut, bytes);
  if (reordered) count(g, N_REORDERED, 1);
  return true;
}

/** All of it came before: late when its chunk went out without it, else a duplicate. */
function isLate(s: u32, id: u64, cut: u32, unit: u32, size: u32): bool {
  const start = <u32>load<u64>(cut, CUT_POSITION) * unit;
  const sub = size == 0 ? 0 : start / size;
  return findChunk(s, id, sub) == 0 && recentState(s, id, sub) != 1;
}

/** What a cut says of the part of its chunk in which its data ends. */
function notePart(c: u32, cut: u32, sub: u32, size: u32, end: u32): void {
  const flags = load<u32>(cut, CUT_FLAGS);
  let state = load<u32>(c, C_FLAGS);
  if ((flags & CUT_SIZED) != 0) {
    const left = load<u64>(cut, CUT_SIZE) - <u64>sub * size;
    state |= CHUNK_SIZED;
    store<u32>(c, <u32>min<u64>(left, size), C_EXPECTED);
  } else if ((flags & CUT_END) != 0) {
    state |= CHUNK_SIZED | CHUNK_ENDED;
    store<u32>(c, end, C_EXPECTED);
  }
  store<u32>(c, state, C_FLAGS);
}

/** Copies or links one part of a slice. False: no memory. */
function placePart(
  g: u32,
  c: u32,
  burst: u32,
  datagram: u32,
  from: u32,
  data: u32,
  part: u32,
  linked: bool,
  whole: bool,
): bool {
  if (!linked) {
    if (!addRange(g, c, from, from + part)) return false;
    copyData(g, c, from, load<u32>(c, C_ADDRESS) + from, burst, datagram, data, part);
    return true;
  }
  const chain = hold(g, burst, datagram, data, part, whole);
  if (chain == 0) return false;
  if (!listRoom(g, c + C_RANGES, heldPieces(chain))) {
    letGo(g, chain, true);
    return false;
  }
  let at = from;
  let index = rangesUpTo(c, from);
  for (let record = chain; record != 0; record = load<u32>(record, H_NEXT)) {
    const pieces = load<u32>(record, H_PIECES);
    for (let i: u32 = 0; i < pieces; i++) {
      const length = load<u32>(record + (i << 3), H_PIECE + 4);
      linkPiece(g, c, index, at, load<u32>(record + (i << 3), H_PIECE), length);
      at += length;
      index++;
    }
  }
  letGo(g, chain, false);
  return true;
}

function finishDatagram(g: u32, s: u32, c: u32, burst: u32, datagram: u32, cut: u32, bytes: u32): void {
  stamp(c, secondsOf(g, burst, datagram), nanosecondsOf(g, burst, datagram));
  if ((load<u32>(cut, CUT_FLAGS) & CUT_FIELDS) != 0)
    keepHead(
      c,
      load<u32>(cut, CUT_KIND),
      load<u32>(datagram, DATAGRAM_HEAD),
      load<u32>(datagram, DATAGRAM_HEAD_LENGTH),
    );
  const packets = load<u32>(c, C_PACKETS) + 1;
  store<u32>(c, packets, C_PACKETS);
  taken(burst, datagram);
  count(g, N_HELD, 1);
  count(g, N_DATA, 1);
  count(g, N_DATA_BYTES, bytes);
  if (packets == 2) noteRestart(g, s, c);
  if (load<u32>(g, G_CHUNK_SIZE) == 0) finishIfWhole(g, s, c);
  else while (finishOne(g, s)) {} // a datagram may fill several parts
}

/** Finishes the first part under way that is whole. False: none is. */
function finishOne(g: u32, s: u32): bool {
  for (let c = load<u32>(s, S_FIRST); c != 0; c = load<u32>(c, C_NEXT)) {
    if ((load<u32>(c, C_FLAGS) & (CHUNK_DONE | CHUNK_OVERRUN)) != 0) continue;
    if (finishIfWhole(g, s, c)) return true;
  }
  return false;
}

/** A counter that stepped back and went on from there is a restart of the stream. */
function noteRestart(g: u32, s: u32, c: u32): void {
  if ((load<u32>(g, G_MODE) & MODE_COUNTER) == 0 || (load<u32>(s, S_FLAGS) & STREAM_HAS_OUT) == 0) return;
  const last = load<u64>(s, S_OUT);
  const id = load<u64>(c, C_ID);
  const far = horizon(s);
  if (behind(s, last, id) >= far && behind(s, id, last) < far) return; // ahead, as it should be
  if (id == last || load<u32>(c, C_SUB) != 0) return;
  count(g, N_RESYNC, 1);
  store<u32>(s, load<u32>(s, S_FLAGS) & ~STREAM_HAS_OUT, S_FLAGS);
}
