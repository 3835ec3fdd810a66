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

/** Packets that go out between two looks at the clock, so that the pace is even: what half a millisecond sends. */
export function paceGroup(rate: Rate, most: number): number {
  const perSecond = rate.unit === "packets" ? rate.perSecond : rate.perSecond / (8 * LONG_PACKET);
  return Math.max(1, Math.min(most, Math.ceil(perSecond / 2000)));
}
const LONG_PACKET = 1514;

/** The longest that a timer of Node's can be. */
const MOST_MS = 2 ** 31 - 1;

/**
 * Sleeps until performance.now() is `time`. setTimeout is good to a millisecond or two: the rest is waited for in
 * turns of the event loop. Rejects with the signal's reason.
 */
export async function sleepUntil(time: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const left = time - performance.now();
    if (left <= 0) return;
    if (left > 3) await napOrAbort(Math.min(left - 2, MOST_MS), signal);
    else await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

function napOrAbort(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });
}
