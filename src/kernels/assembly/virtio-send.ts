// Transmit queues of the virtio network device: packets with their network header out, frames back. Whole packets
// move from a burst, as with any ring. The control queue is one of them.
import {
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
  VQ_BIAS,
  VQ_BYTES,
  VQ_FREE,
  VQ_HEADER_BYTES,
  VQ_HEADERS,
  VQ_OWNER,
  VQ_PACKETS,
  VQ_TABLES,
  VQ_UNOFFERED,
} from "../virtio-structs";
import { add, exclusive, frameMask, frameShift, moveFrame, releaseFrame, selfOwner } from "./arena";
import { endAmong } from "./packet";
import { descriptorFault, fault } from "./ring";
import { writeHeader } from "./virtio-header";
import {
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
} from "./virtqueue";

/** Takes back what the device has sent: frames become free. Says how many packets. */
export function virtioComplete(queue: u32): u32 {
  const owner = load<u32>(queue, VQ_OWNER);
  const self = selfOwner();
  let done: u32 = 0;
  while (peekUsed(queue, 0)) {
    const record = recordOf(queue, usedId);
    const frames = load<u32>(record, RECORD_COUNT);
    add(queue + VQ_BYTES, load<u32>(record, RECORD_BYTES));
    takeUsed(queue, usedId);
    for (let i: u32 = 0; i < frames; i++) {
      const address = load<u32>(record + (i << 2), RECORD_FRAMES);
      moveFrame(address >> frameShift, owner, self);
      releaseFrame(address);
    }
    done++;
  }
  add(queue + VQ_PACKETS, done);
  return done;
}

/**
 * Moves packets of `burst` with verdict PASS, from number `first` to before `last`, into the queue and marks them
 * VERDICT_MOVED. Returns the number of the first packet not looked at, or a negative fault as ringSend does.
 */
export function virtioSend(queue: u32, burst: u32, first: u32, last: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const all = load<u32>(burst, BURST_COUNT);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const descs = load<u32>(burst, BURST_DESCS);
  let result: i32 = <i32>last;
  for (let packet = first; packet < last; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = endAmong(starts, packet, packets, all);
    const wrong = checkPacket(descs, start, end);
    if (wrong != 0) {
      result = wrong;
      break;
    }
    const sent = sendPacket(queue, burst, packet, start, end - start, meta);
    if (sent < 0) {
      result = sent == -1 ? <i32>packet : fault(FAULT_OWNER, start + <u32>(-sent - 2));
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
    if (wrong != 0) return fault(wrong, index);
    if (((load<u32>(at, DESC_OPTIONS) & CONTINUED) != 0) != index + 1 < end)
      return fault(FAULT_DANGLING, index);
  }
  return 0;
}

/** 0: taken (or dropped and counted); -1: no room now; -2 - i: the frame of descriptor i is not this worker's. */
function sendPacket(queue: u32, burst: u32, packet: u32, start: u32, length: u32, meta: u32): i32 {
  const descs = load<u32>(burst, BURST_DESCS);
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
  if (!writeHeader(queue, header, burst, packet, meta)) {
    returnId(queue, id);
    for (let i: u32 = 0; i < length; i++) releaseFrame(load<u32>(descs + (start + i) * DESC_SIZE, DESC_ADDR));
    add(queue + VQ_UNOFFERED, 1);
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
