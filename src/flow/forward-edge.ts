import { MillraceError } from "../errors.js";
import { BURST_METAS, BURST_PACKETS, META_SIZE, META_VERDICT } from "../kernels/structs.js";
import { hardwareAddress } from "../linux/links.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion } from "../memory/region.js";
import { finishChecksums } from "../packet/checksum.js";
import { packetContext, reasonsOf } from "../packet/context.js";
import { descriptorCount, linearize, own } from "../packet/operations.js";
import type { Capabilities } from "../ports/port.js";

/** What is done to the hardware addresses of forwarded packets. */
export interface MacRewrite {
  readonly swap: boolean;
  /** As 02:00:00:00:00:01. */
  readonly destination?: string | undefined;
  readonly source?: string | undefined;
}

const SWAP = 1;
const SET_DESTINATION = 2;
const SET_SOURCE = 4;

/**
 * What has to be done to a burst before a port with the capabilities `can` takes it: checksums finished, packets
 * of too many pieces made linear, what is longer than the port's MTU dropped, hardware addresses rewritten.
 */
export function createEdge(
  arena: ArenaMemory,
  can: Capabilities,
  rewrite: MacRewrite,
): (burst: number) => void {
  const context = packetContext(arena);
  const { kernels, u8, u32 } = arena;
  const reasons = reasonsOf(arena);
  const tooLong = reasons.number("mtu");
  const noMemory = reasons.number("memory");
  const actions =
    (rewrite.swap ? SWAP : 0) |
    (rewrite.destination === undefined ? 0 : SET_DESTINATION) |
    (rewrite.source === undefined ? 0 : SET_SOURCE);
  if (actions !== 0 && can.linkType !== "EN10MB")
    throw new MillraceError("ERR_USAGE", `packets of link type ${can.linkType} have no hardware addresses`, {
      hint: "--swap-mac and --set-mac are for Ethernet ports",
    });
  const addresses = allocateRegion(arena, 12);
  if (rewrite.destination !== undefined) u8.set(hardwareAddress(rewrite.destination), addresses);
  if (rewrite.source !== undefined) u8.set(hardwareAddress(rewrite.source), addresses + 6);
  const most = Math.min(can.mtu, 0xffffffff);

  /** Makes packet `index` such that the edge goes past it: linear, or with a head of its own; else drops it. */
  function mend(burst: number, index: number): void {
    try {
      if (descriptorCount(context, burst, index) > 1) linearize(context, burst, index);
      own(context, burst, index, 0);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      const reason = error.code === "ERR_MEMORY" ? noMemory : tooLong;
      u8[u32[(burst + BURST_METAS) >>> 2] + index * META_SIZE + META_VERDICT] = reason;
    }
  }

  return (burst) => {
    if (!can.checksum.tx) finishChecksums(context, burst, can.linkType, "partial");
    const packets = u32[(burst + BURST_PACKETS) >>> 2];
    const pass = (from: number) =>
      kernels.forwardEdge(burst, from, can.fragments, most, tooLong, actions, addresses);
    for (let next = pass(0); next < packets; next = pass(next)) mend(burst, next);
  };
}
