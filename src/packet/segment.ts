import { SPLIT_NO_FRAME, SPLIT_NO_ROOM, SPLIT_REFUSED } from "../kernels/structs.js";
import { count, type PacketContext } from "./context.js";
import { linkTypeNumber } from "./linktype.js";
import type { LinkType } from "./types.js";

/** How cutting a packet ended: in pieces, or in why it was left as it is. */
export type SplitResult =
  | { readonly pieces: number }
  | { readonly pieces: 0; readonly why: "no-room" | "no-frame" | "not-possible" | "refused" };

function resultOf(context: PacketContext, result: number, name: "segment" | "fragment"): SplitResult {
  if (result > 0) {
    count(context.ledger.created, name, result - 1);
    return { pieces: result };
  }
  if (result === SPLIT_NO_ROOM) return { pieces: 0, why: "no-room" };
  if (result === SPLIT_NO_FRAME) return { pieces: 0, why: "no-frame" };
  return { pieces: 0, why: result === SPLIT_REFUSED ? "refused" : "not-possible" };
}

/**
 * Cuts a TCP or UDP super-frame (META_SEGMENT) into segments, appended to the burst `to`, sharing its payload. The
 * packet is then gone. Transport checksums are left partial: see `finishChecksums`.
 */
export function segmentPacket(
  context: PacketContext,
  burst: number,
  packet: number,
  linkType: LinkType,
  to: number,
): SplitResult {
  const { kernels } = context.arena;
  const link = linkTypeNumber(linkType);
  return resultOf(context, kernels.packetSegment(burst, packet, link, to, context.scratch), "segment");
}

/**
 * Cuts an IP packet into fragments (RFC 791, RFC 8200 section 4.5) whose IP packets have at most `mtu` bytes, appended
 * to the burst `to`, sharing its payload. The packet is then gone. Its checksums must be final. `refused`: it must
 * not be fragmented. `identification` is used for IPv6; IPv4 has its own.
 */
export function fragmentPacket(
  context: PacketContext,
  burst: number,
  packet: number,
  options: { readonly linkType: LinkType; readonly mtu: number; readonly identification?: number },
  to: number,
): SplitResult {
  const result = context.arena.kernels.packetFragment(
    burst,
    packet,
    linkTypeNumber(options.linkType),
    options.mtu,
    options.identification ?? 0,
    to,
    context.scratch,
  );
  return resultOf(context, result, "fragment");
}
