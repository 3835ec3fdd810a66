// The virtio network device's data path over virtqueues: frames posted for receive, packets with their network
// header out and in. Whole packets move between a burst and the queue, as with any ring.
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
  FAULT_DANGLING,
  FAULT_OWNER,
  META_SHIFT,
  META_VERDICT,
  META_WIRE_LENGTH,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import {
  HEADER_SLOT,
  RECORD_BYTES,
  RECORD_COUNT,
  RECORD_FRAMES,
  TABLE_DESCS,
  VIRTIO_FRAGMENTS,
  VIRTQ_ADDRESS,
  VIRTQ_DESC_SIZE,
  VIRTQ_INDIRECT,
  VIRTQ_LENGTH,
  VIRTQ_NEXT,
  VIRTQ_SPLIT_FLAGS,
  VIRTQ_WRITE,
  VNET_BUFFERS,
  VQ_BIAS,
  VQ_BYTES,
  VQ_DRY,
  VQ_FAULT,
  VQ_FAULT_BUFFERS,
  VQ_FAULT_LENGTH,
  VQ_FLAGS,
  VQ_FREE,
  VQ_HEADER_BYTES,
  VQ_HEADERS,
  VQ_MERGE,
  VQ_OWNER,
  VQ_PACKETS,
  VQ_RUNTS,
  VQ_SIZE,
  VQ_STAGGER,
  VQ_TABLES,
  VQ_TOO_LONG,
  VQ_UNOFFERED,
} from "../virtio-structs";
import { exclusive, frameMask, frameShift, moveFrame, releaseFrame, selfOwner, takeFrame } from "./arena";
import { descriptorFault } from "./ring";
import { readHeader, writeHeader } from "./virtio-header";
import {
  breakQueue,
  isPacked,
  offer,
  peekUsed,
  place,
  publish,
  recordOf,
  returnId,
  takeId,
  takeUsed,
  usedId,
  usedLength,
} from "./virtqueue";

function count(queue: u32, at: u32, by: u64): void {
  store<u64>(queue + at, load<u64>(queue + at) + by);
}

function faultOf(code: u32, index: u32): i32 {
  return -(<i32>((index << 8) | code));
}

// ── Receive.

const HEADROOM: u32 = 64;

/** Posts a pool frame in every free descriptor; says how many. The device must then be notified if it asks. */
export function virtioFill(queue: u32): u32 {
  const owner = load<u32>(queue, VQ_OWNER);
  const bias = load<u64>(queue, VQ_BIAS);
  const stagger = load<u32>(queue, VQ_STAGGER);
  const self = selfOwner();
  let posted: u32 = 0;
  while (load<u32>(queue, VQ_FREE) != 0) {
    const frame = takeFrame();
    if (frame == 0) {
      count(queue, VQ_DRY, 1);
      break;
    }
    moveFrame(frame >> frameShift, self, owner);
    const headroom = HEADROOM + (((frame >> frameShift) & stagger) << 6);
    post(queue, frame + headroom, frameMask + 1 - headroom, bias);
    posted++;
  }
  if (posted != 0) publish(queue);
  return posted;
}

function post(queue: u32, address: u32, length: u32, bias: u64): void {
  const id = takeId(queue);
  const record = recordOf(queue, id);
  store<u32>(record, 1, RECORD_COUNT);
  store<u32>(record, length, RECORD_BYTES);
  store<u32>(record, address, RECORD_FRAMES);
  place(queue, id, 0, 0, <u64>address + bias, length, VIRTQ_WRITE);
  offer(queue, id, 1);
}

/** Gives up the first `buffers` used entries with their frames. */
function discard(queue: u32, buffers: u32): void {
  for (let i: u32 = 0; i < buffers && peekUsed(queue, 0); i++) takeBuffer(queue, true);
}

/** The address of the buffer in the used entry at hand, its frame now this worker's, or freed. */
function takeBuffer(queue: u32, free: bool): u32 {
  const address = load<u32>(recordOf(queue, usedId), RECORD_FRAMES);
  takeUsed(queue, usedId);
  moveFrame(address >> frameShift, load<u32>(queue, VQ_OWNER), selfOwner());
  if (free) releaseFrame(address);
  return address;
}

/**
 * Moves received packets to the end of `burst`, at most `most`; says how many. A device that breaks the rules
 * stops the queue and VQ_FAULT says how.
 */
export function virtioReceive(queue: u32, burst: u32, most: u32): u32 {
  const header = load<u32>(queue, VQ_HEADER_BYTES);
  const merge = (load<u32>(queue, VQ_FLAGS) & VQ_MERGE) != 0;
  const capacity = load<u32>(burst, BURST_CAPACITY);
  const descs = load<u32>(burst, BURST_DESCS);
  let packets = load<u32>(burst, BURST_PACKETS);
  let used = load<u32>(burst, BURST_COUNT);
  const before = packets;
  while (packets - before < most && peekUsed(queue, 0)) {
    const first = load<u32>(recordOf(queue, usedId), RECORD_FRAMES);
    if (usedLength > load<u32>(recordOf(queue, usedId), RECORD_BYTES)) {
      breakQueue(queue, VQ_FAULT_LENGTH, usedId);
      break;
    }
    // The device can write here still: everything is read once.
    const buffers: u32 = merge ? <u32>load<u16>(first, VNET_BUFFERS) : 1;
    if (usedLength < header + 14) {
      count(queue, VQ_RUNTS, 1);
      discard(queue, 1);
      continue;
    }
    if (buffers == 0 || buffers > load<u32>(queue, VQ_SIZE)) {
      breakQueue(queue, VQ_FAULT_BUFFERS, usedId);
      break;
    }
    if (buffers > 1 && !peekUsed(queue, buffers - 1)) break; // the rest is still on its way
    if (used + buffers > capacity) {
      if (used != 0) break;
      count(queue, VQ_TOO_LONG, 1);
      discard(queue, buffers);
      continue;
    }
    const meta = load<u32>(burst, BURST_METAS) + (packets << META_SHIFT);
    readHeader(queue, first, meta);
    let total: u32 = 0;
    let taken: u32 = 0;
    for (; taken < buffers; taken++) {
      if (!peekUsed(queue, 0)) break;
      const length = usedLength;
      if (length > load<u32>(recordOf(queue, usedId), RECORD_BYTES) || length == 0) {
        breakQueue(queue, VQ_FAULT_LENGTH, usedId);
        break;
      }
      const skip = taken == 0 ? header : 0;
      const at = descs + (used + taken) * DESC_SIZE;
      store<u64>(at, <u64>(takeBuffer(queue, false) + skip), DESC_ADDR);
      store<u32>(at, length - skip, DESC_LEN);
      store<u32>(at, taken + 1 < buffers ? CONTINUED : 0, DESC_OPTIONS);
      total += length - skip;
    }
    if (taken < buffers) {
      for (let i: u32 = 0; i < taken; i++) releaseFrame(load<u32>(descs + (used + i) * DESC_SIZE, DESC_ADDR));
      break;
    }
    store<u32>(meta, total, META_WIRE_LENGTH);
    store<u32>(load<u32>(burst, BURST_STARTS) + (packets << 2), used);
    count(queue, VQ_PACKETS, 1);
    count(queue, VQ_BYTES, total);
    used += buffers;
    packets++;
  }
  store<u32>(burst, packets, BURST_PACKETS);
  store<u32>(burst, used, BURST_COUNT);
  return packets - before;
}

// ── Transmit.

/** Takes back what the device has sent: frames become free. Says how many packets. */
export function virtioComplete(queue: u32): u32 {
  const owner = load<u32>(queue, VQ_OWNER);
  const self = selfOwner();
  let done: u32 = 0;
  while (peekUsed(queue, 0)) {
    const record = recordOf(queue, usedId);
    const frames = load<u32>(record, RECORD_COUNT);
    count(queue, VQ_BYTES, load<u32>(record, RECORD_BYTES));
    takeUsed(queue, usedId);
    for (let i: u32 = 0; i < frames; i++) {
      const address = load<u32>(record + (i << 2), RECORD_FRAMES);
      moveFrame(address >> frameShift, owner, self);
      releaseFrame(address);
    }
    done++;
  }
  count(queue, VQ_PACKETS, done);
  return done;
}

/**
 * Moves packets of `burst` with verdict PASS, from number `first` on, into the queue and marks them
 * VERDICT_MOVED. Returns the number of the first packet not looked at, or a negative fault as ringSend does.
 */
export function virtioSend(queue: u32, burst: u32, first: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const all = load<u32>(burst, BURST_COUNT);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const descs = load<u32>(burst, BURST_DESCS);
  let result: i32 = <i32>packets;
  for (let packet = first; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = packet + 1 < packets ? load<u32>(starts + ((packet + 1) << 2)) : all;
    const wrong = checkPacket(descs, start, end);
    if (wrong != 0) {
      result = wrong;
      break;
    }
    const sent = sendPacket(queue, descs, start, end - start, meta);
    if (sent < 0) {
      result = sent == -1 ? <i32>packet : faultOf(FAULT_OWNER, start + <u32>(-sent - 2));
      break;
    }
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
  }
  publish(queue);
  return result;
}

function checkPacket(descs: u32, start: u32, end: u32): i32 {
  for (let index = start; index < end; index++) {
    const at = descs + index * DESC_SIZE;
    const wrong = descriptorFault(at);
    if (wrong != 0) return faultOf(wrong, index);
    if (((load<u32>(at, DESC_OPTIONS) & CONTINUED) != 0) != index + 1 < end)
      return faultOf(FAULT_DANGLING, index);
  }
  return 0;
}

/** 0: taken (or dropped and counted); -1: no room now; -2 - i: the frame of descriptor i is not this worker's. */
function sendPacket(queue: u32, descs: u32, start: u32, length: u32, meta: u32): i32 {
  const bytes = load<u32>(queue, VQ_HEADER_BYTES);
  const first = load<u32>(descs + start * DESC_SIZE, DESC_ADDR);
  // The header fits in front of the packet where nobody else looks at the frame.
  const inside = (first & frameMask) >= bytes && exclusive(first);
  const pieces = inside ? length : length + 1;
  const tables = load<u32>(queue, VQ_TABLES);
  const indirect = tables != 0 && pieces > 1;
  if ((indirect ? 1 : pieces) > load<u32>(queue, VQ_FREE) || length - 1 > <u32>VIRTIO_FRAGMENTS) return -1;

  const owner = load<u32>(queue, VQ_OWNER);
  const self = selfOwner();
  const id = takeId(queue);
  const record = recordOf(queue, id);
  const header = inside ? first - bytes : load<u32>(queue, VQ_HEADERS) + id * HEADER_SLOT;
  if (!writeHeader(queue, header, first, load<u32>(descs + start * DESC_SIZE, DESC_LEN), meta)) {
    returnId(queue, id);
    for (let i: u32 = 0; i < length; i++) releaseFrame(load<u32>(descs + (start + i) * DESC_SIZE, DESC_ADDR));
    count(queue, VQ_UNOFFERED, 1);
    return 0;
  }
  let total: u32 = 0;
  for (let i: u32 = 0; i < length; i++) {
    const at = descs + (start + i) * DESC_SIZE;
    const address = load<u32>(at, DESC_ADDR);
    if (!moveFrame(address >> frameShift, self, owner)) {
      for (let back: u32 = 0; back < i; back++)
        moveFrame(load<u32>(descs + (start + back) * DESC_SIZE, DESC_ADDR) >> frameShift, owner, self);
      returnId(queue, id);
      return -2 - <i32>i;
    }
    store<u32>(record + (i << 2), address, RECORD_FRAMES);
    total += load<u32>(at, DESC_LEN);
  }
  store<u32>(record, length, RECORD_COUNT);
  store<u32>(record, total, RECORD_BYTES);

  const bias = load<u64>(queue, VQ_BIAS);
  const table = indirect ? tables + id * (TABLE_DESCS * VIRTQ_DESC_SIZE) : 0;
  let previous: u32 = 0;
  for (let i: u32 = 0; i < pieces; i++) {
    let address = header;
    let size = bytes;
    if (inside || i != 0) {
      const at = descs + (start + (inside ? i : i - 1)) * DESC_SIZE;
      address = load<u32>(at, DESC_ADDR);
      size = load<u32>(at, DESC_LEN);
      if (inside && i == 0) {
        address = header;
        size += bytes;
      }
    }
    const flags: u32 = i + 1 < pieces ? VIRTQ_NEXT : 0;
    if (indirect) tableEntry(queue, table, i, <u64>address + bias, size, flags);
    else previous = place(queue, id, i, previous, <u64>address + bias, size, flags);
  }
  if (indirect) place(queue, id, 0, 0, <u64>table + bias, pieces * VIRTQ_DESC_SIZE, VIRTQ_INDIRECT);
  offer(queue, id, indirect ? 1 : pieces);
  return 0;
}

function tableEntry(queue: u32, table: u32, index: u32, iova: u64, length: u32, flags: u32): void {
  const at = table + index * VIRTQ_DESC_SIZE;
  store<u64>(at, iova, VIRTQ_ADDRESS);
  store<u32>(at, length, VIRTQ_LENGTH);
  // A packed table is read to its end and has neither ids nor chaining [2.8.8].
  store<u32>(at, isPacked(queue) ? 0 : flags | ((index + 1) << 16), VIRTQ_SPLIT_FLAGS);
}

/** Puts one command up on a control queue: `length` bytes at `address` to read, one byte at `answer` to write. */
export function virtioCommand(queue: u32, address: u32, length: u32, answer: u32): void {
  const bias = load<u64>(queue, VQ_BIAS);
  const id = takeId(queue);
  // Frame 0 is nobody's: completing the command releases nothing.
  store<u32>(recordOf(queue, id), 1, RECORD_COUNT);
  store<u32>(recordOf(queue, id), 0, RECORD_BYTES);
  store<u32>(recordOf(queue, id), 0, RECORD_FRAMES);
  const first = place(queue, id, 0, 0, <u64>address + bias, length, VIRTQ_NEXT);
  place(queue, id, 1, first, <u64>answer + bias, 1, VIRTQ_WRITE);
  offer(queue, id, 2);
  publish(queue);
}
