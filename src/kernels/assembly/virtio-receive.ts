// Receive queues of the virtio network device: frames posted, packets with their network header in. Whole packets
// move to a burst, as with any ring.
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
  META_WIRE_LENGTH,
} from "../structs";
import {
  RECORD_BYTES,
  RECORD_COUNT,
  RECORD_FRAMES,
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
  VQ_MERGE,
  VQ_OWNER,
  VQ_PACKETS,
  VQ_RUNTS,
  VQ_SIZE,
  VQ_STAGGER,
  VQ_TOO_LONG,
} from "../virtio-structs";
import { add, frameMask, frameShift, moveFrame, releaseFrame, selfOwner, takeFrame } from "./arena";

import { readHeader } from "./virtio-header";
import {
  breakQueue,
  offer,
  peekUsed,
  place,
  publish,
  recordOf,
  takeId,
  takeUsed,
  usedId,
  usedLength,
} from "./virtqueue";

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
      add(queue + VQ_DRY, 1);
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
      add(queue + VQ_RUNTS, 1);
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
      add(queue + VQ_TOO_LONG, 1);
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
    add(queue + VQ_PACKETS, 1);
    add(queue + VQ_BYTES, total);
    used += buffers;
    packets++;
  }
  store<u32>(burst, packets, BURST_PACKETS);
  store<u32>(burst, used, BURST_COUNT);
  return packets - before;
}
