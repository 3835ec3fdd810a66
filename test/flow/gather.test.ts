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
  const stream = flow(into).gather({ layout: "rtp", checksum: true, timeout: 60_000 });
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

test("ten thousand streams that begin at once lose nothing, though not all can wait for what may come before", async () => {
  const arena = createArena({ bytes: 512 * 2 ** 20, frameSize: 2048 });
  const out = await openPort("loop:many?link=datagram", { arena });
  const into = await openPort("loop:many?link=datagram", { arena });
  const streams = 10_000;
  const options = { layout: "rtp", chunkSize: 60, maxStreams: streams, timeout: 600_000 } as const;
  const run = flow(into).gather(options);
  const wrong: string[] = [];
  let chunks = 0;
  const reading = (async () => {
    for await (const chunk of run) {
      const ssrc = Number(/ssrc=(\d+)/.exec(chunk.stream)?.[1]);
      const expected = Buffer.concat([0, 1, 2].map((round) => Buffer.alloc(20, (ssrc + round) & 255)));
      if (!expected.equals(chunk.bytes)) wrong.push(chunk.stream);
      chunks++;
    }
  })();
  for (let round = 0; round < 3; round++)
    await sendDatagrams(
      out,
      Array.from({ length: streams }, (_, ssrc) =>
        rtp(65_535 + round, 1, new Uint8Array(20).fill(ssrc + round), { ssrc }),
      ),
    );
  await out.close();
  await reading;
  await into.close();
  assert.deepEqual(wrong.slice(0, 3), []);
  assert.equal(chunks, streams);
  assert.deepEqual(run.report().dropped, {});
  assert.equal(imbalance(run.report()), 0);
});
