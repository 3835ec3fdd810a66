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
 * Resolves once one of the u32 words at `counters` is no longer what `seen` says of it, or after `timeout`
 * milliseconds. Rejects with the signal's reason. Keeps the process alive while it waits.
 */
export async function counterChanges(
  arena: ArenaMemory,
  counters: readonly number[],
  seen: readonly number[],
  timeout: number,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  // Each waiter has the timeout too, so that none outlives its question.
  const limit = Math.min(timeout, 2 ** 31 - 1);
  const waits = counters.map((counter, i) => waitAsync(arena.i32, counter >>> 2, seen[i] | 0, limit));
  if (waits.some((wait) => !wait.async)) return;
  await new Promise<void>((resolve, reject) => {
    const finish = (end: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      end();
    };
    const aborted = () => finish(() => reject(signal?.reason));
    const timer = setTimeout(() => finish(resolve), limit);
    signal?.addEventListener("abort", aborted, { once: true });
    for (const wait of waits) (wait.value as Promise<string>).then(() => finish(resolve));
  });
}

/** As `counterChanges` for one counter; resolves with what it is then. */
export async function counterChange(
  arena: ArenaMemory,
  counter: number,
  seen: number,
  timeout: number,
  signal?: AbortSignal,
): Promise<number> {
  await counterChanges(arena, [counter], [seen], timeout, signal);
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
