// Blocks of which one datagram came: positions count datagrams, so its place is known by what else is.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createArena } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance } from "../../src/flow/report.js";
import { sendDatagrams } from "../kit/datagrams.js";

const SIZE = 5000;
const LEADER = 1;
const TRAILER = 2;
const DATA = 3;

function datagram(block: number, format: number, packet: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + body.length);
  new DataView(bytes.buffer).setUint16(2, block);
  bytes.set([format, 0, packet >>> 8, packet & 255], 4);
  bytes.set(body, 8);
  return bytes;
}

/** The leader of an image of 100 by 50 pixels of a byte. */
function leader(block: number): Uint8Array {
  const body = new Uint8Array(36);
  const view = new DataView(body.buffer);
  view.setUint16(2, 1);
  view.setUint32(12, 0x01080001);
  view.setUint32(16, 100);
  view.setUint32(20, 50);
  return datagram(block, LEADER, 0, body);
}

const image = Uint8Array.from({ length: SIZE }, (_, i) => 1 + (i % 251));

/** An image's datagrams of `unit` bytes. */
function data(block: number, unit: number): Uint8Array[] {
  return Array.from({ length: Math.ceil(SIZE / unit) }, (_, i) =>
    datagram(block, DATA, i + 1, image.subarray(i * unit, (i + 1) * unit)),
  );
}

function trailer(block: number, unit: number): Uint8Array {
  return datagram(block, TRAILER, Math.ceil(SIZE / unit) + 1, new Uint8Array(8));
}

let loops = 0;

/** The last block that comes out: its bytes, and the ranges that are missing. */
async function lastOf(datagrams: readonly Uint8Array[], linked: boolean) {
  const arena = createArena({ bytes: 64 * 2 ** 20 });
  const name = `loop:only-${loops++}?link=datagram`;
  const out = await openPort(name, { arena });
  const into = await openPort(name, { arena });
  const run = flow(into).gather({
    ...{ layout: "gvsp", gap: linked ? "skip" : "zero", linked },
    timeout: 60_000,
  });
  const chunks: { bytes: Uint8Array; missing: number[][]; complete: boolean }[] = [];
  const reading = (async () => {
    for await (const chunk of run) {
      const missing = chunk.missing.map(({ first, count }) => [first, first + count]);
      chunks.push({ bytes: chunk.copy(), missing, complete: chunk.complete });
    }
  })();
  await sendDatagrams(out, datagrams);
  await out.close();
  await reading;
  await into.close();
  assert.equal(imbalance(run.report()), 0);
  return chunks.at(-1)!;
}

/** An image of which only [start, end) came. */
function only(start: number, end: number): Uint8Array {
  return image.map((byte, i) => (i >= start && i < end ? byte : 0));
}

for (const linked of [false, true])
  test(`the only datagram of a block lies where the leader, the trailer and the block before say (${linked ? "linked" : "copied"})`, async () => {
    const whole = (block: number, unit: number) => [
      leader(block),
      ...data(block, unit),
      trailer(block, unit),
    ];
    const cases: readonly (readonly [string, Uint8Array[], from: number, to: number])[] = [
      // The last of four, of a stream's first block: it ends where the image does.
      ["last, first block", [leader(1), data(1, 1400)[3], trailer(1, 1400)], 4200, 5000],
      ["last, trailer first", [leader(1), trailer(1, 1400), data(1, 1400)[3]], 4200, 5000],
      [
        "last, units were smaller",
        [...whole(1, 900), leader(2), data(2, 1400)[3], trailer(2, 1400)],
        4200,
        5000,
      ],
      [
        "last, units were larger",
        [...whole(1, 1500), leader(2), data(2, 1400)[3], trailer(2, 1400)],
        4200,
        5000,
      ],
      ["last, no trailer, units were larger", [...whole(1, 2000), leader(2), data(2, 1400)[3]], 4200, 5000],
      // Not the last, so full: whatever the block before had.
      [
        "second, units were larger",
        [...whole(1, 2000), leader(2), data(2, 1400)[1], trailer(2, 1400)],
        1400,
        2800,
      ],
      [
        "second, units were smaller",
        [...whole(1, 900), leader(2), data(2, 1400)[1], trailer(2, 1400)],
        1400,
        2800,
      ],
    ];
    for (const [what, datagrams, from, to] of cases) {
      const { bytes, missing, complete } = await lastOf(datagrams, linked);
      assert.equal(complete, false, what);
      const gaps = [
        [0, from],
        [to, SIZE],
      ].filter(([start, end]) => start < end);
      assert.deepEqual(missing, gaps, what);
      assert.deepEqual(bytes, linked ? image.slice(from, to) : only(from, to), what);
    }
  });

test("without a leader the only datagram of a block lies by the units of the block before, else no farther than is sure", async () => {
  const whole = [leader(1), ...data(1, 1400), trailer(1, 1400)];
  const before = await lastOf([...whole, data(2, 1400)[3], trailer(2, 1400)], false);
  assert.deepEqual(before.missing, [[0, 4200]]);
  assert.deepEqual(before.bytes, only(4200, 5000));
  // Three datagrams of 800 bytes at least are missing.
  const first = await lastOf([data(1, 1400)[3], trailer(1, 1400)], false);
  assert.deepEqual(first.missing, [[0, 2400]]);
  assert.deepEqual(first.bytes, Uint8Array.from([...new Uint8Array(2400), ...image.subarray(4200)]));
});
