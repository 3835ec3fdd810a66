import assert from "node:assert/strict";
import { test } from "node:test";
import type { Chunk } from "../../src/flow/chunk.js";
import { flow } from "../../src/flow/flow.js";
import type { GatherOptions } from "../../src/flow/gather-options.js";
import { imbalance, type Report } from "../../src/flow/report.js";

const recording = (name: string) =>
  `pcap:${new URL(`../../../test/data/gather/${name}`, import.meta.url).pathname}`;

interface Kept {
  readonly stream: string;
  readonly id: bigint;
  readonly complete: boolean;
  readonly bytes: Uint8Array;
  readonly fields: Chunk["fields"];
  readonly missing: Chunk["missing"];
}

/** All chunks of a recording, and the report, whose account must balance. */
async function gathered(name: string, options: GatherOptions): Promise<{ chunks: Kept[]; report: Report }> {
  const run = flow(recording(name)).gather(options);
  const chunks: Kept[] = [];
  for await (const chunk of run) {
    const { stream, id, complete, fields, missing } = chunk;
    chunks.push({ stream, id, complete, bytes: chunk.copy(), fields, missing });
  }
  const report = run.report();
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  return { chunks, report };
}

test("a recorded GigE Vision camera's images come out whole, with their leader's fields", async () => {
  const { chunks, report } = await gathered("gvsp-aravis.pcap", { layout: "gvsp", udpPort: 40724 });
  assert.equal(chunks.length, 159);
  assert.deepEqual(report.chunks, { complete: 159, incomplete: 0, lost: 0, dropped: 0 });
  for (const { id, complete, bytes, fields } of chunks) {
    assert.ok(complete);
    assert.deepEqual([fields.width, fields.height, fields.pixelFormat], [128n, 64n, 0x01080001n]);
    assert.equal(bytes.length, 128 * 64);
    for (let i = 0; i < bytes.length; i++) assert.equal(bytes[i], ((i & 127) + (i >> 7) + Number(id)) % 255);
  }
});

test("with losses as many images are complete and failed as Aravis' receiver counted, holes are zero", async () => {
  const { chunks, report } = await gathered("gvsp-aravis-loss.pcap", { layout: "gvsp", udpPort: 41293 });
  assert.equal(report.chunks.complete, 69);
  assert.equal(report.chunks.incomplete, 9);
  let missing = 0;
  for (const { id, bytes, missing: gaps } of chunks) {
    const lacks = new Uint8Array(bytes.length);
    for (const { first, count, unit } of gaps) {
      assert.equal(unit, "bytes");
      lacks.fill(1, first, first + count);
      missing += count;
    }
    for (let i = 0; i < bytes.length; i++)
      assert.equal(bytes[i], lacks[i] ? 0 : ((i & 127) + (i >> 7) + Number(id)) % 255);
  }
  assert.equal(report.gaps.bytes, missing);
});

for (const file of ["spead-64-40.pcap", "spead-64-48.pcap"])
  test(`recorded heaps come out byte by byte, the stop heap is control (${file})`, async () => {
    const { chunks, report } = await gathered(file, { layout: "spead" });
    assert.deepEqual(
      chunks.map(({ id, complete, bytes }) => [id, complete, bytes.length]),
      [11n, 13n, 15n, 17n].map((id, k) => [id, true, 50_000 + 777 * k]),
    );
    chunks.forEach(({ bytes }, k) => {
      assert.ok(bytes.every((byte, i) => byte === ((7 * i + k) & 255)));
    });
    assert.equal(report.control.packets, 1);
    assert.equal(report.chunks.lost, 0, "ids need not follow one another");
  });

test("recorded video rows make four whole frames that differ", async () => {
  const parameters = { stride: 640, pixel: 2 };
  const { chunks } = await gathered("rfc4175-ffmpeg.pcap", { layout: "rfc4175", parameters });
  assert.equal(chunks.length, 4);
  for (const { complete, bytes, fields } of chunks) {
    assert.ok(complete);
    assert.equal(bytes.length, 640 * 240);
    assert.equal(fields.payloadType, 96n);
  }
});

test("a recorded transport stream comes out packet after packet", async () => {
  const { chunks, report } = await gathered("rtp-mp2t-ffmpeg.pcap", { layout: "rtp" });
  const bytes = Buffer.concat(chunks.map((chunk) => chunk.bytes));
  assert.equal(bytes.length, 287 * 1316);
  for (let at = 0; at < bytes.length; at += 188) assert.equal(bytes[at], 0x47);
  assert.equal(report.control.packets, 1, "the sender's report");
});

test("what a filter leaves out of a recording is counted", async () => {
  const run = flow(recording("gvsp-aravis.pcap")).filter("udp and not port 3956").gather({ layout: "gvsp" });
  for await (const chunk of run) assert.ok(chunk.complete);
  const report = run.report();
  assert.equal(report.dropped.filter, report.received.packets - 1431);
  assert.equal(imbalance(report), 0, JSON.stringify(report));
});

test("a layout of the user's own reads as the shipped one does", async () => {
  const own = {
    name: "heaps",
    when: { field: { at: 0, bytes: 2 }, is: "0x5304" },
    header: { base: 8, add: [{ field: { at: 6, bytes: 2 }, times: 8 }] },
    items: {
      at: 8,
      count: { at: 6, bytes: 2 },
      bytes: 8,
      when: "0x8000000000000000",
      id: "0x7fff000000000000",
      value: "0x0000ffffffffffff",
    },
    chunk: { item: 1, ids: "opaque" },
    size: { item: 2, optional: true },
    place: { by: "offset", field: { item: 3 }, unit: 1 },
    length: { item: 4 },
    stop: { field: { item: 6, optional: true }, is: 2 },
  } as const;
  const mine = await gathered("spead-64-48.pcap", { layout: own });
  const shipped = await gathered("spead-64-48.pcap", { layout: "spead" });
  assert.deepEqual(
    mine.chunks.map(({ id, bytes }) => [id, bytes]),
    shipped.chunks.map(({ id, bytes }) => [id, bytes]),
  );
});
