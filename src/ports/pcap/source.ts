import type { Stats } from "node:fs";
import * as fs from "node:fs";
import { isatty } from "node:tty";
import { promisify } from "node:util";
import { MillraceError } from "../../errors.js";

/** Where a capture's bytes come from. One read at a time. */
export interface CaptureSource {
  /**
   * Reads up to `length` bytes to `at` in `memory`; 0 at the end. `position` is where in the file, if `seekable`;
   * else one read at a time, in order. Rejects with ERR_CAPTURE or a system error.
   */
  read(memory: Uint8Array, at: number, length: number, position: number): Promise<number>;
  /** The same at once, where the source is a file: the caller sees to it that this does not take long. */
  readNow?(memory: Uint8Array, at: number, length: number, position: number): number;
  readonly seekable: boolean;
  /** The descriptor, where the source is a file as it stands, from its first byte on. */
  readonly fd?: number;
  /** Bytes in all, where that is known beforehand. */
  readonly size?: number;
  /** True where a read ends at what has come so far: a pipe, or what is decompressed. */
  readonly stream: boolean;
  readonly compression?: Compression;
  close(): Promise<void>;
}
export type Compression = "gzip" | "brotli" | "zstd";

const open = promisify(fs.open);
const fstat = promisify(fs.fstat);
const closeDescriptor = promisify(fs.close);
// Not promisified: that would make an object a read.
const readDescriptor = fs.read;

/** What files that are no plain files need is loaded with the first of them: sockets, streams and decompressors. */
const streams = () => import("./source-stream.js");

/** Opens a path, or standard input for `-`. Compressed data are seen through: gzip and zstd by their magic, brotli by its name. */
export async function openSource(path: string): Promise<CaptureSource> {
  const fd = path === "-" ? 0 : await openPath(path);
  try {
    const status = await fstat(fd);
    if (status.isDirectory())
      throw new MillraceError("ERR_CAPTURE", `"${path}" is a directory, not a capture file`, {
        at: { file: path },
      });
    if (path === "-" && isatty(0))
      throw new MillraceError("ERR_CAPTURE", "standard input is a terminal, not a capture", {
        hint: "pipe a capture in, or name a file",
      });
    if (status.isFIFO() || status.isSocket()) return await (await streams()).openPipe(path, fd);
    return await openRegular(path, fd, status);
  } catch (error) {
    if (fd !== 0) await closeDescriptor(fd).catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}

async function openPath(path: string): Promise<number> {
  try {
    return await open(path, "r");
  } catch (error) {
    throw systemError(error, path);
  }
}

/** A failed system call of Node's on a file, in our form. */
export function systemError(error: unknown, file: string): MillraceError {
  const { code, syscall, errno, message } = error as NodeJS.ErrnoException;
  const what: Readonly<Record<string, string>> = {
    ENOENT: "does not exist",
    EACCES: "may not be opened",
    EISDIR: "is a directory",
    ENOSPC: "cannot be written: the disk is full",
    EPIPE: "is no longer read by anyone",
  };
  return new MillraceError(code ?? "ERR_CAPTURE", `"${file}" ${what[code ?? ""] ?? `failed: ${message}`}`, {
    at: { file },
    cause: error,
    ...(syscall === undefined ? {} : { syscall }),
    ...(errno === undefined ? {} : { errno }),
  });
}

function readFile(
  fd: number,
  path: string,
  memory: Uint8Array,
  at: number,
  length: number,
  position: number | null,
): Promise<number> {
  return new Promise((resolve, reject) => {
    readDescriptor(fd, memory, at, length, position, (error, bytes) => {
      if (error) reject(systemError(error, path));
      else resolve(bytes);
    });
  });
}

type ReadPlace = readonly [memory: Uint8Array, at: number, length: number, position: number];

function readFileNow(fd: number, path: string, ...place: ReadPlace): number {
  try {
    return fs.readSync(fd, ...place);
  } catch (error) {
    throw systemError(error, path);
  }
}

async function openRegular(path: string, fd: number, status: Stats): Promise<CaptureSource> {
  const head = new Uint8Array(4);
  const seekable = status.isFile() && path !== "-";
  const headLength = await readFile(fd, path, head, 0, 4, seekable ? 0 : null);
  const compression = compressionOf(path, head);
  if (compression !== undefined) {
    const { decompressed, HIGH_WATER } = await streams();
    const start = seekable ? { start: 0 } : {};
    const rest = fs.createReadStream(path, { fd, highWaterMark: HIGH_WATER, ...start });
    if (!seekable) rest.unshift(head.slice(0, headLength));
    return decompressed(path, rest, compression);
  }
  let pending = seekable ? new Uint8Array(0) : head.subarray(0, headLength);
  const inFlight = new Set<Promise<unknown>>();
  return {
    stream: false,
    seekable,
    ...(status.isFile() ? { size: status.size } : {}),
    ...(seekable ? { fd, readNow: (...where: ReadPlace) => readFileNow(fd, path, ...where) } : {}),
    read: (memory, at, length, position) => {
      if (pending.length > 0) {
        memory.set(pending, at);
        const bytes = pending.length;
        pending = pending.subarray(bytes);
        return Promise.resolve(bytes);
      }
      const reading = readFile(fd, path, memory, at, length, seekable ? position : null);
      const settled: Promise<unknown> = reading.then(
        () => inFlight.delete(settled),
        () => inFlight.delete(settled), // whoever asked for the bytes is told
      );
      inFlight.add(settled);
      return reading;
    },
    close: async () => {
      await Promise.all(inFlight);
      if (fd !== 0) await closeDescriptor(fd);
    },
  };
}

/** What a file's first bytes or its name say about its compression. Throws ERR_CAPTURE for one that Node cannot undo. */
export function compressionOf(path: string, head: Uint8Array): Compression | undefined {
  const magic = Buffer.from(head).toString("hex");
  if (magic.startsWith("1f8b")) return "gzip";
  if (magic === "28b52ffd") return "zstd";
  if (magic === "04224d18")
    throw new MillraceError("ERR_CAPTURE", `"${path}" is compressed with LZ4, which Node cannot undo`, {
      at: { file: path, offset: 0 },
      hint: "decompress it with lz4 -dc and pipe it in",
    });
  return path.endsWith(".br") ? "brotli" : undefined;
}
