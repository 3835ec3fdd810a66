import { MillraceError } from "../../errors.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { CaptureSource } from "./source.js";
import { claimWindow, releaseWindow, type Window, windowBytes } from "./window.js";

/** A window being filled, or filled and not yet in use. */
interface Filling {
  readonly window: Window;
  /** Where in the file its bytes begin; past the end it stays empty. */
  readonly offset: number;
  done: boolean;
  readonly finished: Promise<void>;
}

/** Windows of a file that are read before they are wanted, in the file's order. */
export interface ReadAhead {
  readonly arena: ArenaMemory;
  readonly source: CaptureSource;
  /** Address of a word that says where to look for frames. */
  readonly hint: number;
  /** True: compressed data that break off are a file's end and no error. */
  readonly quiet: boolean;
  readonly queue: Filling[];
  /** More of the window in use, being read. */
  extension: Promise<void> | undefined;
  /** First frame of the first window; 0: none was claimed yet. */
  home: number;
  /** Where the next read begins. */
  offset: number;
  /** Nothing will be read any more: the end, a failure, or closed. */
  ended: boolean;
  failure: unknown;
}

// A file is copied into memory by other processors while this one walks it.
const DEPTH = 3;

export function createReadAhead(
  arena: ArenaMemory,
  source: CaptureSource,
  hint: number,
  quiet: boolean,
): ReadAhead {
  return {
    arena,
    source,
    hint,
    quiet,
    queue: [],
    extension: undefined,
    home: 0,
    offset: 0,
    ended: false,
    failure: undefined,
  };
}

/** Claims a window for at least `bytes` bytes; undefined when there are no frames for it now. */
export function claimAhead(ahead: ReadAhead, bytes: number): Window | undefined {
  const { size } = ahead.source;
  const most = windowBytes(ahead.arena);
  const usual = size === undefined ? most : Math.min(most, Math.max(size, 4096));
  // Always from the first window on: those in use are few, and what was used just now is warm.
  ahead.arena.u32[ahead.hint >>> 2] = ahead.home;
  const window = claimWindow(ahead.arena, ahead.hint, Math.max(bytes, usual));
  if (ahead.home === 0 && window !== undefined) ahead.home = window.first;
  return window;
}

/** Starts reading as far ahead as the source allows; with `extend`, more of that window first. */
export function readAhead(ahead: ReadAhead, extend: Window | undefined, extended: () => void): void {
  if (ahead.extension !== undefined) return;
  if (extend !== undefined && ahead.queue.length === 0 && !ahead.ended) {
    ahead.extension = readInto(ahead, extend, takeOffset(ahead, extend)).then(() => {
      ahead.extension = undefined;
      extended();
    });
    return;
  }
  const depth = ahead.source.seekable ? DEPTH : 1;
  while (ahead.queue.length < depth && !ahead.ended) {
    const window = claimAhead(ahead, 0);
    if (window === undefined) return; // tried again at the next call
    const offset = takeOffset(ahead, window);
    const filling: Filling = {
      window,
      offset,
      done: false,
      finished: readInto(ahead, window, offset).then(() => settle(ahead, filling)),
    };
    ahead.queue.push(filling);
  }
}

function takeOffset(ahead: ReadAhead, window: Window): number {
  const { offset } = ahead;
  ahead.offset += window.limit - window.end;
  return offset;
}

async function readInto(ahead: ReadAhead, window: Window, offset: number): Promise<void> {
  const { source, arena } = ahead;
  try {
    for (let at = offset; window.end < window.limit; ) {
      const bytes = await source.read(arena.u8, window.end, window.limit - window.end, at);
      window.end += bytes;
      at += bytes;
      if (bytes === 0) {
        ahead.ended = true;
        ahead.offset = Math.min(ahead.offset, at);
        return;
      }
      if (!source.seekable) return; // what has come so far is walked before there is more
    }
  } catch (error) {
    if (!(ahead.quiet && isCutShort(error))) ahead.failure ??= error;
    ahead.ended = true;
    ahead.offset = Math.min(ahead.offset, offset + window.end - window.start);
  }
}

function isCutShort(error: unknown): boolean {
  return (
    error instanceof MillraceError && (error.cause as { code?: unknown } | undefined)?.code === "Z_BUF_ERROR"
  );
}

function settle(ahead: ReadAhead, filling: Filling): void {
  filling.done = true;
  const { window, offset } = filling;
  // What was read past a place where an earlier read found the end, or failed, is not the file's next.
  const past = ahead.ended && offset > ahead.offset;
  if (window.end > window.start && !past) return;
  const index = ahead.queue.indexOf(filling);
  if (index >= 0) ahead.queue.splice(index, 1);
  releaseWindow(ahead.arena, window);
}

/** The next window if it has been read. */
export function nextWindow(ahead: ReadAhead): Window | undefined {
  const head = ahead.queue[0];
  return head?.done ? head.window : undefined;
}

/** Takes the next window out. */
export function takeWindow(ahead: ReadAhead): void {
  ahead.queue.shift();
}

/** True when all that there is has been taken. */
export function isExhausted(ahead: ReadAhead): boolean {
  return ahead.ended && ahead.queue.length === 0 && ahead.extension === undefined;
}

/** Waits until something was read, or could be: frames come back when the user's packets do. */
export async function moreRead(ahead: ReadAhead): Promise<void> {
  if (ahead.extension !== undefined) await ahead.extension;
  else if (ahead.queue.length > 0) await ahead.queue[0].finished;
  else if (!ahead.ended) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Closes the source and gives all windows back, once no read is under way any more. */
export async function closeReadAhead(ahead: ReadAhead): Promise<void> {
  ahead.ended = true;
  await ahead.source.close();
  await ahead.extension;
  for (const filling of [...ahead.queue]) await filling.finished;
  for (const filling of ahead.queue) releaseWindow(ahead.arena, filling.window);
  ahead.queue.length = 0;
}
