import type { ArenaMemory } from "./arena.js";

// A promise of Atomics.waitAsync does not keep a process alive: a timer does, and bounds a lost wake-up.
const KEEP_ALIVE_MS = 200;

interface AtomicsWithWaitAsync {
  waitAsync(
    words: Int32Array,
    index: number,
    value: number,
    timeout: number,
  ): { readonly async: boolean; readonly value: Promise<string> | string };
}

/** Resolves when the word at `offset` no longer holds `value`. Rejects with the signal's reason when it aborts. */
export async function waitForChange(
  arena: ArenaMemory,
  offset: number,
  value: number,
  signal: AbortSignal,
): Promise<void> {
  const index = offset >>> 2;
  const atomics = Atomics as unknown as AtomicsWithWaitAsync;
  const wake = () => Atomics.notify(arena.i32, index);
  signal.addEventListener("abort", wake);
  const timer = setInterval(() => {}, KEEP_ALIVE_MS);
  try {
    while (Atomics.load(arena.i32, index) === value) {
      signal.throwIfAborted();
      await atomics.waitAsync(arena.i32, index, value, KEEP_ALIVE_MS).value;
    }
    signal.throwIfAborted();
  } finally {
    clearInterval(timer);
    signal.removeEventListener("abort", wake);
  }
}

/** Changes the word at `offset` and wakes whoever waits for that, in any thread. */
export function ring(arena: ArenaMemory, offset: number): void {
  Atomics.add(arena.i32, offset >>> 2, 1);
  Atomics.notify(arena.i32, offset >>> 2);
}
