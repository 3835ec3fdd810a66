import {
  PEER_DESTINATION,
  PEER_DESTINATION_PORT,
  PEER_FAMILY,
  PEER_SIZE,
  PEER_SOURCE,
  PEER_SOURCE_PORT,
  PEERS_BYTES,
  PEERS_COUNT,
  PEERS_ENTRIES,
  PEERS_LIMIT,
  PEERS_MASK,
  PEERS_REFUSED,
  PEERS_SLOTS,
} from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { formatAddress } from "./address.js";

/** Numbers for pairs of endpoints, in the arena: bounded, first come first served, never forgotten. */
export interface PeerTable {
  readonly offset: number;
  readonly bytes: number;
}

export function createPeerTable(arena: ArenaMemory, limit = 4096): PeerTable {
  const slots = 2 ** Math.ceil(Math.log2(2 * limit));
  const entries = PEERS_BYTES + 4 * slots;
  const bytes = entries + (limit + 1) * PEER_SIZE; // one to spare, for building the next
  const offset = allocateRegion(arena, bytes);
  arena.u32[(offset + PEERS_MASK) >>> 2] = slots - 1;
  arena.u32[(offset + PEERS_LIMIT) >>> 2] = limit;
  arena.u32[(offset + PEERS_SLOTS) >>> 2] = offset + PEERS_BYTES;
  arena.u32[(offset + PEERS_ENTRIES) >>> 2] = offset + entries;
  return { offset, bytes };
}

export function destroyPeerTable(arena: ArenaMemory, table: PeerTable): void {
  freeRegion(arena, table.offset, table.bytes);
}

/** Datagrams that found no number left. */
export function refusedPeers(arena: ArenaMemory, table: PeerTable): number {
  return arena.u32[(table.offset + PEERS_REFUSED) >>> 2];
}

/** Both endpoints behind a number, as `10.0.0.2:5000` or `[::1]:5000`; undefined: the number was never given out. */
export function peerEndpoints(
  arena: ArenaMemory,
  table: PeerTable,
  number: number,
): { readonly source: string; readonly destination: string } | undefined {
  const { u8, u32 } = arena;
  if (number < 1 || number > u32[(table.offset + PEERS_COUNT) >>> 2]) return undefined;
  const entry = u32[(table.offset + PEERS_ENTRIES) >>> 2] + (number - 1) * PEER_SIZE;
  const bytes = u8[entry + PEER_FAMILY] === 4 ? 4 : 16;
  const end = (address: number, port: number) =>
    formatEndpoint(
      u8.slice(entry + address, entry + address + bytes),
      (u8[entry + port] << 8) | u8[entry + port + 1],
    );
  return {
    source: end(PEER_SOURCE, PEER_SOURCE_PORT),
    destination: end(PEER_DESTINATION, PEER_DESTINATION_PORT),
  };
}

/** The sender behind a number, as `10.0.0.2:5000` or `[::1]:5000`; `other` for 0, what found no number left. */
export function peerName(arena: ArenaMemory, table: PeerTable, number: number): string {
  return peerEndpoints(arena, table, number)?.source ?? "other";
}

function formatEndpoint(address: Uint8Array, port: number): string {
  return address.length === 4 ? `${formatAddress(address)}:${port}` : `[${formatAddress(address)}]:${port}`;
}
