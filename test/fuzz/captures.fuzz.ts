// Mutated capture files through the reader, twice: in one piece and in many. Both must find the same packets and
// the same fault, and give every frame back.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { MillraceError } from "../../src/errors.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { readFrom } from "../../src/ports/pcap/reader.js";
import type { CaptureSource } from "../../src/ports/pcap/source.js";
import { captures, heldFrames, type ReadCapture, readAllOf } from "../pcap/kit.js";
import { type Fuzzer, mutate, type Random } from "./fuzzer.js";

// A small arena: its windows are small, and so is what is poisoned when they are given back.
const arena = createArenaMemory({ bytes: 16 * 2 ** 20 });
const LARGEST_SEED = 4000;
const VARIANTS = new Set(["a1b2c3d4", "d4c3b2a1", "a1b2cd34", "34cdb2a1"]);
const CODES = new Set(["ERR_CAPTURE", "ERR_MEMORY"]);

function memorySource(bytes: Uint8Array, piece: (() => number) | undefined): CaptureSource {
  let next = 0;
  return {
    // From a pipe the variants of pcap that share a magic cannot be told apart.
    stream: piece !== undefined && !VARIANTS.has(Buffer.from(bytes.subarray(0, 4)).toString("hex")),
    seekable: piece === undefined,
    ...(piece === undefined ? { size: bytes.length } : {}),
    read: (memory, at, length, position) => {
      const from = piece === undefined ? position : next;
      const part = bytes.subarray(from, from + Math.min(length, piece?.() ?? length));
      memory.set(part, at);
      next = from + part.length;
      return Promise.resolve(part.length);
    },
    close: () => Promise.resolve(),
  };
}

async function read(
  bytes: Uint8Array,
  piece: (() => number) | undefined,
): Promise<ReadCapture | MillraceError> {
  try {
    const reader = await readFrom(arena, "input", memorySource(bytes, piece));
    return await readAllOf(reader, arena);
  } catch (error) {
    if (error instanceof MillraceError) return error;
    throw error;
  }
}

function faultOf(outcome: ReadCapture | MillraceError): string {
  const error = outcome instanceof MillraceError ? outcome : outcome.error;
  if (error === undefined) return "";
  assert.ok(error instanceof MillraceError && CODES.has(error.code), String(error));
  return `${error.message} ${error.at?.offset}`;
}

async function tryOnce(random: Random, input: Uint8Array): Promise<void> {
  const whole = await read(input, undefined);
  const most = 1 + random.below(300);
  const pieces = await read(input, () => 1 + random.below(most));
  // Where the file's end is not known, a giant is refused for want of room before it turns out to be cut.
  if (faultOf(pieces).includes("more than the arena")) return;
  assert.equal(faultOf(pieces), faultOf(whole));
  if (whole instanceof MillraceError || pieces instanceof MillraceError) return;
  assert.deepEqual(pieces.packets, whole.packets);
  const bytes = whole.packets.reduce((sum, packet) => sum + packet.bytes.length, 0);
  assert.ok(bytes <= input.length, `${bytes} bytes of packets in a file of ${input.length}`);
}

export const fuzzer: Fuzzer = {
  name: "captures",
  turn: 4000,
  start(random) {
    const seeds = captures("pcapng", "captures")
      .map((path) => readFileSync(path))
      .filter((bytes) => bytes.length <= LARGEST_SEED);
    return async () => {
      const seed = random.pick(seeds);
      for (let i = 0; i < 20; i++) await tryOnce(random, mutate(random, seed));
      assert.equal(heldFrames(arena), 0, "frames were not given back");
      return 20;
    };
  },
};
