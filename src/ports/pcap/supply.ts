import { MillraceError } from "../../errors.js";
import {
  CAPTURE_COPIED,
  CAPTURE_COPY,
  CAPTURE_COPY_END,
  CAPTURE_END,
  CAPTURE_LENT,
  CAPTURE_NEED,
  CAPTURE_POSITION,
  CAPTURE_SCOUTED,
} from "../../kernels/captures.js";
import { captureFault } from "./faults.js";
import {
  allowReading,
  claimAhead,
  isExhausted,
  moreRead,
  nextWindow,
  readAhead,
  readNext,
  readsAtOnce,
  stopMapping,
  takeWindow,
} from "./readahead.js";
import { type CaptureReader, end, fileOffset, get, set } from "./state.js";
import { largestWindow, releaseWindow, type Window } from "./window.js";

/** Waits until `bytes` bytes are in memory from the position on, or the source has ended. */
export async function bring(reader: CaptureReader, bytes: number): Promise<void> {
  while (get(reader, CAPTURE_END) - get(reader, CAPTURE_POSITION) < bytes && !advance(reader, bytes)) {
    if (reader.ahead.failure !== undefined) throw reader.ahead.failure;
    if (isExhausted(reader.ahead)) return;
    await moreFilled(reader);
  }
}

/** Where more than the fourth part of a mapped file is copied, the rest is read: that is one copy too, and a faster one. */
const COPIED_PART = 4;
const COPIED_LITTLE = 4 << 20; // bytes, of which nothing follows yet

function startReading(reader: CaptureReader): void {
  const { ahead, window } = reader;
  const copied = Number(reader.arena.u64[(reader.state + CAPTURE_COPIED) / 8]);
  if (copied > COPIED_LITTLE && copied > ahead.mappedBytes / COPIED_PART) stopMapping(ahead);
  const extend = window !== undefined && goesOn(reader, window) ? window : undefined;
  readAhead(ahead, extend, () => {
    if (reader.window === extend && extend !== undefined) set(reader, CAPTURE_END, extend.end);
  });
}

// The window in use goes on when the record under way ends in it, and for a pipe, which brings a little at a time.
function goesOn(reader: CaptureReader, window: Window): boolean {
  const position = get(reader, CAPTURE_POSITION);
  const unfinished = reader.wanted > window.end - position && position + reader.wanted <= window.limit;
  return (
    window.limit > window.end && (unfinished || (reader.source.stream && window.limit - window.end > 4096))
  );
}

/** Lets the event loop turn, and waits until more was read, or can be at once. */
export async function moreFilled(reader: CaptureReader): Promise<void> {
  startReading(reader);
  await moreRead(reader.ahead);
  allowReading(reader.ahead);
}

/** Makes `need` bytes from the position on available, if they are in memory; else starts reading. False: not yet, or never. */
function advance(reader: CaptureReader, need: number): boolean {
  const { arena, ahead } = reader;
  reader.wanted = need;
  while (true) {
    const position = get(reader, CAPTURE_POSITION);
    const rest = get(reader, CAPTURE_END) - position;
    if (rest >= need) return true;
    const next = ahead.extension === undefined ? nextWindow(ahead) : undefined;
    const { window } = reader;
    if (next !== undefined) {
      const whole = rest <= next.headroom && rest + next.end - next.start >= need;
      const target = whole ? next : bridge(reader, next, need);
      if (target === undefined) return false;
      arena.u8.copyWithin(target.start - (whole ? rest : 0), position, position + rest);
      if (whole) {
        next.start -= rest;
        takeWindow(ahead);
      }
      use(reader, target, position);
    } else if (readNext(ahead)) {
      continue;
    } else if (window !== undefined && needsRoom(reader, window, need)) {
      // The record is longer than what is left of its window: it moves to one that holds it all.
      const target = claimAhead(ahead, need);
      if (target === undefined) return false;
      arena.u8.copyWithin(target.start, position, position + rest);
      target.end += rest;
      use(reader, target, position);
    } else {
      startReading(reader);
      return false;
    }
    if (window !== undefined) releaseWindow(arena, window);
    startReading(reader);
  }
}

function needsRoom(reader: CaptureReader, window: Window, need: number): boolean {
  const { ahead } = reader;
  const idle =
    ahead.extension === undefined && ahead.queue.length === 0 && !ahead.ended && !readsAtOnce(ahead);
  return idle && window.limit - get(reader, CAPTURE_POSITION) < need;
}

/**
 * A window for the record under way alone: with room for what is left of the one in use, which the caller puts first,
 * and behind it what the record has of the next one, which is taken out when that is all of it.
 */
function bridge(reader: CaptureReader, next: Window, need: number): Window | undefined {
  const { arena, ahead } = reader;
  const rest = get(reader, CAPTURE_END) - get(reader, CAPTURE_POSITION);
  const target = claimAhead(ahead, need);
  if (target === undefined) return undefined;
  const bytes = Math.min(need - rest, next.end - next.start);
  arena.u8.copyWithin(target.start + rest, next.start, next.start + bytes);
  target.end += rest + bytes;
  next.start += bytes;
  next.headroom = 0; // a mapped file's bytes are before it now
  if (next.start === next.end) {
    takeWindow(ahead);
    releaseWindow(arena, next);
  }
  return target;
}

function use(reader: CaptureReader, window: Window, position: number): void {
  reader.bias += position - window.start;
  reader.window = window;
  set(reader, CAPTURE_POSITION, window.start);
  set(reader, CAPTURE_END, window.end);
  set(reader, CAPTURE_LENT, window.lent === undefined ? 0 : 1);
  set(reader, CAPTURE_SCOUTED, 0);
}

/** Finds room for packets that are copied out of a lent window; false while there are no frames for it. */
export function makeRoom(reader: CaptureReader): boolean {
  const { arena, ahead } = reader;
  const window = claimAhead(ahead, get(reader, CAPTURE_NEED));
  reader.roomless = window === undefined;
  if (window === undefined) return false;
  if (reader.copies !== undefined) releaseWindow(arena, reader.copies);
  reader.copies = window;
  set(reader, CAPTURE_COPY, window.start);
  set(reader, CAPTURE_COPY_END, window.limit);
  return true;
}

/** Brings `need` bytes; false when they are not here yet or the file has ended, whole or cut short. */
export function provide(reader: CaptureReader, need: number): boolean {
  const { size, compression } = reader.source;
  const offset = fileOffset(reader, get(reader, CAPTURE_POSITION));
  const remaining =
    size === undefined || compression !== undefined ? Number.POSITIVE_INFINITY : size - offset;
  // A record that goes past the end of the file is not given a window of its size, unless the file has grown.
  const want = remaining >= 0 && need > remaining ? remaining + 1 : need;
  if (want > largestWindow(reader.arena)) {
    end(reader, captureFault(reader, `has ${need} bytes, more than the arena has room for`, "ERR_MEMORY"));
    return false;
  }
  if (advance(reader, want) && (want === need || advance(reader, need))) return true;
  if (!isExhausted(reader.ahead)) return false;
  const left = get(reader, CAPTURE_END) - get(reader, CAPTURE_POSITION);
  end(reader, left === 0 ? undefined : cutShort(reader, need, left));
  return false;
}

function cutShort(reader: CaptureReader, need: number, left: number): MillraceError | undefined {
  if (reader.options.truncatedQuiet) return undefined;
  const offset = fileOffset(reader, get(reader, CAPTURE_POSITION));
  const what = reader.format === "pcap" ? "record" : "block";
  return new MillraceError(
    "ERR_CAPTURE",
    `"${reader.file}" is cut short: the ${what} at offset ${offset} wants ${need} bytes, ${left} are left`,
    { at: { file: reader.file, offset }, hint: "truncated=quiet takes the packets before as all there are" },
  );
}
