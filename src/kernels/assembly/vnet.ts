// struct virtio_net_hdr (linux/virtio_net.h) as packet sockets and taps carry it before each packet: to and
// from a packet's metadata.
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
import { base, dissect, family, protocol, transport, transportHas } from "./dissect";

const NEEDS_CHECKSUM: u32 = 1;
const DATA_VALID: u32 = 2;
const GSO_TCP4: u32 = 1;
const GSO_TCP6: u32 = 4;
const GSO_UDP: u32 = 5; // VIRTIO_NET_HDR_GSO_UDP_L4
const TCP: u32 = 6;
const UDP: u32 = 17;

/** Adds to a packet's metadata what the header says of its checksum and its segments. */
export function readVnet(header: u32, meta: u32): void {
  const flags = <u32>load<u8>(header);
  const gso = <u32>load<u8>(header, 1) & 0x7f;
  let known = <u32>load<u16>(meta, META_FLAGS);
  if ((flags & NEEDS_CHECKSUM) != 0) known = (known & ~CHECKSUM_MASK) | CHECKSUM_PARTIAL;
  else if ((flags & DATA_VALID) != 0) known = (known & ~CHECKSUM_MASK) | CHECKSUM_GOOD;
  if (gso != 0) {
    known |= gso == GSO_UDP ? META_UDP_SEGMENTS : META_TCP_SEGMENTS;
    store<u16>(meta, load<u16>(header, 4), META_SEGMENT);
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
  store<u8>(header, <u8>NEEDS_CHECKSUM);
  store<u16>(header, <u16>transport, 6);
  store<u16>(header, isTcp ? 16 : 6, 8);
  if (!isSuper) return true;
  if (isTcp != ((known & META_TCP_SEGMENTS) != 0)) return false;
  const length: u32 = isTcp ? (<u32>load<u8>(base + transport, 12) >> 4) << 2 : 8;
  if (!transportHas(length)) return false;
  store<u8>(header, <u8>(isTcp ? (family == 4 ? GSO_TCP4 : GSO_TCP6) : GSO_UDP), 1);
  store<u16>(header, <u16>(transport + length), 2);
  store<u16>(header, <u16>segment, 4);
  return true;
}
