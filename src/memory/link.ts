import { NEED_WAKEUP, RING_CONSUMER, RING_FLAGS, RING_PRODUCER } from "../kernels/structs.js";
import type { ArenaMemory } from "./arena.js";
import type { Ring } from "./ring.js";
import { ring as ringBell, waitForChange } from "./wait.js";

// A link is a ring whose two sides may sleep. In its flags' cache line: word 0 the flags (bit 0: the consumer
// sleeps, bit 1: the producer sleeps), word 1 the bell of the consumer, word 2 the bell of the producer.
const PRODUCER_SLEEPS = 2;
const CONSUMER_BELL = 4;
const PRODUCER_BELL = 8;

function flagsOf(arena: ArenaMemory, ring: Ring): number {
  return arena.u32[(ring.producer + RING_FLAGS) >>> 2];
}

function isEmpty(arena: ArenaMemory, ring: Ring): boolean {
  const { u32 } = arena;
  const produced = Atomics.load(u32, u32[(ring.consumer + RING_PRODUCER) >>> 2] >>> 2);
  return produced === Atomics.load(u32, u32[(ring.consumer + RING_CONSUMER) >>> 2] >>> 2);
}

function freeEntries(arena: ArenaMemory, ring: Ring): number {
  const { u32 } = arena;
  const produced = Atomics.load(u32, u32[(ring.consumer + RING_PRODUCER) >>> 2] >>> 2);
  return (
    ring.entries - ((produced - Atomics.load(u32, u32[(ring.consumer + RING_CONSUMER) >>> 2] >>> 2)) >>> 0)
  );
}

/** After publishing: wakes the consumer if it sleeps. */
export function wakeConsumer(arena: ArenaMemory, ring: Ring): void {
  wake(arena, ring, NEED_WAKEUP, CONSUMER_BELL);
}

/** After reading: wakes the producer if it sleeps. */
export function wakeProducer(arena: ArenaMemory, ring: Ring): void {
  wake(arena, ring, PRODUCER_SLEEPS, PRODUCER_BELL);
}

function wake(arena: ArenaMemory, ring: Ring, bit: number, bell: number): void {
  const flags = flagsOf(arena, ring);
  if ((Atomics.load(arena.u32, flags >>> 2) & bit) === 0) return;
  Atomics.and(arena.u32, flags >>> 2, ~bit);
  ringBell(arena, flags + bell);
}

/** Wakes both sides, whatever they wait for: something about the link has changed. */
export function wakeBoth(arena: ArenaMemory, ring: Ring): void {
  const flags = flagsOf(arena, ring);
  ringBell(arena, flags + CONSUMER_BELL);
  ringBell(arena, flags + PRODUCER_BELL);
}

/** Resolves when there is something to read, or the bell was rung. Rejects with the signal's reason. */
export function waitReadable(arena: ArenaMemory, ring: Ring, signal: AbortSignal): Promise<void> {
  return sleep(arena, ring, NEED_WAKEUP, CONSUMER_BELL, () => !isEmpty(arena, ring), signal);
}

/** Resolves when a quarter of the ring is free, or the bell was rung. Rejects with the signal's reason. */
export function waitWritable(arena: ArenaMemory, ring: Ring, signal: AbortSignal): Promise<void> {
  const enough = ring.entries >>> 2;
  return sleep(arena, ring, PRODUCER_SLEEPS, PRODUCER_BELL, () => freeEntries(arena, ring) >= enough, signal);
}

// The flag is set first and the indices are looked at again after that; the other side stores its index first
// and looks at the flag after: one of the two sees the other (Dekker).
async function sleep(
  arena: ArenaMemory,
  ring: Ring,
  bit: number,
  bell: number,
  ready: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  const flags = flagsOf(arena, ring);
  const before = Atomics.load(arena.i32, (flags + bell) >>> 2);
  Atomics.or(arena.u32, flags >>> 2, bit);
  if (ready()) {
    Atomics.and(arena.u32, flags >>> 2, ~bit);
    signal.throwIfAborted();
    return;
  }
  await waitForChange(arena, flags + bell, before, signal);
}
