// The edge before a port: what a packet needs and the port lacks is done here, in software, once, and counted.
import {
  BURST_METAS,
  BURST_PACKETS,
  META_SEGMENT,
  META_SIZE,
  META_VERDICT,
  VERDICT_PASS,
} from "../kernels/structs.js";
import { finishChecksums } from "./checksum.js";
import type { PacketContext } from "./context.js";
import { compact, descriptorCount } from "./operations.js";
import { segmentPacket } from "./segment.js";
import type { LinkType } from "./types.js";

/** What the edge must know of a port: part of its capabilities. */
export interface EdgeNeeds {
  readonly linkType: LinkType;
  readonly fragments: number;
  readonly checksum: { readonly tx: boolean };
  readonly segmentation: boolean;
}

/** What the edge did, in packets; bytes it copied stand in the packet ledger. */
export interface EdgeCounters {
  /** Super-frames cut in software, and the packets that came of them. */
  segmented: number;
  segments: number;
  /** Transport checksums finished in software. */
  checksums: number;
  /** Packets copied because they had more fragments than the port takes. */
  linearized: number;
  /** Dropped as `unsendable`: they can be neither cut nor made to fit. */
  unsendable: number;
}

export function createEdgeCounters(): EdgeCounters {
  return { segmented: 0, segments: 0, checksums: 0, linearized: 0, unsendable: 0 };
}

/**
 * Makes the packets of `burst` with verdict PASS fit a port. Super-frames that the port does not cut itself go, cut, to
 * the end of `spare`, and with them every packet behind the first of them, so that order is kept; then `spare` is to be
 * sent after `burst`. Returns the number of the first packet that is still in `burst` because `spare` had no room (call
 * again once it was sent), or the burst's length.
 */
export function finishBurst(
  context: PacketContext,
  burst: number,
  needs: EdgeNeeds,
  spare: number,
  counters: EdgeCounters,
): number {
  const packets = context.arena.u32[(burst + BURST_PACKETS) >>> 2];
  const rest = needs.segmentation ? packets : cutSuperFrames(context, burst, needs, spare, counters);
  for (const one of [burst, spare]) {
    fitFragments(context, one, needs, counters);
    if (!needs.checksum.tx)
      counters.checksums += finishChecksums(context, one, needs.linkType, "partial").finished;
  }
  return rest;
}

function cutSuperFrames(
  context: PacketContext,
  burst: number,
  needs: EdgeNeeds,
  spare: number,
  counters: EdgeCounters,
): number {
  const { u8, u16, u32, kernels } = context.arena;
  const packets = u32[(burst + BURST_PACKETS) >>> 2];
  const metas = u32[(burst + BURST_METAS) >>> 2];
  let moving = u32[(spare + BURST_PACKETS) >>> 2] > 0;
  for (let packet = 0; packet < packets; packet++) {
    const meta = metas + packet * META_SIZE;
    if (u8[meta + META_VERDICT] !== VERDICT_PASS) continue;
    if (u16[(meta + META_SEGMENT) >>> 1] === 0) {
      if (moving && kernels.packetMove(burst, packet, spare) === 0) return packet;
      continue;
    }
    const result = segmentPacket(context, burst, packet, needs.linkType, spare);
    if (result.pieces > 0) {
      moving = true;
      counters.segmented++;
      counters.segments += result.pieces;
    } else if ("why" in result && result.why === "no-room" && moving) return packet;
    else unsendable(context, meta, counters);
  }
  return packets;
}

function fitFragments(context: PacketContext, burst: number, needs: EdgeNeeds, counters: EdgeCounters): void {
  const { u8, u32 } = context.arena;
  const packets = u32[(burst + BURST_PACKETS) >>> 2];
  const metas = u32[(burst + BURST_METAS) >>> 2];
  for (let packet = 0; packet < packets; packet++) {
    const meta = metas + packet * META_SIZE;
    if (u8[meta + META_VERDICT] !== VERDICT_PASS) continue;
    if (descriptorCount(context, burst, packet) - 1 <= needs.fragments) continue;
    if (compact(context, burst, packet, needs.fragments + 1)) counters.linearized++;
    else unsendable(context, meta, counters);
  }
}

function unsendable(context: PacketContext, meta: number, counters: EdgeCounters): void {
  context.arena.u8[meta + META_VERDICT] = context.reasons.number("unsendable");
  counters.unsendable++;
}
