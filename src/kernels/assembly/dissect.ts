// Where the headers of a packet are: link layer, IP with options and extension headers, transport.
// Every length is checked against the packet before it is used.
import {
  DATAGRAM_HEAD_LIMIT,
  DESC_ADDR,
  DESC_LEN,
  LAYERS_DESTINATION_PORT,
  LAYERS_END,
  LAYERS_FAMILY,
  LAYERS_FRAGMENT,
  LAYERS_IS_FRAGMENT,
  LAYERS_IS_MALFORMED,
  LAYERS_IS_OTHER,
  LAYERS_IS_WHOLE,
  LAYERS_NETWORK,
  LAYERS_PROTOCOL,
  LAYERS_SOURCE_PORT,
  LAYERS_STATE,
  LAYERS_TAGS,
  LAYERS_TRANSPORT,
  LAYERS_TYPE,
} from "../structs";
import { descriptorAt, packetCopy, packetLength, packetStart } from "./packet";

/** What `dissect` needs beyond the bytes it was shown, and the packet has: show it more. */
const NEEDS_MORE: u32 = 255;

// The bytes being looked at.
export let base: u32 = 0;
let shown: u32 = 0;
let whole: u32 = 0;

// What was found (see LAYERS_).
export let family: u32 = 0;
export let protocol: u32 = 0;
export let tags: u32 = 0;
let etherType: u32 = 0;
export let network: u32 = 0;
export let transport: u32 = 0;
export let end: u32 = 0;
export let fragment: u32 = 0;
/**
 * Where the IPv6 address stands to which the packet goes at last: that of the header, or of a routing header with
 * segments left (RFC 8200 section 8.1). 0: it is told in a way that is not known here.
 */
export let destination: u32 = 0;
/** The IP length field is 0: a jumbogram, or a segment still to be cut. */
export let oversize: bool = false;

export function u16At(at: u32): u32 {
  return <u32>bswap<u16>(load<u16>(base + at));
}

// True when `bytes` at offset `at` are shown; else `missing` says why not.
function has(at: u32, bytes: u32): bool {
  return at + bytes <= shown;
}

function missing(at: u32, bytes: u32): u32 {
  return at + bytes <= whole ? NEEDS_MORE : LAYERS_IS_MALFORMED;
}

/** Dissects packet `number` of the burst; `scratch` takes DATAGRAM_HEAD_LIMIT bytes when its headers are cut by fragments. Returns LAYERS_IS_…. */
export function dissect(burst: u32, number: u32, link: u32, scratch: u32): u32 {
  const first = descriptorAt(burst, packetStart(burst, number));
  base = load<u32>(first, DESC_ADDR);
  shown = load<u32>(first, DESC_LEN);
  whole = packetLength(burst, number);
  let state = dissectLink(link);
  if (state == NEEDS_MORE && showMore(burst, number, scratch)) state = dissectLink(link);
  return state == NEEDS_MORE ? LAYERS_IS_MALFORMED : state;
}

/** Copies the packet's first bytes to `scratch`, to be looked at there. False: they are there already. */
function showMore(burst: u32, number: u32, scratch: u32): bool {
  if (base == scratch) return false;
  base = scratch;
  shown = packetCopy(burst, number, 0, DATAGRAM_HEAD_LIMIT, scratch);
  return true;
}

function forget(): void {
  family = 0;
  protocol = 0;
  tags = 0;
  etherType = 0;
  network = 0;
  transport = 0;
  end = 0;
  fragment = 0;
  destination = 0;
  oversize = false;
}

function dissectLink(link: u32): u32 {
  forget();
  if (link == 1) return dissectTypes(12, 14);
  if (link == 113) return dissectTypes(14, 16);
  if (link == 276) {
    if (!has(0, 20)) return missing(0, 20);
    return dissectTypes(0, 20);
  }
  if (link == 101 || link == 12 || link == 14 || link == 228 || link == 229) {
    if (!has(0, 1)) return missing(0, 1);
    const version = <u32>load<u8>(base) >> 4;
    if (link == 228 && version != 4) return LAYERS_IS_MALFORMED;
    if (link == 229 && version != 6) return LAYERS_IS_MALFORMED;
    if (version == 4) return dissect4(0);
    if (version == 6) return dissect6(0);
    return LAYERS_IS_MALFORMED;
  }
  if (link == 9) {
    if (!has(0, 2)) return missing(0, 2);
    return dissectPpp(u16At(0) == 0xff03 ? 2 : 0); // address and control of RFC 1662, where they are
  }
  if (link == 0 || link == 108) {
    if (!has(0, 4)) return missing(0, 4);
    // DLT_NULL has the capturing machine's byte order; the families are small numbers, so either order tells.
    let af = load<u32>(base);
    if ((af & 0xffff) == 0) af = bswap<u32>(af);
    if (af == 2) return dissect4(4);
    if (af == 10 || af == 24 || af == 28 || af == 30) return dissect6(4);
    return LAYERS_IS_OTHER;
  }
  return LAYERS_IS_OTHER;
}

/** From an EtherType at `at` on, past VLAN tags; the first header starts at `next`. */
function dissectTypes(at: u32, next: u32): u32 {
  if (!has(at, 2)) return missing(at, 2);
  etherType = u16At(at);
  while (etherType == 0x8100 || etherType == 0x88a8 || etherType == 0x9100) {
    if (!has(next, 4)) return missing(next, 4);
    etherType = u16At(next + 2);
    next += 4;
    tags++;
  }
  if (etherType == 0x8847 || etherType == 0x8848) return dissectLabels(next);
  if (etherType == 0x8864) return dissectPpp(next + 6); // behind 6 bytes of PPPoE
  if (etherType == 0x0800) return dissect4(next);
  if (etherType == 0x86dd) return dissect6(next);
  return LAYERS_IS_OTHER;
}

/** An MPLS stack (RFC 3032); what follows its bottom is IP by its first four bits, or nothing known. */
function dissectLabels(at: u32): u32 {
  while (true) {
    if (!has(at, 5)) return missing(at, 5);
    at += 4;
    if ((load<u8>(base + at - 2) & 1) == 0) continue;
    const version = <u32>load<u8>(base + at) >> 4;
    return version == 4 ? dissect4(at) : version == 6 ? dissect6(at) : LAYERS_IS_OTHER;
  }
}

/** From PPP's protocol field on; it has one byte where it is compressed (RFC 1661 section 6.5). */
function dissectPpp(at: u32): u32 {
  if (!has(at, 2)) return missing(at, 2);
  const short = (load<u8>(base + at) & 1) != 0;
  const number: u32 = short ? <u32>load<u8>(base + at) : u16At(at);
  at += short ? 1 : 2;
  if (number == 0x0021) return dissect4(at);
  if (number == 0x0057) return dissect6(at);
  return number == 0x0281 || number == 0x0283 ? dissectLabels(at) : LAYERS_IS_OTHER;
}

function dissect4(at: u32): u32 {
  network = at;
  if (!has(at, 20)) return missing(at, 20);
  const versionAndLength = <u32>load<u8>(base + at);
  const header = (versionAndLength & 15) << 2;
  if (versionAndLength >> 4 != 4 || header < 20) return LAYERS_IS_MALFORMED;
  if (!has(at, header)) return missing(at, header);
  family = 4;
  protocol = load<u8>(base + at + 9);
  transport = at + header;
  // A segment still to be cut (larger than the field holds) has total length 0.
  const total = u16At(at + 2);
  oversize = total == 0;
  end = total == 0 ? whole : at + total;
  if (end < transport || end > whole) return LAYERS_IS_MALFORMED;
  if ((u16At(at + 6) & 0x3fff) != 0) {
    fragment = at;
    return LAYERS_IS_FRAGMENT;
  }
  return showTransport();
}

/** The fixed part of the transport header is to be shown, as far as it is there. */
function showTransport(): u32 {
  const bytes = min<u32>(protocol == 6 ? 20 : 8, end - transport);
  return has(transport, bytes) ? LAYERS_IS_WHOLE : NEEDS_MORE;
}

function dissect6(at: u32): u32 {
  network = at;
  if (!has(at, 40)) return missing(at, 40);
  if (<u32>load<u8>(base + at) >> 4 != 6) return LAYERS_IS_MALFORMED;
  family = 6;
  // 0: a jumbogram (RFC 2675), or a segment still to be cut.
  const payload = u16At(at + 4);
  oversize = payload == 0;
  end = payload == 0 ? whole : at + 40 + payload;
  if (end > whole) return LAYERS_IS_MALFORMED;
  let next = <u32>load<u8>(base + at + 6);
  destination = at + 24;
  at += 40;
  while (true) {
    if (next == 0 || next == 43 || next == 60 || next == 135 || next == 139 || next == 140) {
      if (!has(at, 8)) return missing(at, 8);
      if (next == 43 && load<u8>(base + at + 3) != 0) {
        const last = lastSegment(at);
        if (last != 0 && !has(last, 16)) return missing(last, 16);
        destination = last;
      }
      next = load<u8>(base + at);
      at += (<u32>load<u8>(base + at + 1) + 1) << 3;
    } else if (next == 51) {
      if (!has(at, 8)) return missing(at, 8);
      next = load<u8>(base + at);
      at += (<u32>load<u8>(base + at + 1) + 2) << 2;
    } else if (next == 44) {
      if (!has(at, 8)) return missing(at, 8);
      next = load<u8>(base + at);
      if ((u16At(at + 2) & 0xfff9) != 0) {
        fragment = at;
        protocol = next;
        transport = at + 8;
        return transport > end ? LAYERS_IS_MALFORMED : LAYERS_IS_FRAGMENT;
      }
      at += 8;
    } else break;
    if (at > end) return LAYERS_IS_MALFORMED;
  }
  protocol = next;
  transport = at;
  return showTransport();
}

/**
 * Where the last address of the routing header at `at` stands: of a list in travelling order (type 0, RFC 2460, and
 * type 2, RFC 6275) or in the reverse of it (type 4, RFC 8754). 0: not known.
 */
function lastSegment(at: u32): u32 {
  const kind = <u32>load<u8>(base + at + 2);
  const addresses = <u32>load<u8>(base + at + 1) >> 1;
  if (addresses == 0) return 0;
  if (kind == 4) return at + 8;
  return kind == 0 || kind == 2 ? at + 8 + ((addresses - 1) << 4) : 0;
}

/**
 * Goes on with the packet that the dissected one carries from offset `at` up to `limit`, of EtherType `type`; returns
 * as `dissect` does. The bytes of the headers before it stay where they are.
 */
export function dissectCarried(burst: u32, number: u32, type: u32, at: u32, limit: u32, scratch: u32): u32 {
  whole = limit;
  let state = dissectType(type, at);
  if (state == NEEDS_MORE && showMore(burst, number, scratch)) state = dissectType(type, at);
  return state == NEEDS_MORE ? LAYERS_IS_MALFORMED : state;
}

function dissectType(type: u32, at: u32): u32 {
  forget();
  if (type == 0x0800) return dissect4(at);
  if (type == 0x86dd) return dissect6(at);
  if (type == 0x8847 || type == 0x8848) return dissectLabels(at);
  return type == 0x6558 ? dissectTypes(at + 12, at + 14) : LAYERS_IS_OTHER;
}

/** True when `bytes` bytes at `at` belong to the IP packet and can be read at `base`; they are brought there if need be. */
export function show(burst: u32, number: u32, at: u32, bytes: u32, scratch: u32): bool {
  if (at + bytes > end) return false;
  return has(at, bytes) || (showMore(burst, number, scratch) && has(at, bytes));
}

/** True when the transport header's first `bytes` are shown and within the IP packet. */
export function transportHas(bytes: u32): bool {
  return transport + bytes <= end && has(transport, bytes);
}

/** Dissects packet `number` and writes a LAYERS_ record at `out`. Returns LAYERS_IS_…. */
export function dissectPacket(burst: u32, number: u32, link: u32, out: u32, scratch: u32): u32 {
  const state = dissect(burst, number, link, scratch);
  store<u8>(out, state, LAYERS_STATE);
  store<u8>(out, family, LAYERS_FAMILY);
  store<u8>(out, protocol, LAYERS_PROTOCOL);
  store<u8>(out, tags, LAYERS_TAGS);
  store<u16>(out, etherType, LAYERS_TYPE);
  store<u32>(out, network, LAYERS_NETWORK);
  store<u32>(out, transport, LAYERS_TRANSPORT);
  store<u32>(out, end, LAYERS_END);
  store<u32>(out, fragment, LAYERS_FRAGMENT);
  let ports: u32 = 0;
  if (
    state == LAYERS_IS_WHOLE &&
    (protocol == 6 || protocol == 17 || protocol == 132 || protocol == 33 || protocol == 136) &&
    transportHas(4)
  )
    ports = load<u32>(base + transport);
  store<u16>(out, bswap<u16>(<u16>ports), LAYERS_SOURCE_PORT);
  store<u16>(out, bswap<u16>(<u16>(ports >> 16)), LAYERS_DESTINATION_PORT);
  return state;
}
