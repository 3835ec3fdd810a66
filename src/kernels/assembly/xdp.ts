// AF_XDP's rings for what comes in, in memory mapped from the kernel: fill from the pool, receive into a burst. Nothing
// the kernel writes is believed unchecked.
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
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  META_FLAGS,
  META_NANOSECONDS,
  META_SECONDS,
  META_SHIFT,
  META_STAMPED,
  META_WIRE_LENGTH,
  OWNER_SHIFT,
  RING_ENTRIES,
  RING_LOCAL,
  RING_MASK,
} from "../structs";
import {
  XDP_BAD_RECEIVED,
  XDP_FILL,
  XDP_OVERSIZE,
  XDP_QUEUE,
  XDP_RECEIVED,
  XDP_RECEIVED_BYTES,
  XDP_RX,
  XDP_RX_OWNER,
  XDP_UNFILLED,
} from "../xdp-structs";
import {
  frameMask,
  frameShift,
  frames,
  loadedMagazine,
  moveFrame,
  nextMagazine,
  releaseFrame,
  selfOwner,
  soleWord,
  wordOf,
} from "./arena";
import { descriptorFault, ringCommit, ringCount, ringRelease, ringSpace } from "./ring";

/** Adds to a counter of the queue's. */
export function count(queue: u32, counter: u32, by: f64): void {
  store<f64>(queue + counter, load<f64>(queue + counter) + by);
}

/** Gives the fill ring up to `most` frames from the pool; says how many. */
export function xdpFill(queue: u32, most: u32): u32 {
  const side = queue + XDP_FILL;
  const space = ringSpace(side, most);
  const wanted = space < most ? space : most;
  const entries = load<u32>(side, RING_ENTRIES);
  const mask = load<u32>(side, RING_MASK);
  const given = (load<u32>(queue, XDP_RX_OWNER) << OWNER_SHIFT) | 1;
  const words = wordOf(0);
  const shift = frameShift - 2;
  const begin = load<u32>(side, RING_LOCAL);
  let local = begin;
  while (local - begin < wanted) {
    const magazine = loadedMagazine();
    let held = load<u32>(magazine, MAGAZINE_COUNT);
    if (held == 0) {
      if (!nextMagazine()) break;
      continue;
    }
    for (; held != 0 && local - begin < wanted; local++) {
      const address = load<u32>(magazine + (--held << 2), MAGAZINE_ENTRIES);
      // Nothing ends this worker between these two: a frame is in the magazine or the ring's.
      store<u32>(magazine, held, MAGAZINE_COUNT);
      store<u32>(words + (address >> shift), given);
      store<u64>(entries + ((local & mask) << 3), <u64>address);
    }
  }
  if (local == begin) return 0;
  store<u32>(side, local, RING_LOCAL);
  ringCommit(side);
  return local - begin;
}

/**
 * Fills the ring up once an eighth of it was received: the kernel's index there shares a line with nothing else, and
 * reading it at each look for packets would have the kernel fetch that line back for each packet.
 */
function refill(queue: u32, taken: u32): void {
  const size = load<u32>(queue + XDP_FILL, RING_MASK) + 1;
  let unfilled = load<u32>(queue, XDP_UNFILLED) + taken;
  if (unfilled >= size >> 3) {
    const wanted = ringSpace(queue + XDP_FILL, size);
    if (xdpFill(queue, wanted) == wanted) unfilled = 0; // else the pool was empty: again at the next look
  }
  store<u32>(queue, unfilled, XDP_UNFILLED);
}

/** Where a received piece begins: with unaligned chunks the kernel keeps its offset in the chunk in the upper 16 bits. */
function placeOf(address: u64): u64 {
  return (address & 0xffff_ffff_ffff) + (address >> 48);
}

/** The frame of a received piece becomes this worker's. False: it is not one the ring was given. */
function accept(address: u64, owner: u32, self: u32): bool {
  return address >> 32 == 0 && moveFrame(<u32>address >> frameShift, owner, self);
}

/** How many descriptors wait in the receive ring, as far as is known; where there are none, only the fill ring is seen to. */
export function xdpReady(queue: u32): u32 {
  const ready = ringCount(queue + XDP_RX, 1);
  if (ready == 0) refill(queue, 0);
  return ready;
}

/**
 * Appends whole packets from the receive ring to `burst`, at most `most`, stamped with the time given, and
 * refills the fill ring. A packet with a descriptor that is not believed, or with more descriptors than the
 * empty burst holds, is dropped and counted. Returns how many packets were appended.
 */
export function xdpReceive(queue: u32, burst: u32, most: u32, seconds: f64, nanoseconds: u32): u32 {
  const side = queue + XDP_RX;
  const capacity = load<u32>(burst, BURST_CAPACITY);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const entries = load<u32>(side, RING_ENTRIES);
  const mask = load<u32>(side, RING_MASK);
  const owner = load<u32>(queue, XDP_RX_OWNER);
  const number = load<u32>(queue, XDP_QUEUE);
  const self = selfOwner();
  const words = wordOf(0);
  const held = (owner << OWNER_SHIFT) | 1;
  const mine = soleWord();
  const size = <u64>(frameMask + 1);
  const within = ((<u64>frames) << frameShift) - size; // bytes of all frames but number 0
  const behind = <u64>META_STAMPED | ((<u64>number & 0xff) << 48); // flags and queue
  const before = load<u32>(burst, BURST_PACKETS);
  let packets = before;
  let descriptors = load<u32>(burst, BURST_COUNT);
  let local = load<u32>(side, RING_LOCAL);
  const ready = ringCount(side, mask + 1);
  let taken: u32 = 0;
  let dropped: u32 = 0;
  let bytes: u64 = 0;
  while (taken < ready && packets - before < most && descriptors < capacity) {
    const first = entries + (local & mask) * DESC_SIZE;
    let length: u32 = 0;
    let packetBytes: u32 = 0;
    // Nearly every packet is one descriptor over a frame that the ring alone holds; options stand above the length.
    const address = placeOf(load<u64>(first, DESC_ADDR));
    const tail = load<u64>(first, DESC_LEN);
    const word = words + ((<u32>(address >> frameShift)) << 2);
    if (address - size < within && tail <= size - (address & (size - 1)) && load<u32>(word) == held) {
      const at = descs + descriptors * DESC_SIZE;
      store<u32>(word, mine);
      store<u64>(at, address, DESC_ADDR);
      store<u64>(at, tail, DESC_LEN);
      length = 1;
      packetBytes = <u32>tail;
      bytes += tail;
      taken++;
      local++;
    } else {
      let more = true;
      while (more && taken + length < ready) {
        more = (load<u32>(entries + ((local + length) & mask) * DESC_SIZE, DESC_OPTIONS) & CONTINUED) != 0;
        length++;
      }
      if (more && length <= mask) break; // the rest of the packet is not published yet
      const fits = !more && length <= capacity - descriptors;
      if (!fits && !more && length <= capacity) break; // the next burst has room for it
      let whole = fits;
      for (let i: u32 = 0; i < length; i++) {
        const slot = entries + ((local + i) & mask) * DESC_SIZE;
        const at = descs + (descriptors + i) * DESC_SIZE;
        const place = placeOf(load<u64>(slot, DESC_ADDR));
        packetBytes += load<u32>(slot, DESC_LEN);
        const ours = accept(place, owner, self);
        if (whole) {
          store<u64>(at, place, DESC_ADDR);
          store<u64>(at, load<u64>(slot, DESC_LEN), DESC_LEN);
          if (ours && descriptorFault(at) == 0) continue;
          whole = false;
          for (let back: u32 = 0; back < i; back++)
            releaseFrame(load<u32>(descs + (descriptors + back) * DESC_SIZE, DESC_ADDR));
        }
        if (ours) releaseFrame(<u32>place);
      }
      bytes += packetBytes;
      taken += length;
      local += length;
      if (!whole) {
        dropped++;
        count(queue, fits ? XDP_BAD_RECEIVED : XDP_OVERSIZE, 1);
        continue;
      }
    }
    const meta = metas + (packets << META_SHIFT);
    store<f64>(meta, seconds, META_SECONDS);
    store<u64>(meta, <u64>nanoseconds, META_NANOSECONDS); // and no hash
    store<u64>(meta, <u64>packetBytes, META_WIRE_LENGTH); // and no peer
    store<u64>(meta, behind, META_FLAGS);
    store<u32>(starts + (packets << 2), descriptors);
    packets++;
    descriptors += length;
  }
  if (taken != 0) {
    store<u32>(burst, packets, BURST_PACKETS);
    store<u32>(burst, descriptors, BURST_COUNT);
    store<u32>(side, local, RING_LOCAL);
    ringRelease(side);
    count(queue, XDP_RECEIVED, <f64>(packets - before + dropped));
    count(queue, XDP_RECEIVED_BYTES, <f64>bytes);
  }
  refill(queue, taken);
  return packets - before;
}
