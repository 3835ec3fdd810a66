// What every fuzzer shares: inputs that can be made again from a number, and a loop that says where it was.
import { performance } from "node:perf_hooks";

/** A small generator (xorshift32): the same seed gives the same inputs everywhere. */
export interface Random {
  below(limit: number): number;
  pick<T>(from: readonly T[]): T;
}

function createRandom(seed: number): Random {
  let state = seed >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
  const below = (limit: number) => (limit <= 0 ? 0 : next() % limit);
  return { below, pick: (from) => from[below(from.length)] };
}

const INTERESTING = [0, 1, 4, 5, 6, 7, 8, 0x0f, 0x2b, 0x2c, 0x3c, 0x45, 0x46, 0x7f, 0x80, 0xff];

/** Most bytes by which `mutateInto` makes an input longer. */
export const MUTATION_GROWTH = 240;

/**
 * Writes `input` to the front of `into` with some of its bytes flipped, set to telling values, cut off, repeated or
 * taken out. Returns its length: at most MUTATION_GROWTH more than it was.
 */
export function mutateInto(random: Random, input: Uint8Array, into: Uint8Array): number {
  into.set(input);
  let { length } = input;
  for (let rounds = 1 + random.below(6); rounds > 0 && length > 0; rounds--) {
    // Headers are where the decisions are: most changes go to the first bytes.
    const at = random.below(random.below(3) === 0 ? length : Math.min(length, 64));
    switch (random.below(7)) {
      case 0:
        into[at] ^= 1 << random.below(8);
        break;
      case 1:
        into[at] = random.pick(INTERESTING);
        break;
      case 2:
        into[at] = random.below(256);
        break;
      case 3:
        length = at;
        break;
      case 4: {
        const more = random.below(Math.min(MUTATION_GROWTH / 6, length - at));
        into.copyWithin(at + more, at, length);
        length += more;
        break;
      }
      case 5: {
        const less = random.below(Math.min(MUTATION_GROWTH / 6, length - at));
        into.copyWithin(at, at + less, length);
        length -= less;
        break;
      }
      default:
        if (at + 1 < length) {
          const value = random.pick([0, 1, 7, 8, length, 0x1fff, 0x2000, 0x7fff, 0x8000, 0xffff]);
          into[at] = value >> 8;
          into[at + 1] = value;
        }
    }
  }
  return length;
}

/** A mutated copy. */
export function mutate(random: Random, input: Uint8Array): Uint8Array {
  const into = new Uint8Array(input.length + MUTATION_GROWTH);
  return into.subarray(0, mutateInto(random, input, into));
}

export interface Fuzzer {
  readonly name: string;
  /** Inputs of a short turn. */
  readonly turn: number;
  /** Why it cannot run here; undefined: it can. */
  refusal?(): string | undefined;
  /** Makes what one run needs; the function it returns tries one round of inputs and says how many they were. */
  start(random: Random): (() => number | Promise<number>) & { close?: () => void | Promise<void> };
}

export interface FuzzLimits {
  readonly seed: number;
  readonly count: number;
  readonly seconds: number;
}

/** Runs until the count or the time is reached. Throws what the fuzzer found, with the seed and the place. */
export async function runFuzzer(
  fuzzer: Fuzzer,
  limits: FuzzLimits,
  tell: (inputs: number, seconds: number) => void = () => undefined,
): Promise<{ inputs: number; seconds: number }> {
  const step = fuzzer.start(createRandom(limits.seed));
  const started = performance.now();
  let inputs = 0;
  const seconds = () => (performance.now() - started) / 1000;
  let told = 0;
  try {
    while (inputs < limits.count && seconds() < limits.seconds) {
      const before = process.cpuUsage();
      try {
        inputs += await step();
      } catch (cause) {
        throw new Error(`${fuzzer.name}, seed ${limits.seed}, about input ${inputs}: ${String(cause)}`, {
          cause,
        });
      }
      // Processor time: a machine that was busy, or asleep, is no finding.
      const { user, system } = process.cpuUsage(before);
      if (user + system > 10e6)
        throw new Error(`${fuzzer.name}, seed ${limits.seed}: input ${inputs} took more than 10 seconds`);
      if (seconds() - told < 10) continue;
      told = seconds();
      tell(inputs, told);
    }
  } finally {
    await step.close?.();
  }
  return { inputs, seconds: seconds() };
}
