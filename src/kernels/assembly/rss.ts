// Receive-side scaling in software: the Toeplitz hash of each packet's flow, and which worker it goes to.
import {
  BURST_METAS,
  BURST_PACKETS,
  LAYERS_IS_FRAGMENT,
  LAYERS_IS_WHOLE,
  META_FLAGS,
  META_HASH,
  META_HASHED,
  META_PEER,
  META_SHIFT,
  META_VERDICT,
  VERDICT_PASS,
  VERDICT_ROUTE,
} from "../structs";
import { base, dissect, family, network, protocol, transport, transportHas } from "./dissect";

// Table for each byte of the input: what each of its 256 values exclusive-ors in.
function fold(tables: u32, position: u32, at: u32, bytes: u32): u32 {
  let hash: u32 = 0;
  for (let i: u32 = 0; i < bytes; i++)
    hash ^= load<u32>(tables + (((position + i) << 8) << 2) + ((<u32>load<u8>(at + i)) << 2));
  return hash;
}

/**
 * Writes META_HASH of every packet that has none: over addresses and ports of whole TCP and UDP packets, over
 * addresses alone of other IP packets and of fragments (Microsoft, RSS Hashing Types). What is not IP has none.
 * `tables`: 36 × 256 words, made from the key.
 */
export function rssHash(burst: u32, link: u32, tables: u32, scratch: u32): void {
  const packets = load<u32>(burst, BURST_PACKETS);
  for (let packet: u32 = 0; packet < packets; packet++) {
    const meta = load<u32>(burst, BURST_METAS) + (packet << META_SHIFT);
    const flags = load<u16>(meta, META_FLAGS);
    if ((flags & META_HASHED) != 0) continue;
    const state = dissect(burst, packet, link, scratch);
    if ((state != LAYERS_IS_WHOLE && state != LAYERS_IS_FRAGMENT) || family == 0) continue;
    const addresses: u32 = family == 4 ? 8 : 32;
    let hash = fold(tables, 0, base + network + (family == 4 ? 12 : 8), addresses);
    if (state == LAYERS_IS_WHOLE && (protocol == 6 || protocol == 17) && transportHas(4))
      hash ^= fold(tables, addresses, base + transport, 4);
    store<u32>(meta, hash, META_HASH);
    store<u16>(meta, flags | META_HASHED, META_FLAGS);
  }
}

/**
 * Routes every packet with verdict PASS by an indirection table (`mask` + 1 words, a sink each): by its hash,
 * or by its sender's number where it has none. A table entry of 0xffffffff leaves the packet as it is.
 */
export function rssSteer(burst: u32, table: u32, mask: u32): void {
  const packets = load<u32>(burst, BURST_PACKETS);
  for (let packet: u32 = 0; packet < packets; packet++) {
    const meta = load<u32>(burst, BURST_METAS) + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const hashed = (load<u16>(meta, META_FLAGS) & META_HASHED) != 0;
    const hash = hashed ? load<u32>(meta, META_HASH) : load<u32>(meta, META_PEER);
    const sink = load<u32>(table + ((hash & mask) << 2));
    if (sink != 0xffffffff) store<u8>(meta, VERDICT_ROUTE + sink, META_VERDICT);
  }
}
