// A datagram's data as pieces of memory: copied into a chunk, taken into a record, or linked into a chunk.

import {
  C_FIRST_NANOSECONDS,
  C_FIRST_SECONDS,
  C_HEAD_DATA,
  C_HEADS,
  C_LAST_NANOSECONDS,
  C_LAST_SECONDS,
  C_PACKETS,
  C_RANGES,
  C_SUM,
  CHUNK_HEAD_BYTES,
  CHUNK_HEADS,
  G_BYTES,
  G_HELD_FREE,
  G_MAX_BYTES,
  G_MODE,
  G_NANOSECONDS,
  G_SECONDS,
  H_NEXT,
  H_PIECE,
  H_PIECE_LIMIT,
  H_PIECES,
  MODE_SUM,
  N_COPIED,
  RANGE_ADDRESS,
  RANGE_END,
  RANGE_START,
} from "../gather-structs";
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DATAGRAM_DESC,
  DATAGRAM_OFFSET,
  DATAGRAM_PACKET,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  META_FLAGS,
  META_NANOSECONDS,
  META_SECONDS,
  META_SEGMENT,
  META_SHIFT,
  META_STAMPED,
  META_VERDICT,
  VERDICT_MOVED,
  VERDICT_TAKEN,
} from "../structs";
import { addReference, frameMask, releaseFrame } from "./arena";
import { checksumCopy } from "./checksum";
import { count, listInsert } from "./gather-memory";

/** Copies `length` bytes to `at`, byte `offset` of chunk `c`, and adds them to its sum where the gather's mode asks for one. */
export function copyIn(mode: u32, c: u32, offset: u32, at: u32, from: u32, length: u32): void {
  if ((mode & MODE_SUM) == 0) memory.copy(<usize>at, <usize>from, <usize>length);
  else {
    let sum = <u64>checksumCopy(at, from, length);
    if ((offset & 1) != 0) sum = ((sum & 0xff) << 8) | (sum >> 8);
    store<u64>(c, load<u64>(c, C_SUM) + sum, C_SUM);
  }
}

/** Copies bytes [from, from + length) of a datagram's payload to `at`, which is byte `offset` of chunk `c`. */
export function copyData(
  g: u32,
  c: u32,
  offset: u32,
  at: u32,
  burst: u32,
  datagram: u32,
  from: u32,
  length: u32,
): void {
  let desc = load<u32>(burst, BURST_DESCS) + load<u32>(datagram, DATAGRAM_DESC) * DESC_SIZE;
  let skip = load<u32>(datagram, DATAGRAM_OFFSET) + from;
  const mode = load<u32>(g, G_MODE);
  count(g, N_COPIED, length);
  while (length != 0) {
    const size = load<u32>(desc, DESC_LEN);
    if (skip >= size) skip -= size;
    else {
      const piece = min<u32>(size - skip, length);
      copyIn(mode, c, offset, at, load<u32>(desc, DESC_ADDR) + skip, piece);
      offset += piece;
      at += piece;
      length -= piece;
      skip = 0;
    }
    desc += DESC_SIZE;
  }
}

// ── Time and heads.

/** Notes when a datagram came: its own time, or else the burst's. */
export function stamp(c: u32, seconds: f64, nanoseconds: u32): void {
  const first = load<f64>(c, C_FIRST_SECONDS);
  if (
    load<u32>(c, C_PACKETS) == 0 ||
    seconds < first ||
    (seconds == first && nanoseconds < load<u32>(c, C_FIRST_NANOSECONDS))
  ) {
    store<f64>(c, seconds, C_FIRST_SECONDS);
    store<u32>(c, nanoseconds, C_FIRST_NANOSECONDS);
  }
  const last = load<f64>(c, C_LAST_SECONDS);
  if (seconds > last || (seconds == last && nanoseconds > load<u32>(c, C_LAST_NANOSECONDS))) {
    store<f64>(c, seconds, C_LAST_SECONDS);
    store<u32>(c, nanoseconds, C_LAST_NANOSECONDS);
  }
}

export function secondsOf(g: u32, burst: u32, datagram: u32): f64 {
  const meta = load<u32>(burst, BURST_METAS) + (load<u32>(datagram, DATAGRAM_PACKET) << META_SHIFT);
  return (load<u16>(meta, META_FLAGS) & META_STAMPED) != 0
    ? load<f64>(meta, META_SECONDS)
    : load<f64>(g, G_SECONDS);
}

export function nanosecondsOf(g: u32, burst: u32, datagram: u32): u32 {
  const meta = load<u32>(burst, BURST_METAS) + (load<u32>(datagram, DATAGRAM_PACKET) << META_SHIFT);
  return (load<u16>(meta, META_FLAGS) & META_STAMPED) != 0
    ? load<u32>(meta, META_NANOSECONDS)
    : load<u32>(g, G_NANOSECONDS);
}

/** Keeps the head of the first datagram of each kind, from which the fields shown to users are read. */
export function keepHead(c: u32, kind: u32, head: u32, length: u32): void {
  const heads = load<u32>(c, C_HEADS);
  for (let i: u32 = 0; i < heads; i++) if (load<u32>(c + C_HEAD_DATA + i * CHUNK_HEAD_BYTES) == kind) return;
  if (heads == CHUNK_HEADS) return;
  const at = c + C_HEAD_DATA + heads * CHUNK_HEAD_BYTES;
  const kept = min<u32>(length, CHUNK_HEAD_BYTES - 8);
  store<u32>(at, kind);
  store<u32>(at, kept, 4);
  memory.copy(<usize>(at + 8), <usize>head, <usize>kept);
  store<u32>(c, heads + 1, C_HEADS);
}

// ── Taking a packet's frames out of its burst.

/** Marks the packet as accounted for; its frames stay the burst's. */
export function taken(burst: u32, datagram: u32): void {
  const meta = load<u32>(burst, BURST_METAS) + (load<u32>(datagram, DATAGRAM_PACKET) << META_SHIFT);
  if (load<u8>(meta, META_VERDICT) != VERDICT_MOVED) store<u8>(meta, VERDICT_TAKEN, META_VERDICT);
}

/** Within the bound? Pieces are counted by the frame, since each keeps one from the pool. */
function mayKeep(g: u32, pieces: u32): bool {
  const bytes = pieces * (frameMask + 1);
  const most = load<u32>(g, G_MAX_BYTES);
  return bytes <= most && load<u32>(g, G_BYTES) <= most - bytes;
}

/**
 * A chain of records that name bytes [from, from + length) of a packet's payload, with a reference to each
 * frame. With `take` they are the burst's own references: the packet leaves the burst, and its frames without
 * such bytes are freed. The chain's first record, or 0 when there is no room.
 */
export function hold(g: u32, burst: u32, datagram: u32, from: u32, length: u32, take: bool): u32 {
  const packet = load<u32>(datagram, DATAGRAM_PACKET);
  const starts = load<u32>(burst, BURST_STARTS);
  const descs = load<u32>(burst, BURST_DESCS);
  let index = load<u32>(starts + (packet << 2));
  const end =
    packet + 1 < load<u32>(burst, BURST_PACKETS)
      ? load<u32>(starts + ((packet + 1) << 2))
      : load<u32>(burst, BURST_COUNT);
  // A super-frame's datagrams share its frames: none of them can take it.
  if (load<u16>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), META_SEGMENT) != 0) take = false;
  const records = (end - index + H_PIECE_LIMIT - 1) / H_PIECE_LIMIT;
  if (!mayKeep(g, end - index)) return 0;
  let spare = load<u32>(g, G_HELD_FREE);
  for (let i: u32 = 0; i < records; i++) {
    if (spare == 0) return 0;
    spare = load<u32>(spare, H_NEXT);
  }
  const first = load<u32>(g, G_HELD_FREE);
  let record = first;
  store<u32>(record, 0, H_PIECES);
  let left = length;
  let skip = load<u32>(datagram, DATAGRAM_OFFSET) + from;
  const dataDesc = load<u32>(datagram, DATAGRAM_DESC);
  for (; index < end; index++) {
    const desc = descs + index * DESC_SIZE;
    const address = load<u32>(desc, DESC_ADDR);
    const size = load<u32>(desc, DESC_LEN);
    if (index < dataDesc || left == 0 || skip >= size) {
      if (index >= dataDesc) skip -= min<u32>(skip, size);
      if (take) releaseFrame(address);
      continue;
    }
    if (!take && !addReference(address)) {
      // More references than a frame can have: as if there were no room.
      store<u32>(g, load<u32>(record, H_NEXT), G_HELD_FREE);
      store<u32>(record, 0, H_NEXT);
      letGo(g, first, true);
      return 0;
    }
    let pieces = load<u32>(record, H_PIECES);
    if (pieces == H_PIECE_LIMIT) {
      record = load<u32>(record, H_NEXT);
      store<u32>(record, 0, H_PIECES);
      pieces = 0;
    }
    const piece = min<u32>(size - skip, left);
    store<u32>(record + (pieces << 3), address + skip, H_PIECE);
    store<u32>(record + (pieces << 3), piece, H_PIECE + 4);
    store<u32>(record, pieces + 1, H_PIECES);
    store<u32>(g, load<u32>(g, G_BYTES) + frameMask + 1, G_BYTES);
    left -= piece;
    skip = 0;
  }
  store<u32>(g, load<u32>(record, H_NEXT), G_HELD_FREE);
  store<u32>(record, 0, H_NEXT);
  if (take) store<u8>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
  return first;
}

/** Bytes of data that a chain of records names. */
export function heldLength(record: u32): u32 {
  let length: u32 = 0;
  for (; record != 0; record = load<u32>(record, H_NEXT)) {
    const pieces = load<u32>(record, H_PIECES);
    for (let i: u32 = 0; i < pieces; i++) length += load<u32>(record + (i << 3), H_PIECE + 4);
  }
  return length;
}

/** Gives a chain of records back; with `frames` also the frames it names. */
export function letGo(g: u32, record: u32, frames: bool): void {
  while (record != 0) {
    const next = load<u32>(record, H_NEXT);
    if (frames) {
      const pieces = load<u32>(record, H_PIECES);
      for (let i: u32 = 0; i < pieces; i++) releaseFrame(load<u32>(record + (i << 3), H_PIECE));
      store<u32>(g, load<u32>(g, G_BYTES) - pieces * (frameMask + 1), G_BYTES);
    }
    store<u32>(record, load<u32>(g, G_HELD_FREE), H_NEXT);
    store<u32>(g, record, G_HELD_FREE);
    record = next;
  }
}

/** Gives a chain back of which the first `done` bytes were linked into chunks, with the references they took. */
export function letGoRest(g: u32, chain: u32, done: u32): void {
  let at: u32 = 0;
  for (let record = chain; record != 0; record = load<u32>(record, H_NEXT)) {
    const pieces = load<u32>(record, H_PIECES);
    for (let i: u32 = 0; i < pieces; i++) {
      if (at >= done) {
        releaseFrame(load<u32>(record + (i << 3), H_PIECE));
        store<u32>(g, load<u32>(g, G_BYTES) - (frameMask + 1), G_BYTES);
      }
      at += load<u32>(record + (i << 3), H_PIECE + 4);
    }
  }
  letGo(g, chain, false);
}

/** Pieces that a chain of records names. */
export function heldPieces(record: u32): u32 {
  let pieces: u32 = 0;
  for (; record != 0; record = load<u32>(record, H_NEXT)) pieces += load<u32>(record, H_PIECES);
  return pieces;
}

/** Puts one piece into a linked chunk, at `index` of its list, which has room; the frame's reference becomes the chunk's. */
export function linkPiece(g: u32, c: u32, index: u32, start: u32, address: u32, length: u32): void {
  const at = listInsert(g, c + C_RANGES, index);
  store<u32>(at, start, RANGE_START);
  store<u32>(at, start + length, RANGE_END);
  store<u32>(at, address, RANGE_ADDRESS);
}
