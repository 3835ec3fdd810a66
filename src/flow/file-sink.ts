import { close, open, write, writev } from "node:fs";
import { promisify } from "node:util";
import { MillraceError } from "../errors.js";
import type { ChunkView } from "./chunk.js";
import { type ChunkSink, createQueue } from "./sink.js";

// Chunks go to files as they lie in the arena: the kernel copies, nobody else. `file:frame-%08d.raw` is a file
// a chunk, `file:out.ts` one growing file, `-` standard output.

const openAsync = promisify(open);
const closeAsync = promisify(close);
const writeAsync = promisify(write) as (fd: number, data: Uint8Array) => Promise<{ bytesWritten: number }>;
const writevAsync = promisify(writev) as (
  fd: number,
  data: readonly Uint8Array[],
) => Promise<{ bytesWritten: number }>;

const BATCH = 64; // small chunks written by one call
const PIECES = 512; // IOV_MAX is 1024 (limits.h)

function failure(path: string, error: unknown): MillraceError {
  const { code = "ERR_OUTPUT", errno, syscall } = error as NodeJS.ErrnoException;
  const hint =
    code === "ENOSPC" ? "the disk is full" : code === "EPIPE" ? "whoever read it has gone" : undefined;
  return new MillraceError(
    code,
    `${path === "-" ? "standard output" : path} cannot be written: ${(error as Error).message}`,
    {
      cause: error,
      ...(errno === undefined ? {} : { errno }),
      ...(syscall === undefined ? {} : { syscall }),
      ...(hint === undefined ? {} : { hint }),
    },
  );
}

/** Writes all of the pieces, whatever part of them one call takes. A pipe that is full is waited for. */
async function writeAll(fd: number, pieces: Uint8Array[]): Promise<void> {
  while (pieces.length > 0) {
    let left = 0;
    try {
      const result =
        pieces.length === 1
          ? await writeAsync(fd, pieces[0])
          : await writevAsync(fd, pieces.slice(0, PIECES));
      left = result.bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await new Promise((resolve) => setTimeout(resolve, 1));
      continue;
    }
    while (pieces.length > 0 && left >= pieces[0].length) left -= (pieces.shift() as Uint8Array).length;
    if (left > 0) pieces[0] = pieces[0].subarray(left);
  }
}

/** `%d` or `%08d` in a name: the chunk's number, from 0. */
function numbered(pattern: string, number: number): string {
  return pattern.replace(/%(0?)(\d*)d/, (_, zero: string, width: string) =>
    String(number).padStart(Number(width || 0), zero === "" ? " " : "0"),
  );
}

/** Opens a sink for `file:` paths and `-`. Throws an errno's name where the file cannot be made. */
export async function createFileSink(path: string): Promise<ChunkSink> {
  const each = /%0?\d*d/.test(path);
  let number = 0;
  const fail = (error: unknown): never => {
    throw failure(path, error);
  };
  const fd = path === "-" ? 1 : each ? -1 : await openAsync(path, "w").catch(fail);
  const queue = createQueue(async (chunks: ChunkView[]) => {
    try {
      if (!each) {
        await writeAll(
          fd as number,
          chunks.flatMap((chunk) => chunk.slices),
        );
        return;
      }
      for (const chunk of chunks) {
        const file = await openAsync(numbered(path, number++), "w");
        try {
          await writeAll(file, [...chunk.slices]);
        } finally {
          await closeAsync(file);
        }
      }
    } catch (error) {
      fail(error);
    }
  }, BATCH);
  let finished = false;
  const finish = async () => {
    if (finished) return;
    finished = true;
    if (fd > 2) await closeAsync(fd as number);
  };
  return {
    accept: queue.accept,
    below: queue.below,
    delivered: queue.delivered,
    get held() {
      return queue.held;
    },
    created: 0,
    linearized: 0,
    async end() {
      try {
        await queue.drain();
      } finally {
        await finish();
      }
    },
    async abort() {
      await queue.discard();
      await finish();
    },
  };
}
