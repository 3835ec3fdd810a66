import { MillraceError } from "../errors.js";
import { DATAGRAM_HEAD_LIMIT } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { linkTypeNumber } from "./linktype.js";
import { DEFAULT_RSS_KEY, toeplitz } from "./toeplitz.js";
import type { LinkType } from "./types.js";

/** Addresses and ports of IPv6 (RFC 8200, RFC 9293): the longest input. */
const INPUT = 36;
/** Entries of the indirection table, as most cards have it. */
const RETA_ENTRIES = 128;

/**
 * A key under which both directions of a flow have the same hash: any two bytes again and again (Woo and Park,
 * "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling").
 */
export const SYMMETRIC_RSS_KEY = new Uint8Array(40).map((_, i) => (i % 2 === 0 ? 0x6d : 0x5a));

/** Software RSS over bursts: flows by hash to sinks by an indirection table. */
export interface Rss {
  /** The table as it stands, a sink each entry. */
  readonly table: Uint32Array<SharedArrayBuffer>;
  /** Hashes and routes every packet with verdict PASS. */
  steer(burst: number): void;
  close(): void;
}

/** Throws ERR_USAGE for a key that is too short. */
export function createRss(
  arena: ArenaMemory,
  linkType: LinkType,
  sinks: number,
  key: Uint8Array = DEFAULT_RSS_KEY,
): Rss {
  if (key.length < 40)
    throw new MillraceError("ERR_USAGE", `an RSS key of ${key.length} bytes is too short`, {
      hint: "it has 40 bytes",
    });
  const tableBytes = INPUT * 256 * 4;
  const bytes = tableBytes + DATAGRAM_HEAD_LIMIT + RETA_ENTRIES * 4;
  const tables = allocateRegion(arena, bytes);
  const scratch = tables + tableBytes;
  const reta = scratch + DATAGRAM_HEAD_LIMIT;
  const input = new Uint8Array(INPUT);
  for (let position = 0; position < INPUT; position++)
    for (let value = 0; value < 256; value++) {
      input.fill(0);
      input[position] = value;
      arena.u32[(tables >>> 2) + position * 256 + value] = toeplitz(key, input);
    }
  const table = arena.u32.subarray(reta >>> 2, (reta >>> 2) + RETA_ENTRIES);
  for (let entry = 0; entry < RETA_ENTRIES; entry++) table[entry] = entry % sinks;
  const link = linkTypeNumber(linkType);
  return {
    table,
    steer(burst) {
      if (linkType !== "DATAGRAM") arena.kernels.rssHash(burst, link, tables, scratch);
      arena.kernels.rssSteer(burst, reta, RETA_ENTRIES - 1);
    },
    close: () => freeRegion(arena, tables, bytes),
  };
}
