// Transmit queues of the 82574L: from bursts to its descriptors, and frames back once it reports them sent.
import {
  MARK_BYTES,
  MARK_INDEX,
  MARK_PACKETS,
  MARK_SHIFT,
  TX_DATA,
  TX_DONE,
  TX_END,
  TX_EXTENDED,
  TX_FCS,
  TX_REPORT,
  TX_SEGMENT,
  TXD_COMMAND,
  TXD_OPTIONS,
  TXQ_BATCH,
  TXQ_BIAS,
  TXQ_BYTES,
  TXQ_CLEAN,
  TXQ_CONTEXT,
  TXQ_COPIED,
  TXQ_COUNT,
  TXQ_DESCS,
  TXQ_FRAGMENTS,
  TXQ_FRAMES,
  TXQ_HELD,
  TXQ_LARGEST,
  TXQ_MARK_FIRST,
  TXQ_MARK_NEXT,
  TXQ_MARKS,
  TXQ_NEXT,
  TXQ_OWNER,
  TXQ_PACKETS,
  TXQ_REFUSED,
  TXQ_SCRATCH,
  TXQ_TAIL,
} from "../e1000e";
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SIZE,
  FAULT_DANGLING,
  FAULT_LENGTH,
  FAULT_OWNER,
  META_FLAGS,
  META_SHIFT,
  META_TAGGED,
  META_TCP_SEGMENTS,
  META_UDP_SEGMENTS,
  META_VERDICT,
  OWNER_SHIFT,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import { frameShift, moveFrame, releaseFrame, releaseFrom, selfOwner, takeFrame, wordOf } from "./arena";
import {
  command,
  contextCommand,
  contextHigh,
  contextLow,
  contextStatus,
  headerBytes,
  options,
  plan,
} from "./e1000e-offload";
import { descriptorFault } from "./ring";

function add(at: u32, value: u64): void {
  store<u64>(at, load<u64>(at) + value);
}

/** Frees the frames of every packet the card has reported sent. Returns how many packets. */
export function e1000eClean(queue: u32): u32 {
  const descs = load<u32>(queue, TXQ_DESCS);
  const mask = load<u32>(queue, TXQ_COUNT) - 1;
  const frames = load<u32>(queue, TXQ_FRAMES);
  const marks = load<u32>(queue, TXQ_MARKS);
  const owner = load<u32>(queue, TXQ_OWNER);
  const self = selfOwner();
  const end = load<u32>(queue, TXQ_MARK_NEXT);
  let first = load<u32>(queue, TXQ_MARK_FIRST);
  let clean = load<u32>(queue, TXQ_CLEAN);
  let packets: u32 = 0;
  while (first != end) {
    const mark = marks + ((first & mask) << MARK_SHIFT);
    const index = load<u32>(mark, MARK_INDEX);
    if ((atomic.load<u32>(descs + ((index & mask) << 4) + TXD_OPTIONS) & TX_DONE) == 0) break;
    while (clean != index + 1) {
      const held = frames + ((clean & mask) << 2);
      const frame = load<u32>(held);
      if (frame != 0) {
        if (load<u32>(wordOf(frame >> frameShift)) == ((owner << OWNER_SHIFT) | 1)) releaseFrom(frame, owner);
        else if (moveFrame(frame >> frameShift, owner, self)) releaseFrame(frame);
        store<u32>(held, 0);
      }
      clean++;
    }
    packets += load<u32>(mark, MARK_PACKETS);
    add(queue + TXQ_BYTES, load<u32>(mark, MARK_BYTES));
    first++;
  }
  store<u32>(queue, first, TXQ_MARK_FIRST);
  store<u32>(queue, clean, TXQ_CLEAN);
  store<u32>(queue, load<u32>(queue, TXQ_HELD) - packets, TXQ_HELD);
  add(queue + TXQ_PACKETS, packets);
  return packets;
}

/** Takes everything back that the card, now in reset, had; the ring is as new. Returns how many packets were lost. */
export function e1000eFlush(queue: u32): u32 {
  const count = load<u32>(queue, TXQ_COUNT);
  const frames = load<u32>(queue, TXQ_FRAMES);
  const owner = load<u32>(queue, TXQ_OWNER);
  const self = selfOwner();
  const lost = load<u32>(queue, TXQ_HELD);
  for (let slot: u32 = 0; slot < count; slot++) {
    const frame = load<u32>(frames + (slot << 2));
    if (frame != 0 && moveFrame(frame >> frameShift, owner, self)) releaseFrame(frame);
    store<u32>(frames + (slot << 2), 0);
  }
  memory.fill(<usize>load<u32>(queue, TXQ_DESCS), 0, <usize>(count << 4));
  store<u32>(queue, 0, TXQ_NEXT);
  store<u32>(queue, 0, TXQ_CLEAN);
  store<u32>(queue, 0, TXQ_MARK_FIRST);
  store<u32>(queue, 0, TXQ_MARK_NEXT);
  store<u32>(queue, 0, TXQ_HELD);
  store<u32>(queue, 0, TXQ_TAIL);
  store<u64>(queue, 0, TXQ_CONTEXT);
  return lost;
}

/**
 * Takes packets with verdict PASS from number `first` on, as long as they fit; each descriptor becomes one of
 * the card's as it stands. Returns the first number not looked at, or a negative fault.
 */
export function e1000eSend(queue: u32, burst: u32, first: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const descs = load<u32>(burst, BURST_DESCS);
  const size = load<u32>(queue, TXQ_COUNT);
  const fragments = load<u32>(queue, TXQ_FRAGMENTS);
  const before = load<u32>(queue, TXQ_NEXT);
  let space = size - 1 - (before - load<u32>(queue, TXQ_CLEAN));
  let marked = before;
  let newPackets: u32 = 0;
  let newBytes: u32 = 0;
  let taken: u32 = 0;
  let result: i32 = <i32>packets;
  for (let packet = first; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = packet + 1 < packets ? load<u32>(starts + ((packet + 1) << 2)) : count;
    const pieces = end - start;
    if (pieces == 1 && space != 0) {
      const length = sendSimple(queue, meta, descs + start * DESC_SIZE);
      if (length != 0) {
        store<u8>(meta, VERDICT_MOVED, META_VERDICT);
        space--;
        newPackets++;
        taken++;
        newBytes += length;
        if (load<u32>(queue, TXQ_NEXT) - marked >= <u32>TXQ_BATCH) {
          mark(queue, newPackets, newBytes);
          marked = load<u32>(queue, TXQ_NEXT);
          newPackets = 0;
          newBytes = 0;
        }
        continue;
      }
    }
    // A context and a header of its own may come on top.
    if (pieces + 2 > space || pieces - 1 > fragments) {
      result = <i32>packet;
      break;
    }
    const wrong = check(descs, start, end);
    if (wrong != 0) {
      result = wrong;
      break;
    }
    const bytes = lengthOf(descs, start, end);
    if (!plan(queue, meta, descs, start, end, bytes)) {
      for (let i = start; i < end; i++) releaseFrame(<u32>load<u64>(descs + i * DESC_SIZE, DESC_ADDR));
      add(queue + TXQ_REFUSED, 1);
      store<u8>(meta, VERDICT_MOVED, META_VERDICT);
      continue;
    }
    const from = load<u32>(queue, TXQ_NEXT);
    const written = write(queue, descs, start, end);
    if (written != 0) {
      result = written > 0 ? <i32>packet : written;
      break;
    }
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
    const next = load<u32>(queue, TXQ_NEXT);
    space -= next - from;
    newPackets++;
    taken++;
    newBytes += bytes;
    if (next - marked >= <u32>TXQ_BATCH) {
      mark(queue, newPackets, newBytes);
      marked = next;
      newPackets = 0;
      newBytes = 0;
    }
  }
  if (newPackets != 0) mark(queue, newPackets, newBytes);
  if (taken != 0) {
    store<u32>(queue, load<u32>(queue, TXQ_HELD) + taken, TXQ_HELD);
    store<u32>(queue, load<u32>(queue, TXQ_NEXT) & (size - 1), TXQ_TAIL);
  }
  return result;
}

/** A linear packet of this worker's own that wants nothing done: one descriptor. Its length; 0: it is not that simple. */
function sendSimple(queue: u32, meta: u32, desc: u32): u32 {
  const address = load<u64>(desc, DESC_ADDR);
  const length = load<u32>(desc, DESC_LEN);
  const flags = <u32>load<u16>(meta, META_FLAGS);
  const asked = (flags & (META_TAGGED | META_TCP_SEGMENTS | META_UDP_SEGMENTS)) != 0;
  if (asked || (flags & CHECKSUM_MASK) == CHECKSUM_PARTIAL || length < 14) return 0;
  if (descriptorFault(desc) != 0 || load<u32>(desc, DESC_OPTIONS) != 0) return 0;
  if (length > load<u32>(queue, TXQ_LARGEST)) return 0;
  const word = wordOf(<u32>address >> frameShift);
  if (load<u32>(word) != ((selfOwner() << OWNER_SHIFT) | 1)) return 0;
  store<u32>(word, (load<u32>(queue, TXQ_OWNER) << OWNER_SHIFT) | 1);
  const next = load<u32>(queue, TXQ_NEXT);
  const slot = next & (load<u32>(queue, TXQ_COUNT) - 1);
  const at = load<u32>(queue, TXQ_DESCS) + (slot << 4);
  store<u64>(at, load<u64>(queue, TXQ_BIAS) + address);
  store<u64>(at, TX_EXTENDED | TX_DATA | TX_FCS | TX_END | length, TXD_COMMAND);
  store<u32>(load<u32>(queue, TXQ_FRAMES) + (slot << 2), <u32>address);
  store<u32>(queue, next + 1, TXQ_NEXT);
  return length;
}

function check(descs: u32, start: u32, end: u32): i32 {
  for (let index = start; index < end; index++) {
    const at = descs + index * DESC_SIZE;
    let wrong = descriptorFault(at);
    if (wrong == 0 && ((load<u32>(at, DESC_OPTIONS) & CONTINUED) != 0) != index + 1 < end)
      wrong = FAULT_DANGLING;
    if (wrong == 0 && load<u32>(at, DESC_LEN) == 0) wrong = FAULT_LENGTH;
    if (wrong != 0) return -(<i32>((index << 8) | wrong));
  }
  return 0;
}

/** Hands the packet's frames from this worker to the queue, all or none of them. */
function claim(descs: u32, start: u32, end: u32, self: u32, owner: u32): i32 {
  for (let index = start; index < end; index++) {
    if (moveFrame(<u32>load<u64>(descs + index * DESC_SIZE, DESC_ADDR) >> frameShift, self, owner)) continue;
    for (let back = start; back < index; back++)
      moveFrame(<u32>load<u64>(descs + back * DESC_SIZE, DESC_ADDR) >> frameShift, owner, self);
    return -(<i32>((index << 8) | FAULT_OWNER));
  }
  return 0;
}

function lengthOf(descs: u32, start: u32, end: u32): u32 {
  let bytes: u32 = 0;
  for (let i = start; i < end; i++) bytes += load<u32>(descs + i * DESC_SIZE, DESC_LEN);
  return bytes;
}

/** The last descriptor written so far tells when it is done. */
function mark(queue: u32, packets: u32, bytes: u32): void {
  const mask = load<u32>(queue, TXQ_COUNT) - 1;
  const index = load<u32>(queue, TXQ_NEXT) - 1;
  const number = load<u32>(queue, TXQ_MARK_NEXT);
  const at = load<u32>(queue, TXQ_MARKS) + ((number & mask) << MARK_SHIFT);
  const desc = load<u32>(queue, TXQ_DESCS) + ((index & mask) << 4);
  store<u32>(desc, load<u32>(desc, TXD_COMMAND) | TX_REPORT, TXD_COMMAND);
  store<u32>(at, index, MARK_INDEX);
  store<u32>(at, packets, MARK_PACKETS);
  store<u32>(at, bytes, MARK_BYTES);
  store<u32>(queue, number + 1, TXQ_MARK_NEXT);
}

/**
 * Writes one packet's descriptors and hands its frames to the card. 1: the pool has no frame for the headers;
 * negative: a fault. Then nothing was done.
 */
function write(queue: u32, descs: u32, start: u32, end: u32): i32 {
  const ring = load<u32>(queue, TXQ_DESCS);
  const mask = load<u32>(queue, TXQ_COUNT) - 1;
  const frames = load<u32>(queue, TXQ_FRAMES);
  const bias = load<u64>(queue, TXQ_BIAS);
  const owner = load<u32>(queue, TXQ_OWNER);
  const self = selfOwner();
  let next = load<u32>(queue, TXQ_NEXT);
  let skip = headerBytes;
  let head: u32 = 0;
  if (skip != 0) {
    head = takeFrame();
    if (head == 0) return 1;
  }
  const wrong = claim(descs, start, end, self, owner);
  if (wrong != 0) {
    if (head != 0) releaseFrame(head);
    return wrong;
  }
  if (contextCommand != 0) {
    const segments = (contextCommand & TX_SEGMENT) != 0;
    const same =
      load<u32>(queue, TXQ_CONTEXT) == contextLow && load<u32>(queue, TXQ_CONTEXT + 4) == contextHigh;
    if (segments || !same) {
      const at = ring + ((next & mask) << 4);
      store<u32>(at, contextLow);
      store<u32>(at, contextHigh, 4);
      store<u32>(at, contextCommand, TXD_COMMAND);
      store<u32>(at, contextStatus, TXD_OPTIONS);
      store<u32>(frames + ((next & mask) << 2), 0);
      // A context for segmentation says more than its offsets: the next packet needs one of its own.
      store<u32>(queue, segments ? 0 : contextLow, TXQ_CONTEXT);
      store<u32>(queue, segments ? 0 : contextHigh, TXQ_CONTEXT + 4);
      next++;
    }
  }
  if (head != 0) {
    memory.copy(<usize>head, <usize>(queue + TXQ_SCRATCH), <usize>skip);
    add(queue + TXQ_COPIED, skip);
    moveFrame(head >> frameShift, self, owner);
    emit(ring + ((next & mask) << 4), bias + head, skip, 0);
    store<u32>(frames + ((next & mask) << 2), head);
    next++;
  }
  for (let i = start; i < end; i++) {
    const at = descs + i * DESC_SIZE;
    const address = <u32>load<u64>(at, DESC_ADDR);
    const length = load<u32>(at, DESC_LEN);
    const passed = min<u32>(skip, length);
    skip -= passed;
    if (passed == length) {
      if (moveFrame(address >> frameShift, owner, self)) releaseFrame(address); // all of it was header
      continue;
    }
    emit(ring + ((next & mask) << 4), bias + address + passed, length - passed, i + 1 == end ? TX_END : 0);
    store<u32>(frames + ((next & mask) << 2), address);
    next++;
  }
  store<u32>(queue, next, TXQ_NEXT);
  return 0;
}

function emit(at: u32, address: u64, length: u32, end: u32): void {
  store<u64>(at, address);
  store<u32>(at, command | length | end, TXD_COMMAND);
  store<u32>(at, options, TXD_OPTIONS);
}
