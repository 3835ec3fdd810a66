// Readiness of any descriptor on the event loop, without a thread and without a call while nobody waits.
import { libc } from "./libc.js";
import { type Poller, pollerOf } from "./poller.js";

type Side = "readable" | "writable";

const SIDES = ["readable", "writable"] as const;

/** Descriptors on this thread's event loop. There must be no other watch on one of them in this thread. */
export interface Watch {
  /** Resolves when a read of one would not block (data, an error, a hang-up). Rejects with the signal's reason. */
  readable(signal: AbortSignal): Promise<void>;
  /** Resolves when a write to one would not block. Rejects with the signal's reason. */
  writable(signal: AbortSignal): Promise<void>;
  /** Stops watching; whoever waits is let go. To be called before a descriptor is closed. */
  close(): void;
}

/** One of those who wait, and the next: where packets come one by one, little must be left for the garbage collector. */
interface Waiter {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal;
  readonly next: Waiter | undefined;
}

export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLERR = 8;
const POLLHUP = 16;

/** Watches descriptors. The kernel is asked only while someone waits, so an idle watch keeps no process alive. */
export function watch(...fds: readonly number[]): Watch {
  const waiting: Record<Side, Waiter | undefined> = { readable: undefined, writable: undefined };
  const armed = fds.map(() => 0); // what the kernel looks for; it may be more than is waited for
  let poller: Poller | undefined; // from the first wait on
  let wanted = 0;
  let closed = false;
  // Mostly it is one signal all the time: to listen to it anew for each wait would take longer than the rest of it.
  let heard: AbortSignal | undefined;

  function ready(number: number, events: number): void {
    armed[number] = 0; // each answer is the last until it is asked again
    // On an error both sides try their call and get the errno from it.
    const failed = (events & (POLLERR | POLLHUP)) !== 0;
    if (failed || (events & POLLIN) !== 0) release("readable");
    if (failed || (events & POLLOUT) !== 0) release("writable");
    rearm();
  }

  function release(side: Side): void {
    let one = waiting[side];
    waiting[side] = undefined;
    for (; one !== undefined; one = one.next) {
      if (one.signal !== heard && !waitsWith(one.signal)) unhear(one.signal);
      one.resolve();
    }
  }

  function rearm(): void {
    const before = wanted;
    wanted = closed ? 0 : (waiting.readable ? POLLIN : 0) | (waiting.writable ? POLLOUT : 0);
    if (wanted !== 0) for (let number = 0; number < fds.length; number++) arm(number);
    if (before === 0 && wanted !== 0) poller?.hold();
    if (before !== 0 && wanted === 0) poller?.letGo();
  }

  function arm(number: number): void {
    if ((wanted & ~armed[number]) === 0) return;
    armed[number] = wanted;
    if (poller === undefined) addAll(pollerOf());
    else poller.arm(fds[number], wanted);
  }

  function addAll(to: Poller): void {
    poller = to;
    armed.fill(wanted);
    for (const [number, fd] of fds.entries()) to.add(fd, wanted, (events) => ready(number, events));
  }

  function wait(side: Side, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      if (closed) return resolve();
      if (signal !== heard) hear(signal);
      waiting[side] = { resolve, reject, signal, next: waiting[side] };
      rearm();
    });
  }

  function hear(signal: AbortSignal): void {
    if (heard === undefined || !waitsWith(heard)) {
      if (heard !== undefined) unhear(heard);
      heard = signal;
    }
    signal.addEventListener("abort", sendAway); // once, however often it is added
  }

  function unhear(signal: AbortSignal): void {
    signal.removeEventListener("abort", sendAway);
  }

  function waitsWith(signal: AbortSignal): boolean {
    for (const side of SIDES)
      for (let one = waiting[side]; one !== undefined; one = one.next) if (one.signal === signal) return true;
    return false;
  }

  /** Lets those go whose signal has aborted. */
  function sendAway(): void {
    for (const side of SIDES) {
      let one = waiting[side];
      waiting[side] = undefined;
      for (; one !== undefined; one = one.next) {
        if (one.signal.aborted) one.reject(one.signal.reason);
        else waiting[side] = { ...one, next: waiting[side] };
      }
    }
    rearm();
  }

  return {
    readable: (signal) => wait("readable", signal),
    writable: (signal) => wait("writable", signal),
    close() {
      closed = true;
      rearm();
      if (poller !== undefined) for (const fd of fds) poller.remove(fd);
      poller = undefined;
      for (const side of SIDES) release(side);
      if (heard !== undefined) unhear(heard);
      heard = undefined;
    },
  };
}

/** Blocks this thread until a descriptor has one of `events`, at most `milliseconds`; says which it has (0: none). */
export function pollNow(fd: number, events: number, milliseconds: number): number {
  const set = new Int32Array([fd, events]); // struct pollfd: fd, then events and revents as 16 bits each
  return libc().poll(set, 1, milliseconds) > 0 ? set[1] >>> 16 : 0;
}
