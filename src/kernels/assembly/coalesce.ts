// Receive coalescing (GRO): packets of one flow that follow each other become one super-frame, by reference. What
// may be joined is decided as Linux's GRO does it: the segments must come out again exactly as they went in.
import {
  BURST_COUNT,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_GOOD,
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  COALESCE_BYTES,
  COALESCE_FLOWS,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  FLOW_BYTES,
  FLOW_HEAD,
  FLOW_HEADERS,
  FLOW_IDENTIFICATION,
  FLOW_LAST,
  FLOW_NETWORK,
  FLOW_PIECES,
  FLOW_SEGMENT,
  FLOW_SEQUENCE,
  FLOW_SIZE,
  FLOW_TOTAL,
  FLOW_TRANSPORT,
  LAYERS_IS_OTHER,
  LAYERS_IS_WHOLE,
  META_FLAGS,
  META_SEGMENT,
  META_SHIFT,
  META_SIZE,
  META_TCP_SEGMENTS,
  META_UDP_SEGMENTS,
  META_VERDICT,
  META_WIRE_LENGTH,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import { exclusive, releaseFrame } from "./arena";
import { checksum } from "./checksum";
import { base, dissect, end, family, network, protocol, transport, transportHas, u16At } from "./dissect";
import { folded } from "./finish";
import { descriptorAt, packetEnd, packetStart } from "./packet";

const NONE: u32 = 0xffffffff;
/** TCP flags that segmentation sets on the last segment only, so that they end a super-frame: FIN and PSH. */
const ENDS: u32 = 0x09;
/** Linux joins and cuts no more datagrams than these (UDP_GRO_CNT_MAX). */
const DATAGRAMS: u32 = 64;

// The dissected packet is of a flow, but is to be joined with no other.
let alone: bool = false;

/** Bytes of all headers of the dissected packet; 0: it cannot be told which flow it belongs to. Sets `alone`. */
function headersOf(burst: u32, packet: u32, meta: u32): u32 {
  if ((<u32>load<u16>(meta, META_FLAGS) & CHECKSUM_MASK) != CHECKSUM_GOOD) return 0;
  if (load<u16>(meta, META_SEGMENT) != 0 || <u32>load<u8>(meta, META_VERDICT) != VERDICT_PASS) return 0;
  // Headers within the linear part, which must be ours to write; no options of IPv4, no extension headers.
  const first = descriptorAt(burst, packetStart(burst, packet));
  if (base != load<u32>(first, DESC_ADDR) || !exclusive(base)) return 0;
  if (transport - network != (family == 4 ? 20 : 40)) return 0;
  let own: u32 = 8;
  if (protocol == 6) {
    if (!transportHas(20)) return 0;
    own = (<u32>load<u8>(base + transport + 12) >> 4) << 2;
    if (own < 20 || !transportHas(own)) return 0;
    // ACK, and perhaps PSH, FIN and ECE: every other flag has to arrive by itself.
    const flags = <u32>u16At(transport + 12) & 0xfff;
    alone = (flags & ~(ENDS | 0x40)) != 0x10;
  } else {
    if (protocol != 17 || !transportHas(8)) return 0;
    // Without a checksum a datagram would get one when it is cut again.
    alone = u16At(transport + 4) != end - transport || u16At(transport + 6) == 0;
  }
  const headers = transport + own;
  if (headers == end || headers > 255) alone = true;
  return headers;
}

/** True when the headers at `a` and `b` are of one flow: link header, addresses, ports. */
function sameFlow(a: u32, b: u32): bool {
  for (let at: u32 = 0; at < network; at++) if (load<u8>(a + at) != load<u8>(b + at)) return false;
  const x = a + network;
  const y = b + network;
  if (family == 4) {
    if (load<u8>(x, 9) != load<u8>(y, 9) || load<u64>(x, 12) != load<u64>(y, 12)) return false;
  } else {
    // version and flow label, but for the traffic class between them
    if (((load<u32>(x) ^ load<u32>(y)) & 0xffff0ff0) != 0 || load<u8>(x, 6) != load<u8>(y, 6)) return false;
    for (let at: u32 = 8; at < 40; at += 8) if (load<u64>(x + at) != load<u64>(y + at)) return false;
  }
  return load<u32>(a + transport) == load<u32>(b + transport);
}

/** True when the headers at `a` and `b`, of one flow, agree in all that does not change from segment to segment. */
function sameHeaders(a: u32, b: u32, headers: u32): bool {
  const x = a + network;
  const y = b + network;
  if (family == 4) {
    if (load<u16>(x) != load<u16>(y)) return false; // version, header length, type of service
    if (load<u32>(x, 6) != load<u32>(y, 6)) return false; // flags, offset, TTL, protocol
  } else if (load<u32>(x) != load<u32>(y) || load<u16>(x, 6) != load<u16>(y, 6)) return false;
  if (protocol == 17) return true;
  const s = a + transport;
  const t = b + transport;
  if (load<u32>(s, 8) != load<u32>(t, 8)) return false; // acknowledgement
  if (load<u8>(s, 12) != load<u8>(t, 12) || load<u16>(s, 14) != load<u16>(t, 14)) return false; // length, window
  if (((<u32>load<u8>(s, 13) ^ <u32>load<u8>(t, 13)) & ~ENDS) != 0) return false;
  for (let at: u32 = 18; at < headers - transport; at++)
    if (load<u8>(s + at) != load<u8>(t + at)) return false; // urgent pointer, options
  return true;
}

/** The flow of the dissected packet among those that are open; 0: none is. */
function flowOf(flows: u32, open: u32): u32 {
  for (let flow = flows; flow < flows + open * FLOW_SIZE; flow += FLOW_SIZE) {
    if (load<u32>(flow, FLOW_HEAD) == NONE || load<u32>(flow, FLOW_TRANSPORT) != transport) continue;
    if (load<u32>(flow, FLOW_NETWORK) == network && sameFlow(load<u32>(flow, FLOW_BYTES), base)) return flow;
  }
  return 0;
}

/** True when the dissected packet is what comes next in its flow. */
function continues(flow: u32, headers: u32, payload: u32, pieces: u32, most: u32): bool {
  const segment = load<u32>(flow, FLOW_SEGMENT);
  const total = load<u32>(flow, FLOW_TOTAL);
  return (
    !alone &&
    load<u32>(flow, FLOW_HEADERS) == headers &&
    sameHeaders(load<u32>(flow, FLOW_BYTES), base, headers) &&
    payload <= segment &&
    total % segment == 0 && // none shorter than a segment came yet
    headers - network + total + payload <= <u32>COALESCE_BYTES &&
    load<u32>(flow, FLOW_PIECES) + pieces <= most &&
    (family == 6 || u16At(network + 4) == ((load<u32>(flow, FLOW_IDENTIFICATION) + 1) & 0xffff)) &&
    (protocol == 17
      ? total < DATAGRAMS * segment
      : bswap<u32>(load<u32>(base + transport + 4)) == load<u32>(flow, FLOW_SEQUENCE))
  );
}

/**
 * Joins packets of `burst` into super-frames of at most `fragments` + 1 descriptors and appends all that are still
 * the burst's to the burst `to`, which must be as large. A flow's packets stay in order; each super-frame stands where
 * its first packet stood. Only packets whose checksums are known to be good are joined. `work` takes 4 bytes a packet
 * and COALESCE_FLOWS flows. Returns how many packets went into others.
 */
export function burstCoalesce(burst: u32, link: u32, fragments: u32, to: u32, work: u32, scratch: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  const flows = work;
  const next = work + COALESCE_FLOWS * FLOW_SIZE; // u32 a packet: 0, or 1 + the number of the one joined behind it
  const joined = next + (packets << 2); // u16 a packet: bytes of headers to be dropped, 0 where it stands for itself
  memory.fill(<usize>next, 0, <usize>(packets * 6));
  let open: u32 = 0;
  let merged: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    const state = dissect(burst, packet, link, scratch);
    if (state == LAYERS_IS_OTHER) continue;
    const headers: u32 = state == LAYERS_IS_WHOLE ? headersOf(burst, packet, meta) : 0;
    if (headers == 0) {
      closeFlows(flows, open);
      continue;
    }
    const payload = end - headers;
    const pieces = packetEnd(burst, packet) - packetStart(burst, packet);
    let flow = flowOf(flows, open);
    if (flow != 0 && continues(flow, headers, payload, pieces, fragments + 1)) {
      store<u32>(next + (load<u32>(flow, FLOW_LAST) << 2), packet + 1);
      store<u16>(joined + (packet << 1), headers);
      merged++;
    } else {
      // What does not continue its flow ends it, so that order is kept.
      if (flow != 0) store<u32>(flow, NONE, FLOW_HEAD);
      if (alone) continue;
      if (flow == 0) {
        flow = slotFor(flows, open, packet);
        if (flow == flows + open * FLOW_SIZE) open++;
      }
      store<u32>(flow, packet, FLOW_HEAD);
      store<u32>(flow, headers, FLOW_HEADERS);
      store<u32>(flow, network, FLOW_NETWORK);
      store<u32>(flow, transport, FLOW_TRANSPORT);
      store<u32>(flow, base, FLOW_BYTES);
      store<u32>(flow, payload, FLOW_SEGMENT);
      store<u32>(flow, 0, FLOW_TOTAL);
      store<u32>(flow, 0, FLOW_PIECES);
    }
    store<u32>(flow, packet, FLOW_LAST);
    store<u32>(flow, load<u32>(flow, FLOW_TOTAL) + payload, FLOW_TOTAL);
    store<u32>(flow, load<u32>(flow, FLOW_PIECES) + pieces, FLOW_PIECES);
    store<u32>(flow, family == 4 ? u16At(network + 4) : 0, FLOW_IDENTIFICATION);
    if (protocol == 6) {
      store<u32>(flow, bswap<u32>(load<u32>(base + transport + 4)) + payload, FLOW_SEQUENCE);
      if ((<u32>load<u8>(base + transport + 13) & ENDS) != 0) store<u32>(flow, NONE, FLOW_HEAD);
    }
  }
  emit(burst, link, to, next, joined, scratch);
  return merged;
}

/** Where a new flow is entered: in the place of one that ended, in a new one, or where there is none left over another. */
function slotFor(flows: u32, open: u32, packet: u32): u32 {
  const end = flows + open * FLOW_SIZE;
  for (let flow = flows; flow < end; flow += FLOW_SIZE) if (load<u32>(flow, FLOW_HEAD) == NONE) return flow;
  return open < <u32>COALESCE_FLOWS ? end : flows + (packet % COALESCE_FLOWS) * FLOW_SIZE;
}

function closeFlows(flows: u32, open: u32): void {
  for (let i: u32 = 0; i < open; i++) store<u32>(flows + i * FLOW_SIZE, NONE, FLOW_HEAD);
}

function emit(burst: u32, link: u32, to: u32, next: u32, joined: u32, scratch: u32): void {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  for (let packet: u32 = 0; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    const verdict = <u32>load<u8>(meta, META_VERDICT);
    if (verdict == VERDICT_MOVED) continue;
    if (load<u16>(joined + (packet << 1)) != 0) continue;
    const count = load<u32>(to, BURST_COUNT);
    const number = load<u32>(to, BURST_PACKETS);
    const chain = load<u32>(next + (packet << 2));
    let after = count;
    let segment: u32 = 0;
    let ends: u32 = 0;
    if (chain != 0) {
      dissect(burst, packet, link, scratch);
      const own: u32 = protocol == 6 ? (<u32>load<u8>(base + transport + 12) >> 4) << 2 : 8;
      segment = end - transport - own;
      after = take(burst, packet, 0, end, to, after);
    } else after = take(burst, packet, 0, NONE, to, after);
    for (let other = chain; other != 0; other = load<u32>(next + ((other - 1) << 2))) {
      dissect(burst, other - 1, link, scratch);
      if (protocol == 6) ends |= <u32>load<u8>(base + transport + 13) & ENDS;
      after = take(burst, other - 1, load<u16>(joined + ((other - 1) << 1)), end, to, after);
    }
    for (let index = count; index < after; index++)
      store<u32>(descriptorAt(to, index), index + 1 < after ? CONTINUED : 0, DESC_OPTIONS);
    const meta2 = load<u32>(to, BURST_METAS) + (number << META_SHIFT);
    memory.copy(<usize>meta2, <usize>meta, META_SIZE);
    store<u8>(meta2, verdict, META_VERDICT);
    store<u32>(load<u32>(to, BURST_STARTS) + (number << 2), count);
    store<u32>(to, number + 1, BURST_PACKETS);
    store<u32>(to, after, BURST_COUNT);
    if (chain != 0) finishHeaders(to, number, meta2, segment, ends);
  }
}

/** Moves the packet's bytes from `from` up to `until` (NONE: all) behind descriptor `index` of `to`; returns the next index. */
function take(burst: u32, packet: u32, from: u32, until: u32, to: u32, index: u32): u32 {
  const last = packetEnd(burst, packet);
  let left = until == NONE ? NONE : until - from;
  for (let i = packetStart(burst, packet); i < last; i++) {
    const at = descriptorAt(burst, i);
    const address = load<u32>(at, DESC_ADDR);
    const size = load<u32>(at, DESC_LEN);
    const skip = min(from, size);
    from -= skip;
    const part = min(size - skip, left);
    if (part == 0 && (size != 0 || i + 1 < last || until != NONE)) {
      releaseFrame(address);
      continue;
    }
    if (left != NONE) left -= part;
    const out = descriptorAt(to, index++);
    store<u64>(out, address + skip, DESC_ADDR);
    store<u32>(out, part, DESC_LEN);
  }
  store<u8>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
  return index;
}

/**
 * Lengths, IPv4 checksum, PSH and FIN of a super-frame. Its transport checksum was good in each segment, and is left
 * partial: the pseudo-header's sum.
 */
function finishHeaders(to: u32, number: u32, meta: u32, segment: u32, ends: u32): void {
  const last = packetEnd(to, number);
  let total: u32 = 0;
  for (let index = packetStart(to, number); index < last; index++)
    total += load<u32>(descriptorAt(to, index), DESC_LEN);
  const ip = load<u32>(descriptorAt(to, packetStart(to, number)), DESC_ADDR) + network;
  const length = total - network;
  if (family == 4) {
    store<u16>(ip, bswap<u16>(<u16>length), 2);
    store<u16>(ip, 0, 10);
    const sum = ~checksum(ip, 20) & 0xffff;
    store<u16>(ip, bswap<u16>(<u16>sum), 10);
  } else store<u16>(ip, bswap<u16>(<u16>(length - 40)), 4);
  const header = ip - network + transport;
  const covered = total - transport;
  if (protocol == 17) store<u16>(header, bswap<u16>(<u16>covered), 4);
  else store<u8>(header, <u32>load<u8>(header, 13) | ends, 13);
  const addresses = family == 4 ? checksum(ip + 12, 8) : checksum(ip + 8, 32);
  store<u16>(header + (protocol == 17 ? 6 : 16), bswap<u16>(<u16>folded(addresses + protocol + covered)));
  const flags = (<u32>load<u16>(meta, META_FLAGS) & ~CHECKSUM_MASK) | CHECKSUM_PARTIAL;
  store<u16>(meta, flags | (protocol == 6 ? META_TCP_SEGMENTS : META_UDP_SEGMENTS), META_FLAGS);
  store<u16>(meta, segment, META_SEGMENT);
  store<u32>(meta, 0, META_WIRE_LENGTH);
}
