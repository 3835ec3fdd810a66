// The common case of placement by sequence, a run at a time: what the stream, the chunk and the counters come to
// stays in locals until the run ends. So few instructions lie between two copies that the processor has the next
// datagrams' bytes under way before the last are there.

import {
  C_ADDRESS,
  C_CAPACITY,
  C_HEAD_DATA,
  C_HEADS,
  C_LENGTH,
  C_PACKETS,
  C_RECEIVED,
  G_CHUNK_SIZE,
  G_MODE,
  G_NANOSECONDS,
  G_NOW,
  G_SECONDS,
  G_SEQUENCE_MASK,
  G_WINDOW,
  MODE_ANY_PEER,
  MODE_ARRIVAL,
  N_COPIED,
  N_DATA,
  N_DATA_BYTES,
  N_HELD,
  S_CHANGED,
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
  S_WINDOW,
  SLOT_DELIVERED,
  SLOT_EMPTY,
  STREAM_HAS_CHANGED,
  STREAM_SKIP,
  STREAM_STARTED,
} from "../gather-structs";
import {
  BURST_METAS,
  CUT_BYTES,
  CUT_CHANGED,
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
  CUT_STREAM_HIGH,
  CUT_STREAM_LOW,
  CUT_WHAT,
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
import { count } from "./gather-memory";
import { copyIn, keepHead, stamp } from "./gather-pieces";

/**
 * Places the datagrams of stream `s` that cuts [from, end) describe, as placeSequence() would, for as long as each
 * is the next in order, lies in one piece, belongs to the chunk under way, fits into its memory and does not end
 * it. Chunks are contiguous. Returns the number of the first cut that is not so.
 */
export function placeRun(g: u32, s: u32, burst: u32, datagrams: u32, table: u32, from: u32, end: u32): u32 {
  const mode = load<u32>(g, G_MODE);
  const arrival = (mode & MODE_ARRIVAL) != 0;
  const state = load<u32>(s, S_FLAGS);
  const c = load<u32>(s, S_FIRST);
  if (c == 0 || load<u32>(s, S_HELD) != 0 || load<u32>(s, S_RESUME) != 0) return from;
  if ((state & STREAM_SKIP) != 0 || (!arrival && (state & STREAM_STARTED) == 0)) return from;
  const first = load<u64>(s, S_NEXT);
  if (!arrival && load<u64>(s, S_TOP) != first) return from;
  const anyPeer = (mode & MODE_ANY_PEER) != 0;
  const peer = load<u32>(s, S_PEER);
  const low = load<u64>(s, S_LOW);
  const high = load<u64>(s, S_HIGH);
  const changed = load<u64>(s, S_CHANGED);
  const knowsChanged = (state & STREAM_HAS_CHANGED) != 0;
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  const window = load<u32>(g, G_WINDOW);
  const slots = load<u32>(s, S_WINDOW);
  const slotMask = 2 * window - 1;
  const size = load<u32>(g, G_CHUNK_SIZE);
  const capacity = load<u32>(c, C_CAPACITY);
  const room = size == 0 ? capacity : min<u32>(capacity, size - 1); // one byte more would end the chunk
  const address = load<u32>(c, C_ADDRESS);
  const start = load<u32>(c, C_LENGTH);
  if (start > room) return from;
  const metas = load<u32>(burst, BURST_METAS);
  let kind: u32 = load<u32>(c, C_HEADS) == 0 ? 0xffffffff : load<u32>(c, C_HEAD_DATA); // whose head is kept
  let packets = load<u32>(c, C_PACKETS);
  let sequence = first;
  let at = start;
  let index = from;
  for (; index < end; index++) {
    const cut = table + index * CUT_BYTES;
    const flags = load<u32>(cut, CUT_FLAGS);
    if ((flags & (CUT_WHAT | CUT_MORE | CUT_END)) != 0) break;
    if (!arrival && (load<u64>(cut, CUT_POSITION) & mask) != sequence) break;
    if (load<u64>(cut, CUT_STREAM_LOW) != low || load<u64>(cut, CUT_STREAM_HIGH) != high) break;
    if ((flags & CUT_HAS_CHANGED) != 0 && (!knowsChanged || load<u64>(cut, CUT_CHANGED) != changed)) break;
    const length = load<u32>(cut, CUT_LENGTH);
    if (length > room - at) break;
    const datagram = datagrams + load<u32>(cut, CUT_DATAGRAM) * DATAGRAM_SIZE;
    const head = load<u32>(datagram, DATAGRAM_HEAD);
    const whole = load<u32>(datagram, DATAGRAM_LENGTH);
    if (load<u32>(datagram, DATAGRAM_HEAD_LENGTH) != whole) break;
    if (!anyPeer && load<u32>(datagram, DATAGRAM_PEER) != peer) break;
    const meta = metas + (load<u32>(datagram, DATAGRAM_PACKET) << META_SHIFT);
    copyIn(mode, c, at, address + at, head + load<u32>(cut, CUT_DATA), length);
    at += length;
    if ((load<u16>(meta, META_FLAGS) & META_STAMPED) != 0)
      stamp(c, load<f64>(meta, META_SECONDS), load<u32>(meta, META_NANOSECONDS));
    else if (index == from) stamp(c, load<f64>(g, G_SECONDS), load<u32>(g, G_NANOSECONDS));
    if ((flags & CUT_FIELDS) != 0 && load<u32>(cut, CUT_KIND) != kind) {
      kind = load<u32>(cut, CUT_KIND);
      keepHead(c, kind, head, whole);
    }
    store<u32>(c, ++packets, C_PACKETS);
    if (load<u8>(meta, META_VERDICT) != VERDICT_MOVED) store<u8>(meta, VERDICT_TAKEN, META_VERDICT);
    if (!arrival) {
      // Nothing is held in the window: the slot one window ahead becomes the future's.
      store<u32>(slots + ((<u32>sequence & slotMask) << 2), SLOT_DELIVERED);
      store<u32>(slots + (((<u32>sequence + window) & slotMask) << 2), SLOT_EMPTY);
      sequence = (sequence + 1) & mask;
    }
  }
  const placed = index - from;
  if (placed == 0) return from;
  store<f64>(s, load<f64>(g, G_NOW), S_PROGRESS);
  store<u64>(s, sequence, S_NEXT);
  if (!arrival) store<u64>(s, sequence, S_TOP);
  store<u32>(c, at, C_LENGTH);
  store<u32>(c, load<u32>(c, C_RECEIVED) + at - start, C_RECEIVED);
  count(g, N_HELD, placed);
  count(g, N_DATA, placed);
  count(g, N_DATA_BYTES, at - start);
  count(g, N_COPIED, at - start);
  return index;
}
