// struct virtio_net_hdr (linux/virtio_net.h; Virtual I/O Device Version 1.2, 5.1.6) as packet sockets, taps and virtio
// cards carry it before each packet: to and from a packet's metadata.
import {
  CHECKSUM_GOOD,
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  LAYERS_IS_WHOLE,
  META_FLAGS,
  META_SEGMENT,
  META_TCP_SEGMENTS,
  META_UDP_SEGMENTS,
} from "../structs";
import {
  VNET_CHECKSUM_OFFSET,
  VNET_CHECKSUM_START,
  VNET_DATA_VALID,
  VNET_FLAGS,
  VNET_GSO,
  VNET_GSO_NONE,
  VNET_GSO_TCP4,
  VNET_GSO_TCP6,
  VNET_GSO_UDP,
  VNET_HEADERS,
  VNET_NEEDS_CHECKSUM,
  VNET_SEGMENT,
} from "../virtio-structs";
import { base, dissect, family, protocol, transport, transportHas } from "./dissect";

const TCP: u32 = 6;
const UDP: u32 = 17;

/** Adds to a packet's metadata what the header says of its checksum and its segments. */
export function readVnet(header: u32, meta: u32): void {
  const flags = <u32>load<u8>(header, VNET_FLAGS);
  const gso = <u32>load<u8>(header, VNET_GSO) & 0x7f; // the top bit: explicit congestion notification
  let known = <u32>load<u16>(meta, META_FLAGS);
  if ((flags & VNET_NEEDS_CHECKSUM) != 0) known = (known & ~CHECKSUM_MASK) | CHECKSUM_PARTIAL;
  else if ((flags & VNET_DATA_VALID) != 0) known = (known & ~CHECKSUM_MASK) | CHECKSUM_GOOD;
  if (gso != VNET_GSO_NONE) {
    known |= gso == VNET_GSO_UDP ? META_UDP_SEGMENTS : META_TCP_SEGMENTS;
    store<u16>(meta, load<u16>(header, VNET_SEGMENT), META_SEGMENT);
  }
  store<u16>(meta, <u16>known, META_FLAGS);
}

/**
 * Writes the header for packet `packet` of the burst. False: its metadata ask for what its headers do not
 * allow. `scratch` takes DATAGRAM_HEAD_LIMIT bytes.
 */
export function writeVnet(header: u32, burst: u32, packet: u32, meta: u32, link: u32, scratch: u32): bool {
  store<u64>(header, 0);
  store<u32>(header, 0, 8);
  const known = <u32>load<u16>(meta, META_FLAGS);
  const segment = <u32>load<u16>(meta, META_SEGMENT);
  const isSuper = segment != 0 && (known & (META_TCP_SEGMENTS | META_UDP_SEGMENTS)) != 0;
  if ((known & CHECKSUM_MASK) != CHECKSUM_PARTIAL) return !isSuper;
  if (dissect(burst, packet, link, scratch) != LAYERS_IS_WHOLE) return false;
  const isTcp = protocol == TCP;
  if ((!isTcp && protocol != UDP) || !transportHas(isTcp ? 20 : 8)) return false;
  store<u8>(header, VNET_NEEDS_CHECKSUM, VNET_FLAGS);
  store<u16>(header, <u16>transport, VNET_CHECKSUM_START);
  store<u16>(header, isTcp ? 16 : 6, VNET_CHECKSUM_OFFSET);
  if (!isSuper) return true;
  if (isTcp != ((known & META_TCP_SEGMENTS) != 0)) return false;
  const length: u32 = isTcp ? (<u32>load<u8>(base + transport, 12) >> 4) << 2 : 8;
  if (!transportHas(length)) return false;
  store<u8>(header, <u8>(isTcp ? (family == 4 ? VNET_GSO_TCP4 : VNET_GSO_TCP6) : VNET_GSO_UDP), VNET_GSO);
  store<u16>(header, <u16>(transport + length), VNET_HEADERS);
  store<u16>(header, <u16>segment, VNET_SEGMENT);
  return true;
}
