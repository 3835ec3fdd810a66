// Out of an AF_PACKET ring into pool frames: one copy a packet, so that the kernel has its slot or block back at
// once and nobody who keeps a packet can freeze the ring. Layouts: linux/if_packet.h.
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_GOOD,
  CHECKSUM_PARTIAL,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SIZE,
  META_HASH,
  META_HASHED,
  META_OUTGOING,
  META_SHIFT,
  META_STAMPED,
  META_WIRE_LENGTH,
} from "../structs";
import {
  TPACKET_BYTES,
  TPACKET_COOKED,
  TPACKET_ETHERNET,
  TPACKET_HELD,
  TPACKET_KINDS,
  TPACKET_LARGE,
  TPACKET_MALFORMED,
  TPACKET_OVERSIZE,
  TPACKET_PACKETS,
  TPACKET_RING,
  TPACKET_STARVED,
  TPACKET_TOUCHED,
  TPACKET_TRUNCATED,
  TPACKET_UNIT,
  TPACKET_UNIT_SIZE,
  TPACKET_UNITS,
  TPACKET_VNET,
} from "../structs-messages";
import { frameMask, frameShift, releaseFrame, takeFrame } from "./arena";
import { stampMeta } from "./meta";
import { readVnet } from "./vnet";

export const STATUS_USER: u32 = 1;
const STATUS_COPY: u32 = 2;
export const STATUS_CSUM_NOT_READY: u32 = 8;
export const STATUS_VLAN_VALID: u32 = 0x10;
const STATUS_VLAN_TPID_VALID: u32 = 0x40;
export const STATUS_CSUM_VALID: u32 = 0x80;
const V2_HEADER: u32 = 32; // struct tpacket2_hdr; struct sockaddr_ll follows
export const V3_HEADER: u32 = 48; // struct tpacket3_hdr; struct sockaddr_ll follows
export const SLL_PACKET_TYPE: u32 = 10;
export const SLL_SIZE: u32 = 20;
export const PACKET_OUTGOING: u32 = 4;
export const ADDRESSES: u32 = 12; // bytes before a VLAN tag
export const TAG: u32 = 4;
export const COOKED: u32 = 20; // LINKTYPE_LINUX_SLL2
export const HEADROOM: u32 = 64;

// The packet being looked at, as either header tells it.
export let bytes: u32 = 0;
export let wire: u32 = 0;
let status: u32 = 0;
export let tag: u32 = 0; // TPID and TCI in network order; 0: none was taken off
let seconds: u32 = 0;
let nanoseconds: u32 = 0;
export let kind: u32 = 0;
let hash: u32 = 0;
export let body: u32 = 0; // where its bytes are
export let address: u32 = 0; // its struct sockaddr_ll
export let extra: u32 = 0; // bytes that it gets beyond its own: a tag put back, or a cooked header

export function add(state: u32, counter: u32, value: u64): void {
  store<u64>(state + counter, load<u64>(state + counter) + value);
}

/** The tag that the kernel took off a packet with this status, in network order; 0: none. */
export function tagOf(status: u32, tci: u32, tpid: u32): u32 {
  if ((status & STATUS_VLAN_VALID) == 0) return 0;
  if ((status & STATUS_VLAN_TPID_VALID) == 0) tpid = 0x8100;
  return bswap<u32>((tpid << 16) | (tci & 0xffff));
}

function readTag(state: u32, tci: u32, tpid: u32): void {
  const tagged = load<u32>(state, TPACKET_ETHERNET) != 0 && bytes >= ADDRESSES;
  tag = tagged ? tagOf(status, tci, tpid) : 0;
  extra = load<u32>(state, TPACKET_COOKED) != 0 ? COOKED : tag != 0 ? TAG : 0;
}

/** Writes the header of LINKTYPE_LINUX_SLL2 from the packet's sockaddr_ll. */
export function writeCooked(to: u32, address: u32): void {
  store<u16>(to, load<u16>(address, 2)); // protocol, in network order both here and there
  store<u16>(to, 0, 2);
  store<u32>(to, bswap<u32>(load<u32>(address, 4)), 4); // interface
  store<u16>(to, bswap<u16>(load<u16>(address, 8)), 8); // ARPHRD_ type
  store<u16>(to, load<u16>(address, 10), 10); // packet type, length of the address
  store<u64>(to, load<u64>(address, 12), 12);
}

/** Reads a TPACKET_V2 slot; false when it contradicts itself. */
export function readSlot(state: u32, slot: u32): bool {
  const size = load<u32>(state, TPACKET_UNIT_SIZE);
  status = load<u32>(slot);
  wire = load<u32>(slot, 4);
  bytes = load<u32>(slot, 8);
  const mac = <u32>load<u16>(slot, 12);
  seconds = load<u32>(slot, 16);
  nanoseconds = load<u32>(slot, 20);
  address = slot + V2_HEADER;
  kind = load<u8>(address, SLL_PACKET_TYPE);
  hash = 0;
  body = slot + mac;
  readTag(state, load<u16>(slot, 24), load<u16>(slot, 26));
  return mac >= V2_HEADER + SLL_SIZE + load<u32>(state, TPACKET_VNET) && mac <= size && bytes <= size - mac;
}

/** Reads a packet of a TPACKET_V3 block that ends at `end`; false when it contradicts itself. */
export function readEntry(state: u32, at: u32, end: u32): bool {
  if (end - at < V3_HEADER + SLL_SIZE) return false;
  seconds = load<u32>(at, 4);
  nanoseconds = load<u32>(at, 8);
  bytes = load<u32>(at, 12);
  wire = load<u32>(at, 16);
  status = load<u32>(at, 20);
  const mac = <u32>load<u16>(at, 24);
  hash = load<u32>(at, 28);
  address = at + V3_HEADER;
  kind = load<u8>(address, SLL_PACKET_TYPE);
  body = at + mac;
  readTag(state, load<u32>(at, 32), load<u16>(at, 36));
  return (
    mac >= V3_HEADER + SLL_SIZE + load<u32>(state, TPACKET_VNET) && mac <= end - at && bytes <= end - at - mac
  );
}

/** Writes the metadata of the packet being looked at. */
export function describe(state: u32, meta: u32): void {
  v128.store(meta, i64x2.splat(0));
  v128.store(meta, i64x2.splat(0), 16);
  let flags: u32 = META_STAMPED;
  if ((status & STATUS_CSUM_NOT_READY) != 0) flags |= CHECKSUM_PARTIAL;
  else if ((status & STATUS_CSUM_VALID) != 0) flags |= CHECKSUM_GOOD;
  if (kind == PACKET_OUTGOING) flags |= META_OUTGOING;
  if (hash != 0) flags |= META_HASHED;
  stampMeta(meta, seconds, nanoseconds, flags);
  store<u32>(meta, hash, META_HASH);
  store<u32>(meta, wire + extra, META_WIRE_LENGTH);
  const vnet = load<u32>(state, TPACKET_VNET);
  if (vnet != 0) readVnet(body - vnet, meta);
}

// Copies in steps of 16 bytes, which may go up to 15 bytes past the end of either side.
function copySteps(to: u32, from: u32, length: u32): void {
  const end = to + length;
  while (to < end) {
    v128.store(to, v128.load(from));
    to += 16;
    from += 16;
  }
}

/** Copies the packet being looked at to the end of the burst. False: no room, or no frames. */
export function append(state: u32, burst: u32): bool {
  const frameSize = frameMask + 1;
  const total = bytes + extra;
  const first = frameSize - HEADROOM; // what the first frame can hold
  const pieces: u32 = total <= first ? 1 : 1 + ((total - first + frameMask) >> frameShift);
  const count = load<u32>(burst, BURST_COUNT);
  const packets = load<u32>(burst, BURST_PACKETS);
  const capacity = load<u32>(burst, BURST_CAPACITY);
  if (count + pieces > capacity) {
    if (count != 0) return false;
    add(state, TPACKET_OVERSIZE, 1);
    return true;
  }
  const descs = load<u32>(burst, BURST_DESCS) + count * DESC_SIZE;
  const ringEnd =
    load<u32>(state, TPACKET_RING) + load<u32>(state, TPACKET_UNITS) * load<u32>(state, TPACKET_UNIT_SIZE);
  let from = body;
  let left = total;
  for (let piece: u32 = 0; piece < pieces; piece++) {
    const frame = takeFrame();
    if (frame == 0) {
      for (let back: u32 = 0; back < piece; back++) releaseFrame(load<u32>(descs + back * DESC_SIZE));
      store<u32>(state, 1, TPACKET_STARVED);
      return false;
    }
    let to = frame;
    let room = frameSize;
    if (piece == 0) {
      // Staggered, so that the heads of many packets do not fight for the same cache sets.
      const stagger = ((frame >> frameShift) & 15) << 6;
      to += HEADROOM + (total + stagger <= first ? stagger : 0);
      room = frame + frameSize - to;
    }
    const length = min(left, room);
    const desc = descs + piece * DESC_SIZE;
    store<u64>(desc, to, DESC_ADDR);
    store<u32>(desc, length, DESC_LEN);
    store<u32>(desc, piece + 1 < pieces ? CONTINUED : 0, DESC_OPTIONS);
    left -= length;
    let copied = length;
    if (piece == 0 && tag != 0) {
      store<u64>(to, load<u64>(from));
      store<u32>(to, load<u32>(from, 8), 8);
      store<u32>(to, tag, ADDRESSES);
      to += ADDRESSES + TAG;
      from += ADDRESSES;
      copied -= ADDRESSES + TAG;
    }
    if (piece == 0 && tag == 0 && extra != 0) {
      writeCooked(to, address);
      to += extra;
      copied -= extra;
    }
    // A whole step past a short packet stays within its frame: it starts at a multiple of 16.
    if (copied <= 256 && (to & 15) == 0 && from + copied + 16 <= ringEnd) copySteps(to, from, copied);
    else memory.copy(<usize>to, <usize>from, <usize>copied);
    from += copied;
  }
  describe(state, load<u32>(burst, BURST_METAS) + (packets << META_SHIFT));
  store<u32>(load<u32>(burst, BURST_STARTS) + (packets << 2), count);
  store<u32>(burst, count + pieces, BURST_COUNT);
  store<u32>(burst, packets + 1, BURST_PACKETS);
  add(state, TPACKET_PACKETS, 1);
  add(state, TPACKET_BYTES, total);
  return true;
}

/** Entries at least so far apart are not fetched before they are read, nor taken in runs. */
export const FAR: u32 = 512;
/** Bytes of the shortest packets that are taken in runs. */
export const SHORTEST: u32 = 16;
/** Bytes that are fetched at once, and then walked out of the first-level cache. */
const STRETCH: u32 = 8192;
const LINE: u32 = 64;

/** Fetches a stretch of a block from the entry at `at` on, since walking waits at each; returns where it ends. */
export function fetchStretch(state: u32, block: u32, at: u32, size: u32): u32 {
  const end = min(size, at + STRETCH);
  let sum: u32 = 0;
  for (let line = at & ~(LINE - 1); line < end; line += LINE) sum += load<u32>(block + line);
  store<u32>(state, sum, TPACKET_TOUCHED); // unused, the reads would be optimized away
  return end;
}

/** Gives the kernel back what tpacketRecord() has been through. */
export function releaseUnits(state: u32): void {
  const units = load<u32>(state, TPACKET_UNITS);
  const size = load<u32>(state, TPACKET_UNIT_SIZE);
  const ring = load<u32>(state, TPACKET_RING);
  const unit = load<u32>(state, TPACKET_UNIT);
  for (let held = load<u32>(state, TPACKET_HELD); held != 0; held--) {
    const index = unit >= held ? unit - held : unit + units - held;
    atomic.store<u32>(ring + index * size, 0, 8);
  }
  store<u32>(state, 0, TPACKET_HELD);
}

export function nextUnit(state: u32, unit: u32): u32 {
  unit = unit + 1 == load<u32>(state, TPACKET_UNITS) ? 0 : unit + 1;
  store<u32>(state, unit, TPACKET_UNIT);
  return unit;
}

/** Copies packets out of TPACKET_V2 slots until the burst is full or the ring is empty. Returns how many. */
export function tpacketSlots(state: u32, burst: u32): u32 {
  const before = load<u32>(burst, BURST_PACKETS);
  const size = load<u32>(state, TPACKET_UNIT_SIZE);
  const ring = load<u32>(state, TPACKET_RING);
  const kinds = load<u32>(state, TPACKET_KINDS);
  let unit = load<u32>(state, TPACKET_UNIT);
  store<u32>(state, 0, TPACKET_LARGE);
  store<u32>(state, 0, TPACKET_STARVED);
  while (true) {
    const slot = ring + unit * size;
    if ((atomic.load<u32>(slot) & STATUS_USER) == 0) break;
    if (!readSlot(state, slot)) add(state, TPACKET_MALFORMED, 1);
    else if ((status & STATUS_COPY) != 0) {
      store<u32>(state, 1, TPACKET_LARGE);
      break;
    } else if (bytes < wire && body + bytes == slot + size) add(state, TPACKET_TRUNCATED, 1);
    else if (((kinds >> (kind & 31)) & 1) != 0 && !append(state, burst)) break;
    atomic.store<u32>(slot, 0);
    unit = nextUnit(state, unit);
  }
  return load<u32>(burst, BURST_PACKETS) - before;
}

/** True when a packet waits in the ring; `blocks`: it is one of TPACKET_V3. */
export function tpacketReady(state: u32, blocks: u32): bool {
  const unit =
    load<u32>(state, TPACKET_RING) + load<u32>(state, TPACKET_UNIT) * load<u32>(state, TPACKET_UNIT_SIZE);
  return (atomic.load<u32>(unit + (blocks != 0 ? 8 : 0)) & STATUS_USER) != 0;
}
