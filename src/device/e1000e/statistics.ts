import type { ArenaMemory } from "../../memory/arena.js";
import { ALL_ONES } from "./assumptions.js";
import { type Card, readRegister } from "./card.js";
import { COUNTERS, type CounterName } from "./registers.js";

/** A u64 counter of a queue's state as a Number. */
export function counter(arena: ArenaMemory, at: number): number {
  return arena.u32[at >>> 2] + arena.u32[(at + 4) >>> 2] * 2 ** 32;
}

/** Reads the card's counters, which clears them, and adds them up. Returns the sums since the card was opened. */
export function collect(card: Card): ReadonlyMap<CounterName, number> {
  for (const [name, register] of Object.entries(COUNTERS) as [
    CounterName,
    (typeof COUNTERS)[CounterName],
  ][]) {
    const low = readRegister(card, register);
    const long = name === "rx_bytes" || name === "tx_bytes"; // the high half stands four bytes above
    const high = long ? readRegister(card, register, 4) : 0;
    if (low === ALL_ONES) continue;
    card.counted.set(name, (card.counted.get(name) ?? 0) + low + high * 2 ** 32);
  }
  return card.counted;
}
