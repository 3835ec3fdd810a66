// The common case, a run at a time: datagrams of one stream that come in order. What the stream, the chunk and the
// counters come to stays in locals until the run ends, and so few instructions lie between two copies that the
// processor has the next datagrams' bytes under way before the last are there.

import {
  C_ADDRESS,
  C_CAPACITY,
  C_EXPECTED,
  C_FLAGS,
  C_HEAD_DATA,
  C_HEADS,
  C_ID,
  C_LENGTH,
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
  G_CHUNK_SIZE,
  G_MODE,
  G_NANOSECONDS,
  G_NOW,
  G_SECONDS,
  G_SEQUENCE_MASK,
  G_WINDOW,
  LIST_COUNT,
  MODE_ANY_PEER,
  MODE_ARRIVAL,
  MODE_OFFSET,
  N_COPIED,
  N_DATA,
  N_DATA_BYTES,
  N_HELD,
  N_REORDERED,
  RANGE_END,
  S_CHANGED,
  S_CURRENT,
  S_FIRST,
  S_FLAGS,
  S_HELD,
  S_HIGH,
  S_LOW,
  S_NEXT,
  S_PEER,
  S_PROGRESS,
  S_RESUME,
  S_TOP,
  S_UNIT,
  S_WINDOW,
  SLOT_DELIVERED,
  SLOT_EMPTY,
  STREAM_HAS_CHANGED,
  STREAM_SKIP,
  STREAM_STARTED,
} from "../gather-structs";
import {
  BURST_METAS,
  CUT_BY_DATAGRAM,
  CUT_BYTES,
  CUT_CHANGED,
  CUT_CHUNK,
  CUT_DATA,
  CUT_DATAGRAM,
  CUT_END,
  CUT_FIELDS,
  CUT_FLAGS,
  CUT_HAS_CHANGED,
  CUT_KIND,
  CUT_LENGTH,
  CUT_MORE,
  CUT_POSITION,
  CUT_SIZE,
  CUT_SIZED,
  CUT_START,
  CUT_STREAM_HIGH,
  CUT_STREAM_LOW,
  CUT_WHAT,
  DATAGRAM_GROUP,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_LENGTH,
  DATAGRAM_PACKET,
  DATAGRAM_PEER,
  DATAGRAM_SIZE,
  META_FLAGS,
  META_NANOSECONDS,
  META_SECONDS,
  META_SHIFT,
  META_STAMPED,
  META_VERDICT,
  VERDICT_MOVED,
  VERDICT_TAKEN,
} from "../structs";
import { count, listAt } from "./gather-memory";
import { copyIn, keepHead, stamp } from "./gather-pieces";
import { touch } from "./touch";

let sink: u32 = 0;

/** So many datagrams ahead of the one that is copied, the first lines of the data are read. */
const SOON: u32 = 4;
const SOON_BYTES: u32 = 576;

function touchData(head: u32): u32 {
  return (
    <u32>load<u8>(head, 128) +
    <u32>load<u8>(head, 192) +
    <u32>load<u8>(head, 256) +
    <u32>load<u8>(head, 320) +
    <u32>load<u8>(head, 384) +
    <u32>load<u8>(head, 448) +
    <u32>load<u8>(head, 512)
  );
}

/** By sequence: the chunk under way, when nothing is held and nothing waited for; else 0. */
function sequenceChunk(s: u32, arrival: bool): u32 {
  const state = load<u32>(s, S_FLAGS);
  if (load<u32>(s, S_HELD) != 0 || load<u32>(s, S_RESUME) != 0 || (state & STREAM_SKIP) != 0) return 0;
  if (!arrival && ((state & STREAM_STARTED) == 0 || load<u64>(s, S_TOP) != load<u64>(s, S_NEXT))) return 0;
  return load<u32>(s, S_FIRST);
}

/** By offset: the chunk last placed into, when what follows its end can only lengthen its last range; else 0. */
function offsetChunk(s: u32): u32 {
  const c = load<u32>(s, S_CURRENT);
  if (c == 0) return 0;
  if ((load<u32>(c, C_FLAGS) & (CHUNK_DONE | CHUNK_OVERRUN | CHUNK_COUNTED | CHUNK_ENDED)) != 0) return 0;
  // Its first two datagrams tell its unit, and whether the stream began anew.
  const ranges = load<u32>(c + C_RANGES, LIST_COUNT);
  if (ranges == 0 || load<u32>(c, C_PACKETS) < 2) return 0;
  return load<u32>(listAt(c + C_RANGES, ranges - 1), RANGE_END) == load<u32>(c, C_LENGTH) ? c : 0;
}

/** How many cuts further on the datagram that is next in order is looked for. */
const LOOK_AHEAD: u32 = 16;

/**
 * By sequence, where cut `from` is of a datagram of stream `s` that came before its turn: brings forward the cut of
 * the one that is next, if that is among the following, so that none need be held. False: all is as it was.
 */
export function bringNext(g: u32, s: u32, datagrams: u32, table: u32, from: u32, end: u32): bool {
  if (sequenceChunk(s, false) == 0) return false;
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  const next = load<u64>(s, S_NEXT);
  const first = table + from * CUT_BYTES;
  const ahead = (load<u64>(first, CUT_POSITION) - next) & mask;
  const whats = load<u32>(first, CUT_FLAGS) & (CUT_WHAT | CUT_MORE);
  if (whats != 0 || ahead == 0 || ahead >= load<u32>(g, G_WINDOW)) return false;
  const anyPeer = (load<u32>(g, G_MODE) & MODE_ANY_PEER) != 0;
  const limit = table + min<u32>(end, from + 1 + LOOK_AHEAD) * CUT_BYTES;
  for (let cut = first + CUT_BYTES; cut < limit; cut += CUT_BYTES) {
    if ((load<u32>(cut, CUT_FLAGS) & (CUT_WHAT | CUT_MORE)) != 0) return false;
    if ((load<u64>(cut, CUT_POSITION) & mask) != next) continue;
    const datagram = datagrams + load<u32>(cut, CUT_DATAGRAM) * DATAGRAM_SIZE;
    if (!anyPeer && load<u32>(datagram, DATAGRAM_PEER) != load<u32>(s, S_PEER)) continue;
    if (load<u64>(cut, CUT_STREAM_LOW) != load<u64>(s, S_LOW)) continue;
    if (load<u64>(cut, CUT_STREAM_HIGH) != load<u64>(s, S_HIGH)) continue;
    moveForward(cut, first);
    count(g, N_REORDERED, 1);
    return true;
  }
  return false;
}

/** Moves one cut before others that lie between. */
function moveForward(cut: u32, before: u32): void {
  const a = v128.load(cut);
  const b = v128.load(cut, 16);
  const c = v128.load(cut, 32);
  const d = v128.load(cut, 48);
  const e = v128.load(cut, 64);
  const f = v128.load(cut, 80);
  memory.copy(<usize>(before + CUT_BYTES), <usize>before, <usize>(cut - before));
  v128.store(before, a);
  v128.store(before, b, 16);
  v128.store(before, c, 32);
  v128.store(before, d, 48);
  v128.store(before, e, 64);
  v128.store(before, f, 80);
}

/** Up to where bytes can come without more memory and without ending the chunk. */
function roomOf(c: u32, size: u32, byOffset: bool): u32 {
  let room = load<u32>(c, C_CAPACITY);
  if (size != 0) room = min<u32>(room, size - 1);
  if (!byOffset || (load<u32>(c, C_FLAGS) & CHUNK_SIZED) == 0) return room;
  const expected = load<u32>(c, C_EXPECTED);
  return expected == 0 ? 0 : min<u32>(room, expected - 1);
}

/**
 * Places the datagrams of stream `s` that cuts [from, end) describe, as placeSequence() or placeOffset() would, for
 * as long as each is the next in order, lies in one piece, belongs to the chunk under way, fits into its memory and
 * does not end it. Chunks are contiguous. The heads of the datagrams that are cut next, up to `last`, are fetched on
 * the way. Returns the number of the first cut that is not so.
 */
export function placeRun(
  g: u32,
  s: u32,
  burst: u32,
  datagrams: u32,
  last: u32,
  table: u32,
  from: u32,
  end: u32,
): u32 {
  const mode = load<u32>(g, G_MODE);
  const arrival = (mode & MODE_ARRIVAL) != 0;
  const byOffset = (mode & MODE_OFFSET) != 0;
  const numbered = !arrival && !byOffset;
  const c = byOffset ? offsetChunk(s) : sequenceChunk(s, arrival);
  if (c == 0) return from;
  const size = load<u32>(g, G_CHUNK_SIZE);
  const room = roomOf(c, size, byOffset);
  const start = load<u32>(c, C_LENGTH);
  const base = byOffset ? <u64>load<u32>(c, C_SUB) * size : 0; // where in its chunk this part begins
  if (start > room || base + room > <u64>0xffffffff) return from;
  const anyPeer = (mode & MODE_ANY_PEER) != 0;
  const peer = load<u32>(s, S_PEER);
  const low = load<u64>(s, S_LOW);
  const high = load<u64>(s, S_HIGH);
  const changed = load<u64>(s, S_CHANGED);
  const knowsChanged = (load<u32>(s, S_FLAGS) & STREAM_HAS_CHANGED) != 0;
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  const window = load<u32>(g, G_WINDOW);
  const slots = load<u32>(s, S_WINDOW);
  const slotMask = 2 * window - 1;
  const id = load<u64>(c, C_ID);
  const unit = <u64>(size == 0 ? load<u32>(c, C_UNIT) : load<u32>(s, S_UNIT));
  const sized = (load<u32>(c, C_FLAGS) & CHUNK_SIZED) != 0;
  const expected = <u64>load<u32>(c, C_EXPECTED);
  const most: u64 = size == 0 ? <u64>0xffffffff : <u64>size;
  const address = load<u32>(c, C_ADDRESS);
  const metas = load<u32>(burst, BURST_METAS);
  let kind: u32 = load<u32>(c, C_HEADS) == 0 ? 0xffffffff : load<u32>(c, C_HEAD_DATA); // whose head is kept
  let packets = load<u32>(c, C_PACKETS);
  let sequence = load<u64>(s, S_NEXT);
  let at = start;
  let seen: u32 = 0;
  let index = from;
  for (; index < end; index++) {
    const cut = table + index * CUT_BYTES;
    const flags = load<u32>(cut, CUT_FLAGS);
    const length = load<u32>(cut, CUT_LENGTH);
    const position = load<u64>(cut, CUT_POSITION);
    if ((flags & (CUT_WHAT | CUT_MORE | CUT_END)) != 0 || length > room - at) break;
    if (load<u64>(cut, CUT_STREAM_LOW) != low || load<u64>(cut, CUT_STREAM_HIGH) != high) break;
    if (byOffset) {
      const byDatagram = (flags & CUT_BY_DATAGRAM) != 0;
      if (load<u64>(cut, CUT_CHUNK) != id || (flags & CUT_START) != 0 || length == 0) break;
      if (position > base + at || position * (byDatagram ? unit : 1) != base + at) break;
      if (byDatagram && length > unit) break;
      const whole = load<u64>(cut, CUT_SIZE);
      if ((flags & CUT_SIZED) != 0 && (!sized || whole < base || min<u64>(whole - base, most) != expected))
        break;
    } else {
      if (numbered && (position & mask) != sequence) break;
      if ((flags & CUT_HAS_CHANGED) != 0 && (!knowsChanged || load<u64>(cut, CUT_CHANGED) != changed)) break;
    }
    const datagram = datagrams + load<u32>(cut, CUT_DATAGRAM) * DATAGRAM_SIZE;
    const head = load<u32>(datagram, DATAGRAM_HEAD);
    const readable = load<u32>(datagram, DATAGRAM_HEAD_LENGTH);
    if (readable != load<u32>(datagram, DATAGRAM_LENGTH)) break;
    if (!anyPeer && load<u32>(datagram, DATAGRAM_PEER) != peer) break;
    copyIn(mode, c, at, address + at, head + load<u32>(cut, CUT_DATA), length);
    at += length;
    const ahead = datagram + DATAGRAM_GROUP * DATAGRAM_SIZE;
    if (ahead < last) seen += touch(load<u32>(ahead, DATAGRAM_HEAD));
    const soon = datagram + SOON * DATAGRAM_SIZE;
    if (soon < last && load<u32>(soon, DATAGRAM_HEAD_LENGTH) >= <u32>SOON_BYTES)
      seen += touchData(load<u32>(soon, DATAGRAM_HEAD));
    const meta = metas + (load<u32>(datagram, DATAGRAM_PACKET) << META_SHIFT);
    if ((load<u16>(meta, META_FLAGS) & META_STAMPED) != 0) {
      store<u32>(c, packets, C_PACKETS);
      stamp(c, load<f64>(meta, META_SECONDS), load<u32>(meta, META_NANOSECONDS));
    } else if (index == from) stamp(c, load<f64>(g, G_SECONDS), load<u32>(g, G_NANOSECONDS));
    if ((flags & CUT_FIELDS) != 0 && load<u32>(cut, CUT_KIND) != kind) {
      kind = load<u32>(cut, CUT_KIND);
      keepHead(c, kind, head, readable);
    }
    packets++;
    if (load<u8>(meta, META_VERDICT) != VERDICT_MOVED) store<u8>(meta, VERDICT_TAKEN, META_VERDICT);
    sequence = (sequence + 1) & mask;
  }
  sink = seen;
  if (index == from) return from;
  store<u32>(c, packets, C_PACKETS);
  store<f64>(s, load<f64>(g, G_NOW), S_PROGRESS);
  if (numbered) {
    // Nothing is held in the window: the slot one window ahead becomes the future's.
    for (let slot = <u32>load<u64>(s, S_NEXT), end = slot + index - from; slot != end; slot++) {
      store<u32>(slots + ((slot & slotMask) << 2), SLOT_DELIVERED);
      store<u32>(slots + (((slot + window) & slotMask) << 2), SLOT_EMPTY);
    }
    store<u64>(s, sequence, S_NEXT);
    store<u64>(s, sequence, S_TOP);
  } else if (byOffset)
    store<u32>(listAt(c + C_RANGES, load<u32>(c + C_RANGES, LIST_COUNT) - 1), at, RANGE_END);
  store<u32>(c, at, C_LENGTH);
  store<u32>(c, load<u32>(c, C_RECEIVED) + at - start, C_RECEIVED);
  count(g, N_HELD, index - from);
  count(g, N_DATA, index - from);
  count(g, N_DATA_BYTES, at - start);
  count(g, N_COPIED, at - start);
  return index;
}
