// One packet cut into several: TCP and UDP segmentation (what a card does as TSO and USO) and IP fragmentation.
// Payload is shared by reference; each piece gets a fresh head frame with headers of its own.
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  LAYERS_IS_FRAGMENT,
  LAYERS_IS_WHOLE,
  META_FLAGS,
  META_SEGMENT,
  META_SHIFT,
  META_SIZE,
  META_TCP_SEGMENTS,
  META_UDP_SEGMENTS,
  META_VERDICT,
  META_WIRE_LENGTH,
  SPLIT_NO_FRAME,
  SPLIT_NO_ROOM,
  SPLIT_NOT_POSSIBLE,
  SPLIT_REFUSED,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import { addReference, frameMask, frameShift, releaseFrame, takeFrame } from "./arena";
import { checksum } from "./checksum";
import { base, dissect, end, family, network, protocol, transport, transportHas, u16At } from "./dissect";
import { descriptorAt, packetEnd, packetStart } from "./packet";

/** Room before a fresh header, staggered so that frames do not fight for the same cache sets. */
function headAddress(frame: u32, length: u32): u32 {
  const headroom = min<u32>(256 + ((frame >> frameShift) & 15) * 64, frameMask + 1 - length);
  return frame + headroom;
}

// The burst being written, and where it stood before the packet at hand.
let target: u32 = 0;
let count: u32 = 0;
let packets: u32 = 0;

function begin(to: u32): void {
  target = to;
  count = load<u32>(to, BURST_COUNT);
  packets = load<u32>(to, BURST_PACKETS);
}

function commit(): void {
  store<u32>(target, count, BURST_COUNT);
  store<u32>(target, packets, BURST_PACKETS);
}

/** Gives back the frames of all pieces made since `begin`. */
function rollBack(): void {
  for (let index = load<u32>(target, BURST_COUNT); index < count; index++)
    releaseFrame(load<u32>(descriptorAt(target, index), DESC_ADDR));
}

function describe(address: u32, length: u32): void {
  const at = descriptorAt(target, count++);
  store<u64>(at, address, DESC_ADDR);
  store<u32>(at, length, DESC_LEN);
  store<u32>(at, CONTINUED, DESC_OPTIONS);
}

/**
 * Appends a piece: a fresh head of `head` bytes, copied from `headers`, then the packet's bytes from `from` on, by
 * reference. Returns the head's address, or 0 with the reason in `why`.
 */
let why: i32 = 0;
function piece(burst: u32, packet: u32, headers: u32, head: u32, from: u32, length: u32): u32 {
  const first = packetStart(burst, packet);
  const last = packetEnd(burst, packet);
  const capacity = load<u32>(target, BURST_CAPACITY);
  const begun = count;
  if (count + 1 > capacity) {
    why = SPLIT_NO_ROOM;
    return 0;
  }
  const frame = takeFrame();
  if (frame == 0) {
    why = SPLIT_NO_FRAME;
    return 0;
  }
  const address = headAddress(frame, head);
  memory.copy(<usize>address, <usize>headers, <usize>head);
  describe(address, head);
  for (let index = first; index < last && length != 0; index++) {
    const at = descriptorAt(burst, index);
    const size = load<u32>(at, DESC_LEN);
    if (from >= size) {
      from -= size;
      continue;
    }
    const part = min(size - from, length);
    if (count + 1 > capacity) {
      why = SPLIT_NO_ROOM;
      return 0;
    }
    if (!addReference(load<u32>(at, DESC_ADDR))) {
      why = SPLIT_NO_FRAME;
      return 0;
    }
    describe(load<u32>(at, DESC_ADDR) + from, part);
    length -= part;
    from = 0;
  }
  store<u32>(descriptorAt(target, count - 1), 0, DESC_OPTIONS);
  const meta = load<u32>(target, BURST_METAS) + (packets << META_SHIFT);
  memory.copy(<usize>meta, <usize>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT)), META_SIZE);
  store<u8>(meta, VERDICT_PASS, META_VERDICT);
  store<u32>(meta, 0, META_WIRE_LENGTH);
  store<u16>(meta, 0, META_SEGMENT);
  store<u32>(load<u32>(target, BURST_STARTS) + (packets << 2), begun);
  packets++;
  return address;
}

function setFlags(flags: u32): void {
  const meta = load<u32>(target, BURST_METAS) + ((packets - 1) << META_SHIFT);
  store<u16>(meta, flags, META_FLAGS);
}

/** Gives up the packet that was cut: its frames live on in the pieces. */
function finish(burst: u32, packet: u32, result: i32): i32 {
  if (result < 0) {
    rollBack();
    return result;
  }
  commit();
  const last = packetEnd(burst, packet);
  for (let index = packetStart(burst, packet); index < last; index++)
    releaseFrame(load<u32>(descriptorAt(burst, index), DESC_ADDR));
  store<u8>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
  return result;
}

function put16(at: u32, value: u32): void {
  store<u16>(at, bswap<u16>(<u16>value));
}
function get16(at: u32): u32 {
  return <u32>bswap<u16>(load<u16>(at));
}
function put32(at: u32, value: u32): void {
  store<u32>(at, bswap<u32>(value));
}

/** Sets the IP lengths of a header at `ip` and, for IPv4, its identification and checksum. */
function finishIp(ip: u32, header: u32, total: u32, identification: u32): void {
  if (family == 6) {
    put16(ip + 4, total - 40);
    return;
  }
  put16(ip + 2, total);
  put16(ip + 4, identification);
  put16(ip + 10, 0);
  put16(ip + 10, ~checksum(ip, header) & 0xffff);
}

/** Writes the folded pseudo-header sum into the transport checksum field, as a card or the edge wants it. */
function putPseudo(at: u32, ip: u32, field: u32, length: u32): void {
  let sum = family == 4 ? checksum(ip + 12, 8) : checksum(ip + 8, 32);
  sum += protocol + (length & 0xffff) + (length >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  put16(at + field, sum);
}

/**
 * Cuts a super-frame into segments of META_SEGMENT bytes of payload, appended to the burst `to`. Their transport
 * checksums are left as CHECKSUM_PARTIAL. Returns how many, or SPLIT_…; then nothing has changed.
 */
export function packetSegment(burst: u32, packet: u32, link: u32, to: u32, scratch: u32): i32 {
  const meta = load<u32>(burst, BURST_METAS) + (packet << META_SHIFT);
  const size = <u32>load<u16>(meta, META_SEGMENT);
  const flags = <u32>load<u16>(meta, META_FLAGS);
  if (dissect(burst, packet, link, scratch) != LAYERS_IS_WHOLE || size == 0) return SPLIT_NOT_POSSIBLE;
  const tcp = protocol == 6;
  if ((flags & META_TCP_SEGMENTS) != 0 && !tcp) return SPLIT_NOT_POSSIBLE; // within a tunnel
  if (!tcp && protocol != 17) return SPLIT_NOT_POSSIBLE;
  const least: u32 = tcp ? 20 : 8;
  if (!transportHas(least)) return SPLIT_NOT_POSSIBLE;
  const own: u32 = tcp ? (<u32>load<u8>(base + transport + 12) >> 4) << 2 : 8;
  if (own < least || !transportHas(own)) return SPLIT_NOT_POSSIBLE;
  const head = transport + own;
  if (head > frameMask + 1) return SPLIT_NOT_POSSIBLE;
  const payload = end - head;
  const parts: u32 = payload == 0 ? 1 : (payload + size - 1) / size;
  const identification = family == 4 ? u16At(network + 4) : 0;
  const sequence = tcp ? bswap<u32>(load<u32>(base + transport + 4)) : 0;
  const bits = tcp ? <u32>load<u8>(base + transport + 13) : 0;
  begin(to);
  for (let part: u32 = 0; part < parts; part++) {
    const offset = part * size;
    const length = min(size, payload - offset);
    const at = piece(burst, packet, base, head, head + offset, length);
    if (at == 0) return finish(burst, packet, why);
    const segment = at + transport;
    finishIp(at + network, transport - network, transport - network + own + length, identification + part);
    if (tcp) {
      put32(segment + 4, sequence + offset);
      let now = bits;
      if (part != parts - 1) now &= ~0x09; // FIN and PSH belong to the last
      if (part != 0) now &= ~0x80; // CWR to the first
      store<u8>(segment + 13, now);
      putPseudo(segment, at + network, 16, own + length);
    } else {
      put16(segment + 4, own + length);
      putPseudo(segment, at + network, 6, own + length);
    }
    setFlags((flags & ~(CHECKSUM_MASK | META_TCP_SEGMENTS | META_UDP_SEGMENTS)) | CHECKSUM_PARTIAL);
  }
  return finish(burst, packet, <i32>parts);
}

/** Where IPv6's part that every fragment repeats ends (RFC 8200 section 4.5), and where the next-header byte before it is. */
let perFragment: u32 = 0;
let nextAt: u32 = 0;
function findPerFragment(): void {
  let next = <u32>load<u8>(base + network + 6);
  let at = network + 40;
  nextAt = network + 6;
  perFragment = at;
  // Hop-by-hop options, then destination options only if a routing header comes behind them.
  while (next == 0 || next == 43 || next == 60) {
    const here = at;
    const number = next;
    next = load<u8>(base + here);
    at += (<u32>load<u8>(base + here + 1) + 1) << 3;
    if (number == 60 && next != 43) return;
    nextAt = here;
    perFragment = at;
  }
}

/**
 * Cuts an IP packet into fragments whose IP packets have at most `mtu` bytes, appended to the burst `to`; IPv6
 * fragments get `identification`. The packet's checksums must be final. Returns how many, or SPLIT_…: REFUSED
 * when "don't fragment" is set.
 */
export function packetFragment(
  burst: u32,
  packet: u32,
  link: u32,
  mtu: u32,
  identification: u32,
  to: u32,
  scratch: u32,
): i32 {
  const state = dissect(burst, packet, link, scratch);
  if (state != LAYERS_IS_WHOLE && !(state == LAYERS_IS_FRAGMENT && family == 4)) return SPLIT_NOT_POSSIBLE;
  const flags = <u32>load<u16>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), META_FLAGS);
  if ((flags & CHECKSUM_MASK) == CHECKSUM_PARTIAL) return SPLIT_NOT_POSSIBLE;
  if (end - network <= mtu) return SPLIT_NOT_POSSIBLE;
  return family == 4
    ? fragment4(burst, packet, mtu, to)
    : fragment6(burst, packet, mtu, identification, to, scratch);
}

function fragment4(burst: u32, packet: u32, mtu: u32, to: u32): i32 {
  const header = transport - network;
  const word = u16At(network + 6);
  if ((word & 0x4000) != 0) return SPLIT_REFUSED;
  if (mtu < header + 8 || transport > frameMask + 1) return SPLIT_NOT_POSSIBLE;
  const size = (mtu - header) & ~7;
  const payload = end - transport;
  begin(to);
  let parts: i32 = 0;
  for (let offset: u32 = 0; offset < payload; offset += size, parts++) {
    const length = min(size, payload - offset);
    const at = piece(burst, packet, base, transport, transport + offset, length);
    if (at == 0) return finish(burst, packet, why);
    const ip = at + network;
    const more = offset + length < payload ? 0x2000 : word & 0x2000;
    put16(ip + 6, more | ((word & 0x1fff) + (offset >> 3)));
    if (offset != 0) blankOptions(ip + 20, header - 20);
    finishIp(ip, header, header + length, get16(ip + 4));
  }
  return finish(burst, packet, parts);
}

/** Options without the "copied" bit stand in the first fragment only (RFC 791 section 3.1); here no-operations take their place. */
function blankOptions(at: u32, length: u32): void {
  let i: u32 = 0;
  while (i < length) {
    const type = <u32>load<u8>(at + i);
    if (type == 0) return;
    const size: u32 = type == 1 || i + 1 >= length ? 1 : <u32>load<u8>(at + i + 1);
    if (size == 0 || i + size > length) return;
    if ((type & 0x80) == 0) memory.fill(<usize>(at + i), 1, <usize>size);
    i += size;
  }
}

function fragment6(burst: u32, packet: u32, mtu: u32, identification: u32, to: u32, scratch: u32): i32 {
  findPerFragment();
  const head = perFragment + 8;
  const upper = perFragment - network + 8;
  if (mtu < upper + 8 || head > frameMask + 1) return SPLIT_NOT_POSSIBLE;
  const size = (mtu - upper) & ~7;
  const payload = end - perFragment;
  // The repeated headers with the fragment header behind them; `base` may be this very scratch.
  const headers = scratch + 4096;
  memory.copy(<usize>headers, <usize>base, <usize>perFragment);
  store<u8>(headers + perFragment, load<u8>(base + nextAt));
  store<u8>(headers + perFragment + 1, 0);
  store<u8>(headers + nextAt, 44);
  put32(headers + perFragment + 4, identification);
  begin(to);
  let parts: i32 = 0;
  for (let offset: u32 = 0; offset < payload; offset += size, parts++) {
    const length = min(size, payload - offset);
    const at = piece(burst, packet, headers, head, perFragment + offset, length);
    if (at == 0) return finish(burst, packet, why);
    put16(at + perFragment + 2, offset | (offset + length < payload ? 1 : 0));
    put16(at + network + 4, upper - 40 + length);
  }
  return finish(burst, packet, parts);
}
