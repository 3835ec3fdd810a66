import assert from "node:assert/strict";
import { test } from "node:test";
import { createArena, memoryOf } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance } from "../../src/flow/report.js";
import { framesInUse, rtp, sendDatagrams } from "../kit/datagrams.js";

test("RTP datagrams out of order, some twice, become chunks that end with the marker", async () => {
  const arena = createArena({ bytes: 64 * 2 ** 20 });
  const out = await openPort("loop:rtp?link=datagram", { arena });
  const into = await openPort("loop:rtp?link=datagram", { arena });
  const datagrams: Uint8Array[] = [];
  let sequence = 65_530;
  const expected: number[][] = [];
  for (let frame = 0; frame < 20; frame++) {
    const bytes: number[] = [];
    for (let part = 0; part < 10; part++) {
      const payload = new Uint8Array(1000 + part).map((_, i) => (frame * 31 + part * 7 + i) & 0xff);
      bytes.push(...payload);
      datagrams.push(rtp(sequence++, frame * 3000, payload, { marker: part === 9 }));
    }
    expected.push(bytes);
  }
  for (let i = 0; i + 5 < datagrams.length; i += 9) {
    [datagrams[i], datagrams[i + 5]] = [datagrams[i + 5], datagrams[i]];
  }
  const twice = datagrams.flatMap((one, i) => (i % 17 === 3 ? [one, one] : [one]));
  const stream = flow(into).gather({ layout: "rtp", checksum: true });
  const done = (async () => {
    const got: number[][] = [];
    for await (const chunk of stream) {
      assert.ok(chunk.complete);
      got.push([...chunk.copy()]);
    }
    return got;
  })();
  await sendDatagrams(out, twice);
  await out.close();
  const got = await done;
  await into.close();
  const report = stream.report();
  assert.equal(got.length, expected.length);
  for (const [i, bytes] of got.entries()) assert.deepEqual(bytes, expected[i], `chunk ${i}`);
  assert.equal(report.dropped.duplicate, twice.length - datagrams.length);
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  assert.equal(framesInUse(memoryOf(arena)), 0);
});

test("who leaves after the first chunk of many in one burst finds the rest told as stopped", async () => {
  const arena = createArena({ bytes: 64 * 2 ** 20 });
  const out = await openPort("loop:leave?link=datagram", { arena });
  const into = await openPort("loop:leave?link=datagram", { arena });
  const datagrams = Array.from({ length: 800 }, (_, i) =>
    rtp(i, Math.floor(i / 100), new Uint8Array(1000).fill(i), { marker: i % 100 === 99 }),
  );
  await sendDatagrams(out, datagrams);
  await out.close();
  const stream = flow(into).gather({ layout: "rtp" });
  for await (const chunk of stream) {
    assert.equal(chunk.length, 100_000);
    break;
  }
  await into.close();
  const report = stream.report();
  assert.equal(report.delivered.packets, 100);
  assert.equal(report.dropped.stopped, 700);
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  assert.equal(framesInUse(memoryOf(arena)), 0);
});
