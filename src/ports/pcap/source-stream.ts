// Capture files that come as a stream: from a pipe or a socket, or out of a decompressor.
import { Socket } from "node:net";
import { pipeline, type Readable, type Transform } from "node:stream";
import * as zlib from "node:zlib";
import { MillraceError } from "../../errors.js";
import { type CaptureSource, type Compression, compressionOf, systemError } from "./source.js";

export const HIGH_WATER = 1 << 20;

/** A source over a pipe or a socket, which it owns from here on. */
export async function openPipe(path: string, fd: number): Promise<CaptureSource> {
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

/** A source over what a compressed stream decompresses to. */
export function decompressed(path: string, input: Readable, compression: Compression): CaptureSource {
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
