// What a virtio card's network header has beyond that of a tap: a hash, and offloads that were negotiated or not.
import { META_FLAGS, META_HASH, META_HASHED, META_QUEUE, META_SIZE } from "../structs";
import {
  VNET_FLAGS,
  VNET_GSO,
  VNET_GSO_NONE,
  VNET_GSO_TCP4,
  VNET_GSO_TCP6,
  VNET_HASH,
  VNET_HASH_TYPE,
  VNET_SIZE,
  VQ_CHECKSUM,
  VQ_FLAGS,
  VQ_HASHED,
  VQ_HEADER_BYTES,
  VQ_NUMBER,
  VQ_SCRATCH,
  VQ_TCP4,
  VQ_TCP6,
  VQ_UDP,
} from "../virtio-structs";
import { readVnet, writeVnet } from "./vnet";

const ETHERNET: u32 = 1; // LINKTYPE_ETHERNET

/** Metadata of a received packet from the network header in front of it. */
export function readHeader(queue: u32, header: u32, meta: u32): void {
  memory.fill(<usize>meta, 0, META_SIZE);
  store<u8>(meta, <u8>load<u32>(queue, VQ_NUMBER), META_QUEUE);
  readVnet(header, meta);
  if ((load<u32>(queue, VQ_FLAGS) & VQ_HASHED) == 0 || load<u16>(header, VNET_HASH_TYPE) == 0) return;
  store<u32>(meta, load<u32>(header, VNET_HASH), META_HASH);
  store<u16>(meta, load<u16>(meta, META_FLAGS) | <u16>META_HASHED, META_FLAGS);
}

/**
 * Writes the network header for packet `packet` of the burst. False: it asks for an offload that was not
 * negotiated, or its headers are not what the offload needs.
 */
export function writeHeader(queue: u32, header: u32, burst: u32, packet: u32, meta: u32): bool {
  if (load<u32>(queue, VQ_HEADER_BYTES) > <u32>VNET_SIZE) store<u64>(header, 0, VNET_HASH);
  if (!writeVnet(header, burst, packet, meta, ETHERNET, load<u32>(queue, VQ_SCRATCH))) return false;
  if (load<u8>(header, VNET_FLAGS) == 0) return true;
  const kind = <u32>load<u8>(header, VNET_GSO);
  let needs: u32 = VQ_CHECKSUM;
  if (kind == VNET_GSO_TCP4) needs |= VQ_TCP4;
  else if (kind == VNET_GSO_TCP6) needs |= VQ_TCP6;
  else if (kind != VNET_GSO_NONE) needs |= VQ_UDP;
  return (load<u32>(queue, VQ_FLAGS) & needs) == needs;
}
