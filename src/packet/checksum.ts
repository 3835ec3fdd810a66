import { BURST_PACKETS, FINISH_ALL, FINISH_BAD, FINISH_DONE, FINISH_PARTIAL } from "../kernels/structs.js";
import type { PacketContext } from "./context.js";
import { linkTypeNumber } from "./linktype.js";
import { ownAll } from "./operations.js";
import type { LinkType } from "./types.js";

/** The checksum that stands for a folded sum: its complement. */
export function complement(sum: number): number {
  return ~sum & 0xffff;
}

/** Adds two folded sums with end-around carry. */
export function addSums(a: number, b: number): number {
  const sum = a + b;
  return (sum & 0xffff) + (sum >>> 16);
}

/**
 * The checksum after a 16-bit word that it covers changed from `before` to `after`, without the other bytes
 * (RFC 1624 equation 3, which never turns a right checksum into the wrong zero).
 */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return complement(addSums(addSums(complement(checksum), ~before & 0xffff), after & 0xffff));
}

/** Folded sum of plain bytes, where they lie outside the arena. */
export function sumBytes(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  if (bytes.length % 2 === 1) sum += bytes[bytes.length - 1] << 8;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

/** Verifies the checksums of a whole burst and writes `good`, `bad` or `unknown` into its packets' metadata. Returns how many are bad. */
export function verifyChecksums(context: PacketContext, burst: number, linkType: LinkType): number {
  return context.arena.kernels.checksumVerify(burst, linkTypeNumber(linkType), context.scratch);
}

/**
 * Writes the checksums of a whole burst: of the packets whose sender left them to be finished, or of `all`.
 * Returns how many were finished, and in how many there was nothing that could be.
 */
export function finishChecksums(
  context: PacketContext,
  burst: number,
  linkType: LinkType,
  which: "partial" | "all",
): { readonly finished: number; readonly unfinished: number } {
  const { arena, scratch } = context;
  const { u32, kernels } = arena;
  const packets = u32[(burst + BURST_PACKETS) >>> 2];
  const link = linkTypeNumber(linkType);
  const tally = scratch;
  u32.fill(0, tally >>> 2, (tally + 8) >>> 2);
  const mode = which === "all" ? FINISH_ALL : FINISH_PARTIAL;
  let next = 0;
  while (true) {
    next = kernels.checksumFinish(burst, next, link, mode, tally, scratch + 64);
    if (next >= packets) break;
    ownAll(context, burst, next);
  }
  return {
    finished: u32[(tally + FINISH_DONE) >>> 2],
    unfinished: u32[(tally + FINISH_BAD) >>> 2],
  };
}
