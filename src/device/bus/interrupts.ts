import type { ArenaMemory } from "../../memory/arena.js";

interface AsyncWait {
  readonly async: boolean;
  readonly value: Promise<string> | string;
}
// es2024 declares Atomics.waitAsync without the shared Int32Array that it is for.
const waitAsync = (
  Atomics as unknown as {
    waitAsync(words: Int32Array, index: number, value: number, timeout?: number): AsyncWait;
  }
).waitAsync;

/** Adds `count` to the interrupt counter at `counter` and wakes whoever waits on it. */
export function raise(arena: ArenaMemory, counter: number, count = 1): void {
  Atomics.add(arena.u32, counter >>> 2, count);
  Atomics.notify(arena.i32, counter >>> 2);
}

/**
 * Resolves once the u32 at `counter` is no longer `seen`, or after `timeout` milliseconds; returns what it is
 * then. Rejects with the signal's reason. Keeps the process alive while it waits.
 */
export async function counterChange(
  arena: ArenaMemory,
  counter: number,
  seen: number,
  timeout: number,
  signal?: AbortSignal,
): Promise<number> {
  signal?.throwIfAborted();
  const wait = waitAsync(arena.i32, counter >>> 2, seen | 0);
  if (wait.async) {
    await new Promise<void>((resolve, reject) => {
      const finish = (end: () => void) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        end();
      };
      const aborted = () => finish(() => reject(signal?.reason));
      const timer = setTimeout(() => finish(resolve), Math.min(timeout, 2 ** 31 - 1));
      signal?.addEventListener("abort", aborted, { once: true });
      (wait.value as Promise<string>).then(() => finish(resolve));
    });
    // A waiter left behind by a timeout or an abort is woken by the next interrupt and finds nobody.
  }
  return Atomics.load(arena.u32, counter >>> 2);
}

/** Yields how far the counter has moved, each time it moves, until the signal aborts or `closed` says so. */
export async function* countInterrupts(
  arena: ArenaMemory,
  counter: number,
  closed: () => boolean,
  signal?: AbortSignal,
): AsyncGenerator<number, void, undefined> {
  let seen = Atomics.load(arena.u32, counter >>> 2);
  while (!closed() && signal?.aborted !== true) {
    const now = await counterChange(arena, counter, seen, 2 ** 31 - 1, signal).catch(() => seen);
    const count = (now - seen) >>> 0;
    seen = now;
    if (count > 0 && !closed()) yield count;
  }
}
