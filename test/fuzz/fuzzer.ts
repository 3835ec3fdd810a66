// What every fuzzer shares: inputs that can be made again from a number, and a loop that says where it was.
import { performance } from "node:perf_hooks";

/** A small generator (xorshift32): the same seed gives the same inputs everywhere. */
export interface Random {
  below(limit: number): number;
  pick<T>(from: readonly T[]): T;
}

export function createRandom(seed: number): Random {
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

/** A copy with some of its bytes flipped, set to telling values, cut off, repeated or put in. */
export function mutate(random: Random, input: Uint8Array): Uint8Array {
  let bytes = Uint8Array.from(input);
  for (let rounds = 1 + random.below(6); rounds > 0 && bytes.length > 0; rounds--) {
    // Headers are where the decisions are: most changes go to the first bytes.
    const at = random.below(random.below(3) === 0 ? bytes.length : Math.min(bytes.length, 64));
    switch (random.below(7)) {
      case 0:
        bytes[at] ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at] = random.pick(INTERESTING);
        break;
      case 2:
        bytes[at] = random.below(256);
        break;
      case 3:
        bytes = bytes.slice(0, at);
        break;
      case 4: {
        const length = random.below(Math.min(40, bytes.length - at));
        bytes = Uint8Array.from([...bytes.subarray(0, at + length), ...bytes.subarray(at)]);
        break;
      }
      case 5: {
        const length = random.below(Math.min(40, bytes.length - at));
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at + length)]);
        break;
      }
      default:
        if (at + 1 < bytes.length) {
          const value = random.pick([0, 1, 7, 8, bytes.length, 0x1fff, 0x2000, 0x7fff, 0x8000, 0xffff]);
          bytes[at] = value >> 8;
          bytes[at + 1] = value;
        }
    }
  }
  return bytes;
}

export interface Fuzzer {
  readonly name: string;
  /** Makes what one run needs; the function it returns tries one round of inputs and says how many they were. */
  start(random: Random): (() => number | Promise<number>) & { close?: () => void };
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
  while (inputs < limits.count && seconds() < limits.seconds) {
    const before = seconds();
    try {
      inputs += await step();
    } catch (cause) {
      throw new Error(`${fuzzer.name}, seed ${limits.seed}, about input ${inputs}: ${String(cause)}`, {
        cause,
      });
    }
    if (seconds() - before > 10)
      throw new Error(`${fuzzer.name}, seed ${limits.seed}: input ${inputs} took more than 10 seconds`);
    if (seconds() - told < 10) continue;
    told = seconds();
    tell(inputs, told);
  }
  step.close?.();
  return { inputs, seconds: seconds() };
}
