// AF_XDP's rings for what goes out: a burst into transmit, completion back to the pool.
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_BAD,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SHIFT,
  DESC_SIZE,
  EDGE_FINISHES,
  EDGE_MOST,
  EDGE_REWRITES,
  MAGAZINE_CAPACITY,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  META_FLAGS,
  META_SHIFT,
  META_VERDICT,
  OWNER_SHIFT,
  RING_ENTRIES,
  RING_LOCAL,
  RING_MASK,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import {
  XDP_BAD_COMPLETED,
  XDP_COMPLETED,
  XDP_COMPLETION,
  XDP_OUTSTANDING,
  XDP_RUNTS,
  XDP_SENT,
  XDP_SENT_BYTES,
  XDP_TAKEN,
  XDP_TX,
  XDP_TX_OWNER,
} from "../xdp-structs";
import {
  frameMask,
  frameShift,
  frames,
  loadedMagazine,
  moveFrame,
  moveShared,
  plainFrames,
  releaseFrame,
  releaseReferences,
  selfOwner,
  sharesOf,
  soleWord,
  wordOf,
} from "./arena";
import { burstClear } from "./burst";
import { ordinary, rewrite } from "./edge";
import { endAmong } from "./packet";
import { putPacket, ringCommit, ringCount, ringRelease, ringSpace } from "./ring";
import { count } from "./xdp";

const ETHERNET_HEADER: u32 = 14;

/**
 * Puts packets with verdict PASS from number `first` on into the transmit ring, as long as they fit, marked
 * VERDICT_MOVED, after taking back what was completed. One that AF_XDP would choke on is freed and counted; one
 * of more than `fragments` pieces beside its linear part ends the run. With an EDGE_ structure at `edge`, packets are
 * taken as long as they are ordinary to it, after it has rewritten them, and a burst that goes as a whole is left
 * empty. Returns the number of the first packet not looked at, or a negative fault.
 */
export function xdpSend(queue: u32, burst: u32, first: u32, fragments: u32, edge: u32): i32 {
  xdpComplete(queue);
  const side = queue + XDP_TX;
  const packets = load<u32>(burst, BURST_PACKETS);
  const last = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const entries = load<u32>(side, RING_ENTRIES);
  const mask = load<u32>(side, RING_MASK);
  const owner = load<u32>(queue, XDP_TX_OWNER);
  const self = selfOwner();
  const words = wordOf(0);
  const mine = soleWord();
  const held = (owner << OWNER_SHIFT) | 1;
  const size = <u64>(frameMask + 1);
  const within = ((<u64>frames) << frameShift) - size; // bytes of all frames but number 0
  const rewrites = edge != 0 && load<u32>(edge, EDGE_REWRITES) != 0;
  // Of the metadata from META_FLAGS on: no verdict but PASS; before an edge no super-frame, and no checksum that may be
  // left partial.
  const unfinished: u64 = edge != 0 && load<u32>(edge, EDGE_FINISHES) != 0 ? CHECKSUM_BAD : 0;
  const odd: u64 = (edge != 0 ? 0xff00_ffff_0000_0000 : 0xff00_0000_0000_0000) | unfinished;
  const longest: u64 = edge != 0 ? <u64>load<u32>(edge, EDGE_MOST) : size;
  let local = load<u32>(side, RING_LOCAL);
  // The entries of what is not completed are read once more when it is: they must not be overwritten.
  let space = ringSpace(side, last);
  const uncompleted = mask + 1 - load<u32>(queue, XDP_OUTSTANDING);
  if (uncompleted < space) space = uncompleted;
  const begin = local;
  // Packets in one frame that is shared (a generator's) mostly follow each other: the first goes the long way, and the
  // references of the others are handed over at once.
  let shared: u32 = 0;
  let shares: u32 = 0; // that this worker holds of it
  let pieces: u32 = 0;
  let taken: u32 = 0;
  let result: i32 = <i32>packets;
  for (let packet = first; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    const start = load<u32>(starts + (packet << 2));
    const end = endAmong(starts, packet, packets, last);
    const length = end - start;
    // Nearly every packet is one descriptor with nothing unusual about it.
    const desc = descs + start * DESC_SIZE;
    const address = load<u64>(desc, DESC_ADDR);
    const tail = load<u64>(desc, DESC_LEN); // options stand above the length
    const word = words + ((<u32>(address >> frameShift)) << 2);
    if (
      length == 1 &&
      space != 0 &&
      (load<u64>(meta, META_FLAGS) & odd) == 0 &&
      tail - ETHERNET_HEADER <= longest - ETHERNET_HEADER &&
      address - size < within &&
      tail <= size - (address & (size - 1)) &&
      (load<u32>(word) == mine || (pieces < shares && <u32>(address >> frameShift) == shared))
    ) {
      if (load<u32>(word) == mine) {
        if (rewrites) rewrite(edge, <u32>address);
        store<u32>(word, held);
      } else pieces++;
      v128.store(entries + (local & mask) * DESC_SIZE, v128.load(desc));
      store<u8>(meta, VERDICT_MOVED, META_VERDICT);
      local++;
      space--;
      taken++;
      continue;
    }
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    if (pieces != 0) moveShared(shared, self, owner, pieces);
    pieces = 0;
    shares = 0;
    if (length > space || length - 1 > fragments) {
      result = <i32>packet;
      break;
    }
    if (edge != 0) {
      if (!ordinary(edge, meta, descs + start * DESC_SIZE, length)) {
        result = <i32>packet;
        break;
      }
      rewrite(edge, load<u32>(descs + start * DESC_SIZE, DESC_ADDR));
    }
    const wrong = putPacket(descs, start, end, owner, entries, mask, local);
    if (wrong != 0) {
      result = wrong;
      break;
    }
    if (isRunt(descs, start, end)) {
      for (let index = start; index < end; index++) {
        const place = load<u32>(descs + index * DESC_SIZE, DESC_ADDR);
        moveFrame(place >> frameShift, owner, self);
        releaseFrame(place);
      }
      store<u8>(meta, VERDICT_MOVED, META_VERDICT);
      count(queue, XDP_RUNTS, 1);
      continue;
    }
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
    local += length;
    space -= length;
    taken++;
    if (rewrites) continue;
    shared = <u32>(address >> frameShift);
    shares = sharesOf(shared, self);
  }
  if (pieces != 0) moveShared(shared, self, owner, pieces);
  if (local != begin) {
    store<u32>(side, local, RING_LOCAL);
    ringCommit(side);
    store<u32>(queue, load<u32>(queue, XDP_OUTSTANDING) + (local - begin), XDP_OUTSTANDING);
    count(queue, XDP_TAKEN, <f64>taken);
  }
  if (edge != 0 && taken == packets) burstClear(burst);
  return result;
}

/** A linear part too short for an Ethernet header, or a piece with nothing in it: AF_XDP chokes on either. */
function isRunt(descs: u32, start: u32, end: u32): bool {
  if (load<u32>(descs + start * DESC_SIZE, DESC_LEN) < ETHERNET_HEADER) return true;
  for (let index = start + 1; index < end; index++)
    if (load<u32>(descs + index * DESC_SIZE, DESC_LEN) == 0) return true;
  return false;
}

/** Takes back the frames of what was completed; says how many. */
export function xdpComplete(queue: u32): u32 {
  const side = queue + XDP_COMPLETION;
  const ready = ringCount(side, load<u32>(side, RING_MASK) + 1);
  if (ready == 0) return 0;
  const entries = load<u32>(side, RING_ENTRIES);
  const mask = load<u32>(side, RING_MASK);
  const sent = load<u32>(queue + XDP_TX, RING_ENTRIES);
  const sentMask = load<u32>(queue + XDP_TX, RING_MASK);
  const owner = load<u32>(queue, XDP_TX_OWNER);
  const self = selfOwner();
  const words = wordOf(0);
  const held = (owner << OWNER_SHIFT) | 1;
  const plain = <u64>plainFrames();
  let magazine = loadedMagazine();
  let full = load<u32>(magazine, MAGAZINE_COUNT);
  let local = load<u32>(side, RING_LOCAL);
  let oldest = load<u32>(queue, XDP_COMPLETED);
  let outstanding = load<u32>(queue, XDP_OUTSTANDING);
  let packets: u32 = 0;
  let bytes: u64 = 0;
  // Packets in one frame that is shared (a generator's) mostly follow each other: what they held is given up at once.
  let shared: u32 = 0;
  let shares: u32 = 0; // that the ring holds of it
  let pieces: u32 = 0;
  for (let i: u32 = 0; i < ready; i++) {
    const address = load<u64>(entries + ((local & mask) << 3));
    local++;
    const frame = address >> frameShift;
    if (
      frame < plain &&
      full < <u32>MAGAZINE_CAPACITY &&
      outstanding != 0 &&
      load<u32>(words + ((<u32>frame) << 2)) == held
    ) {
      // As giveBack() does it, in its order: this worker may be ended at any loop's head.
      store<u32>(magazine + (full << 2), (<u32>frame) << frameShift, MAGAZINE_ENTRIES);
      store<u32>(magazine, ++full, MAGAZINE_COUNT);
      store<u32>(words + ((<u32>frame) << 2), 0);
    } else if (pieces < shares && frame == <u64>shared && outstanding != 0) pieces++;
    else {
      if (pieces != 0) giveUp(shared, owner, pieces);
      magazine = loadedMagazine();
      full = load<u32>(magazine, MAGAZINE_COUNT);
      pieces = 0;
      shares = 0;
      if (frame == 0 || frame >= <u64>frames || outstanding == 0) {
        count(queue, XDP_BAD_COMPLETED, 1);
        continue;
      }
      shared = <u32>frame;
      shares = sharesOf(shared, owner);
      if (shares != 0) pieces = 1;
      else if (moveFrame(shared, owner, self)) {
        releaseFrame(<u32>address);
        magazine = loadedMagazine();
        full = load<u32>(magazine, MAGAZINE_COUNT);
      } else {
        count(queue, XDP_BAD_COMPLETED, 1);
        continue;
      }
    }
    // Which packet it was does not matter for the sums: as many descriptors are done as were the oldest's.
    const entry = sent + ((oldest & sentMask) << DESC_SHIFT);
    bytes += load<u32>(entry, DESC_LEN);
    if ((load<u32>(entry, DESC_OPTIONS) & CONTINUED) == 0) packets++;
    oldest++;
    outstanding--;
  }
  if (pieces != 0) giveUp(shared, owner, pieces);
  store<u32>(side, local, RING_LOCAL);
  ringRelease(side);
  store<u32>(queue, oldest, XDP_COMPLETED);
  store<u32>(queue, outstanding, XDP_OUTSTANDING);
  count(queue, XDP_SENT, <f64>packets);
  count(queue, XDP_SENT_BYTES, <f64>bytes);
  return ready;
}

/** Gives up references that the ring `owner` holds to a frame that is shared. */
function giveUp(frame: u32, owner: u32, pieces: u32): void {
  moveShared(frame, owner, selfOwner(), pieces);
  releaseReferences(frame, pieces);
}
