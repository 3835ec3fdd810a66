import {
  DATAGRAM_HEAD_LIMIT,
  DATAGRAM_SIZE,
  SCAN_BYTES,
  SCAN_LIMIT,
  SCAN_LINK,
  SCAN_NEED,
  SCAN_NEXT,
  SCAN_OUT,
  SCAN_PEERS,
  SCAN_PORT,
  SCAN_SCRATCH,
  SCAN_STATES,
} from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { linkTypeNumber } from "./linktype.js";
import { createPeerTable, destroyPeerTable, type PeerTable } from "./peers.js";
import type { LinkType } from "./types.js";

export interface DatagramOptions {
  readonly linkType: LinkType;
  /** UDP destination port; 0, the default: every port. */
  readonly port?: number;
  /** Bytes that must be readable at a datagram's head, at most and by default DATAGRAM_HEAD_LIMIT. Fewer: less is copied. */
  readonly need?: number;
  /** Descriptors of the bursts to be scanned. */
  readonly capacity: number;
  /** Records to write at most a call; as many as descriptors by default. A super-frame needs one a segment. */
  readonly limit?: number;
  /** How many pairs of endpoints get a number of their own. */
  readonly peers?: number;
}

/** Finds the UDP payloads of bursts: DATAGRAM_ records at `out`, and for each packet one SCAN_IS_ byte at `states`. */
export interface DatagramScan {
  readonly out: number;
  readonly states: number;
  readonly peers: PeerTable;
  /** Scans packets from `first` on; `next` is where it stopped because the records were full, else the burst's length. */
  scan(burst: number, first: number): { readonly count: number; readonly next: number };
  close(): void;
}

export function createDatagramScan(arena: ArenaMemory, options: DatagramOptions): DatagramScan {
  const { capacity } = options;
  const need = Math.min(options.need ?? DATAGRAM_HEAD_LIMIT, DATAGRAM_HEAD_LIMIT);
  const limit = options.limit ?? Math.max(capacity, 128);
  const out = SCAN_BYTES;
  const states = out + limit * DATAGRAM_SIZE;
  const scratch = Math.ceil((states + capacity) / 16) * 16;
  const bytes = scratch + limit * (need + 16) + DATAGRAM_HEAD_LIMIT;
  const offset = allocateRegion(arena, bytes);
  const peers = createPeerTable(arena, options.peers);
  const set = (field: number, value: number) => {
    arena.u32[(offset + field) >>> 2] = value;
  };
  set(SCAN_LINK, linkTypeNumber(options.linkType));
  set(SCAN_PORT, options.port ?? 0);
  set(SCAN_NEED, need);
  set(SCAN_OUT, offset + out);
  set(SCAN_LIMIT, limit);
  set(SCAN_SCRATCH, offset + scratch);
  set(SCAN_STATES, offset + states);
  set(SCAN_PEERS, peers.offset);
  const result = { count: 0, next: 0 }; // one object for all calls
  return {
    out: offset + out,
    states: offset + states,
    peers,
    scan(burst, first) {
      result.count = arena.kernels.udpDatagrams(burst, first, offset);
      result.next = arena.u32[(offset + SCAN_NEXT) >>> 2];
      return result;
    },
    close() {
      destroyPeerTable(arena, peers);
      freeRegion(arena, offset, bytes);
    },
  };
}
