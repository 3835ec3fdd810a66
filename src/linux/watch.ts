// Readiness of any descriptor on the event loop, without a thread and without a call while nobody waits.
import { libc } from "./libc.js";
import { type Poller, pollerOf } from "./poller.js";

export type Side = "readable" | "writable";

/** One descriptor on this thread's event loop. There must be no other watch on it in this thread. */
export interface Watch {
  /** Calls back once, when a read (a write) would not block or the watch closes; returns what takes that back. */
  when(side: Side, callback: () => void): () => void;
  /** Resolves when a read would not block (data, an error, a hang-up). Rejects with the signal's reason. */
  readable(signal: AbortSignal): Promise<void>;
  /** Resolves when a write would not block. Rejects with the signal's reason. */
  writable(signal: AbortSignal): Promise<void>;
  /** Stops watching; whoever waits is let go. To be called before the descriptor is closed. */
  close(): void;
}

export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLERR = 8;
const POLLHUP = 16;

/** Watches a descriptor. The kernel is asked only while someone waits, so an idle watch keeps no process alive. */
export function watch(fd: number): Watch {
  const waiting = { readable: new Set<() => void>(), writable: new Set<() => void>() };
  const aborts = createAborts();
  let poller: Poller | undefined; // from the first wait on
  let armed = 0; // what the kernel looks for; it may be more than is waited for
  let wanted = 0;
  let closed = false;

  function ready(events: number): void {
    armed = 0; // each answer is the last until it is asked again
    // On an error both sides try their call and get the errno from it.
    const failed = (events & (POLLERR | POLLHUP)) !== 0;
    if (failed || (events & POLLIN) !== 0) release(waiting.readable);
    if (failed || (events & POLLOUT) !== 0) release(waiting.writable);
    rearm();
  }

  function rearm(): void {
    const before = wanted;
    wanted = closed
      ? 0
      : (waiting.readable.size > 0 ? POLLIN : 0) | (waiting.writable.size > 0 ? POLLOUT : 0);
    if ((wanted & ~armed) !== 0) {
      armed = wanted;
      if (poller === undefined) {
        poller = pollerOf();
        poller.add(fd, armed, ready);
      } else poller.arm(fd, armed);
    }
    if (before === 0 && wanted !== 0) poller?.hold();
    if (before !== 0 && wanted === 0) poller?.letGo();
  }

  function when(side: Side, callback: () => void): () => void {
    if (closed) queueMicrotask(callback);
    else waiting[side].add(callback);
    if (waiting[side].size === 1) rearm();
    return () => {
      if (waiting[side].delete(callback) && waiting[side].size === 0) rearm();
    };
  }

  function wait(side: Side, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      if (closed) return resolve();
      const cancel = when(side, () => {
        unheard();
        resolve();
      });
      const unheard = aborts.hear(signal, () => {
        cancel();
        reject(signal.reason);
      });
    });
  }

  return {
    when,
    readable: (signal) => wait("readable", signal),
    writable: (signal) => wait("writable", signal),
    close() {
      closed = true;
      rearm();
      poller?.remove(fd);
      poller = undefined;
      release(waiting.readable);
      release(waiting.writable);
      aborts.close();
    },
  };
}

interface Aborts {
  /** Calls back when the signal aborts; returns what takes that back. */
  hear(signal: AbortSignal, callback: () => void): () => void;
  close(): void;
}

/** Mostly it is one signal all the time: to listen to it anew for each wait would take longer than the rest of it. */
function createAborts(): Aborts {
  const callbacks = new Set<() => void>();
  let heard: AbortSignal | undefined;
  const tell = () => release(callbacks);

  function hearAlso(signal: AbortSignal, callback: () => void): () => void {
    signal.addEventListener("abort", callback, { once: true });
    return () => signal.removeEventListener("abort", callback);
  }

  return {
    hear(signal, callback) {
      if (signal !== heard) {
        if (callbacks.size > 0) return hearAlso(signal, callback);
        heard?.removeEventListener("abort", tell);
        heard = signal;
        signal.addEventListener("abort", tell, { once: true });
      }
      callbacks.add(callback);
      return () => callbacks.delete(callback);
    },
    close() {
      heard?.removeEventListener("abort", tell);
      heard = undefined;
    },
  };
}

function release(waiting: Set<() => void>): void {
  const ready = [...waiting];
  waiting.clear(); // first: who is called may wait again
  for (const done of ready) done();
}

/** Blocks this thread until a descriptor has one of `events`, at most `milliseconds`; says which it has (0: none). */
export function pollNow(fd: number, events: number, milliseconds: number): number {
  const set = new Int32Array([fd, events]); // struct pollfd: fd, then events and revents as 16 bits each
  return libc().poll(set, 1, milliseconds) > 0 ? set[1] >>> 16 : 0;
}
