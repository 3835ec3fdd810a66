import { MillraceError } from "../errors.js";
import {
  BURST_METAS,
  BURST_PACKETS,
  EDGE_FINISHES,
  EDGE_FRAGMENTS,
  EDGE_MOST,
  EDGE_ORDER,
  EDGE_REWRITES,
  EDGE_SET,
  EDGE_SIZE,
  EDGE_SWAPS,
  EDGE_TOO_LONG,
  META_SIZE,
  META_VERDICT,
  VERDICT_ASIDE,
  VERDICT_PASS,
} from "../kernels/structs.js";
import { hardwareAddress } from "../linux/links.js";
import type { ArenaMemory } from "../memory/arena.js";
import { createBurst, destroyBurst } from "../memory/burst.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { finishChecksums } from "../packet/checksum.js";
import { packetContext, reasonsOf } from "../packet/context.js";
import { createEdgeCounters, type EdgeCounters, finishBurst } from "../packet/edge.js";
import { compact, descriptorCount, descriptorWord, linearize, own } from "../packet/operations.js";
import type { Capabilities } from "../ports/port.js";

/** What is done to the hardware addresses of forwarded packets. */
export interface MacRewrite {
  readonly swap: boolean;
  /** As 02:00:00:00:00:01. */
  readonly destination?: string | undefined;
  readonly source?: string | undefined;
}

const SPARE = 4096; // descriptors: some 30 of the kernel's largest super-frames
const ETHERNET_HEADER = 14;
/** No byte of the packet's: the one in EDGE_SET. */
const SET = 128;

/** What is done to packets before the port they leave by: what they need and the port lacks, once, and counted. */
export interface ForwardEdge {
  readonly counters: EdgeCounters;
  /**
   * Makes the burst fit: super-frames cut into `spare`, with all that is behind them; checksums finished, packets of
   * too many pieces brought together, what is longer than the port's MTU dropped, hardware addresses rewritten. The
   * burst is to be sent, then `spare`; true: then once more, for what stands aside because `spare` was full.
   */
  prepare(burst: number): boolean;
  /** The same for a burst in which there are no super-frames. */
  fit(burst: number): void;
  /** The EDGE_ structure for a port that does the ordinary by itself (PortDriver.sendOrdinary). */
  readonly at: number;
  /** From now on the port takes packets of so many bytes. */
  follow(mtu: number): void;
  /** A burst for what came of super-frames; 0: the port cuts them itself. */
  readonly spare: number;
  close(): void;
}

/** The edge before a port with the capabilities `can`. */
export function createEdge(arena: ArenaMemory, can: Capabilities, rewrite: MacRewrite): ForwardEdge {
  const context = packetContext(arena);
  const { kernels, u8, u32 } = arena;
  const reasons = reasonsOf(arena);
  const tooLong = reasons.number("mtu");
  const noMemory = reasons.number("memory");
  const rewrites = rewrite.swap || rewrite.destination !== undefined || rewrite.source !== undefined;
  if (rewrites && can.linkType !== "EN10MB")
    throw new MillraceError("ERR_USAGE", `packets of link type ${can.linkType} have no hardware addresses`, {
      hint: "--swap-mac and --set-mac are for Ethernet ports",
    });
  const finishes = !can.checksum.tx;
  const at = allocateRegion(arena, EDGE_SIZE);
  u32[(at + EDGE_MOST) >>> 2] = Math.min(can.mtu, 0xffffffff);
  u32[(at + EDGE_FRAGMENTS) >>> 2] = can.fragments;
  u32[(at + EDGE_TOO_LONG) >>> 2] = tooLong;
  u32[(at + EDGE_FINISHES) >>> 2] = finishes ? 1 : 0;
  const swaps = rewrite.swap && rewrite.destination === undefined && rewrite.source === undefined;
  u32[(at + EDGE_REWRITES) >>> 2] = swaps ? EDGE_SWAPS : rewrites ? 1 : 0;
  writeRewrite(u8.subarray(at, at + EDGE_SIZE), rewrite);

  const spare = can.segmentation || can.linkType === "DATAGRAM" ? 0 : createBurst(arena, SPARE);
  const counters = createEdgeCounters();
  let aside = false; // part of the burst has the verdict ASIDE

  /** Makes packet `index` such that the edge goes past it: in few enough pieces, with a head of its own; else drops it. */
  function mend(burst: number, index: number): void {
    try {
      const few = descriptorCount(context, burst, index) - 1 <= can.fragments;
      if (few) linearHead(burst, index);
      else if (compact(context, burst, index, can.fragments + 1)) counters.linearized++;
      else drop(burst, index, tooLong);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      drop(burst, index, error.code === "ERR_MEMORY" ? noMemory : tooLong);
    }
  }

  function linearHead(burst: number, index: number): void {
    if (u32[descriptorWord(context, burst, index) + 2] < ETHERNET_HEADER) linearize(context, burst, index);
    own(context, burst, index, 0);
  }

  function drop(burst: number, index: number, reason: number): void {
    u8[u32[(burst + BURST_METAS) >>> 2] + index * META_SIZE + META_VERDICT] = reason;
  }

  function fit(burst: number): void {
    if (finishes) counters.checksums += finishChecksums(context, burst, can.linkType, "partial").finished;
    const packets = u32[(burst + BURST_PACKETS) >>> 2];
    let next = 0;
    while (true) {
      next = kernels.forwardEdge(burst, next, at);
      if (next >= packets) return;
      mend(burst, next);
    }
  }

  /** Cuts what is to be cut into `spare`; true when not all of it found room: the rest stands aside. */
  function cut(burst: number): boolean {
    const rest = finishBurst(context, burst, can, spare, counters);
    const metas = u32[(burst + BURST_METAS) >>> 2];
    const packets = u32[(burst + BURST_PACKETS) >>> 2];
    for (let packet = rest; packet < packets; packet++) {
      const verdict = metas + packet * META_SIZE + META_VERDICT;
      if (u8[verdict] === VERDICT_PASS) u8[verdict] = VERDICT_ASIDE;
    }
    return rest < packets;
  }

  return {
    counters,
    at,
    spare,
    fit,
    follow(mtu) {
      u32[(at + EDGE_MOST) >>> 2] = mtu;
    },
    prepare(burst) {
      if (aside) kernels.burstVerdict(burst, VERDICT_ASIDE, VERDICT_PASS);
      aside = spare !== 0 && kernels.burstSuperFrames(burst) > 0 && cut(burst);
      fit(burst);
      if (spare !== 0 && u32[(spare + BURST_PACKETS) >>> 2] > 0) fit(spare);
      return aside;
    },
    close() {
      if (spare !== 0) destroyBurst(arena, spare);
      freeRegion(arena, at, EDGE_SIZE);
    },
  };
}

/** How the first bytes of a packet come about: each from another place of it, or set. */
function writeRewrite(edge: Uint8Array, { swap, destination, source }: MacRewrite): void {
  const order = edge.subarray(EDGE_ORDER);
  for (let byte = 0; byte < 16; byte++) order[byte] = swap && byte < 12 ? (byte + 6) % 12 : byte;
  for (const [place, address] of [destination, source].entries()) {
    if (address === undefined) continue;
    order.fill(SET, place * 6, place * 6 + 6);
    edge.set(hardwareAddress(address), EDGE_SET + place * 6);
  }
}
