import { MillraceError } from "../../errors.js";
import {
  CAPTURE_END,
  CAPTURE_NEED,
  CAPTURE_OPTIONS,
  CAPTURE_OPTIONS_LENGTH,
  CAPTURE_OTHER,
  CAPTURE_POSITION,
  CAPTURE_SWAPPED,
  CAPTURE_VALUE,
  WALK_BLOCK,
  WALK_FAULT,
  WALK_FULL,
  WALK_LARGE,
  WALK_NEED,
  WALK_OPTIONS,
  WALK_ROOM,
} from "../../kernels/captures.js";
import { BURST_PACKETS } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import { walkFault } from "./faults.js";
import { detachReaderFilter } from "./filter.js";
import { readHead } from "./head.js";
import { allowReading, closeReadAhead, createReadAhead, nextWindow } from "./readahead.js";
import { freeInterfaces, takeBlock } from "./sections.js";
import { type CaptureSource, openSource } from "./source.js";
import {
  type CaptureReader,
  EMPTY_BURST,
  end,
  fileOffset,
  get,
  HINT,
  type ReaderOptions,
  STATE_BYTES,
} from "./state.js";
import { makeRoom, moreFilled, provide } from "./supply.js";
import { releaseWindow } from "./window.js";

export type { CaptureBlock, CaptureReader, PacketOptions, ReaderOptions } from "./state.js";

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
    copies: undefined,
    roomless: false,
    bias: 0,
    wanted: 0,
    failure: undefined,
    ended: false,
    closed: false,
  };
  try {
    await readHead(reader);
    if (reader.format === "pcapng") await primeSections(reader);
  } catch (error) {
    await closeReader(reader);
    throw error;
  }
  return reader;
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

/**
 * Appends packets to a burst as long as they are in memory; returns how many. 0: none now, or `ended`. Throws
 * what is wrong with the file once the packets before it have been read: ERR_CAPTURE with the offset.
 */
export function readCapture(reader: CaptureReader, burst: number): number {
  if (reader.closed) throw new MillraceError("ERR_CLOSED", `"${reader.file}" was closed`);
  const { u32 } = reader.arena;
  const before = u32[(burst + BURST_PACKETS) >>> 2];
  allowReading(reader.ahead);
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
    else if (why === WALK_ROOM) {
      if (!makeRoom(reader)) return false;
    } else if (why === WALK_FAULT) end(reader, walkFault(reader));
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
  if (reader.ended || reader.closed) return;
  if (reader.roomless) return new Promise((resolve) => setTimeout(resolve, 1));
  if (nextWindow(reader.ahead) !== undefined) return;
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
  if (reader.copies !== undefined) releaseWindow(reader.arena, reader.copies);
  reader.copies = undefined;
  detachReaderFilter(reader);
  freeInterfaces(reader);
  freeRegion(reader.arena, reader.state, STATE_BYTES);
}
