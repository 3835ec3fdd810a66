// The one ring (single producer, single consumer, free-running indices) and the edge: every packet that goes
// into or comes out of a ring is checked here, and its frames change owner here.
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_GENERATION,
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
  MAGAZINE_CAPACITY,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  META_QUEUE,
  META_SHIFT,
  META_SIZE,
  META_VERDICT,
  OWNER_SHARED,
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
import {
  frameMask,
  frameShift,
  frames,
  loadedMagazine,
  moveFrame,
  plainFrames,
  releaseFrame,
  releaseReferences,
  selfOwner,
  soleWord,
  wordOf,
} from "./arena";
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

/** Empties a burst without touching frames. */
export function burstClear(burst: u32): void {
  store<u32>(burst, 0, BURST_COUNT);
  store<u32>(burst, 0, BURST_PACKETS);
  store<u32>(burst, load<u32>(burst, BURST_GENERATION) + 1, BURST_GENERATION);
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
  const self = selfOwner();
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
    let wrong: u32 = 0;
    let index = start;
    for (; index < end; index++) {
      const at = descs + index * DESC_SIZE;
      wrong = descriptorFault(at);
      if (wrong == 0 && ((load<u32>(at, DESC_OPTIONS) & CONTINUED) != 0) != index + 1 < end)
        wrong = FAULT_DANGLING;
      if (wrong == 0 && !moveFrame(load<u32>(at, DESC_ADDR) >> frameShift, self, owner)) wrong = FAULT_OWNER;
      if (wrong != 0) break;
      const slot = entries + ((local + (index - start)) & mask) * DESC_SIZE;
      store<u64>(slot, load<u64>(at, DESC_ADDR), DESC_ADDR);
      store<u64>(slot, load<u64>(at, DESC_LEN), DESC_LEN);
    }
    if (wrong != 0) {
      // Take back what was moved of this packet: it stays the burst's, whole.
      for (let back = start; back < index; back++)
        moveFrame(load<u32>(descs + back * DESC_SIZE, DESC_ADDR) >> frameShift, owner, self);
      result = fault(wrong, index);
      break;
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

function allMoved(meta: u32): bool {
  const first = load<u8>(meta, META_VERDICT) & load<u8>(meta, META_SIZE + META_VERDICT);
  const second = load<u8>(meta, 2 * META_SIZE + META_VERDICT) & load<u8>(meta, 3 * META_SIZE + META_VERDICT);
  return (first & second) == VERDICT_MOVED;
}

/**
 * Frees every packet still in the burst and empties it. Adds packets and bytes by verdict to `tally`
 * (256 × {u64 packets, u64 bytes}) unless it is 0. Returns 0 or a negative fault (a frame not this worker's).
 */
export function burstRelease(burst: u32, tally: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const words = wordOf(0);
  const owned = soleWord();
  const plain = plainFrames();
  let magazine = loadedMagazine();
  let held = load<u32>(magazine, MAGAZINE_COUNT);
  let shared: u32 = 0;
  let pieces: u32 = 0;
  let result: i32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (packet + 4 <= packets && allMoved(meta)) {
      packet += 3;
      continue;
    }
    const verdict = <u32>load<u8>(meta, META_VERDICT);
    if (verdict == VERDICT_MOVED) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = endAmong(starts, packet, packets, count);
    let bytes: u32 = 0;
    for (let index = start; index < end; index++) {
      const address = load<u32>(descs + index * DESC_SIZE, DESC_ADDR);
      const frame = address >> frameShift;
      bytes += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
      if (frame < plain && held < <u32>MAGAZINE_CAPACITY && load<u32>(words + (frame << 2)) == owned) {
        // As giveBack() does it, in its order: this worker may be ended at any loop's head.
        store<u32>(magazine + (held << 2), frame << frameShift, MAGAZINE_ENTRIES);
        store<u32>(magazine, ++held, MAGAZINE_COUNT);
        store<u32>(words + (frame << 2), 0);
        continue;
      }
      // Pieces of a frame that is shared mostly follow each other, and are given up together.
      if (frame == shared && pieces != 0) {
        pieces++;
        continue;
      }
      if (pieces != 0 && !releaseReferences(shared, pieces)) result = fault(FAULT_OWNER, index);
      pieces = 0;
      if (frame < frames && load<u32>(words + (frame << 2)) >> OWNER_SHIFT == OWNER_SHARED) {
        shared = frame;
        pieces = 1;
      } else if (!releaseFrame(address)) result = fault(FAULT_OWNER, index);
      magazine = loadedMagazine();
      held = load<u32>(magazine, MAGAZINE_COUNT);
    }
    if (tally != 0) {
      const at = tally + (verdict << 4);
      store<u64>(at, load<u64>(at) + 1);
      store<u64>(at, load<u64>(at, 8) + bytes, 8);
    }
  }
  if (pieces != 0 && !releaseReferences(shared, pieces)) result = fault(FAULT_OWNER, count);
  burstClear(burst);
  return result;
}

/** Bytes of all packets in the burst whose verdict is `verdict`, as a u32 (a burst holds far less than 4 GiB). */
export function burstBytes(burst: u32, verdict: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  let bytes: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    if (<u32>load<u8>(metas + (packet << META_SHIFT), META_VERDICT) != verdict) continue;
    const end = endAmong(starts, packet, packets, count);
    for (let index = load<u32>(starts + (packet << 2)); index < end; index++)
      bytes += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
  }
  return bytes;
}

/** The number after the last packet, from `first` on, that has come in on the same queue as `first`. */
export function burstQueueRun(burst: u32, first: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  if (first >= packets) return packets;
  const queue = load<u8>(metas + (first << META_SHIFT), META_QUEUE);
  let packet = first + 1;
  while (packet < packets && load<u8>(metas + (packet << META_SHIFT), META_QUEUE) == queue) packet++;
  return packet;
}

/** How many packets of the burst have the verdict `verdict`. */
export function burstCount(burst: u32, verdict: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  let count: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++)
    if (<u32>load<u8>(metas + (packet << META_SHIFT), META_VERDICT) == verdict) count++;
  return count;
}

/** Gives every packet whose verdict is `from` the verdict `to`; says how many. */
export function burstVerdict(burst: u32, from: u32, to: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  let count: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    const at = metas + (packet << META_SHIFT);
    if (<u32>load<u8>(at, META_VERDICT) != from) continue;
    store<u8>(at, to, META_VERDICT);
    count++;
  }
  return count;
}

/** FAULT_RING when the shared indices of a ring contradict each other; 0 when they agree. */
export function ringFault(side: u32): i32 {
  const producer = atomic.load<u32>(load<u32>(side, RING_PRODUCER));
  const consumer = atomic.load<u32>(load<u32>(side, RING_CONSUMER));
  return producer - consumer > load<u32>(side, RING_MASK) + 1 ? fault(FAULT_RING, 0) : 0;
}
