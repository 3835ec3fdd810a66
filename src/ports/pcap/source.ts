import * as fs from "node:fs";
import { createReadStream, type Stats } from "node:fs";
import { Socket } from "node:net";
import { pipeline, type Readable, type Transform } from "node:stream";
import { isatty } from "node:tty";
import { promisify } from "node:util";
import * as zlib from "node:zlib";
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
const HIGH_WATER = 1 << 20;

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
    if (status.isFIFO() || status.isSocket()) return await openPipe(path, fd);
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
    const rest = createReadStream(path, { fd, highWaterMark: HIGH_WATER, ...(seekable ? { start: 0 } : {}) });
    if (!seekable) rest.unshift(head.slice(0, headLength));
    return decompressed(path, rest, compression);
  }
  let pending = seekable ? new Uint8Array(0) : head.subarray(0, headLength);
  const inFlight = new Set<Promise<unknown>>();
  return {
    stream: false,
    seekable,
    ...(status.isFile() ? { size: status.size } : {}),
    ...(seekable ? { readNow: (...where: ReadPlace) => readFileNow(fd, path, ...where) } : {}),
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

async function openPipe(path: string, fd: number): Promise<CaptureSource> {
  const socket = new Socket({ fd, readable: true, writable: false });
  const reader = streamReader(path, socket);
  const head = new Uint8Array(4);
  let length = 0;
  while (length < 4) {
    const bytes = await reader.read(head, length, 4 - length);
    if (bytes === 0) break;
    length += bytes;
  }
  const compression = compressionOf(path, head.subarray(0, length));
  reader.putBack(head.subarray(0, length));
  if (compression === undefined)
    return { stream: true, seekable: false, read: reader.read, close: reader.close };
  reader.detach();
  return decompressed(path, socket, compression);
}

function compressionOf(path: string, head: Uint8Array): Compression | undefined {
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

function decompressed(path: string, input: Readable, compression: Compression): CaptureSource {
  const transform = decompressor(path, compression);
  // An error on either side reaches the reader through the transform, which the pipeline destroys with it.
  pipeline(input, transform, () => undefined);
  const { read, close } = streamReader(path, transform);
  return { stream: true, seekable: false, compression, read, close };
}

function decompressor(path: string, compression: Compression): Transform {
  if (compression === "gzip") return zlib.createGunzip({ chunkSize: HIGH_WATER / 4 });
  if (compression === "brotli") return zlib.createBrotliDecompress({ chunkSize: HIGH_WATER / 4 });
  const create = (zlib as { createZstdDecompress?: (options: object) => Transform }).createZstdDecompress;
  if (create === undefined)
    throw new MillraceError(
      "ERR_CAPTURE",
      `"${path}" is compressed with zstd, which Node ${process.version} lacks`,
      {
        at: { file: path, offset: 0 },
        hint: "use Node 22.15 or newer, or pipe it in through zstd -dc",
      },
    );
  return create({ chunkSize: HIGH_WATER / 4 });
}

/** Reads a stream into memory chunk by chunk; what of a chunk does not fit waits for the next read. */
function streamReader(path: string, stream: Readable) {
  let chunk: Uint8Array | null = null;
  let failure: unknown;
  let ended = false;
  let wake: (() => void) | undefined;
  const changed = () => wake?.();
  const listeners: readonly (readonly [string, (error?: unknown) => void])[] = [
    ["readable", changed],
    [
      "end",
      () => {
        ended = true;
        changed();
      },
    ],
    [
      "error",
      (error) => {
        failure = error;
        changed();
      },
    ],
    [
      "close",
      () => {
        ended = true;
        changed();
      },
    ],
  ];
  for (const [event, listener] of listeners) stream.on(event, listener);
  const read = async (memory: Uint8Array, at: number, length: number): Promise<number> => {
    let bytes = 0;
    while (bytes < length) {
      chunk ??= stream.read() as Buffer | null;
      if (chunk === null) {
        if (bytes > 0 || (ended && failure === undefined)) return bytes;
        if (failure !== undefined) throw streamError(path, failure);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const piece = chunk.subarray(0, length - bytes);
      memory.set(piece, at + bytes);
      bytes += piece.length;
      chunk = piece.length === chunk.length ? null : chunk.subarray(piece.length);
    }
    return bytes;
  };
  return {
    read,
    putBack: (bytes: Uint8Array) => {
      chunk = chunk === null ? bytes : Buffer.concat([bytes, chunk]);
      if (chunk.length === 0) chunk = null;
    },
    /** Hands the stream, with what was read ahead, to someone else. */
    detach: () => {
      for (const [event, listener] of listeners) stream.off(event, listener);
      if (chunk !== null) stream.unshift(Buffer.from(chunk));
    },
    close: async () => {
      ended = true;
      stream.destroy();
      changed();
    },
  };
}

function streamError(path: string, error: unknown): MillraceError {
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code === "string" && /^(Z_|ERR_BROTLI|ERR__ERROR|ERR_ZSTD|ZSTD|ERR_)/.test(code))
    return new MillraceError(
      "ERR_CAPTURE",
      `"${path}" is compressed and cut short or damaged: ${(error as Error).message}`,
      {
        at: { file: path },
        cause: error,
      },
    );
  return systemError(error, path);
}
