// The header that goes with every packet over a virtio network device (Virtual I/O Device Version 1.2, 5.1.6): to
// and from a packet's metadata.
import {
  CHECKSUM_GOOD,
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  META_FLAGS,
  META_HASH,
  META_HASHED,
  META_QUEUE,
  META_SEGMENT,
  META_SIZE,
  META_TCP_SEGMENTS,
  META_UDP_SEGMENTS,
} from "../structs";
import {
  VNET_CHECKSUM_OFFSET,
  VNET_CHECKSUM_START,
  VNET_DATA_VALID,
  VNET_FLAGS,
  VNET_GSO,
  VNET_GSO_TCP4,
  VNET_GSO_TCP6,
  VNET_GSO_UDP,
  VNET_HASH,
  VNET_HASH_TYPE,
  VNET_HEADERS,
  VNET_NEEDS_CHECKSUM,
  VNET_SEGMENT,
  VQ_CHECKSUM,
  VQ_FLAGS,
  VQ_HASHED,
  VQ_HEADER_BYTES,
  VQ_NUMBER,
  VQ_TCP4,
  VQ_TCP6,
  VQ_UDP,
} from "../virtio-structs";

/** Metadata of a received packet from the network header in front of it. */
export function readHeader(queue: u32, header: u32, meta: u32): void {
  memory.fill(<usize>meta, 0, META_SIZE);
  store<u8>(meta, <u8>load<u32>(queue, VQ_NUMBER), META_QUEUE);
  const flags = <u32>load<u8>(header, VNET_FLAGS);
  const gso = <u32>load<u8>(header, VNET_GSO) & 0x7f;
  let known: u32 = 0;
  if ((flags & VNET_NEEDS_CHECKSUM) != 0) known = CHECKSUM_PARTIAL;
  else if ((flags & VNET_DATA_VALID) != 0) known = CHECKSUM_GOOD;
  if (gso == VNET_GSO_TCP4 || gso == VNET_GSO_TCP6) known |= META_TCP_SEGMENTS;
  if (gso == VNET_GSO_UDP) known |= META_UDP_SEGMENTS;
  if (gso != 0) store<u16>(meta, load<u16>(header, VNET_SEGMENT), META_SEGMENT);
  if ((load<u32>(queue, VQ_FLAGS) & VQ_HASHED) != 0 && load<u16>(header, VNET_HASH_TYPE) != 0) {
    store<u32>(meta, load<u32>(header, VNET_HASH), META_HASH);
    known |= META_HASHED;
  }
  store<u16>(meta, <u16>known, META_FLAGS);
}

/**
 * Writes the network header for a packet whose linear part is at `packet`. False: it asks for an offload that
 * was not negotiated, or its headers are not what the offload needs.
 */
export function writeHeader(queue: u32, header: u32, packet: u32, length: u32, meta: u32): bool {
  store<u64>(header, 0);
  store<u32>(header, 0, 8);
  if (load<u32>(queue, VQ_HEADER_BYTES) > 12) store<u64>(header, 0, VNET_HASH);
  const known = <u32>load<u16>(meta, META_FLAGS);
  const segment = <u32>load<u16>(meta, META_SEGMENT);
  const isSuper = segment != 0 && (known & (META_TCP_SEGMENTS | META_UDP_SEGMENTS)) != 0;
  if ((known & CHECKSUM_MASK) != CHECKSUM_PARTIAL) return !isSuper;
  const offered = load<u32>(queue, VQ_FLAGS);
  if ((offered & VQ_CHECKSUM) == 0) return false;

  const network = networkHeader(packet, length);
  if (network == 0) return false;
  const version = load<u8>(packet + network) >> 4;
  const transport = transportHeader(packet, network, length);
  if (transport == 0) return false;
  const isTcp = transportProtocol == 6;
  store<u8>(header, VNET_NEEDS_CHECKSUM, VNET_FLAGS);
  store<u16>(header, <u16>transport, VNET_CHECKSUM_START);
  store<u16>(header, isTcp ? 16 : 6, VNET_CHECKSUM_OFFSET);
  if (!isSuper) return true;

  let kind: u32 = VNET_GSO_UDP;
  let needs: u32 = VQ_UDP;
  let headers = transport + 8;
  if (isTcp) {
    kind = version == 4 ? VNET_GSO_TCP4 : VNET_GSO_TCP6;
    needs = version == 4 ? VQ_TCP4 : VQ_TCP6;
    headers = transport + ((<u32>load<u8>(packet + transport, 12) >> 4) << 2);
  }
  if ((offered & needs) == 0 || isTcp != ((known & META_TCP_SEGMENTS) != 0) || headers > length) return false;
  store<u8>(header, <u8>kind, VNET_GSO);
  store<u16>(header, <u16>headers, VNET_HEADERS);
  store<u16>(header, <u16>segment, VNET_SEGMENT);
  return true;
}

/** Bytes from the frame's start to its IPv4 or IPv6 header, past VLAN tags; 0: there is none. */
function networkHeader(packet: u32, length: u32): u32 {
  let at: u32 = 12;
  while (at + 22 <= length) {
    const type = <u32>bswap<u16>(load<u16>(packet + at));
    if (type == 0x0800 || type == 0x86dd) return at + 2;
    if (type != 0x8100 && type != 0x88a8) return 0;
    at += 4;
  }
  return 0;
}

let transportProtocol: u32 = 0;

/** Bytes to the TCP or UDP header, which lies in the linear part; 0: there is none. Sets transportProtocol. */
function transportHeader(packet: u32, network: u32, length: u32): u32 {
  let at = network;
  if (load<u8>(packet + network) >> 4 == 4) {
    transportProtocol = load<u8>(packet + network, 9);
    at += (<u32>load<u8>(packet + network) & 15) << 2;
  } else {
    if (network + 40 > length) return 0;
    transportProtocol = load<u8>(packet + network, 6);
    at += 40;
    // Hop-by-hop, routing, destination options (RFC 8200, 4).
    while (transportProtocol == 0 || transportProtocol == 43 || transportProtocol == 60) {
      if (at + 8 > length) return 0;
      transportProtocol = load<u8>(packet + at);
      at += (<u32>load<u8>(packet + at, 1) + 1) << 3;
    }
  }
  if (transportProtocol == 6) return at + 20 <= length ? at : 0;
  return transportProtocol == 17 && at + 8 <= length ? at : 0;
}
