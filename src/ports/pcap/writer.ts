import { MillraceError } from "../../errors.js";
import {
  OUTPUT_BYTES,
  OUTPUT_CLAMPED,
  OUTPUT_END,
  OUTPUT_ETHERNET,
  OUTPUT_INTERFACE_COUNT,
  OUTPUT_INTERFACES,
  OUTPUT_NANOSECONDS,
  OUTPUT_NEED,
  OUTPUT_PACKETS,
  OUTPUT_PCAPNG,
  OUTPUT_POSITION,
  OUTPUT_SECONDS,
  OUTPUT_SIMPLE_SNAPLEN,
  OUTPUT_SIZE,
  OUTPUT_SNAPLEN,
  OUTPUT_SWAPPED,
  OUTPUT_UNITS,
} from "../../kernels/captures.js";
import { BURST_PACKETS } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { throwFault } from "../../memory/burst.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import {
  interfaceBlock,
  type NewInterface,
  type NewSection,
  type NewStatistics,
  pcapHeader,
  sectionBlock,
  statisticsBlock,
} from "./output-blocks.js";
import {
  type CaptureSink,
  closeSink,
  type OutputBlock,
  openSink,
  queueBlock,
  singleBlock,
  sinkReady,
  takeBlock,
} from "./sink.js";

export interface WriterOptions extends NewSection {
  readonly format: "pcap" | "pcapng";
  /** pcap: nanoseconds instead of microseconds. pcapng always has nanoseconds. */
  readonly nano?: boolean;
  /** Most bytes of a packet that are kept; 262,144 by default. */
  readonly snaplen?: number;
  /** Keep all of each packet, however long; `snaplen` is only told. */
  readonly whole?: boolean;
  /** Hand each burst to the system at once, and not when a block is full or a fifth of a second has passed. */
  readonly flush?: boolean;
  /** pcapng: describe no section and no interface; the caller does. */
  readonly bare?: boolean;
}

/** A capture file being written. */
export interface CaptureWriter {
  readonly arena: ArenaMemory;
  readonly sink: CaptureSink;
  readonly options: WriterOptions;
  /** Offset of the state that the kernel shares. */
  readonly state: number;
  block: OutputBlock | undefined;
  timer: NodeJS.Timeout | undefined;
  closed: boolean;
}

const FLUSH_AFTER = 200; // milliseconds
export const SNAPLEN = 262_144;

/** Creates a capture file with one interface and writes its head. `-` is standard output. */
export async function openWriter(
  arena: ArenaMemory,
  path: string,
  first: NewInterface,
  options: WriterOptions,
): Promise<CaptureWriter> {
  const sink = await openSink(arena, path, options.format === "pcapng");
  const state = allocateRegion(arena, OUTPUT_SIZE);
  const writer: CaptureWriter = {
    arena,
    sink,
    options,
    state,
    block: undefined,
    timer: undefined,
    closed: false,
  };
  set(writer, OUTPUT_PCAPNG, options.format === "pcapng" ? 1 : 0);
  set(writer, OUTPUT_UNITS, options.format === "pcapng" || options.nano ? 1e9 : 1e6);
  set(writer, OUTPUT_SNAPLEN, options.whole ? 0x7fff_ffff : (options.snaplen ?? SNAPLEN));
  set(writer, OUTPUT_ETHERNET, first.linkType === 1 ? 1 : 0);
  set(writer, OUTPUT_SWAPPED, options.bigEndian ? 1 : 0);
  if (options.format === "pcap")
    writeBytes(
      writer,
      pcapHeader(first.linkType + (first.linkFlags ?? 0), options.snaplen ?? SNAPLEN, options),
    );
  else if (!options.bare) {
    writeBytes(writer, sectionBlock(options));
    writeBytes(writer, interfaceBlock({ snaplen: options.snaplen ?? SNAPLEN, ...first }, options));
  }
  flushWriter(writer);
  return writer;
}

function get(writer: CaptureWriter, offset: number): number {
  return writer.arena.u32[(writer.state + offset) >>> 2];
}
function set(writer: CaptureWriter, offset: number, value: number): void {
  writer.arena.u32[(writer.state + offset) >>> 2] = value;
}

/** The time that packets without one are given from now on; 0 seconds leaves them without where the format can. */
export function setFallbackTime(writer: CaptureWriter, seconds: number, nanoseconds: number): void {
  writer.arena.f64[(writer.state + OUTPUT_SECONDS) / 8] = seconds;
  set(writer, OUTPUT_NANOSECONDS, nanoseconds);
}

/** Which interface of the section a packet belongs to: `table` is the offset of one u32 for each META_PEER. */
export function mapInterfaces(writer: CaptureWriter, table: number, count: number): void {
  set(writer, OUTPUT_INTERFACES, table);
  set(writer, OUTPUT_INTERFACE_COUNT, count);
}

/** Snap length of the section's first interface: simple packet blocks are measured by it; 0: none. */
export function setSimpleSnaplen(writer: CaptureWriter, snaplen: number): void {
  set(writer, OUTPUT_SIMPLE_SNAPLEN, snaplen);
}

/** The byte order of what is written from now on: a section's. */
export function setByteOrder(writer: CaptureWriter, bigEndian: boolean): void {
  set(writer, OUTPUT_SWAPPED, bigEndian ? 1 : 0);
}

function openBlock(writer: CaptureWriter): OutputBlock | undefined {
  if (writer.closed) throw new MillraceError("ERR_CLOSED", `"${writer.sink.file}" was closed`);
  if (writer.sink.failure !== undefined) throw writer.sink.failure;
  if (writer.block === undefined) {
    writer.block = takeBlock(writer.sink);
    if (writer.block !== undefined) startAt(writer, writer.block);
  }
  return writer.block;
}

function startAt(writer: CaptureWriter, block: OutputBlock): void {
  set(writer, OUTPUT_POSITION, block.offset);
  set(writer, OUTPUT_END, block.offset + block.bytes);
}

/**
 * Writes packets `first` to before `stop` of a burst that have the verdict PASS, frees them and marks them moved.
 * Returns the first number not looked at: less than `stop` while the disk is behind. Throws once a write has failed.
 */
export function writeBurst(writer: CaptureWriter, burst: number, first: number, stop?: number): number {
  const { arena } = writer;
  const end = stop ?? arena.u32[(burst + BURST_PACKETS) >>> 2];
  let at = first;
  while (at < end) {
    const block = openBlock(writer);
    if (block === undefined) return at;
    at = throwFault(arena, burst, arena.kernels.packCapture(writer.state, burst, at, end));
    const need = get(writer, OUTPUT_NEED);
    if (need === 0) break;
    if (get(writer, OUTPUT_POSITION) > block.offset) flushWriter(writer);
    else at = writeLarge(writer, burst, at, need);
  }
  if (writer.options.flush) flushWriter(writer);
  else armTimer(writer);
  return at;
}

// A record longer than a block gets one of its own.
function writeLarge(writer: CaptureWriter, burst: number, at: number, need: number): number {
  const { arena, sink, block: usual } = writer;
  const block = singleBlock(sink, need);
  startAt(writer, block);
  const next = throwFault(arena, burst, arena.kernels.packCapture(writer.state, burst, at, at + 1));
  queueBlock(sink, block, get(writer, OUTPUT_POSITION) - block.offset);
  if (usual !== undefined) startAt(writer, usual);
  return next;
}

/** Appends a record made by the caller. False while the disk is behind. */
export function writeBytes(writer: CaptureWriter, bytes: Uint8Array): boolean {
  const block = openBlock(writer);
  if (block === undefined) return false;
  const { arena, sink } = writer;
  const at = get(writer, OUTPUT_POSITION);
  if (bytes.length > block.bytes) {
    flushWriter(writer);
    const single = singleBlock(sink, bytes.length);
    arena.u8.set(bytes, single.offset);
    queueBlock(sink, single, bytes.length);
    return true;
  }
  if (at + bytes.length > block.offset + block.bytes) {
    flushWriter(writer);
    return writeBytes(writer, bytes);
  }
  arena.u8.set(bytes, at);
  set(writer, OUTPUT_POSITION, at + bytes.length);
  armTimer(writer);
  return true;
}

function armTimer(writer: CaptureWriter): void {
  const { block } = writer;
  if (writer.timer !== undefined || block === undefined || get(writer, OUTPUT_POSITION) === block.offset)
    return;
  writer.timer = setTimeout(() => flushWriter(writer), FLUSH_AFTER);
}

/** Hands what was written so far to the system. */
function flushWriter(writer: CaptureWriter): void {
  clearTimeout(writer.timer);
  writer.timer = undefined;
  const { block, sink } = writer;
  if (block === undefined) return;
  const length = get(writer, OUTPUT_POSITION) - block.offset;
  if (length === 0) return;
  writer.block = undefined;
  queueBlock(sink, block, length);
}

/** Resolves when more can be written, or a write has failed. Rejects with the signal's reason. */
export function writerReady(writer: CaptureWriter, signal?: AbortSignal): Promise<void> {
  return writer.block === undefined ? sinkReady(writer.sink, signal) : Promise.resolve();
}

/** Bytes of the file so far, with those still on their way. */
export function writtenBytes(writer: CaptureWriter): number {
  const { block, sink } = writer;
  const queued = sink.queue.reduce((sum, entry) => sum + entry.length - entry.done, 0);
  return sink.written + queued + (block === undefined ? 0 : get(writer, OUTPUT_POSITION) - block.offset);
}

export interface WrittenPackets {
  readonly packets: number;
  readonly bytes: number;
  /** Timestamps that the format cannot hold, set to the nearest it can. */
  readonly clamped: number;
}

/** What the kernel has written, records made by the caller not among them. */
export function writtenPackets(writer: CaptureWriter): WrittenPackets {
  const at = (offset: number) => Number(writer.arena.u64[(writer.state + offset) / 8]);
  return { packets: at(OUTPUT_PACKETS), bytes: at(OUTPUT_BYTES), clamped: at(OUTPUT_CLAMPED) };
}

/** Writes what an interface has counted; pcap has no place for it. */
export async function writeStatistics(writer: CaptureWriter, statistics: NewStatistics): Promise<void> {
  if (writer.options.format === "pcap") return;
  while (!writeBytes(writer, statisticsBlock(statistics, writer.options))) await writerReady(writer);
}

/** Writes out what is left and closes the file. Idempotent. Throws what a write has failed with. */
export async function closeWriter(writer: CaptureWriter): Promise<void> {
  if (writer.closed) return;
  flushWriter(writer);
  writer.closed = true;
  await writer.sink.draining;
  await closeSink(writer.sink);
  freeRegion(writer.arena, writer.state, OUTPUT_SIZE);
  if (writer.sink.failure !== undefined) throw writer.sink.failure;
}
