// What came of a round, so that two runs of it can be compared: bytes in the arena, numbers and texts beside them.
import assert from "node:assert/strict";
import type { ArenaMemory } from "../../src/memory/arena.js";
import { allocateRegion } from "../../src/memory/region.js";

const ROOM = 8 * 2 ** 20;

export interface Recorder {
  readonly values: unknown[];
  clear(): void;
  /** A number, a text or undefined. */
  value(value: unknown): void;
  /** The bytes of the arena at `at`. */
  memory(at: number, length: number): void;
  bytes(bytes: Uint8Array): void;
  /** All bytes of a burst's packets, and where each begins. */
  burst(burst: number, packets: number): void;
  /** What was recorded as bytes. */
  all(): Uint8Array;
}

export function createRecorder(arena: ArenaMemory): Recorder {
  const { kernels, u8 } = arena;
  const region = allocateRegion(arena, ROOM);
  const values: unknown[] = [];
  let at = region;
  const claim = (length: number): number => {
    assert.ok(at + length <= region + ROOM, "more came of a round than there is room for");
    at += length;
    return at - length;
  };
  return {
    values,
    clear() {
      values.length = 0;
      at = region;
    },
    value: (value) => values.push(value),
    memory: (from, length) => kernels.copyBytes(claim(length), from, length),
    bytes(bytes) {
      values.push(bytes.length);
      u8.set(bytes, claim(bytes.length));
    },
    burst(burst, packets) {
      for (let packet = 0; packet < packets; packet++) {
        const length = kernels.packetLength(burst, packet);
        values.push(length);
        kernels.packetCopy(burst, packet, 0, length, claim(length));
      }
    },
    all: () => u8.subarray(region, at),
  };
}

/** Throws when two recordings differ, with the first place where they do. */
export function compareRecordings(one: Recorder, other: Recorder): void {
  const count = Math.max(one.values.length, other.values.length);
  for (let i = 0; i < count; i++)
    if (one.values[i] !== other.values[i])
      assert.deepEqual(
        one.values.slice(i - 2, i + 2),
        other.values.slice(i - 2, i + 2),
        `value ${i} differs`,
      );
  const [a, b] = [one.all(), other.all()];
  if (Buffer.compare(a, b) === 0) return;
  const place = a.findIndex((byte, i) => byte !== b[i]);
  assert.deepEqual(a.slice(place - 16, place + 16), b.slice(place - 16, place + 16), `byte ${place} differs`);
}
