import { hostname, release, type } from "node:os";
import { VERDICT_PASS } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { NewInterface } from "../../ports/pcap/output-blocks.js";
import {
  createRecords,
  freeRecords,
  prepareRecords,
  type Records,
  writeRecords,
} from "../../ports/pcap/records.js";
import {
  type CaptureWriter,
  closeWriter,
  openWriter,
  setFallbackTime,
  writeBurst,
  writerReady,
  writeStatistics,
  writtenBytes,
} from "../../ports/pcap/writer.js";
import type { PortDriver } from "../../ports/port.js";
import { fileName, type Rotation } from "./names.js";

export interface FileOptions {
  /** Where to write; with rotation a pattern. */
  readonly pattern: string;
  readonly format: "pcap" | "pcapng";
  readonly nano: boolean;
  readonly snaplen: number;
  /** Every packet is handed to the system at once. */
  readonly unbuffered: boolean;
  readonly rotation: Rotation;
  /** Run with each finished file's name. */
  readonly command?: string | undefined;
  readonly first: NewInterface;
  /** What the interface has counted so far, for the statistics block. */
  statistics(): { readonly received: number; readonly droppedBySystem: number; readonly filtered: number };
}

/** The file that a capture goes to, or the row of files it is cut into. */
export interface CaptureFiles {
  readonly arena: ArenaMemory;
  readonly options: FileOptions;
  writer: CaptureWriter;
  name: string;
  /** Number in the name, and how many files -G has begun. */
  count: number;
  begun: number;
  started: Date;
  /** Set once -W says that there are enough. */
  full: boolean;
  fileBegan: number;
  /** Where a port names what it records, once it does. */
  records: Records | undefined;
}

const APPLICATION = "millrace";

export async function openFiles(arena: ArenaMemory, options: FileOptions): Promise<CaptureFiles> {
  const started = new Date();
  const name = fileName(options.pattern, options.rotation, 0, started);
  const writer = await begin(arena, options, name);
  return {
    arena,
    options,
    writer,
    name,
    count: 0,
    begun: 1,
    started,
    full: false,
    fileBegan: Date.now() / 1000,
    records: undefined,
  };
}

function begin(arena: ArenaMemory, options: FileOptions, name: string): Promise<CaptureWriter> {
  const { format, nano, snaplen, first } = options;
  return openWriter(arena, name, first, {
    ...{ format, nano, snaplen, flush: options.unbuffered },
    ...{ os: `${type()} ${release()}`, hardware: `${process.arch} ${hostname()}`, application: APPLICATION },
  });
}

/** Writes the packets of a burst that have the verdict PASS, waiting for the disk where it is behind. */
export async function writePackets(files: CaptureFiles, burst: number, packets: number): Promise<void> {
  const { rotation } = files.options;
  if (rotation.seconds !== undefined && Date.now() - files.started.getTime() >= rotation.seconds * 1000)
    await rotateByTime(files);
  if (files.full) return;
  const now = performance.timeOrigin + performance.now();
  setFallbackTime(files.writer, Math.floor(now / 1000), Math.floor((now % 1000) * 1e6));
  // Where the file may become full within the burst, every packet is looked at.
  const limit = rotation.megabytes === undefined ? Number.POSITIVE_INFINITY : rotation.megabytes * 1e6;
  const bytes = files.arena.kernels.burstBytes(burst, VERDICT_PASS) + 64 * packets;
  const step = writtenBytes(files.writer) + bytes > limit ? 1 : packets;
  for (let at = 0; at < packets; ) {
    if (writtenBytes(files.writer) > limit) await rotateBySize(files);
    const stop = Math.min(packets, at + step);
    const next = writeBurst(files.writer, burst, at, stop);
    if (next < stop) await writerReady(files.writer);
    at = next;
  }
}

/**
 * Writes up to `most` packets straight out of a port that can: as many as go into one write; how many, and a promise
 * of it only where something has to be waited for. To be called until it is 0, since the port gets its memory back
 * with the next call.
 */
export function recordPackets(
  files: CaptureFiles,
  record: NonNullable<PortDriver["record"]>,
  most: number,
): number | Promise<number> {
  const { seconds } = files.options.rotation;
  if (seconds !== undefined && Date.now() - files.started.getTime() >= seconds * 1000)
    return rotateByTime(files).then(() => recordNow(files, record, most));
  return recordNow(files, record, most);
}

function recordNow(
  files: CaptureFiles,
  record: NonNullable<PortDriver["record"]>,
  most: number,
): number | Promise<number> {
  if (files.full) return 0;
  files.records ??= createRecords(files.arena);
  const { writer, records } = files;
  prepareRecords(records, writer.sink);
  const packets = record(writer.state, records.offset, Math.min(most, 0xffff_ffff));
  if (packets === 0) return 0;
  const writing = writeRecords(records, writer.sink);
  return writing === undefined ? packets : writing.then(() => packets);
}

async function rotateByTime(files: CaptureFiles): Promise<void> {
  const { rotation } = files.options;
  if (rotation.files !== undefined && rotation.megabytes === undefined && files.begun >= rotation.files) {
    files.full = true;
    return;
  }
  const elapsed = Math.floor((Date.now() - files.started.getTime()) / 1000 / (rotation.seconds ?? 1));
  files.started = new Date(files.started.getTime() + elapsed * (rotation.seconds ?? 1) * 1000);
  files.begun++;
  await next(files, 0);
}

async function rotateBySize(files: CaptureFiles): Promise<void> {
  const { files: most, seconds } = files.options.rotation;
  const count = files.count + 1;
  await next(files, most !== undefined && seconds === undefined && count >= most ? 0 : count);
}

async function next(files: CaptureFiles, count: number): Promise<void> {
  await finish(files);
  files.count = count;
  files.name = fileName(files.options.pattern, files.options.rotation, count, files.started);
  files.writer = await begin(files.arena, files.options, files.name);
  files.fileBegan = Date.now() / 1000;
}

async function finish(files: CaptureFiles): Promise<void> {
  const at = Date.now() / 1000;
  await writeStatistics(files.writer, {
    index: 0,
    at,
    startedAt: files.fileBegan,
    endedAt: at,
    ...files.options.statistics(),
  });
  await closeWriter(files.writer);
  const { command } = files.options;
  if (command === undefined || files.name === "-") return;
  const { spawn } = await import("node:child_process");
  const child = spawn(command, [files.name], { stdio: ["ignore", "inherit", "inherit"], detached: true });
  child.on("error", (error) => process.stderr.write(`millrace: -z ${command}: ${error.message}\n`));
  child.unref();
}

/** Closes the last file. */
export async function closeFiles(files: CaptureFiles): Promise<void> {
  await finish(files);
  if (files.records !== undefined) freeRecords(files.records);
}
