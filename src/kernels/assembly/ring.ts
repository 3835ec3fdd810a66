// The one ring (single producer, single consumer, free-running indices) and the edge: every packet that goes
// into or comes out of a ring is checked here, and its frames change owner here.
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
  FAULT_ADDRESS,
  FAULT_DANGLING,
  FAULT_LENGTH,
  FAULT_OPTIONS,
  FAULT_OWNER,
  FAULT_RING,
  META_SHIFT,
  META_VERDICT,
  OWNER_SHIFT,
  RING_CONSUMER,
  RING_ENTRIES,
  RING_LOCAL,
  RING_MASK,
  RING_METAS,
  RING_OWNER,
  RING_PEER,
  RING_PRODUCER,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import { frameMask, frameShift, frames, moveFrame, selfOwner, soleWord, wordOf } from "./arena";
import { clearMeta, copyMeta } from "./meta";
import { endAmong } from "./packet";

/** What a kernel answers for a fault of the descriptor `index`: negative. */
export function fault(code: u32, index: u32): i32 {
  return -(<i32>((index << 8) | code));
}

/** 0, or the fault of one descriptor: options, address, length within its frame. Ownership is checked by moving. */
export function descriptorFault(at: u32): u32 {
  const address = load<u64>(at, DESC_ADDR);
  const length = load<u32>(at, DESC_LEN);
  if ((load<u32>(at, DESC_OPTIONS) & ~CONTINUED) != 0) return FAULT_OPTIONS;
  if (address >> 32 != 0 || <u32>address >> frameShift >= frames || <u32>address >> frameShift == 0)
    return FAULT_ADDRESS;
  if (length > frameMask + 1 || (<u32>address & frameMask) > frameMask + 1 - length) return FAULT_LENGTH;
  return 0;
}

// ── Address and descriptor rings, entry by entry (kernel and card rings use these too).

/** Entries the producer can still write; reads the other side's index only when its copy says too few. */
export function ringSpace(side: u32, wanted: u32): u32 {
  const size = load<u32>(side, RING_MASK) + 1;
  const local = load<u32>(side, RING_LOCAL);
  let free = size - (local - load<u32>(side, RING_PEER));
  if (free < wanted) {
    const peer = atomic.load<u32>(load<u32>(side, RING_CONSUMER));
    // A foreign index that runs backwards or past us is not believed.
    if (local - peer > size) return 0;
    store<u32>(side, peer, RING_PEER);
    free = size - (local - peer);
  }
  return free;
}

/** Entries the consumer can read; reads the other side's index only when its copy says too few. */
export function ringCount(side: u32, wanted: u32): u32 {
  const local = load<u32>(side, RING_LOCAL);
  let ready = load<u32>(side, RING_PEER) - local;
  if (ready < wanted) {
    const peer = atomic.load<u32>(load<u32>(side, RING_PRODUCER));
    if (peer - local > load<u32>(side, RING_MASK) + 1) return 0;
    store<u32>(side, peer, RING_PEER);
    ready = peer - local;
  }
  return ready;
}

/** Publishes what the producer wrote. */
export function ringCommit(side: u32): void {
  atomic.store<u32>(load<u32>(side, RING_PRODUCER), load<u32>(side, RING_LOCAL));
}

/** Gives the read entries back to the producer. */
export function ringRelease(side: u32): void {
  atomic.store<u32>(load<u32>(side, RING_CONSUMER), load<u32>(side, RING_LOCAL));
}

// ── Bursts into and out of descriptor rings.

/**
 * Checks the descriptors `start` to before `end` of one packet, hands their frames from this worker to `owner` and
 * writes them into a ring's entries from index `local` on. Returns 0 or a negative fault: then the packet stays this
 * worker's, whole.
 */
export function putPacket(
  descs: u32,
  start: u32,
  end: u32,
  owner: u32,
  entries: u32,
  mask: u32,
  local: u32,
): i32 {
  const self = selfOwner();
  for (let index = start; index < end; index++) {
    const at = descs + index * DESC_SIZE;
    let wrong = descriptorFault(at);
    if (wrong == 0 && ((load<u32>(at, DESC_OPTIONS) & CONTINUED) != 0) != index + 1 < end)
      wrong = FAULT_DANGLING;
    if (wrong == 0 && !moveFrame(load<u32>(at, DESC_ADDR) >> frameShift, self, owner)) wrong = FAULT_OWNER;
    if (wrong != 0) {
      for (let back = start; back < index; back++)
        moveFrame(load<u32>(descs + back * DESC_SIZE, DESC_ADDR) >> frameShift, owner, self);
      return fault(wrong, index);
    }
    const slot = entries + ((local + (index - start)) & mask) * DESC_SIZE;
    store<u64>(slot, load<u64>(at, DESC_ADDR), DESC_ADDR);
    store<u64>(slot, load<u64>(at, DESC_LEN), DESC_LEN);
  }
  return 0;
}

/**
 * Moves packets of `burst` from number `first` on, as long as they are whole and fit, into the ring: checks
 * each descriptor, hands its frame from this worker to the ring, writes descriptors and metadata, marks the
 * packet VERDICT_MOVED. Packets with another verdict than PASS are passed over. `fragments` is the most a
 * packet may have (0: linear only); one with more ends the run. Returns the number of the first packet not
 * looked at, or a negative fault; what went before the fault is published.
 */
export function ringSend(side: u32, burst: u32, first: u32, fragments: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const entries = load<u32>(side, RING_ENTRIES);
  const ringMetas = load<u32>(side, RING_METAS);
  const mask = load<u32>(side, RING_MASK);
  const owner = load<u32>(side, RING_OWNER);
  const words = wordOf(0);
  const mine = soleWord();
  const held = (owner << OWNER_SHIFT) | 1;
  const size = <u64>(frameMask + 1);
  const bytes = ((<u64>frames) << frameShift) - size; // of all frames but number 0
  let local = load<u32>(side, RING_LOCAL);
  let space = ringSpace(side, count);
  let result: i32 = <i32>packets;
  for (let packet = first; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = endAmong(starts, packet, packets, count);
    const length = end - start;
    if (length > space || length - 1 > fragments) {
      result = <i32>packet;
      break;
    }
    // Nearly every packet is one descriptor over a frame that this worker alone holds; see ringReceive().
    const desc = descs + start * DESC_SIZE;
    const address = load<u64>(desc, DESC_ADDR);
    const lengthAndOptions = load<u64>(desc, DESC_LEN);
    const word = words + ((<u32>(address >> frameShift)) << 2);
    if (
      length == 1 &&
      address - size < bytes &&
      lengthAndOptions <= size - (address & (size - 1)) &&
      load<u32>(word) == mine
    ) {
      store<u32>(word, held);
      v128.store(entries + (local & mask) * DESC_SIZE, v128.load(desc));
    } else {
      const wrong = putPacket(descs, start, end, owner, entries, mask, local);
      if (wrong != 0) {
        result = wrong;
        break;
      }
    }
    if (ringMetas != 0) copyMeta(ringMetas + ((local & mask) << META_SHIFT), meta);
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
    local += length;
    space -= length;
  }
  store<u32>(side, local, RING_LOCAL);
  ringCommit(side);
  return result;
}

/**
 * Moves whole packets out of the ring to the end of `burst`, until the burst is full, `most` packets were
 * taken or the ring is empty; frames become this worker's. Returns how many packets, or a negative fault:
 * then the ring is not to be believed any more.
 */
export function ringReceive(side: u32, burst: u32, most: u32): i32 {
  const mask = load<u32>(side, RING_MASK);
  const entries = load<u32>(side, RING_ENTRIES);
  const ringMetas = load<u32>(side, RING_METAS);
  const owner = load<u32>(side, RING_OWNER);
  const capacity = load<u32>(burst, BURST_CAPACITY);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const self = selfOwner();
  let packets = load<u32>(burst, BURST_PACKETS);
  let count = load<u32>(burst, BURST_COUNT);
  let local = load<u32>(side, RING_LOCAL);
  const ready = ringCount(side, capacity - count);
  const before = packets;
  const words = wordOf(0);
  const held = (owner << OWNER_SHIFT) | 1;
  const mine = (self << OWNER_SHIFT) | 1;
  const size = <u64>(frameMask + 1);
  const bytes = ((<u64>frames) << frameShift) - size; // of all frames but number 0
  let taken: u32 = 0;
  let result: i32 = 0;
  while (taken < ready && packets - before < most) {
    // Nearly every packet is one descriptor over a frame that the ring alone holds: all of the edge's checks in
    // three comparisons (options stand above the length), whatever fails one goes the long way.
    const place = entries + (local & mask) * DESC_SIZE;
    const address = load<u64>(place, DESC_ADDR);
    const lengthAndOptions = load<u64>(place, DESC_LEN);
    if (address - size < bytes && lengthAndOptions <= size - (address & (size - 1)) && count < capacity) {
      const word = words + ((<u32>(address >> frameShift)) << 2);
      if (load<u32>(word) == held) {
        store<u32>(word, mine);
        const at = descs + count * DESC_SIZE;
        store<u64>(at, address, DESC_ADDR);
        store<u64>(at, lengthAndOptions, DESC_LEN);
        const meta = metas + (packets << META_SHIFT);
        if (ringMetas != 0) copyMeta(meta, ringMetas + ((local & mask) << META_SHIFT));
        else clearMeta(meta);
        store<u8>(meta, VERDICT_PASS, META_VERDICT);
        store<u32>(starts + (packets << 2), count);
        packets++;
        count++;
        taken++;
        local++;
        continue;
      }
    }
    // How long is this packet? Only whole ones are published, so the end is there or the ring is broken.
    let length: u32 = 0;
    let more = true;
    while (more && taken + length < ready && count + length < capacity) {
      more = (load<u32>(entries + ((local + length) & mask) * DESC_SIZE, DESC_OPTIONS) & CONTINUED) != 0;
      length++;
    }
    if (more) {
      if (count + length >= capacity && before != packets) break;
      if (count + length >= capacity && load<u32>(burst, BURST_COUNT) != 0) break;
      result = fault(FAULT_DANGLING, count);
      break;
    }
    let wrong: u32 = 0;
    for (let i: u32 = 0; i < length; i++) {
      const slot = entries + ((local + i) & mask) * DESC_SIZE;
      const at = descs + (count + i) * DESC_SIZE;
      store<u64>(at, load<u64>(slot, DESC_ADDR), DESC_ADDR);
      store<u64>(at, load<u64>(slot, DESC_LEN), DESC_LEN);
      wrong = descriptorFault(at);
      if (wrong == 0 && !moveFrame(load<u32>(at, DESC_ADDR) >> frameShift, owner, self)) wrong = FAULT_OWNER;
      if (wrong != 0) break;
    }
    if (wrong != 0) {
      result = fault(wrong, count);
      break;
    }
    const meta = metas + (packets << META_SHIFT);
    if (ringMetas != 0) copyMeta(meta, ringMetas + ((local & mask) << META_SHIFT));
    else clearMeta(meta);
    store<u8>(meta, VERDICT_PASS, META_VERDICT);
    store<u32>(starts + (packets << 2), count);
    packets++;
    count += length;
    taken += length;
    local += length;
  }
  store<u32>(burst, packets, BURST_PACKETS);
  store<u32>(burst, count, BURST_COUNT);
  store<u32>(side, local, RING_LOCAL);
  if (taken != 0) ringRelease(side);
  return result < 0 ? result : <i32>(packets - before);
}

/** FAULT_RING when the shared indices of a ring contradict each other; 0 when they agree. */
export function ringFault(side: u32): i32 {
  const producer = atomic.load<u32>(load<u32>(side, RING_PRODUCER));
  const consumer = atomic.load<u32>(load<u32>(side, RING_CONSUMER));
  return producer - consumer > load<u32>(side, RING_MASK) + 1 ? fault(FAULT_RING, 0) : 0;
}
