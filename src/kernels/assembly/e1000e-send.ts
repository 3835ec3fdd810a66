// Transmit queues of the 82574L: from bursts to its descriptors.
import {
  MARK_BYTES,
  MARK_INDEX,
  MARK_PACKETS,
  MARK_SHIFT,
  TX_DATA,
  TX_END,
  TX_EXTENDED,
  TX_FCS,
  TX_REPORT,
  TX_SEGMENT,
  TXD_COMMAND,
  TXD_OPTIONS,
  TXQ_BATCH,
  TXQ_BIAS,
  TXQ_CLEAN,
  TXQ_CONTEXT,
  TXQ_COPIED,
  TXQ_COUNT,
  TXQ_DESCS,
  TXQ_FRAGMENTS,
  TXQ_FRAMES,
  TXQ_HELD,
  TXQ_LARGEST,
  TXQ_MARK_NEXT,
  TXQ_MARKS,
  TXQ_NEXT,
  TXQ_OWNER,
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
import { add, frameShift, moveFrame, releaseFrame, selfOwner, takeFrame, wordOf } from "./arena";
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
import { endAmong } from "./packet";
import { descriptorFault } from "./ring";

/** What a packet may ask of a card, beside its checksum. */
const WISHES: u32 = META_TAGGED | META_TCP_SEGMENTS | META_UDP_SEGMENTS;

// What was written since the last mark.
let marked: u32 = 0;
let newPackets: u32 = 0;
let newBytes: u32 = 0;

/**
 * Takes packets with verdict PASS from number `first` to before `end`, as long as they fit; each descriptor
 * becomes one of the card's as it stands. Returns the first number not looked at, or a negative fault.
 */
export function e1000eSend(queue: u32, burst: u32, first: u32, end: u32): i32 {
  marked = load<u32>(queue, TXQ_NEXT);
  let result: i32 = <i32>first;
  while (result >= 0) {
    const packet = sendSimple(queue, burst, <u32>result, end);
    if (packet == end) {
      result = <i32>end;
      break;
    }
    const next = sendAny(queue, burst, packet);
    if (next == <i32>packet) {
      result = next;
      break;
    }
    result = next;
  }
  mark(queue);
  store<u32>(queue, load<u32>(queue, TXQ_NEXT) & (load<u32>(queue, TXQ_COUNT) - 1), TXQ_TAIL);
  return result;
}

/**
 * As long as packets are linear, this worker's own and want nothing done, which nearly all are: a descriptor each.
 * Returns the number of the first that is not so simple.
 */
function sendSimple(queue: u32, burst: u32, first: u32, end: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const starts = load<u32>(burst, BURST_STARTS);
  const metas = load<u32>(burst, BURST_METAS);
  const descs = load<u32>(burst, BURST_DESCS);
  const ring = load<u32>(queue, TXQ_DESCS);
  const mask = load<u32>(queue, TXQ_COUNT) - 1;
  const held = load<u32>(queue, TXQ_FRAMES);
  const bias = load<u64>(queue, TXQ_BIAS);
  const largest = load<u32>(queue, TXQ_LARGEST);
  const own = (selfOwner() << OWNER_SHIFT) | 1;
  const given = (load<u32>(queue, TXQ_OWNER) << OWNER_SHIFT) | 1;
  const full = load<u32>(queue, TXQ_CLEAN) + mask; // one slot stays empty
  let next = load<u32>(queue, TXQ_NEXT);
  let packet = first;
  for (; packet < end; packet++) {
    const told = load<u64>(metas + (packet << META_SHIFT), META_FLAGS); // flags, and the verdict in the last byte
    if (told >> 56 != VERDICT_PASS) continue;
    const flags = <u32>told;
    if (next == full || (flags & WISHES) != 0 || (flags & CHECKSUM_MASK) == CHECKSUM_PARTIAL) break;
    const start = load<u32>(starts + (packet << 2));
    if (endAmong(starts, packet, packets, count) != start + 1) break;
    const desc = descs + start * DESC_SIZE;
    const address = load<u64>(desc, DESC_ADDR);
    const length = load<u64>(desc, DESC_LEN); // with the options above: none of them may be set
    if (length < 14 || length > largest || descriptorFault(desc) != 0) break;
    const word = wordOf(<u32>address >> frameShift);
    if (load<u32>(word) != own) break;
    store<u32>(word, given);
    const slot = next & mask;
    store<u64>(ring + (slot << 4), bias + address);
    store<u64>(ring + (slot << 4), TX_EXTENDED | TX_DATA | TX_FCS | TX_END | length, TXD_COMMAND);
    store<u32>(held + (slot << 2), <u32>address);
    store<u8>(metas + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
    next++;
    newPackets++;
    newBytes += <u32>length;
    if (next - marked >= <u32>TXQ_BATCH) {
      store<u32>(queue, next, TXQ_NEXT);
      mark(queue);
    }
  }
  store<u32>(queue, next, TXQ_NEXT);
  return packet;
}

/** A packet of any shape. The number of the next one; its own: it does not fit now; negative: a fault. */
function sendAny(queue: u32, burst: u32, packet: u32): i32 {
  const meta = load<u32>(burst, BURST_METAS) + (packet << META_SHIFT);
  const starts = load<u32>(burst, BURST_STARTS);
  const descs = load<u32>(burst, BURST_DESCS);
  const start = load<u32>(starts + (packet << 2));
  const last = packet + 1 == load<u32>(burst, BURST_PACKETS);
  const end = last ? load<u32>(burst, BURST_COUNT) : load<u32>(starts + ((packet + 1) << 2));
  const pieces = end - start;
  const space = load<u32>(queue, TXQ_COUNT) - 1 - (load<u32>(queue, TXQ_NEXT) - load<u32>(queue, TXQ_CLEAN));
  // A context and a header of its own may come on top.
  if (pieces + 2 > space || pieces - 1 > load<u32>(queue, TXQ_FRAGMENTS)) return <i32>packet;
  const wrong = check(descs, start, end);
  if (wrong != 0) return wrong;
  const bytes = lengthOf(descs, start, end);
  if (!plan(queue, meta, descs, start, end, bytes)) {
    for (let i = start; i < end; i++) releaseFrame(<u32>load<u64>(descs + i * DESC_SIZE, DESC_ADDR));
    add(queue + TXQ_REFUSED, 1);
  } else {
    const written = write(queue, descs, start, end);
    if (written != 0) return written > 0 ? <i32>packet : written;
    newPackets++;
    newBytes += bytes;
    if (load<u32>(queue, TXQ_NEXT) - marked >= <u32>TXQ_BATCH) mark(queue);
  }
  store<u8>(meta, VERDICT_MOVED, META_VERDICT);
  return <i32>(packet + 1);
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

/** The last descriptor written so far tells when all since the last one that told are done. */
function mark(queue: u32): void {
  if (newPackets == 0) return;
  const mask = load<u32>(queue, TXQ_COUNT) - 1;
  const index = load<u32>(queue, TXQ_NEXT) - 1;
  const number = load<u32>(queue, TXQ_MARK_NEXT);
  const at = load<u32>(queue, TXQ_MARKS) + ((number & mask) << MARK_SHIFT);
  const desc = load<u32>(queue, TXQ_DESCS) + ((index & mask) << 4);
  store<u32>(desc, load<u32>(desc, TXD_COMMAND) | TX_REPORT, TXD_COMMAND);
  store<u32>(at, index, MARK_INDEX);
  store<u32>(at, newPackets, MARK_PACKETS);
  store<u32>(at, newBytes, MARK_BYTES);
  store<u32>(queue, number + 1, TXQ_MARK_NEXT);
  store<u32>(queue, load<u32>(queue, TXQ_HELD) + newPackets, TXQ_HELD);
  newPackets = 0;
  newBytes = 0;
  marked = index + 1;
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
