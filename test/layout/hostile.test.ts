// Datagrams that lie: dropped as malformed and counted, never placed, and the account balances.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createArena, memoryOf } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import type { GatherOptions } from "../../src/flow/gather-options.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance, type Report } from "../../src/flow/report.js";
import { findLayout } from "../../src/layout/find.js";
import { compileScatter } from "../../src/layout/scatter.js";
import { framesInUse, sendDatagrams } from "../kit/datagrams.js";
import { anyDatagram } from "./grammar.js";
import { makeSender } from "./pieces.js";

const arena = createArena({ bytes: 64 * 2 ** 20 });
let names = 0;

async function through(
  datagrams: readonly Uint8Array[],
  options: GatherOptions,
): Promise<{ chunks: Uint8Array[]; complete: number; report: Report }> {
  const name = `loop:hostile-${names++}?link=datagram`;
  const out = await openPort(name, { arena });
  const into = await openPort(name, { arena });
  const run = flow(into).gather(options);
  const chunks: Uint8Array[] = [];
  let complete = 0;
  const reading = (async () => {
    for await (const chunk of run) {
      chunks.push(chunk.copy());
      if (chunk.complete) complete++;
    }
  })();
  await sendDatagrams(out, datagrams);
  await out.close();
  await reading;
  await into.close();
  const report = run.report();
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  assert.equal(framesInUse(memoryOf(arena)), 0, "frames leaked");
  return { chunks, complete, report };
}

/** A heap of 64-48 SPEAD: items of (id, value), then data. */
function heap(
  items: readonly [id: number, value: bigint][],
  data: number[],
  count = items.length,
): Uint8Array {
  const bytes = new Uint8Array(8 + 8 * items.length + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x53040206);
  view.setUint16(6, count);
  for (const [index, [id, value]] of items.entries())
    view.setBigUint64(8 + 8 * index, (1n << 63n) | (BigInt(id) << 48n) | value);
  bytes.set(data, 8 + 8 * items.length);
  return bytes;
}

const piece = (offset: bigint, data: number[], size = 8n, length = BigInt(data.length)) =>
  heap(
    [
      [1, 5n],
      [2, size],
      [3, offset],
      [4, length],
    ],
    data,
  );

test("heaps that lie about items, offsets, lengths and size leave the honest heap alone", async () => {
  const most = 2n ** 48n - 1n;
  const lies = [
    heap([[1, 5n]], [], 65_535), // more items than there are bytes
    heap([[1, 5n]], [1, 2, 3]), // neither offset nor length
    piece(most, [9, 9, 9, 9]), // an offset at its extreme
    piece(0n, [9, 9, 9, 9], 8n, most), // a length at its extreme
    piece(0n, [9, 9], 8n, 3n), // a length beyond the datagram
    piece(6n, [9, 9, 9, 9]), // data behind the heap's own size
    new Uint8Array([0x53, 4, 2, 6, 0, 0, 0xff]), // cut off
  ];
  const honest = [piece(0n, [1, 2, 3, 4]), piece(4n, [5, 6, 7, 8])];
  const { chunks, complete, report } = await through([...lies, honest[0], ...lies, honest[1]], {
    layout: "spead",
  });
  assert.deepEqual(chunks, [Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)]);
  assert.equal(complete, 1);
  assert.equal(report.dropped.malformed, 2 * lies.length);
});

test("what overlaps what came, and is not the same, is malformed; the same again is a duplicate", async () => {
  const { chunks, report } = await through(
    [piece(0n, [1, 2, 3, 4]), piece(2n, [9, 9, 9, 9]), piece(0n, [1, 2, 3, 4]), piece(4n, [5, 6, 7, 8])],
    { layout: "spead" },
  );
  assert.deepEqual(chunks, [Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)]);
  assert.equal(report.dropped.malformed, 1);
  assert.equal(report.dropped.duplicate, 1);
});

test("a place beyond the memory for chunks costs no memory", async () => {
  const far = heap(
    [
      [1, 5n],
      [3, 2n ** 40n],
      [4, 4n],
    ],
    [1, 2, 3, 4],
  );
  const { chunks, report } = await through([far, far], { layout: "spead", maxBytes: 2 ** 20 });
  assert.equal(chunks.length, 0);
  const dropped = Object.values(report.dropped).reduce((sum, count) => sum + count, 0);
  assert.equal(dropped, 2, JSON.stringify(report.dropped));
});

test("rows outside their datagram are malformed as a whole: no row of it is placed", async () => {
  const row = (length: number, number: number, more: boolean) => [
    ...[length >> 8, length & 255, 0, number, more ? 0x80 : 0, 0],
  ];
  const rtp = [0x80, 0xe0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0];
  const data = new Array<number>(8).fill(7);
  const honest = Uint8Array.from([...rtp, ...row(4, 0, true), ...row(4, 1, false), ...data]);
  const lies = [
    Uint8Array.from([...rtp, ...row(4, 0, true), ...row(5, 1, false), ...data]), // one byte too many
    Uint8Array.from([...rtp, ...row(4, 0, true), ...row(4, 1, true)]), // a row header that is not there
    Uint8Array.from([...rtp, ...Array.from({ length: 20 }, () => row(0, 0, true)).flat()]), // rows without end
  ];
  const options = { layout: "rfc4175", parameters: { stride: 4, pixel: 2 } };
  const { chunks, report } = await through([...lies, honest], options);
  assert.deepEqual(chunks, [Uint8Array.from(data)]);
  assert.equal(report.dropped.malformed, lies.length);
});

test("rows of one datagram that overlap are malformed as a whole, at every distance", async () => {
  const rtp = [0x80, 0xe0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0];
  // Rows of 8 bytes, pixels of 2: 4 bytes from pixel `at` of row 0, then 4 from pixel 1.
  const two = (at: number) =>
    Uint8Array.from([...rtp, 0, 4, 0, 0, 0x80, at, 0, 4, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
  const options = { layout: "rfc4175", parameters: { stride: 8, pixel: 2 } };
  const { chunks, report } = await through([two(0), two(1), two(2), two(3)], options);
  assert.deepEqual(chunks, [Uint8Array.from([0, 0, 2, 2, 2, 2, 1, 1, 1, 1])]);
  assert.equal(report.dropped.malformed, 3);
});

test("numbers at their extremes place nothing: camera, video, radio telescope", async () => {
  const words = (...bytes: number[]) => Uint8Array.from([...bytes, ...new Array<number>(32).fill(0xff)]);
  const cases: [GatherOptions, Uint8Array[], beyondMemory: number][] = [
    [
      { layout: "gvsp" },
      [
        words(0, 0, 0, 1, 3, 0xff, 0xff, 0xff), // the last packet id of 24 bits, far beyond the memory
        words(0, 0, 0, 0, 3, 0, 0, 1), // block 0, which is none
        words(0, 0, 0, 1, 3, 0, 0, 0), // packet 0 is the leader, never data
        words(0, 0, 0, 1, 6), // multi-zone data at 2^48 - 1
        words(0, 0, 0, 0, 0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5), // the last packet id of 32 bits
      ],
      1,
    ],
    [
      { layout: "rfc4175", parameters: { stride: 2 ** 20, pixel: 2 } },
      [
        words(0x80, 0x60, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 4, 0x7f, 0xff, 0x7f, 0xff), // row and pixel 32,767
        words(0x80, 0x60, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0), // 65,535 bytes of 32
        words(0x9f, 0x60, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1), // 15 sources and an extension of 65,535 words
      ],
      0,
    ],
    [
      { layout: "vdif", chunkSize: 1000 },
      [
        words(0, 0, 0, 0, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0), // a frame of 128 MiB
        words(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), // one shorter than its own header
      ],
      0,
    ],
  ];
  for (const [options, lies, beyondMemory] of cases) {
    const { chunks, report } = await through(lies, { ...options, maxBytes: 2 ** 20 });
    assert.equal(chunks.length, 0, JSON.stringify(options));
    assert.equal(report.dropped.memory ?? 0, beyondMemory, JSON.stringify(report.dropped));
    assert.equal(report.dropped.malformed, lies.length - beyondMemory, JSON.stringify(report.dropped));
  }
});

test("a camera that says it has not a datagram leaves a hole of that datagram's data", async () => {
  const bytes = new Uint8Array(1000).map((_, i) => i % 251);
  const { datagrams } = makeSender(compileScatter(findLayout("gvsp"), { datagramSize: 208 }))(bytes, 0);
  const unavailable = datagrams[3].slice(0, 8); // the third of data
  unavailable[0] = 0x80;
  unavailable[1] = 0x0c;
  datagrams[3] = unavailable;
  const { chunks, complete, report } = await through(datagrams, { layout: "gvsp" });
  const expected = bytes.slice().fill(0, 400, 600);
  assert.deepEqual(chunks, [expected]);
  assert.equal(complete, 0);
  assert.equal(report.gaps.bytes, 200);
});

test("whatever bytes come, each layout's gather accounts for every datagram and keeps no frame", async () => {
  const forms = [
    { layout: "raw", chunkSize: 1000 },
    { layout: "rtp" },
    { layout: "rfc4175", parameters: { stride: 4800, pixel: 2.5 } },
    { layout: "gvsp" },
    { layout: "vdif", chunkSize: 100_000 },
    { layout: "vtp", chunkSize: 100_000 },
    { layout: "spead" },
  ];
  for (const options of forms) {
    const { layout, parameters } = options as { layout: string; parameters?: Record<string, number> };
    const plan = compileScatter(findLayout(layout), {
      datagramSize: 400,
      ...(parameters === undefined ? {} : { parameters }),
    });
    const honest = makeSender(plan)(new Uint8Array(9600), 0).datagrams;
    // Honest datagrams with some bytes changed get further than noise does.
    const bent = fc
      .tuple(
        fc.nat(honest.length - 1),
        fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 4 }),
        fc.nat(400),
      )
      .map(([index, changes, length]) => {
        const datagram = honest[index].slice(0, Math.max(1, length));
        for (const [at, value] of changes) if (at < datagram.length) datagram[at] = value;
        return datagram;
      });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(anyDatagram, bent), { maxLength: 60 }), async (datagrams) => {
        const some = datagrams.filter(({ length }) => length > 0);
        await through(some, { ...options, maxBytes: 2 ** 20, timeout: 20 });
      }),
      { numRuns: 15 },
    );
  }
});
