// The UDP payloads of a burst, as gather wants them, and the numbering of who sent them.
import {
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CONTINUED,
  DATAGRAM_DESC,
  DATAGRAM_GROUP,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_LENGTH,
  DATAGRAM_OFFSET,
  DATAGRAM_PACKET,
  DATAGRAM_PEER,
  DATAGRAM_SIZE,
  DATAGRAM_TAIL,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SHIFT,
  LAYERS_IS_FRAGMENT,
  LAYERS_IS_OTHER,
  LAYERS_IS_WHOLE,
  LINK_DATAGRAM,
  META_PEER,
  META_SEGMENT,
  META_SHIFT,
  META_VERDICT,
  PEER_DESTINATION,
  PEER_FAMILY,
  PEER_SIZE,
  PEER_SOURCE,
  PEER_SOURCE_PORT,
  PEERS_COUNT,
  PEERS_ENTRIES,
  PEERS_LIMIT,
  PEERS_MASK,
  PEERS_REFUSED,
  PEERS_SLOTS,
  SCAN_IS_DATAGRAM,
  SCAN_IS_ELSEWHERE,
  SCAN_IS_FRAGMENT,
  SCAN_IS_MALFORMED,
  SCAN_IS_OTHER,
  SCAN_LIMIT,
  SCAN_LINK,
  SCAN_NEED,
  SCAN_NEXT,
  SCAN_OUT,
  SCAN_PEERS,
  SCAN_PORT,
  SCAN_SCRATCH,
  SCAN_STATES,
  VERDICT_PASS,
} from "../structs";
import { base, dissect, end, family, network, protocol, transport, transportHas, u16At } from "./dissect";
import { descriptorAt, packetCopy, packetEnd, packetLength, packetStart } from "./packet";
import { touch } from "./touch";

let sink: u32 = 0; // keeps reads for the caches' sake from being optimized away

/**
 * Finds the datagrams of packets with verdict PASS, from packet `first` on; a super-frame (META_SEGMENT) holds
 * several. Returns how many records it wrote; SCAN_NEXT says where it stopped because the records were full.
 * The heads of the first DATAGRAM_GROUP are read on the way: in so short a loop the processor waits for many of them
 * at once, where the layout's program behind it would wait for one after the other.
 */
export function udpDatagrams(burst: u32, first: u32, scan: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  const link = load<u32>(scan, SCAN_LINK);
  const port = load<u32>(scan, SCAN_PORT);
  const need = load<u32>(scan, SCAN_NEED);
  const limit = load<u32>(scan, SCAN_LIMIT);
  const scratch = load<u32>(scan, SCAN_SCRATCH);
  const headers = scratch + limit * (need + 16);
  const states = load<u32>(scan, SCAN_STATES);
  const peers = load<u32>(scan, SCAN_PEERS);
  const descs = load<u32>(burst, BURST_DESCS);
  const starts = load<u32>(burst, BURST_STARTS);
  let seen: u32 = 0;
  let out = load<u32>(scan, SCAN_OUT);
  let count: u32 = 0;
  let packet = first;
  for (; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) {
      store<u8>(states + packet, SCAN_IS_OTHER);
      continue;
    }
    let payload: u32 = 0;
    let length: u32;
    let peer: u32 = 0;
    if (link == LINK_DATAGRAM) {
      const index = load<u32>(starts + (packet << 2));
      const desc = descs + (index << DESC_SHIFT);
      const alone = load<u16>(meta, META_SEGMENT) == 0 && (load<u32>(desc, DESC_OPTIONS) & CONTINUED) == 0;
      if (alone && count < limit) {
        // A socket's datagram in one piece: nothing to look for.
        const head = load<u32>(desc, DESC_ADDR);
        const bytes = load<u32>(desc, DESC_LEN);
        if (count < <u32>DATAGRAM_GROUP) seen += touch(head);
        store<u32>(out, head, DATAGRAM_HEAD);
        store<u32>(out, bytes, DATAGRAM_HEAD_LENGTH);
        store<u32>(out, bytes, DATAGRAM_LENGTH);
        store<u32>(out, head + bytes, DATAGRAM_TAIL);
        store<u32>(out, load<u32>(meta, META_PEER), DATAGRAM_PEER);
        store<u32>(out, packet, DATAGRAM_PACKET);
        store<u32>(out, index, DATAGRAM_DESC);
        store<u32>(out, 0, DATAGRAM_OFFSET);
        store<u8>(states + packet, SCAN_IS_DATAGRAM);
        out += DATAGRAM_SIZE;
        count++;
        continue;
      }
      length = packetLength(burst, packet);
      peer = load<u32>(meta, META_PEER);
    } else {
      const state = udpState(dissect(burst, packet, link, headers), port);
      store<u8>(states + packet, state);
      if (state != SCAN_IS_DATAGRAM) continue;
      payload = transport + 8;
      const total = u16At(transport + 4);
      length = (total == 0 ? end - transport : total) - 8;
      if (peers != 0) peer = intern(peers);
    }
    const segment = <u32>load<u16>(meta, META_SEGMENT);
    const parts: u32 = segment == 0 || length <= segment ? 1 : (length + segment - 1) / segment;
    if (count + parts > limit) {
      // One packet with more datagrams than there are records could never be taken.
      if (count != 0 || parts <= limit) break;
      store<u8>(states + packet, SCAN_IS_MALFORMED);
      continue;
    }
    store<u8>(states + packet, SCAN_IS_DATAGRAM);
    for (let part: u32 = 0; part < parts; part++) {
      const at = payload + part * segment;
      const bytes = parts == 1 ? length : min(segment, length - part * segment);
      place(burst, packet, at, bytes, out, scratch + count * (need + 16), need);
      store<u32>(out, peer, DATAGRAM_PEER);
      if (count < <u32>DATAGRAM_GROUP) seen += touch(load<u32>(out, DATAGRAM_HEAD));
      out += DATAGRAM_SIZE;
      count++;
    }
  }
  sink = seen;
  store<u32>(scan, packet, SCAN_NEXT);
  return count;
}

function udpState(layers: u32, port: u32): u32 {
  if (layers == LAYERS_IS_FRAGMENT) return protocol == 17 ? SCAN_IS_FRAGMENT : SCAN_IS_OTHER;
  if (layers == LAYERS_IS_OTHER) return SCAN_IS_OTHER;
  if (layers != LAYERS_IS_WHOLE) return SCAN_IS_MALFORMED;
  if (protocol != 17) return SCAN_IS_OTHER;
  if (!transportHas(8)) return SCAN_IS_MALFORMED;
  if (port != 0 && u16At(transport + 2) != port) return SCAN_IS_ELSEWHERE;
  const total = u16At(transport + 4);
  // 0: longer than the field holds (RFC 2675), or a segment still to be cut.
  if (total != 0 && (total < 8 || total > end - transport)) return SCAN_IS_MALFORMED;
  return SCAN_IS_DATAGRAM;
}

/** Writes where `length` bytes at offset `at` of the packet lie; copies head and tail to `scratch` where fragments cut them. */
function place(burst: u32, packet: u32, at: u32, length: u32, out: u32, scratch: u32, need: u32): void {
  const last = packetEnd(burst, packet) - 1;
  let index = packetStart(burst, packet);
  let within = at;
  while (index < last && within >= load<u32>(descriptorAt(burst, index), DESC_LEN)) {
    within -= load<u32>(descriptorAt(burst, index), DESC_LEN);
    index++;
  }
  store<u32>(out, packet, DATAGRAM_PACKET);
  store<u32>(out, length, DATAGRAM_LENGTH);
  store<u32>(out, index, DATAGRAM_DESC);
  store<u32>(out, within, DATAGRAM_OFFSET);
  let head = load<u32>(descriptorAt(burst, index), DESC_ADDR) + within;
  let readable = min(length, load<u32>(descriptorAt(burst, index), DESC_LEN) - within);
  if (readable == length) store<u32>(out, head + length, DATAGRAM_TAIL);
  else placeTail(burst, index, within, length, out, scratch + need);
  if (readable < min(length, need)) {
    readable = packetCopy(burst, packet, at, min(length, need), scratch);
    head = scratch;
  }
  store<u32>(out, head, DATAGRAM_HEAD);
  store<u32>(out, readable, DATAGRAM_HEAD_LENGTH);
}

/** The datagram starts `within` bytes into descriptor `index` and ends in a later one. */
function placeTail(burst: u32, index: u32, within: u32, length: u32, out: u32, scratch: u32): void {
  let start = index;
  let from = within;
  let left = length;
  let piece = load<u32>(descriptorAt(burst, index), DESC_LEN) - within;
  while (left > piece) {
    left -= piece;
    index++;
    piece = load<u32>(descriptorAt(burst, index), DESC_LEN);
  }
  const wanted: u32 = min(length, 8);
  if (left >= wanted) {
    store<u32>(out, load<u32>(descriptorAt(burst, index), DESC_ADDR) + left, DATAGRAM_TAIL);
    return;
  }
  let skip = length - wanted;
  let done: u32 = 0;
  while (done < wanted) {
    const at = descriptorAt(burst, start);
    const size = load<u32>(at, DESC_LEN) - from;
    if (skip >= size) skip -= size;
    else {
      const part = min(size - skip, wanted - done);
      memory.copy(<usize>(scratch + done), <usize>(load<u32>(at, DESC_ADDR) + from + skip), <usize>part);
      done += part;
      skip = 0;
    }
    from = 0;
    start++;
  }
  store<u32>(out, scratch + wanted, DATAGRAM_TAIL);
}

/** The number of the dissected packet's endpoints, a new one where they were not seen before; 0: the table is full. */
function intern(peers: u32): u32 {
  const count = load<u32>(peers, PEERS_COUNT);
  // Built in the entry that would be next; there is always one to spare.
  const fresh = load<u32>(peers, PEERS_ENTRIES) + count * PEER_SIZE;
  store<u32>(fresh, family, PEER_FAMILY);
  store<u32>(fresh, load<u32>(base + transport), PEER_SOURCE_PORT);
  if (family == 4) {
    store<u64>(fresh, load<u32>(base + network + 12), PEER_SOURCE);
    store<u64>(fresh, 0, PEER_SOURCE + 8);
    store<u64>(fresh, load<u32>(base + network + 16), PEER_DESTINATION);
    store<u64>(fresh, 0, PEER_DESTINATION + 8);
  } else memory.copy(<usize>(fresh + PEER_SOURCE), <usize>(base + network + 8), 32);
  let hash: u64 = 0x9e3779b97f4a7c15;
  for (let at: u32 = 0; at < <u32>PEER_SIZE; at += 8)
    hash = (rotl<u64>(hash, 27) ^ load<u64>(fresh + at)) * 0xff51afd7ed558ccd;
  hash ^= hash >> 32;
  const mask = load<u32>(peers, PEERS_MASK);
  const slots = load<u32>(peers, PEERS_SLOTS);
  let slot = <u32>hash & mask;
  while (true) {
    const number = load<u32>(slots + (slot << 2));
    if (number == 0) break;
    if (same(load<u32>(peers, PEERS_ENTRIES) + (number - 1) * PEER_SIZE, fresh)) return number;
    slot = (slot + 1) & mask;
  }
  if (count >= load<u32>(peers, PEERS_LIMIT)) {
    store<u32>(peers, load<u32>(peers, PEERS_REFUSED) + 1, PEERS_REFUSED);
    return 0;
  }
  store<u32>(slots + (slot << 2), count + 1);
  store<u32>(peers, count + 1, PEERS_COUNT);
  return count + 1;
}

function same(a: u32, b: u32): bool {
  for (let at: u32 = 0; at < <u32>PEER_SIZE; at += 8)
    if (load<u64>(a + at) != load<u64>(b + at)) return false;
  return true;
}
