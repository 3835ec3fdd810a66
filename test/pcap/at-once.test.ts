import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readFrom } from "../../src/ports/pcap/reader.js";
import type { CaptureSource } from "../../src/ports/pcap/source.js";
import { arena, folder, heldFrames, pcapFile, readAll, readAllOf, words } from "./kit.js";

/** Records of very different lengths: many in one window, across two, across several. */
function manyRecords(): Uint8Array[] {
  const lengths = [60, 1514, 0, 9000, 70_000, 60, 262_144, 1, 4095, 600_000 % 262_144];
  return Array.from({ length: 120 }, (_, i) => {
    const data = new Uint8Array(lengths[i % lengths.length]).fill(i);
    return words(true, [1_700_000_000 + i, i, data.length, data.length], data);
  });
}

/** A file that says how each window was read; `wait` milliseconds pass in each read at once. */
function watched(path: string, wait: number | undefined) {
  const file = readFileSync(path);
  const reads = { atOnce: 0, byThreads: 0 };
  const copy = (memory: Uint8Array, at: number, length: number, position: number) => {
    const piece = file.subarray(position, position + length);
    memory.set(piece, at);
    return piece.length;
  };
  const source: CaptureSource = {
    seekable: true,
    stream: false,
    size: file.length,
    read: (...place) => {
      reads.byThreads++;
      return Promise.resolve(copy(...place));
    },
    ...(wait === undefined
      ? {}
      : {
          readNow: (...place: Parameters<typeof copy>) => {
            reads.atOnce++;
            for (const until = performance.now() + wait; performance.now() < until; );
            return copy(...place);
          },
        }),
    close: () => Promise.resolve(),
  };
  return { source, reads };
}

test("a file in memory, one that is slow, and one that is read by threads alone give the same packets", async (t) => {
  const path = join(folder(t), "windows.pcap");
  writeFileSync(path, pcapFile(manyRecords()));
  const plain = await readAll(path);
  assert.equal(plain.error, undefined);
  assert.equal(plain.packets.length, 120);
  for (const wait of [undefined, 0, 3]) {
    const { source, reads } = watched(path, wait);
    const { packets, error } = await readAllOf(await readFrom(arena, "watched", source));
    assert.equal(error, undefined);
    assert.deepEqual(packets, plain.packets, `with ${wait} ms a read`);
    assert.ok(reads.byThreads > 0);
    // One that takes long is not tried again soon.
    if (wait === 3) assert.ok(reads.atOnce >= 1 && reads.atOnce <= 2, `${reads.atOnce} reads at once`);
    assert.equal(heldFrames(arena), 0);
  }
});
