// What a packet asks of the 82574L beyond being sent: checksums, segments, a tag; and the context that tells it so.
import {
  HEADER_LIMIT,
  TX_CONTEXT_IPV4,
  TX_CONTEXT_TCP,
  TX_DATA,
  TX_EXTENDED,
  TX_FCS,
  TX_IP_SUM,
  TX_L4_SUM,
  TX_SEGMENT,
  TX_TAG,
  TXQ_LARGEST,
  TXQ_SCRATCH,
  TXQ_TAGS,
} from "../e1000e";
import {
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  META_FLAGS,
  META_SEGMENT,
  META_TAGGED,
  META_TCP_SEGMENTS,
  META_UDP_SEGMENTS,
  META_VLAN,
} from "../structs";

// What `plan` found out about a packet.
export let headerBytes: u32 = 0; // to be copied into a frame of their own, for segmentation; else 0
export let contextLow: u32 = 0;
export let contextHigh: u32 = 0;
export let contextCommand: u32 = 0;
export let contextStatus: u32 = 0;
export let command: u32 = 0;
export let options: u32 = 0;

/** Where the first bytes of a packet can be read in one piece: in place, or in the queue's scratch. */
function headers(queue: u32, descs: u32, start: u32, end: u32, bytes: u32): u32 {
  const wanted = min<u32>(bytes, HEADER_LIMIT);
  const linear = <u32>load<u64>(descs + start * DESC_SIZE, DESC_ADDR);
  if (load<u32>(descs + start * DESC_SIZE, DESC_LEN) >= wanted) return linear;
  let done: u32 = 0;
  for (let i = start; i < end && done < wanted; i++) {
    const at = descs + i * DESC_SIZE;
    const part = min<u32>(load<u32>(at, DESC_LEN), wanted - done);
    memory.copy(<usize>(queue + TXQ_SCRATCH + done), <usize>load<u64>(at, DESC_ADDR), <usize>part);
    done += part;
  }
  return queue + TXQ_SCRATCH;
}

/** Works out context, command and options of a packet. False: this card cannot send it. */
export function plan(queue: u32, meta: u32, descs: u32, start: u32, end: u32, bytes: u32): bool {
  const flags = <u32>load<u16>(meta, META_FLAGS);
  if (bytes < 14) return false;
  headerBytes = 0;
  contextCommand = 0;
  command = TX_EXTENDED | TX_DATA | TX_FCS;
  options = 0;
  if ((flags & META_TAGGED) != 0) {
    if (load<u32>(queue, TXQ_TAGS) == 0) return false;
    command |= TX_TAG;
    options = (<u32>load<u16>(meta, META_VLAN)) << 16;
  }
  if ((flags & META_UDP_SEGMENTS) != 0) return false;
  const segment = (flags & META_TCP_SEGMENTS) != 0 ? <u32>load<u16>(meta, META_SEGMENT) : 0;
  if ((flags & CHECKSUM_MASK) != CHECKSUM_PARTIAL && segment == 0)
    return bytes <= load<u32>(queue, TXQ_LARGEST);

  const limit = min<u32>(bytes, HEADER_LIMIT);
  const at = headers(queue, descs, start, end, bytes);
  let l3: u32 = 14;
  let kind = bswap<u16>(load<u16>(at, 12));
  while ((kind == 0x8100 || kind == 0x88a8) && l3 + 4 <= limit) {
    kind = bswap<u16>(load<u16>(at + l3, 2));
    l3 += 4;
  }
  let l4: u32 = 0;
  let protocol: u32 = 0;
  if (kind == 0x0800 && l3 + 20 <= limit) {
    l4 = l3 + ((<u32>load<u8>(at + l3) & 15) << 2);
    protocol = load<u8>(at + l3, 9);
  } else if (kind == 0x86dd && l3 + 40 <= limit) {
    l4 = l3 + 40;
    protocol = load<u8>(at + l3, 6);
    // Hop-by-hop, routing, destination options: each says which is next and how long it is (RFC 8200, 4).
    while ((protocol == 0 || protocol == 43 || protocol == 60) && l4 + 8 <= limit) {
      protocol = load<u8>(at + l4);
      l4 += (<u32>load<u8>(at + l4, 1) + 1) << 3;
    }
  }
  if (l4 < l3 + 20 || (protocol != 6 && protocol != 17)) return false;
  const field = l4 + (protocol == 6 ? 16 : 6);
  if (field + 2 > limit || field > 255) return false;
  options |= TX_L4_SUM;
  contextLow = l3 | ((l3 + 10) << 8) | ((l4 - 1) << 16);
  contextHigh = l4 | (field << 8);
  contextCommand =
    TX_EXTENDED | (protocol == 6 ? TX_CONTEXT_TCP : 0) | (kind == 0x0800 ? TX_CONTEXT_IPV4 : 0);
  contextStatus = 0;
  if (segment == 0) return bytes <= load<u32>(queue, TXQ_LARGEST);
  if (protocol != 6 || l4 + 20 > limit) return false;
  const all = l4 + ((<u32>load<u8>(at + l4, 12) >> 4) << 2);
  if (all > limit || all < l4 + 20 || all >= bytes || segment + all > load<u32>(queue, TXQ_LARGEST))
    return false;
  if (bytes - all >= 1 << 20) return false;
  headerBytes = all;
  command |= TX_SEGMENT;
  options |= TX_L4_SUM | (kind == 0x0800 ? TX_IP_SUM : 0);
  contextCommand |= TX_SEGMENT | (bytes - all);
  contextStatus = (all << 8) | (segment << 16);
  if (at != queue + TXQ_SCRATCH) memory.copy(<usize>(queue + TXQ_SCRATCH), <usize>at, <usize>all);
  prepareSegmentation(queue + TXQ_SCRATCH, l3, l4, kind == 0x0800);
  return true;
}

// The card fills in each segment's lengths and sums, and expects in the TCP checksum the sum of the pseudo-header
// without a length (7.2.6).
function prepareSegmentation(at: u32, l3: u32, l4: u32, ipv4: bool): void {
  let sum: u32 = 6;
  const addresses: u32 = ipv4 ? l3 + 12 : l3 + 8;
  for (let i = addresses; i < addresses + (ipv4 ? 8 : 32); i += 2) sum += <u32>bswap<u16>(load<u16>(at + i));
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  store<u16>(at + l4, bswap<u16>(<u16>sum), 16);
  if (ipv4) store<u16>(at + l3, 0, 10);
  store<u16>(at + l3 + (ipv4 ? 2 : 4), 0);
}
