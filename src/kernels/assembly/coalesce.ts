// Receive coalescing (GRO): packets of one flow that follow each other become one super-frame, by reference. What
// may be joined is decided as Linux's GRO does it: the segments must come out again exactly as they went in.
import {
  BURST_COUNT,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_GOOD,
  CHECKSUM_MASK,
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
import { descriptorAt, packetEnd, packetStart } from "./packet";

const NONE: u32 = 0xffffffff;

/** Bytes of all headers of the dissected packet; 0: it is not to be joined with others. */
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
    // Nothing but ACK and PSH: every other flag has to arrive by itself.
    if (
      own < 20 ||
      (load<u8>(base + transport + 13) & 0xf7) != 0x10 ||
      (load<u8>(base + transport + 12) & 15) != 0
    )
      return 0;
  } else if (protocol != 17) return 0;
  if (!transportHas(own)) return 0;
  // Without a checksum a datagram would get one when it is cut again.
  if (protocol == 17 && (u16At(transport + 4) != end - transport || u16At(transport + 6) == 0)) return 0;
  return transport + own;
}

/** True when the headers at `a` and `b` are those of one flow, in all that does not change from segment to segment. */
function sameFlow(a: u32, b: u32, headers: u32): bool {
  for (let at: u32 = 0; at < network; at++) if (load<u8>(a + at) != load<u8>(b + at)) return false;
  const x = a + network;
  const y = b + network;
  if (family == 4) {
    if (load<u16>(x) != load<u16>(y)) return false; // version, header length, type of service
    if (load<u32>(x, 6) != load<u32>(y, 6)) return false; // flags, offset, TTL, protocol
    if (load<u64>(x, 12) != load<u64>(y, 12)) return false;
  } else {
    if (load<u32>(x) != load<u32>(y) || load<u16>(x, 6) != load<u16>(y, 6)) return false;
    for (let at: u32 = 8; at < 40; at += 8) if (load<u64>(x + at) != load<u64>(y + at)) return false;
  }
  const s = a + transport;
  const t = b + transport;
  if (load<u32>(s) != load<u32>(t)) return false; // ports
  if (protocol == 17) return true;
  if (load<u32>(s, 8) != load<u32>(t, 8)) return false; // acknowledgement
  if (load<u8>(s, 12) != load<u8>(t, 12) || load<u16>(s, 14) != load<u16>(t, 14)) return false; // length, window
  for (let at: u32 = 20; at < headers - transport; at++)
    if (load<u8>(s + at) != load<u8>(t + at)) return false;
  return true;
}

/** The open flow that the dissected packet continues, or 0; `closed` flows are forgotten, so that order is kept. */
function continues(flows: u32, open: u32, headers: u32, payload: u32, pieces: u32, most: u32): u32 {
  for (let i: u32 = 0; i < open; i++) {
    const flow = flows + i * FLOW_SIZE;
    const head = load<u32>(flow, FLOW_HEAD);
    if (head == NONE || load<u32>(flow, FLOW_HEADERS) != headers) continue;
    if (load<u32>(flow, FLOW_TRANSPORT) != transport || load<u32>(flow, FLOW_NETWORK) != network) continue;
    if (!sameFlow(load<u32>(flow, FLOW_BYTES), base, headers)) continue;
    const segment = load<u32>(flow, FLOW_SEGMENT);
    const total = load<u32>(flow, FLOW_TOTAL);
    const fits =
      payload != 0 &&
      payload <= segment &&
      total % segment == 0 && // none shorter than a segment came yet
      headers - network + total + payload <= <u32>COALESCE_BYTES &&
      load<u32>(flow, FLOW_PIECES) + pieces <= most &&
      (family == 6 || u16At(network + 4) == ((load<u32>(flow, FLOW_IDENTIFICATION) + 1) & 0xffff)) &&
      (protocol == 17 || bswap<u32>(load<u32>(base + transport + 4)) == load<u32>(flow, FLOW_SEQUENCE));
    if (fits) return flow;
    store<u32>(flow, NONE, FLOW_HEAD); // a packet of the flow that cannot be joined ends it
    return 0;
  }
  return 0;
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
    if (headers == 0 || headers > 255) {
      closeFlows(flows, open);
      continue;
    }
    const payload = end - headers;
    const pieces = packetEnd(burst, packet) - packetStart(burst, packet);
    let flow = continues(flows, open, headers, payload, pieces, fragments + 1);
    if (flow != 0) {
      store<u32>(next + (load<u32>(flow, FLOW_LAST) << 2), packet + 1);
      store<u16>(joined + (packet << 1), headers);
      merged++;
    } else {
      if (payload == 0) continue;
      flow = flows + (open < <u32>COALESCE_FLOWS ? open++ : packet % COALESCE_FLOWS) * FLOW_SIZE;
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
      // PSH ends a super-frame, since segmentation sets it on the last segment only.
      if ((load<u8>(base + transport + 13) & 8) != 0) store<u32>(flow, NONE, FLOW_HEAD);
    }
  }
  emit(burst, link, to, next, joined, scratch);
  return merged;
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
    let psh: u32 = 0;
    if (chain != 0) {
      dissect(burst, packet, link, scratch);
      const own: u32 = protocol == 6 ? (<u32>load<u8>(base + transport + 12) >> 4) << 2 : 8;
      segment = end - transport - own;
      after = take(burst, packet, 0, end, to, after);
    } else after = take(burst, packet, 0, NONE, to, after);
    for (let other = chain; other != 0; other = load<u32>(next + ((other - 1) << 2))) {
      dissect(burst, other - 1, link, scratch);
      if (protocol == 6) psh |= load<u8>(base + transport + 13) & 8;
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
    if (chain != 0) finishHeaders(to, number, meta2, segment, psh, link, scratch);
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

/** Lengths, IPv4 checksum and PSH of a super-frame; its transport checksum was good in each segment. */
function finishHeaders(
  to: u32,
  number: u32,
  meta: u32,
  segment: u32,
  psh: u32,
  link: u32,
  scratch: u32,
): void {
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
  if (protocol == 17) store<u16>(header, bswap<u16>(<u16>(total - transport)), 4);
  else store<u8>(header, <u32>load<u8>(header, 13) | psh, 13);
  const flags = <u32>load<u16>(meta, META_FLAGS);
  store<u16>(meta, flags | (protocol == 6 ? META_TCP_SEGMENTS : META_UDP_SEGMENTS), META_FLAGS);
  store<u16>(meta, segment, META_SEGMENT);
  store<u32>(meta, 0, META_WIRE_LENGTH);
}
