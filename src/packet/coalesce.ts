import { MillraceError } from "../errors.js";
import { BURST_CAPACITY, BURST_PACKETS, COALESCE_FLOWS, FLOW_SIZE } from "../kernels/structs.js";
import { count, type PacketContext, SCRATCH_BYTES } from "./context.js";
import { linkTypeNumber } from "./linktype.js";
import type { LinkType } from "./types.js";

const HEADERS = 2048;

/**
 * Joins TCP segments and UDP datagrams of one flow that follow each other into super-frames (GRO) of at most
 * `fragments` fragments and 65,535 bytes, by reference. All packets move to the empty burst `to`, of at least the same
 * capacity; dropped ones keep their verdict. Only packets whose checksum is `good` are joined: see `verifyChecksums`.
 * A super-frame's own checksum is `partial`. Returns how many packets went into others. Segmenting a super-frame gives
 * back exactly the packets that made it.
 */
export function coalesceBurst(
  context: PacketContext,
  burst: number,
  options: { readonly linkType: LinkType; readonly fragments?: number },
  to: number,
): number {
  const { u32, kernels } = context.arena;
  const packets = u32[(burst + BURST_PACKETS) >>> 2];
  const most = Math.floor((SCRATCH_BYTES - HEADERS - COALESCE_FLOWS * FLOW_SIZE) / 6);
  if (packets > most || u32[(to + BURST_CAPACITY) >>> 2] < u32[(burst + BURST_CAPACITY) >>> 2])
    throw new MillraceError("ERR_BOUNDS", `a burst of ${packets} packets cannot be coalesced`, {
      hint: `it may have ${most}, and the burst to move to must be as large`,
    });
  const merged = kernels.burstCoalesce(
    burst,
    linkTypeNumber(options.linkType),
    options.fragments ?? 17,
    to,
    context.scratch,
    context.scratch + SCRATCH_BYTES - HEADERS,
  );
  if (merged > 0) count(context.ledger.consumed, "coalesce", merged);
  return merged;
}
