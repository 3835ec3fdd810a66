import { MillraceError } from "../../errors.js";
import { CAPTURE_POSITION, CAPTURE_SIZE } from "../../kernels/captures.js";
import { BURST_BYTES } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { CaptureInterface, CaptureSection } from "./blocks.js";
import type { ReadAhead } from "./readahead.js";
import type { CaptureSource } from "./source.js";
import type { Window } from "./window.js";

/** Options of a packet that its metadata cannot hold: comments above all. */
export interface PacketOptions {
  /** The packet's number within the burst. */
  readonly packet: number;
  /** As in the file, in its section's byte order. */
  readonly bytes: Uint8Array;
  /** True for an obsolete packet block, whose codes mean other things from 3 on. */
  readonly obsolete: boolean;
  readonly bigEndian: boolean;
}

/** A block that carries no packet, whole, as it stands in the file. */
export interface CaptureBlock {
  readonly kind: number;
  readonly bytes: Uint8Array;
  readonly section: CaptureSection;
  /** Byte offset in the file. */
  readonly offset: number;
}

export interface ReaderOptions {
  /** A file cut short ends quietly after its whole packets. */
  readonly truncatedQuiet?: boolean;
  /** Pass over packets of interfaces with another link type than this one, or than the first interface's. */
  readonly linkType?: number | "first";
  readonly onOptions?: (options: PacketOptions) => void;
  readonly onBlock?: (block: CaptureBlock) => void;
}

/** A capture file being read. All state; the functions of this room work on it. */
export interface CaptureReader {
  readonly arena: ArenaMemory;
  readonly file: string;
  readonly source: CaptureSource;
  readonly ahead: ReadAhead;
  readonly options: ReaderOptions;
  /** Offset of the state that the kernels share, then of a hint for windows, then of an empty burst. */
  readonly state: number;
  format: "pcap" | "pcapng";
  /** What the kind of pcap is called. */
  variant: string;
  readonly sections: CaptureSection[];
  readonly interfaces: CaptureInterface[];
  /** Interfaces of the section being read. */
  sectionInterfaces: number;
  /** Region of the interface table, and its bytes; 0: none yet. */
  table: number;
  tableBytes: number;
  window: Window | undefined;
  /** Where packets of lent windows are copied to, the last such window; and whether there are no frames for one. */
  copies: Window | undefined;
  roomless: boolean;
  /** Offset in the file of arena address 0 as the window lies now. */
  bias: number;
  /** Bytes wanted in one window before walking can go on. */
  wanted: number;
  failure: unknown;
  ended: boolean;
  closed: boolean;
}

/** The reader's region: the state that kernels share, a hint where to look for frames, an empty burst. */
export const HINT = CAPTURE_SIZE;

export const EMPTY_BURST = HINT + 64;

export const STATE_BYTES = EMPTY_BURST + BURST_BYTES;

/** A word of the state that kernels share; CAPTURE_…. */
export function get(reader: CaptureReader, offset: number): number {
  return reader.arena.u32[(reader.state + offset) >>> 2];
}

export function set(reader: CaptureReader, offset: number, value: number): void {
  reader.arena.u32[(reader.state + offset) >>> 2] = value;
}

/** The offset in the file of an address in the window. */
export function fileOffset(reader: CaptureReader, address: number): number {
  return address + reader.bias;
}

/** Ends the reading, with an error to be thrown after the packets before it. */
export function end(reader: CaptureReader, failure: MillraceError | undefined): void {
  const { file } = reader;
  const earlier = reader.ahead.failure;
  // A source that failed knows the file; where in it is known here.
  if (
    earlier instanceof MillraceError &&
    earlier.code === "ERR_CAPTURE" &&
    earlier.at?.offset === undefined
  ) {
    const offset = fileOffset(reader, get(reader, CAPTURE_POSITION));
    reader.failure = new MillraceError(earlier.code, `${earlier.message} (after offset ${offset})`, {
      at: { file, offset },
      cause: earlier.cause,
    });
  }
  reader.failure ??= earlier ?? failure;
  reader.ended = true;
}
