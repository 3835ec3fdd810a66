// Readiness of any descriptor on the event loop, without a thread and without a call while nobody waits.
import { isMainThread } from "node:worker_threads";
import { libc, loadKoffi, type PollHandle } from "./libc.js";

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

// Polling stops without a word when its handle is collected: those in use are kept here.
const inUse = new Set<PollHandle>();

// A descriptor that becomes ready while its thread is being ended would end the whole process: koffi calls back all the
// same and takes the refusal for a fatal error. What process.exit() and an uncaught error end stops polling first.
if (!isMainThread)
  process.once("exit", () => {
    for (const handle of inUse) handle.close();
    inUse.clear();
  });

/** Watches a descriptor. The kernel is asked only while someone waits, so an idle watch keeps no process alive. */
export function watch(fd: number): Watch {
  const waiting = { readable: new Set<() => void>(), writable: new Set<() => void>() };
  let handle: PollHandle | undefined;
  let asked = 0; // what the handle looks for now: POLLIN, POLLOUT, both, or nothing
  let closed = false;

  function ready(status: number, events: { readable: boolean; writable: boolean }): void {
    // On an error both sides try their call and get the errno from it; the handle is done.
    if (status < 0) drop();
    if (status < 0 || events.readable) release(waiting.readable);
    if (status < 0 || events.writable) release(waiting.writable);
    rearm();
  }

  function drop(): void {
    if (handle === undefined) return;
    handle.close();
    inUse.delete(handle);
    handle = undefined;
    asked = 0;
  }

  function rearm(): void {
    const readable = waiting.readable.size > 0;
    const writable = waiting.writable.size > 0;
    const wanted = closed ? 0 : (readable ? POLLIN : 0) | (writable ? POLLOUT : 0);
    if (closed) drop();
    if (wanted === asked) return;
    asked = wanted;
    if (wanted === 0) handle?.stop();
    else if (handle !== undefined) handle.start({ readable, writable }, ready);
    else {
      handle = loadKoffi().node.poll(fd, { readable, writable }, ready);
      inUse.add(handle);
    }
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
      const abort = () => {
        cancel();
        reject(signal.reason);
      };
      const cancel = when(side, () => {
        signal.removeEventListener("abort", abort);
        resolve();
      });
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  return {
    when,
    readable: (signal) => wait("readable", signal),
    writable: (signal) => wait("writable", signal),
    close() {
      closed = true;
      rearm();
      release(waiting.readable);
      release(waiting.writable);
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
