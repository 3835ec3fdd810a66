import { MillraceError } from "../errors.js";
import {
  GAP_DROP,
  GAP_SKIP,
  GAP_ZERO,
  MODE_ANY_PEER,
  MODE_ARRIVAL,
  MODE_COUNTER,
  MODE_EVENTS,
  MODE_HAS_END,
  MODE_HAS_START,
  MODE_LINKED,
  MODE_LIVE,
  MODE_OFFSET,
  MODE_SUM,
} from "../kernels/gather-structs.js";
import type { CompiledLayout } from "../layout/compile.js";
import type { Layout } from "../layout/types.js";
import type { GapNotice } from "./gap.js";
import type { GatherPlan } from "./gather-state.js";

export interface GatherOptions {
  /** A shipped layout's name, or one of the user's own. */
  readonly layout: string | Layout;
  /** Values for the layout's parameters, by name. */
  readonly parameters?: Readonly<Record<string, number>>;
  /** Bytes: cuts what has no end of its own, or too late a one. */
  readonly chunkSize?: number;
  /** Datagrams that are waited for, by sequence; 64 by default, a power of two. */
  readonly window?: number;
  /** Chunks under way a stream, by offset; 4 by default. */
  readonly open?: number;
  /** Milliseconds without progress that end the waiting; 100 by default. */
  readonly timeout?: number;
  /** What becomes of gaps then: zeros (by offset only), the rest joined, or no chunk at all. Default `zero` by offset, else `skip`. */
  readonly gap?: "zero" | "skip" | "drop";
  /** True: nothing is copied, the chunk is the list of payload slices. */
  readonly linked?: boolean;
  /** True: the chunk's internet checksum, summed in the pass that copies. */
  readonly checksum?: boolean;
  /** Streams kept apart; 1,024 by default. What exceeds it is dropped and counted. */
  readonly maxStreams?: number;
  /** Bytes of memory for chunks, on their way out too; by default half of what the arena has. */
  readonly maxBytes?: number;
  /** UDP destination port, where packets come with their headers; by default every port. */
  readonly udpPort?: number;
  /** Called when a gap is first seen. */
  readonly onGap?: (gap: GapNotice) => void;
}

/** Where a gather stands: what its sources and its arena allow. */
export interface GatherPlace {
  readonly live: boolean;
  /** Several sources carry the same streams. */
  readonly merged: boolean;
  /** Bytes of the arena that chunks can have at all. */
  readonly chunkMemory: number;
}

function refuse(text: string, hint: string): never {
  throw new MillraceError("ERR_USAGE", text, { hint });
}

function wholeNumber(name: string, value: number, least: number, most: number): number {
  if (!(Number.isInteger(value) && value >= least && value <= most))
    refuse(`${name} is ${value}`, `it is a whole number from ${least} to ${most}`);
  return value;
}

/** Checks a gather's options against its layout and place. Throws ERR_USAGE. */
export function planGather(options: GatherOptions, layout: CompiledLayout, place: GatherPlace): GatherPlan {
  const { placement } = layout;
  const byOffset = placement.by === "offset";
  const window = wholeNumber("window", options.window ?? 64, 1, 16_384);
  if ((window & (window - 1)) !== 0) refuse(`window is ${window}`, "it is a power of two");
  const sequenceBits = placement.by === "sequence" ? placement.bits : 64;
  if (placement.by === "sequence" && options.window !== undefined && window > 2 ** (sequenceBits - 2))
    refuse(
      `a window of ${window} datagrams is ambiguous with sequence numbers of ${sequenceBits} bits`,
      `at most ${2 ** (sequenceBits - 2)}`,
    );
  const gap = options.gap ?? (byOffset ? "zero" : "skip");
  if (!["zero", "skip", "drop"].includes(gap)) refuse(`gap is ${gap}`, "it is zero, skip or drop");
  if (gap === "zero" && !byOffset)
    refuse(
      `gap zero needs to know how many bytes are missing, and ${layout.name} numbers datagrams only`,
      "skip joins what there is, drop drops the chunk",
    );
  const chunkSize =
    options.chunkSize === undefined ? 0 : wholeNumber("chunkSize", options.chunkSize, 1, 0x7fff_ffff);
  const ends = layout.hasEnd || layout.hasChunk;
  if (!ends && chunkSize === 0)
    refuse(`nothing ends a chunk of the layout ${layout.name}`, "give a chunk size (--chunk-size BYTES)");
  const mode =
    (byOffset ? MODE_OFFSET : 0) |
    (placement.by === "arrival" ? MODE_ARRIVAL : 0) |
    (options.linked ? MODE_LINKED : 0) |
    (options.checksum && !options.linked ? MODE_SUM : 0) |
    (place.live ? MODE_LIVE : 0) |
    (place.merged ? MODE_ANY_PEER : 0) |
    (layout.chunkIds === "counter" ? MODE_COUNTER : 0) |
    (layout.hasStart ? MODE_HAS_START : 0) |
    (layout.hasEnd ? MODE_HAS_END : 0) |
    (options.onGap === undefined ? 0 : MODE_EVENTS);
  return {
    mode,
    gap: { zero: GAP_ZERO, skip: GAP_SKIP, drop: GAP_DROP }[gap],
    window: Math.min(window, 2 ** Math.min(sequenceBits - 2, 14)),
    open: wholeNumber("open", options.open ?? 4, 1, 64),
    chunkSize,
    maxBytes: wholeNumber(
      "maxBytes",
      options.maxBytes ?? Math.floor(place.chunkMemory / 2),
      65_536,
      0xffff_ffff,
    ),
    maxStreams: wholeNumber("maxStreams", options.maxStreams ?? 1024, 1, 1_000_000),
    sequenceBits,
    idBounds: layout.idBounds,
    timeout: wholeNumber("timeout", options.timeout ?? 100, 1, 3_600_000),
  };
}
