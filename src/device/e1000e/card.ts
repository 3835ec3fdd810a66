import { MillraceError } from "../../errors.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { Bar, Bus } from "../bus/bus.js";
import { ALL_ONES } from "./assumptions.js";
import type { Queue } from "./queues.js";
import { type CounterName, type Register, STATUS } from "./registers.js";
import type { Settings } from "./settings.js";

/** A card that is run: what its driver knows of it. */
export interface Card {
  readonly bus: Bus;
  readonly bar: Bar;
  readonly arena: ArenaMemory;
  readonly settings: Settings;
  readonly rx: readonly Queue[];
  readonly tx: readonly Queue[];
  /** Whether each queue has a vector of its own (MSI-X), or all causes share vector 0 and are told apart by ICR. */
  readonly ownVectors: boolean;
  mac: Uint8Array;
  linkUp: boolean;
  /** Why the card was given up; every later use throws it. */
  failure: MillraceError | undefined;
  /** The card's own counters, added up, since each of them is cleared by reading. */
  readonly counted: Map<CounterName, number>;
  resets: number;
  /** Packets that a reset took out of the transmit rings. */
  lost: number;
  /** For each transmit queue: its oldest mark and when it was first seen there, in milliseconds. */
  readonly progress: { mark: number; since: number }[];
  /** When it was last looked after, in milliseconds. */
  watched: number;
}

export function readRegister(card: Card, register: Register, add = 0): number {
  return card.bar.read32(register.offset + add);
}

export function writeRegister(card: Card, register: Register, value: number, add = 0): void {
  card.bar.write32(register.offset + add, value >>> 0);
}

/** Writes are posted; a read comes back only after they have arrived. */
export function flushWrites(card: Card): void {
  readRegister(card, STATUS);
}

/** Reads until `wanted` bits of a register are as wanted; false when `milliseconds` were not enough. */
export function registerBecomes(
  card: Card,
  register: Register,
  mask: number,
  wanted: number,
  milliseconds: number,
): boolean {
  const limit = performance.now() + milliseconds;
  do {
    const value = readRegister(card, register);
    if (value !== ALL_ONES && (value & mask) >>> 0 === wanted >>> 0) return true;
  } while (performance.now() < limit);
  return false;
}

/** True when the card no longer answers: it was pulled, or the bus is down. */
export function isGone(card: Card): boolean {
  return readRegister(card, STATUS) === ALL_ONES;
}

export function broken(card: Card, what: string, hint: string): MillraceError {
  return new MillraceError("ERR_DEVICE", `${card.bus.name}: ${what}`, { hint });
}
