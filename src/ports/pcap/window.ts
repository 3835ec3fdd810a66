import { MillraceError } from "../../errors.js";
import { CONTROL_FRAMES, CONTROL_POOL_FRAMES, CONTROL_TABLE, OWNER_SHIFT } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";

/** Adjacent frames that hold a stretch of a file. The frames are this worker's, once each. */
export interface Window {
  /** Number of the first frame. */
  readonly first: number;
  readonly frames: number;
  /** Address of the first byte that was not yet walked when the window came into use, and past the last one read. */
  start: number;
  end: number;
  /** Bytes before `start` that may be written, for a record that the window before has cut. */
  headroom: number;
  /** Address past the last frame. */
  readonly limit: number;
  /** The bytes are not in frames but in a mapped file: packets are copied out of them. Called with the window's release. */
  readonly lent?: () => void;
}

/** Room before the data of a window, so that a record cut by the window before can be completed in front of it. */
export const HEADROOM = 64 * 1024;
const WINDOW = 1 << 18;

/** Bytes of a file that are read at once: 256 KiB, so that they stay in a second-level cache; less in a small arena. */
export function windowBytes(arena: ArenaMemory): number {
  return Math.min(WINDOW, Math.floor(runFrames(arena) / 32) * arena.frameSize);
}

function runFrames(arena: ArenaMemory): number {
  const { u32, control } = arena;
  return u32[(control + CONTROL_FRAMES) >>> 2] - u32[(control + CONTROL_POOL_FRAMES) >>> 2];
}

/** Bytes of a file that one window is sure to be able to hold once all packets are released. */
export function largestWindow(arena: ArenaMemory): number {
  return runFrames(arena) * arena.frameSize - 5 * (HEADROOM + windowBytes(arena));
}

/**
 * Claims frames for `bytes` bytes with room for what is left of a record before them; undefined when there are
 * not as many adjacent free ones now. `hint` is the address of a word that says where to look first.
 */
export function claimWindow(arena: ArenaMemory, hint: number, bytes: number): Window | undefined {
  const { u32, control, frameSize } = arena;
  const from = u32[(control + CONTROL_POOL_FRAMES) >>> 2];
  const to = u32[(control + CONTROL_FRAMES) >>> 2];
  const ahead = HEADROOM / frameSize;
  const frames = ahead + Math.ceil(bytes / frameSize);
  const table = u32[(control + CONTROL_TABLE) >>> 2];
  const word = ((arena.worker << OWNER_SHIFT) | 1) >>> 0;
  const first = arena.kernels.claimRun(table, from, to, hint, frames, word);
  if (first < 0) return undefined;
  const start = (first + ahead) * frameSize;
  return { first, frames, start, end: start, headroom: HEADROOM, limit: (first + frames) * frameSize };
}

/** Gives up the window's own references; frames that packets still touch stay until those are released. */
export function releaseWindow(arena: ArenaMemory, window: Window): void {
  if (window.lent !== undefined) {
    window.lent();
    return;
  }
  const foreign = arena.kernels.releaseRun(window.first, window.frames);
  if (foreign !== 0)
    throw new MillraceError(
      "ERR_FRAME",
      `${foreign} frames of a capture's window were freed by someone else`,
    );
}
