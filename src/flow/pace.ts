import { MillraceError } from "../errors.js";

/** A rate of bits or of packets a second. */
export interface Rate {
  readonly unit: "bits" | "packets";
  readonly perSecond: number;
}

const FACTORS: Readonly<Record<string, Rate>> = {
  kbit: { unit: "bits", perSecond: 1e3 },
  mbit: { unit: "bits", perSecond: 1e6 },
  gbit: { unit: "bits", perSecond: 1e9 },
  pps: { unit: "packets", perSecond: 1 },
  kpps: { unit: "packets", perSecond: 1e3 },
  mpps: { unit: "packets", perSecond: 1e6 },
};

/** Parses `900mbit`, `2.5gbit`, `10kpps`; a bare number is refused. Throws ERR_USAGE. */
export function parseRate(text: string): Rate {
  const match = /^(\d+(?:\.\d+)?)(kbit|mbit|gbit|pps|kpps|mpps)$/.exec(text);
  const factor = match === null ? undefined : FACTORS[match[2]];
  if (match === null || factor === undefined || Number(match[1]) === 0)
    throw new MillraceError("ERR_USAGE", `"${text}" is no rate`, {
      hint: "write a number and kbit, mbit, gbit, pps, kpps or mpps, as 900mbit",
    });
  return { unit: factor.unit, perSecond: Number(match[1]) * factor.perSecond };
}

/** Keeps a sender at a rate: a bucket of a few milliseconds, so that bursts stay small. */
export interface Pacer {
  /** Counts what was sent and resolves when more may be. Rejects with the signal's reason. */
  sent(packets: number, bytes: number, signal: AbortSignal): Promise<void> | undefined;
}

const DEPTH_MS = 2;
/** A sender that overslept makes up for so much. */
const CATCH_UP_MS = 10;

export function createPacer(rate: Rate): Pacer {
  const perMs = rate.perSecond / 1000;
  let due = performance.now();
  return {
    sent(packets, bytes, signal) {
      const amount = rate.unit === "bits" ? bytes * 8 : packets;
      const now = performance.now();
      due = Math.max(due, now - CATCH_UP_MS) + amount / perMs;
      return due - now > DEPTH_MS ? sleepUntil(due - DEPTH_MS / 2, signal) : undefined;
    },
  };
}

/**
 * Sleeps until performance.now() is `time`. setTimeout is good to a millisecond or two: the rest is waited for in
 * turns of the event loop. Rejects with the signal's reason.
 */
export async function sleepUntil(time: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const left = time - performance.now();
    if (left <= 0) return;
    await new Promise<void>((resolve) => {
      if (left > 3) setTimeout(resolve, left - 2);
      else setImmediate(resolve);
    });
  }
}
