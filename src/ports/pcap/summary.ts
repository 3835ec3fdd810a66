import { statSync } from "node:fs";
import { MillraceError } from "../../errors.js";
import {
  BLOCK_NAMES,
  BLOCK_SECRETS,
  SUMMARY_CAPTURED,
  SUMMARY_CUT,
  SUMMARY_CUT_LEAST,
  SUMMARY_CUT_MOST,
  SUMMARY_DISORDER,
  SUMMARY_FIRST,
  SUMMARY_FIRST_NANO,
  SUMMARY_INTERFACES,
  SUMMARY_LAST,
  SUMMARY_LAST_NANO,
  SUMMARY_PACKETS,
  SUMMARY_SIZE,
  SUMMARY_STAMPED,
  SUMMARY_WIRE,
} from "../../kernels/captures.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../../memory/burst.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import {
  blockReader,
  type CaptureInterface,
  type CaptureSection,
  commentsOf,
  parseOptions,
} from "./blocks.js";
import { captureReadable, closeReader, openReader, readCapture } from "./reader.js";

/** A moment: whole seconds since the epoch and nanoseconds. */
export interface Moment {
  readonly seconds: number;
  readonly nanoseconds: number;
}
/** What a capture file holds. */
export interface CaptureSummary {
  readonly file: string;
  readonly format: "pcap" | "pcapng";
  readonly variant: string;
  readonly compression?: string;
  /** Bytes on disk; undefined for a pipe. */
  readonly fileSize?: number;
  readonly packets: number;
  /** Bytes of packets as they were on the wire, and as the file holds them. */
  readonly wireBytes: number;
  readonly capturedBytes: number;
  readonly first?: Moment;
  readonly last?: Moment;
  readonly strictTimeOrder: boolean;
  /** Packets that a snap length cut, and the least and most bytes kept of one. */
  readonly cut: { readonly packets: number; readonly least: number; readonly most: number };
  readonly sections: readonly CaptureSection[];
  readonly interfaces: readonly (CaptureInterface & { readonly packets: number })[];
  /** Comments on packets; packets are numbered from 1. */
  readonly comments: readonly { readonly packet: number; readonly text: string }[];
  /** Blocks of names and of decryption secrets. */
  readonly names: number;
  readonly secrets: number;
  /** What was wrong with the file; the rest describes what came before. */
  readonly fault?: MillraceError;
}

const BURST = 2048;
const MOST_INTERFACES = 65_536;
/** More packet comments than this are counted, but not kept. */
const MOST_COMMENTS = 100_000;

/** Reads a capture file to its end and says what it holds. Throws only for what is no capture at all. */
export async function summarizeCapture(arena: ArenaMemory, file: string): Promise<CaptureSummary> {
  const comments: { packet: number; text: string }[] = [];
  let names = 0;
  let secrets = 0;
  let before = 0;
  const reader = await openReader(arena, file, {
    onBlock: ({ kind }) => {
      if (kind === BLOCK_NAMES) names++;
      if (kind === BLOCK_SECRETS) secrets++;
    },
    onOptions: ({ packet, bytes, bigEndian }) => {
      const options = parseOptions(blockReader(bytes, bigEndian), 0, bytes.length) ?? [];
      for (const text of commentsOf(options))
        if (comments.length < MOST_COMMENTS) comments.push({ packet: before + packet + 1, text });
    },
  });
  const burst = createBurst(arena, BURST);
  const bytes = SUMMARY_SIZE + 8 * MOST_INTERFACES;
  const state = allocateRegion(arena, bytes);
  arena.u32[(state + SUMMARY_INTERFACES) >>> 2] = MOST_INTERFACES;
  let fault: MillraceError | undefined;
  try {
    while (!reader.ended || fault === undefined) {
      const packets = readCapture(reader, burst);
      arena.kernels.summarizeBurst(state, burst);
      throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
      before += packets;
      if (packets > 0) continue;
      if (reader.ended) break;
      await captureReadable(reader);
    }
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    fault = error;
  }
  const u64 = (offset: number) => Number(arena.u64[(state + offset) / 8]);
  const u32 = (offset: number) => arena.u32[(state + offset) >>> 2];
  const moment = (seconds: number, nano: number) => ({
    seconds: arena.f64[(state + seconds) / 8],
    nanoseconds: u32(nano),
  });
  const stamped = u64(SUMMARY_STAMPED) > 0;
  const summary: CaptureSummary = {
    file: reader.file,
    format: reader.format,
    variant: reader.variant,
    ...(reader.source.compression === undefined ? {} : { compression: reader.source.compression }),
    ...(file === "-" ? {} : { fileSize: statSync(file).size }),
    packets: u64(SUMMARY_PACKETS),
    wireBytes: u64(SUMMARY_WIRE),
    capturedBytes: u64(SUMMARY_CAPTURED),
    ...(stamped ? { first: moment(SUMMARY_FIRST, SUMMARY_FIRST_NANO) } : {}),
    ...(stamped ? { last: moment(SUMMARY_LAST, SUMMARY_LAST_NANO) } : {}),
    strictTimeOrder: u32(SUMMARY_DISORDER) === 0,
    cut: { packets: u64(SUMMARY_CUT), least: u32(SUMMARY_CUT_LEAST), most: u32(SUMMARY_CUT_MOST) },
    sections: reader.sections,
    interfaces: reader.interfaces.map((one) => ({ ...one, packets: u64(SUMMARY_SIZE + 8 * one.number) })),
    comments,
    names,
    secrets,
    ...(fault === undefined ? {} : { fault }),
  };
  await closeReader(reader);
  destroyBurst(arena, burst);
  freeRegion(arena, state, bytes);
  return summary;
}
