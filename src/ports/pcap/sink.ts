import * as fs from "node:fs";
import { isatty } from "node:tty";
import { promisify } from "node:util";
import { MillraceError } from "../../errors.js";
import { CONTROL_PAGE_COUNT, REGION_PAGE_SHIFT } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { freeRegion, reserveRegion } from "../../memory/region.js";
import { systemError } from "./source.js";

/** A stretch of the arena that goes to the file in one write; whole records only. */
export interface OutputBlock {
  readonly offset: number;
  readonly bytes: number;
  /** True: made for one record too long for the others, and freed when it is written. */
  readonly single: boolean;
}

/** Bytes of the arena. */
export interface Piece {
  readonly offset: number;
  readonly bytes: number;
}

/** Whole records, in pieces, each head in one. */
interface Queued {
  readonly pieces: readonly Piece[];
  readonly length: number;
  /** Bytes of it that are written. */
  done: number;
  /** Empty again once it is written. */
  readonly block?: OutputBlock;
}

/** A file or pipe being written. Blocks take turns: one is filled while others are on their way. */
export interface CaptureSink {
  readonly arena: ArenaMemory;
  /** As shown in errors. */
  readonly file: string;
  readonly fd: number;
  readonly regular: boolean;
  /** Writing is a copy into memory, or nothing: a file's, or /dev/null's. A pipe may take its time. */
  readonly memory: boolean;
  readonly pcapng: boolean;
  readonly blocks: readonly OutputBlock[];
  readonly free: OutputBlock[];
  readonly queue: Queued[];
  /** Milliseconds that the last write took. */
  took: number;
  /** Bytes that the file holds. */
  written: number;
  failure: MillraceError | undefined;
  draining: Promise<void> | undefined;
  readonly waiting: Set<() => void>;
}

const openFile = promisify(fs.open);
const fstat = promisify(fs.fstat);
const closeFile = promisify(fs.close);
const truncate = promisify(fs.ftruncate);
const BLOCKS = 4;
const MEMORY_DEVICES = 1; // major number of /dev/null and its like
/** A write that may take longer, in milliseconds, is left to another thread. */
const QUICK = 2;

/** Creates or truncates `path`; `-` is standard output. */
export async function openSink(arena: ArenaMemory, path: string, pcapng: boolean): Promise<CaptureSink> {
  const file = path === "-" ? "standard output" : path;
  let fd = 1;
  if (path === "-" && isatty(1))
    throw new MillraceError("ERR_CAPTURE", "standard output is a terminal, and a capture is not text", {
      hint: "redirect it to a file or into another program",
    });
  if (path !== "-")
    fd = await openFile(path, "w").catch((error: unknown) => {
      throw systemError(error, file);
    });
  const regions = arena.u32[(arena.control + CONTROL_PAGE_COUNT) >>> 2] * 2 ** REGION_PAGE_SHIFT;
  const bytes = Math.min(1 << 20, Math.max(1 << 15, 2 ** Math.floor(Math.log2(regions / 32))));
  const blocks = Array.from({ length: BLOCKS }, () => ({
    offset: reserveRegion(arena, bytes),
    bytes,
    single: false,
  }));
  const status = await fstat(fd);
  return {
    arena,
    file,
    fd,
    regular: status.isFile(),
    memory: status.isFile() || (status.isCharacterDevice() && status.rdev >>> 8 === MEMORY_DEVICES),
    pcapng,
    blocks,
    free: [...blocks],
    queue: [],
    took: 0,
    written: 0,
    failure: undefined,
    draining: undefined,
    waiting: new Set(),
  };
}

/** Takes an empty block, or undefined while all are on their way. */
export function takeBlock(sink: CaptureSink): OutputBlock | undefined {
  return sink.free.pop();
}

/** A block for one record of `bytes` bytes. */
export function singleBlock(sink: CaptureSink, bytes: number): OutputBlock {
  return { offset: reserveRegion(sink.arena, bytes), bytes, single: true };
}

/** Hands over a block whose first `length` bytes are to be written. */
export function queueBlock(sink: CaptureSink, block: OutputBlock, length: number): void {
  enqueue(sink, { pieces: [{ offset: block.offset, bytes: length }], length, done: 0, block });
}

/**
 * True while this thread may write by itself: nothing is on its way that would have to come before, and the last
 * write was over at once.
 */
export function writesAtOnce(sink: CaptureSink): boolean {
  return sink.memory && sink.draining === undefined && sink.failure === undefined && sink.took < QUICK;
}

/**
 * Writes whole records of which the first `done` bytes are written, behind what was handed over before. The pieces
 * are the caller's again when it resolves. Throws what a write has failed with.
 */
export async function writePieces(sink: CaptureSink, pieces: readonly Piece[], done: number): Promise<void> {
  const length = pieces.reduce((sum, { bytes }) => sum + bytes, 0);
  enqueue(sink, { pieces, length, done });
  await sink.draining;
  if (sink.failure !== undefined) throw sink.failure;
}

function enqueue(sink: CaptureSink, queued: Queued): void {
  sink.queue.push(queued);
  sink.draining ??= drain(sink);
}

async function drain(sink: CaptureSink): Promise<void> {
  await undefined; // so that `draining` is set before it is cleared
  while (sink.queue.length > 0) {
    if (sink.failure === undefined) await writeQueued(sink);
    while (sink.queue.length > 0) {
      const { block, length, done } = sink.queue[0];
      if (done < length && sink.failure === undefined) break;
      sink.queue.shift();
      if (block?.single) freeRegion(sink.arena, block.offset, block.bytes);
      else if (block !== undefined) sink.free.push(block);
    }
    for (const wake of sink.waiting) wake();
    sink.waiting.clear();
  }
  sink.draining = undefined;
}

/** Writes what is queued now in one call, as far as the system takes it. */
async function writeQueued(sink: CaptureSink): Promise<void> {
  try {
    const began = performance.now();
    let bytes = await writeOnce(sink);
    sink.took = performance.now() - began;
    sink.written += bytes;
    for (const entry of sink.queue) {
      const part = Math.min(bytes, entry.length - entry.done);
      entry.done += part;
      bytes -= part;
      if (bytes === 0) break;
    }
  } catch (error) {
    sink.failure = systemError(error, sink.file);
    const [{ pieces, done }] = sink.queue;
    await cutToRecords(sink, pieces, done);
  }
}

function writeOnce(sink: CaptureSink): Promise<number> {
  const views = sink.queue.flatMap(({ pieces, done }) => unwritten(sink.arena.u8, pieces, done));
  return new Promise((resolve, reject) => {
    fs.writev(sink.fd, views, null, (error, bytes) => {
      if (error === null) resolve(bytes);
      // A pipe that someone else has set not to block.
      else if (error.code === "EAGAIN") setTimeout(() => resolve(0), 2);
      else reject(error);
    });
  });
}

/** What is left of pieces behind their first `done` bytes. */
function unwritten(u8: Uint8Array, pieces: readonly Piece[], done: number): Uint8Array[] {
  const views: Uint8Array[] = [];
  let before = 0;
  for (const { offset, bytes } of pieces) {
    const from = Math.max(0, done - before);
    if (from < bytes) views.push(u8.subarray(offset + from, offset + bytes));
    before += bytes;
  }
  return views;
}

/** After a failed write: the file ends with the last record that is whole in it. */
async function cutToRecords(sink: CaptureSink, pieces: readonly Piece[], done: number): Promise<void> {
  if (!sink.regular) return;
  const end = sink.written - done + wholeRecords(sink, pieces, done);
  // The failed write is the error to tell; a file that cannot be cut either stays as it is.
  await truncate(sink.fd, end).then(
    () => {
      sink.written = end;
    },
    () => undefined,
  );
}

/** How many of the first `done` bytes of records in pieces are whole ones. */
function wholeRecords({ arena, pcapng }: CaptureSink, pieces: readonly Piece[], done: number): number {
  let whole = 0;
  let piece = 0;
  let before = 0; // bytes of the pieces before that one
  while (done - whole >= 16) {
    while (whole - before >= pieces[piece].bytes) before += pieces[piece++].bytes;
    const head = pieces[piece].offset + whole - before;
    const next = whole + (pcapng ? 0 : 16) + readWord(arena.u8, arena.u32, head + (pcapng ? 4 : 8));
    if (next > done || next <= whole) break;
    whole = next;
  }
  return whole;
}

function readWord(u8: Uint8Array, u32: Uint32Array, at: number): number {
  if (at % 4 === 0) return u32[at >>> 2];
  return (u8[at] | (u8[at + 1] << 8) | (u8[at + 2] << 16) | (u8[at + 3] << 24)) >>> 0;
}

/** Resolves when a block is free, or the sink has failed. Rejects with the signal's reason. */
export async function sinkReady(sink: CaptureSink, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  if (sink.free.length > 0 || sink.failure !== undefined) return;
  await new Promise<void>((resolve, reject) => {
    const wake = () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    };
    const abort = () => {
      sink.waiting.delete(wake);
      reject(signal?.reason);
    };
    sink.waiting.add(wake);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Waits for what is queued, closes the file and gives the blocks back. */
export async function closeSink(sink: CaptureSink): Promise<void> {
  await sink.draining;
  for (const block of sink.blocks) freeRegion(sink.arena, block.offset, block.bytes);
  if (sink.fd > 2) await closeFile(sink.fd);
}
