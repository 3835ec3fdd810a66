import { MillraceError } from "../../errors.js";
import {
  CAPTURE_END,
  CAPTURE_HEADER,
  CAPTURE_LENGTHS,
  CAPTURE_LIMIT,
  CAPTURE_NEED,
  CAPTURE_OPTIONS,
  CAPTURE_OPTIONS_LENGTH,
  CAPTURE_OTHER,
  CAPTURE_POSITION,
  CAPTURE_SIZE,
  CAPTURE_SWAPPED,
  CAPTURE_UNITS,
  CAPTURE_VALUE,
  CAPTURE_WANTS_OPTIONS,
  WALK_BLOCK,
  WALK_FAULT,
  WALK_FULL,
  WALK_LARGE,
  WALK_NEED,
  WALK_OPTIONS,
} from "../../kernels/captures.js";
import { BURST_BYTES, BURST_PACKETS } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import type { CaptureInterface, CaptureSection } from "./blocks.js";
import { captureFault, walkFault } from "./faults.js";
import { largestPacket } from "./link-types.js";
import {
  guessRecordHeader,
  isPcap,
  notACapture,
  PCAP_HEADER,
  type PcapHeader,
  parsePcapHeader,
} from "./pcap-header.js";
import {
  claimAhead,
  closeReadAhead,
  createReadAhead,
  isExhausted,
  moreRead,
  nextWindow,
  type ReadAhead,
  readAhead,
  takeWindow,
} from "./readahead.js";
import { freeInterfaces, takeBlock } from "./sections.js";
import { type CaptureSource, openSource } from "./source.js";
import { HEADROOM, largestWindow, releaseWindow, type Window } from "./window.js";

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
  /** Offset in the file of arena address 0 as the window lies now. */
  bias: number;
  /** Bytes wanted in one window before walking can go on. */
  wanted: number;
  failure: unknown;
  ended: boolean;
  closed: boolean;
}

/** Bytes of a file that are looked at to tell what it is. */
const HEAD_VIEW = 65_536;
const HINT = CAPTURE_SIZE;
const EMPTY_BURST = HINT + 64;
const STATE_BYTES = EMPTY_BURST + BURST_BYTES;

/** Opens a capture file, a pipe or (`-`) standard input. Throws ERR_CAPTURE, or a failed system call's error. */
export async function openReader(
  arena: ArenaMemory,
  file: string,
  options: ReaderOptions = {},
): Promise<CaptureReader> {
  return readFrom(arena, file === "-" ? "standard input" : file, await openSource(file), options);
}

/** Reads a capture from a source that is open already; `file` is what errors call it. The source is the reader's. */
export async function readFrom(
  arena: ArenaMemory,
  file: string,
  source: CaptureSource,
  options: ReaderOptions = {},
): Promise<CaptureReader> {
  const state = allocateRegion(arena, STATE_BYTES);
  const reader: CaptureReader = {
    arena,
    file,
    source,
    ahead: createReadAhead(arena, source, state + HINT, options.truncatedQuiet === true),
    options,
    state,
    format: "pcap",
    variant: "",
    sections: [],
    interfaces: [],
    sectionInterfaces: 0,
    table: 0,
    tableBytes: 0,
    window: undefined,
    bias: 0,
    wanted: 0,
    failure: undefined,
    ended: false,
    closed: false,
  };
  try {
    await readHead(reader);
  } catch (error) {
    await closeReader(reader);
    throw error;
  }
  return reader;
}

function get(reader: CaptureReader, offset: number): number {
  return reader.arena.u32[(reader.state + offset) >>> 2];
}
function set(reader: CaptureReader, offset: number, value: number): void {
  reader.arena.u32[(reader.state + offset) >>> 2] = value;
}

/** The offset in the file of an address in the window. */
export function fileOffset(reader: CaptureReader, address: number): number {
  return address + reader.bias;
}

// ── The head of the file

async function readHead(reader: CaptureReader): Promise<void> {
  await bring(reader, 4);
  const head = headView(reader);
  if (head.byteLength < 4) throw cutHead(reader, head.byteLength);
  if (head.getUint32(0) === 0x0a0d0d0a) {
    reader.format = "pcapng";
    set(reader, CAPTURE_WANTS_OPTIONS, reader.options.onOptions === undefined ? 0 : 1);
    await primeSections(reader);
  } else if (isPcap(head)) await readPcapHead(reader);
  else throw notACapture(reader.file);
}

function cutHead(reader: CaptureReader, bytes: number): MillraceError {
  const { file } = reader;
  return new MillraceError(
    "ERR_CAPTURE",
    bytes === 0 ? `"${file}" is empty` : `"${file}" ends after ${bytes} bytes, within its header`,
    { at: { file, offset: bytes } },
  );
}

/** A copy of what is in memory from the position on, up to 64 KiB. */
function headView(reader: CaptureReader): DataView {
  const from = get(reader, CAPTURE_POSITION);
  const end = Math.min(get(reader, CAPTURE_END), from + HEAD_VIEW);
  return new DataView(reader.arena.u8.slice(from, end).buffer);
}

async function readPcapHead(reader: CaptureReader): Promise<void> {
  await bring(reader, PCAP_HEADER);
  let head = headView(reader);
  if (head.byteLength < PCAP_HEADER) throw cutHead(reader, head.byteLength);
  const header = parsePcapHeader(head, reader.file);
  await bring(reader, header.bytes);
  head = headView(reader);
  if (head.byteLength < header.bytes) throw cutHead(reader, head.byteLength);
  const size = await recordHeaderOf(reader, header);
  reader.variant = variantName(header.units, size);
  set(reader, CAPTURE_SWAPPED, header.bigEndian ? 1 : 0);
  set(reader, CAPTURE_HEADER, size);
  set(reader, CAPTURE_LIMIT, largestPacket(header.linkType));
  set(reader, CAPTURE_UNITS, header.units);
  set(reader, CAPTURE_LENGTHS, header.lengths);
  set(reader, CAPTURE_POSITION, get(reader, CAPTURE_POSITION) + header.bytes);
  reader.sections.push({ number: 1, bigEndian: header.bigEndian, comments: [], options: [] });
  reader.interfaces.push({
    number: 0,
    section: 1,
    index: 0,
    linkType: header.linkType,
    linkFlags: header.linkFlags,
    snaplen: header.snaplen,
    resolution: { base: 10, exponent: header.units === 1_000_000 ? 6 : 9 },
    offset: 0n,
    comments: [],
    options: [],
    statistics: [],
  });
}

// What comes from a pipe is taken for the usual kind: its first records may be long in coming.
async function recordHeaderOf(reader: CaptureReader, header: PcapHeader): Promise<number> {
  if (reader.source.stream || header.recordHeaders.length === 1) return header.recordHeaders[0];
  await bring(reader, HEAD_VIEW);
  const head = headView(reader);
  const records = new DataView(head.buffer, header.bytes);
  return guessRecordHeader(header, records, head.byteLength < HEAD_VIEW);
}

function variantName(units: number, recordHeader: number): string {
  if (recordHeader === 24 || recordHeader === 28) return "modified pcap";
  if (recordHeader === 20) return "Nokia pcap";
  return units === 1_000_000 ? "pcap" : "nanosecond pcap";
}

/** Reads on to the first interface's description and past what follows it at once, so that the link type is known. */
async function primeSections(reader: CaptureReader): Promise<void> {
  const empty = reader.state + EMPTY_BURST;
  while (!walk(reader, empty) && !reader.ended) {
    if (reader.interfaces.length > 0 && reader.source.stream) return;
    await moreFilled(reader);
  }
  if (reader.interfaces.length === 0 && reader.failure !== undefined) throw reader.failure;
}

// ── Windows

/** Waits until `bytes` bytes are in memory from the position on, or the source has ended. */
async function bring(reader: CaptureReader, bytes: number): Promise<void> {
  while (get(reader, CAPTURE_END) - get(reader, CAPTURE_POSITION) < bytes && !advance(reader, bytes)) {
    if (reader.ahead.failure !== undefined) throw reader.ahead.failure;
    if (isExhausted(reader.ahead)) return;
    await moreFilled(reader);
  }
}

function startReading(reader: CaptureReader): void {
  const { window } = reader;
  const extend = window !== undefined && goesOn(reader, window) ? window : undefined;
  readAhead(reader.ahead, extend, () => {
    if (reader.window === extend && extend !== undefined) set(reader, CAPTURE_END, extend.end);
  });
}

// The window in use goes on when the record under way ends in it, and for a pipe, which brings a little at a time.
function goesOn(reader: CaptureReader, window: Window): boolean {
  const position = get(reader, CAPTURE_POSITION);
  const unfinished = reader.wanted > window.end - position && position + reader.wanted <= window.limit;
  return (
    window.limit > window.end && (unfinished || (reader.source.stream && window.limit - window.end > 4096))
  );
}

async function moreFilled(reader: CaptureReader): Promise<void> {
  startReading(reader);
  await moreRead(reader.ahead);
}

/** Makes `need` bytes from the position on available, if they are in memory; else starts reading. False: not yet, or never. */
function advance(reader: CaptureReader, need: number): boolean {
  const { arena, ahead } = reader;
  reader.wanted = need;
  while (true) {
    const position = get(reader, CAPTURE_POSITION);
    const rest = get(reader, CAPTURE_END) - position;
    if (rest >= need) return true;
    const next = ahead.extension === undefined ? nextWindow(ahead) : undefined;
    const { window } = reader;
    if (next !== undefined) {
      const target =
        rest <= HEADROOM && rest + next.end - next.start >= need ? next : larger(reader, next, need);
      if (target === undefined) return false;
      arena.u8.copyWithin(target.start - (target === next ? rest : 0), position, position + rest);
      if (target === next) next.start -= rest;
      takeWindow(ahead);
      use(reader, target, position);
    } else if (window !== undefined && needsRoom(reader, window, need)) {
      // The record is longer than what is left of its window: it moves to one that holds it all.
      const target = claimAhead(ahead, need);
      if (target === undefined) return false;
      arena.u8.copyWithin(target.start, position, position + rest);
      target.end += rest;
      use(reader, target, position);
    } else {
      startReading(reader);
      return false;
    }
    if (window !== undefined) releaseWindow(arena, window);
    startReading(reader);
  }
}

function needsRoom(reader: CaptureReader, window: Window, need: number): boolean {
  const { ahead } = reader;
  const idle = ahead.extension === undefined && ahead.queue.length === 0 && !ahead.ended;
  return idle && window.limit - get(reader, CAPTURE_POSITION) < need;
}

/** A window with room for what is left of the one in use, which the caller puts first, and holding the next one's bytes behind it. */
function larger(reader: CaptureReader, next: Window, need: number): Window | undefined {
  const { u8 } = reader.arena;
  const rest = get(reader, CAPTURE_END) - get(reader, CAPTURE_POSITION);
  const bytes = next.end - next.start;
  const target = claimAhead(reader.ahead, Math.max(need, rest + bytes));
  if (target === undefined) return undefined;
  u8.copyWithin(target.start + rest, next.start, next.end);
  target.end += rest + bytes;
  releaseWindow(reader.arena, next);
  return target;
}

function use(reader: CaptureReader, window: Window, position: number): void {
  reader.bias += position - window.start;
  reader.window = window;
  set(reader, CAPTURE_POSITION, window.start);
  set(reader, CAPTURE_END, window.end);
}

// ── Walking

/**
 * Appends packets to a burst as long as they are in memory; returns how many. 0: none now, or `ended`. Throws
 * what is wrong with the file once the packets before it have been read: ERR_CAPTURE with the offset.
 */
export function readCapture(reader: CaptureReader, burst: number): number {
  if (reader.closed) throw new MillraceError("ERR_CLOSED", `"${reader.file}" was closed`);
  const { u32 } = reader.arena;
  const before = u32[(burst + BURST_PACKETS) >>> 2];
  if (!reader.ended) walk(reader, burst);
  const packets = u32[(burst + BURST_PACKETS) >>> 2] - before;
  if (packets === 0 && reader.ended && reader.failure !== undefined) throw reader.failure;
  return packets;
}

/** True when the burst can take no more; false when bytes are wanting, or the file has ended. */
function walk(reader: CaptureReader, burst: number): boolean {
  const { kernels } = reader.arena;
  while (!reader.ended) {
    const why =
      reader.format === "pcap"
        ? kernels.walkPcap(reader.state, burst)
        : kernels.walkPcapng(reader.state, burst);
    if (why === WALK_FULL) {
      reader.wanted = 0;
      return true;
    }
    if (why === WALK_OPTIONS) giveOptions(reader, burst);
    else if (why === WALK_FAULT) end(reader, walkFault(reader));
    else if (why === WALK_LARGE) {
      if (burst === reader.state + EMPTY_BURST) return true;
      end(reader, tooLarge(reader));
    } else {
      const need = why === WALK_BLOCK ? takeBlock(reader) : get(reader, CAPTURE_NEED);
      if (need < 0) return false; // the block was at fault
      if ((why === WALK_NEED || need > 0) && !provide(reader, need)) return false;
    }
  }
  return false;
}

function tooLarge(reader: CaptureReader): MillraceError {
  const offset = fileOffset(reader, get(reader, CAPTURE_POSITION));
  return new MillraceError(
    "ERR_CAPTURE",
    `"${reader.file}": the packet at offset ${offset} has ${get(reader, CAPTURE_VALUE)} bytes, more than a burst holds`,
    { at: { file: reader.file, offset } },
  );
}

/** Brings `need` bytes; false when they are not here yet or the file has ended, whole or cut short. */
function provide(reader: CaptureReader, need: number): boolean {
  const { size, compression } = reader.source;
  const offset = fileOffset(reader, get(reader, CAPTURE_POSITION));
  const remaining =
    size === undefined || compression !== undefined ? Number.POSITIVE_INFINITY : size - offset;
  // A record that goes past the end of the file is not given a window of its size, unless the file has grown.
  const want = remaining >= 0 && need > remaining ? remaining + 1 : need;
  if (want > largestWindow(reader.arena)) {
    end(reader, captureFault(reader, `has ${need} bytes, more than the arena has room for`, "ERR_MEMORY"));
    return false;
  }
  if (advance(reader, want) && (want === need || advance(reader, need))) return true;
  if (!isExhausted(reader.ahead)) return false;
  const left = get(reader, CAPTURE_END) - get(reader, CAPTURE_POSITION);
  end(reader, left === 0 ? undefined : cutShort(reader, need, left));
  return false;
}

function cutShort(reader: CaptureReader, need: number, left: number): MillraceError | undefined {
  if (reader.options.truncatedQuiet) return undefined;
  const offset = fileOffset(reader, get(reader, CAPTURE_POSITION));
  const what = reader.format === "pcap" ? "record" : "block";
  return new MillraceError(
    "ERR_CAPTURE",
    `"${reader.file}" is cut short: the ${what} at offset ${offset} wants ${need} bytes, ${left} are left`,
    { at: { file: reader.file, offset }, hint: "truncated=quiet takes the packets before as all there are" },
  );
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

function giveOptions(reader: CaptureReader, burst: number): void {
  const { u8, u32 } = reader.arena;
  const from = get(reader, CAPTURE_OPTIONS);
  reader.options.onOptions?.({
    packet: u32[(burst + BURST_PACKETS) >>> 2] - 1,
    bytes: u8.slice(from, from + get(reader, CAPTURE_OPTIONS_LENGTH)),
    obsolete: get(reader, CAPTURE_OTHER) === 1,
    bigEndian: get(reader, CAPTURE_SWAPPED) === 1,
  });
}

/** Resolves when readCapture() may return something, or the file has ended. Rejects with the signal's reason. */
export async function captureReadable(reader: CaptureReader, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  if (reader.ended || reader.closed || nextWindow(reader.ahead) !== undefined) return;
  if (get(reader, CAPTURE_END) - get(reader, CAPTURE_POSITION) >= Math.max(reader.wanted, 1)) return;
  if (signal === undefined) return moreFilled(reader);
  await new Promise<void>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    moreFilled(reader)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Closes the file and gives its frames back. Packets that were read stay valid. Idempotent. */
export async function closeReader(reader: CaptureReader): Promise<void> {
  if (reader.closed) return;
  reader.closed = true;
  reader.ended = true;
  await closeReadAhead(reader.ahead);
  if (reader.window !== undefined) releaseWindow(reader.arena, reader.window);
  reader.window = undefined;
  freeInterfaces(reader);
  freeRegion(reader.arena, reader.state, STATE_BYTES);
}
