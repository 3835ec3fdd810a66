import { MillraceError } from "../../errors.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { closeMapped, type MappedFile, mapWindow, openMapped } from "./mapped.js";
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
  /** How many windows are still left to threads before reading at once is tried again. */
  cold: number;
  /** How many windows may still be read at once before the event loop turns. */
  allowance: number;
  /** There were no frames for the window to be read at once. */
  starved: boolean;
  /** The file is mapped, and how many of its bytes were so far. */
  mapped: MappedFile | undefined;
  mappedBytes: number;
  /** Mapping was given up: the rest is read. */
  reading: boolean;
  /** First frame of the first window; 0: none was claimed yet. */
  home: number;
  /** Where the next read begins. */
  offset: number;
  /** Nothing will be read any more: the end, a failure, or closed. */
  ended: boolean;
  failure: unknown;
}

// What is not in memory is fetched by threads while this one walks the windows before. What is, a file just written
// or read before, this one copies itself, and finds it in its own cache.
const DEPTH = 6;
/** Milliseconds that reading a window at once may take; then threads do it for COLD windows. */
const AT_ONCE = 1;
const COLD = 64;

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
    cold: 1,
    allowance: 0,
    starved: false,
    mapped: undefined,
    mappedBytes: 0,
    reading: true,
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

/** Allows as many windows to be read at once as keep the event loop waiting for no longer than it may. */
export function allowReading(ahead: ReadAhead): void {
  ahead.allowance = 2;
}

/** True where the next window is read at once, when it is asked for. */
export function readsAtOnce(ahead: ReadAhead): boolean {
  const { source, queue, extension, ended, cold, reading } = ahead;
  const idle = queue.length === 0 && extension === undefined && !ended;
  return source.readNow !== undefined && cold === 0 && idle && reading;
}

/** From now on maps the file instead of reading it, where that can be; the walk then copies what it keeps. */
export function startMapping(ahead: ReadAhead): void {
  const { source, arena, ended } = ahead;
  if (source.fd === undefined || ahead.mapped !== undefined || ended) return;
  ahead.mapped = openMapped(arena, source.fd);
  if (ahead.mapped === undefined) return;
  ahead.reading = false;
  mapAhead(ahead, ahead.mapped);
}

/** Reads what is not yet mapped: so much is kept that copying all of it costs less. */
export function stopMapping(ahead: ReadAhead): void {
  ahead.reading = true;
}

function mapAhead(ahead: ReadAhead, mapped: MappedFile): void {
  while (!ahead.reading) {
    const { offset } = ahead;
    const made = mapWindow(mapped, offset);
    if (made === undefined) {
      ahead.reading = mapped.broken || offset >= mapped.size;
      return;
    }
    const { window, ready } = made;
    const bytes = window.end - window.start;
    ahead.offset += bytes;
    ahead.mappedBytes += bytes;
    const finished = ready.then((whole) => {
      if (whole && ahead.queue.includes(filling)) settle(ahead, filling);
      else readFrom(ahead, filling);
    });
    const filling: Filling = { window, offset, done: false, finished };
    ahead.queue.push(filling);
  }
}

function isBeingMapped({ window, done }: Filling): boolean {
  return window.lent !== undefined && !done;
}

/** What could not be mapped is read, with all that comes behind it. */
function readFrom(ahead: ReadAhead, filling: Filling): void {
  ahead.reading = true;
  const index = ahead.queue.indexOf(filling);
  if (index < 0) {
    releaseWindow(ahead.arena, filling.window);
    return;
  }
  ahead.offset = filling.offset;
  for (const each of ahead.queue.splice(index))
    if (each === filling || each.done) releaseWindow(ahead.arena, each.window);
}

/** Reads the next window at once, where it is the next to be had and that takes no time; true: nextWindow() has it. */
export function readNext(ahead: ReadAhead): boolean {
  const { source, arena } = ahead;
  if (!readsAtOnce(ahead) || ahead.allowance === 0) return false;
  const window = claimAhead(ahead, 0);
  ahead.starved = window === undefined;
  if (window === undefined) return false;
  ahead.allowance--;
  const offset = takeOffset(ahead, window);
  const filling: Filling = { window, offset, done: false, finished: Promise.resolve() };
  ahead.queue.push(filling);
  const started = performance.now();
  try {
    for (let at = offset; window.end < window.limit; ) {
      const bytes = source.readNow!(arena.u8, window.end, window.limit - window.end, at);
      window.end += bytes;
      at += bytes;
      if (bytes === 0) {
        ahead.ended = true;
        break;
      }
    }
  } catch (error) {
    ahead.failure ??= error;
    ahead.ended = true;
  }
  ahead.offset = offset + window.end - window.start;
  if (performance.now() - started > AT_ONCE) ahead.cold = COLD;
  settle(ahead, filling);
  return ahead.queue.length > 0;
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
  if (ahead.mapped !== undefined) mapAhead(ahead, ahead.mapped);
  // Nothing is read behind what may yet have to be read itself.
  if (readsAtOnce(ahead) || !ahead.reading || ahead.queue.some(isBeingMapped)) return;
  const depth = ahead.source.readNow === undefined ? 1 : Math.min(DEPTH, ahead.cold);
  while (ahead.queue.length < depth && !ahead.ended) {
    const window = claimAhead(ahead, 0);
    if (window === undefined) return; // tried again at the next call
    if (ahead.cold > 0) ahead.cold--;
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
  else if (readsAtOnce(ahead) && !ahead.starved) await new Promise((resolve) => setImmediate(resolve));
  else if (!ahead.ended) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Closes the source and gives all windows back, once no read is under way any more. */
export async function closeReadAhead(ahead: ReadAhead): Promise<void> {
  ahead.ended = true;
  if (ahead.mapped !== undefined) await closeMapped(ahead.mapped);
  await ahead.source.close();
  await ahead.extension;
  for (const filling of [...ahead.queue]) await filling.finished;
  for (const filling of ahead.queue) releaseWindow(ahead.arena, filling.window);
  ahead.queue.length = 0;
}
