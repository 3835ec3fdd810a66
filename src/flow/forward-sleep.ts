import type { PortDriver } from "../ports/port.js";

/** From where to where packets go. */
interface Ends {
  readonly source: PortDriver;
  readonly sink: PortDriver;
}

/** Waits until packets can go on, or the forwarding ends; rejects with what a port's wait rejects with. */
export interface Sleeper {
  sleep(): Promise<void>;
  close(): void;
}

/**
 * Sleeps until one of the directions can go on, of which `awaited` says for what it waits, or `until` aborts. A wait
 * that another outran stays for the next sleep, and no sleep makes functions or signals: where packets come one by
 * one there is a sleep for each, and what it leaves to the garbage collector would cost a packet after it a fraction
 * of a millisecond.
 */
export function createSleeper<Direction extends Ends>(
  directions: readonly Direction[],
  awaited: (one: Direction) => "readable" | "writable" | undefined,
  until: AbortSignal,
): Sleeper {
  const ending = new AbortController();
  let wake = () => {};
  let fail = (_error: unknown) => {};
  let failure: { readonly error: unknown } | undefined;
  const park = (resolve: () => void, reject: (error: unknown) => void) => {
    wake = resolve;
    fail = reject;
  };
  const end = () => {
    ending.abort(until.reason);
    wake();
  };
  if (until.aborted) end();
  until.addEventListener("abort", end, { once: true });
  const waits = directions.map((one) => ({
    one,
    readable: waiter((signal) => one.source.readable(signal)),
    writable: waiter((signal) => one.sink.writable(signal)),
  }));

  /** Waits, unless that wait is under way. */
  function waiter(wait: (signal: AbortSignal) => Promise<void>): () => void {
    let waiting = false;
    const over = () => {
      waiting = false;
      wake();
    };
    const failed = (error: unknown) => {
      if (!ending.signal.aborted) {
        failure ??= { error };
        fail(error);
      }
      over();
    };
    return () => {
      if (waiting) return;
      waiting = true;
      wait(ending.signal).then(over, failed);
    };
  }

  return {
    sleep() {
      for (const each of waits) {
        const side = awaited(each.one);
        if (side !== undefined) each[side]();
      }
      if (failure !== undefined) return Promise.reject(failure.error);
      return ending.signal.aborted ? Promise.resolve() : new Promise(park);
    },
    close() {
      until.removeEventListener("abort", end);
      ending.abort();
    },
  };
}
