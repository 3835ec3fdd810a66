// Capture files: what the walks over pcap and pcapng share. Records of a block of file that lies in adjacent frames are
// appended to a burst where they stand. The frames are this worker's; each is counted once more for each packet
// touching it.
import {
  CAPTURE_BYTES,
  CAPTURE_COPIED,
  CAPTURE_COPY,
  CAPTURE_COPY_END,
  CAPTURE_FAULT,
  CAPTURE_FAULT_FRAME,
  CAPTURE_FILTER,
  CAPTURE_LENT,
  CAPTURE_NEED,
  CAPTURE_PACKETS,
  CAPTURE_POSITION,
  CAPTURE_REJECTED,
  CAPTURE_REJECTED_BYTES,
  CAPTURE_SWAPPED,
  CAPTURE_VALUE,
  WALK_FAULT,
  WALK_FULL,
  WALK_LARGE,
  WALK_ROOM,
} from "../captures";
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SIZE,
  META_SHIFT,
} from "../structs";
import { addReferences, frameMask, frameShift, releaseFrame } from "./arena";
import { copy } from "./capture-write";

// The walk under way: the file's byte order, and the burst as it is being filled.
let swapped: bool = false;
let descs: u32 = 0;
let metas: u32 = 0;
let starts: u32 = 0;
let capacity: u32 = 0;
let count: u32 = 0;
let packets: u32 = 0;
let bytes: u64 = 0;
// The filter of the port, and what it did not take.
let filter: u32 = 0;
let rejected: u32 = 0;
let rejectedBytes: u64 = 0;
// Of lent bytes: where packets are copied to, and whether there was no room for one.
let lent: bool = false;
let copyAt: u32 = 0;
let copyEnd: u32 = 0;
let copied: u64 = 0;
let lacking: bool = false;
// The frame whose new references are not yet entered, and how many they are.
let touched: u32 = 0;
let touches: u32 = 0;
let lost: bool = false;

export function u32At(address: u32): u32 {
  const value = load<u32>(address);
  return swapped ? bswap<u32>(value) : value;
}

export function u16At(address: u32): u32 {
  const value = load<u16>(address);
  return <u32>(swapped ? bswap<u16>(value) : value);
}

export function begin(state: u32, burst: u32): void {
  swapped = load<u32>(state, CAPTURE_SWAPPED) != 0;
  descs = load<u32>(burst, BURST_DESCS);
  metas = load<u32>(burst, BURST_METAS);
  starts = load<u32>(burst, BURST_STARTS);
  capacity = load<u32>(burst, BURST_CAPACITY);
  count = load<u32>(burst, BURST_COUNT);
  packets = load<u32>(burst, BURST_PACKETS);
  bytes = 0;
  filter = load<u32>(state, CAPTURE_FILTER);
  rejected = 0;
  rejectedBytes = 0;
  lent = load<u32>(state, CAPTURE_LENT) != 0;
  copyAt = load<u32>(state, CAPTURE_COPY);
  copyEnd = load<u32>(state, CAPTURE_COPY_END);
  copied = 0;
  lacking = false;
  touched = 0;
  touches = 0;
  lost = false;
}

export function finish(state: u32, burst: u32, position: u32, result: i32): i32 {
  enterReferences();
  const before = load<u32>(burst, BURST_PACKETS);
  store<u32>(burst, packets, BURST_PACKETS);
  store<u32>(burst, count, BURST_COUNT);
  store<u32>(state, position, CAPTURE_POSITION);
  store<u64>(state, load<u64>(state, CAPTURE_PACKETS) + <u64>(packets - before), CAPTURE_PACKETS);
  store<u64>(state, load<u64>(state, CAPTURE_BYTES) + bytes, CAPTURE_BYTES);
  store<u64>(state, load<u64>(state, CAPTURE_REJECTED) + <u64>rejected, CAPTURE_REJECTED);
  store<u64>(state, load<u64>(state, CAPTURE_REJECTED_BYTES) + rejectedBytes, CAPTURE_REJECTED_BYTES);
  store<u32>(state, copyAt, CAPTURE_COPY);
  store<u64>(state, load<u64>(state, CAPTURE_COPIED) + copied, CAPTURE_COPIED);
  return lost ? fault(state, CAPTURE_FAULT_FRAME, 0) : result;
}

export function fault(state: u32, code: u32, value: u32): i32 {
  store<u32>(state, code, CAPTURE_FAULT);
  store<u32>(state, value, CAPTURE_VALUE);
  return WALK_FAULT;
}

function enterReferences(): void {
  if (touches != 0 && !addReferences(touched << frameShift, touches)) lost = true;
  touches = 0;
}

function touch(frame: u32): void {
  if (frame != touched) {
    enterReferences();
    touched = frame;
  }
  touches++;
}

/** Whether the filter does not take a packet; it is counted, and never comes into a burst. */
export function rejects(address: u32, length: u32, wire: u32): bool {
  if (filter == 0 || call_indirect<i32>(filter, address, length, wire == 0 ? length : wire, 0) != 0)
    return false;
  rejected++;
  rejectedBytes += length;
  return true;
}

/** Appends `length` bytes at `address` as a packet; address of its metadata, all zero, or 0 when the burst is full. */
export function append(address: u32, length: u32): u32 {
  if (lent && length >= copyEnd - copyAt) {
    lacking = true;
    return 0;
  }
  const place = lent ? copyAt : address;
  // A packet without bytes still names a frame: that of the byte before, for the next may not be ours.
  let at = length == 0 ? place - 1 : place;
  const last = length == 0 ? at : place + length - 1;
  const pieces = (last >> frameShift) - (at >> frameShift) + 1;
  if (pieces > capacity - count) return 0;
  if (lent) {
    copy(place, address, length);
    copyAt += length;
    copied += length;
  }
  store<u32>(starts + (packets << 2), count);
  let left = length;
  for (let i: u32 = 0; i < pieces; i++) {
    const room = frameMask + 1 - (at & frameMask);
    const piece = left < room ? left : room;
    const desc = descs + (count + i) * DESC_SIZE;
    store<u64>(desc, <u64>at, DESC_ADDR);
    store<u32>(desc, piece, DESC_LEN);
    store<u32>(desc, i + 1 < pieces ? CONTINUED : 0, DESC_OPTIONS);
    touch(at >> frameShift);
    at += piece;
    left -= piece;
  }
  const meta = metas + (packets << META_SHIFT);
  v128.store(meta, i64x2.splat(0));
  v128.store(meta, i64x2.splat(0), 16);
  count += pieces;
  packets++;
  bytes += length;
  return meta;
}

/** What to answer when append() found no room: in the burst, or where lent packets are copied to. */
export function noRoom(state: u32, length: u32): i32 {
  if (lacking) {
    store<u32>(state, length + 1, CAPTURE_NEED);
    return WALK_ROOM;
  }
  store<u32>(state, length, CAPTURE_VALUE);
  return count == 0 ? WALK_LARGE : WALK_FULL;
}

/** Gives up this worker's own reference to each of `count` adjacent frames; how many it did not hold. */
export function releaseRun(first: u32, frames: u32): u32 {
  let foreign: u32 = 0;
  for (let frame = first; frame < first + frames; frame++) if (!releaseFrame(frame << frameShift)) foreign++;
  return foreign;
}
