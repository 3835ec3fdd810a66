import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Arena, createArena, memoryOf } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import type { GatherOptions } from "../../src/flow/gather-options.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance, type Report } from "../../src/flow/report.js";
import { framesInUse, rtp, sendDatagrams } from "../kit/datagrams.js";

// Laws of gather, over datagrams made here: the sender below knows nothing of gather's own layouts.

const arena: Arena = createArena({ bytes: 96 * 2 ** 20 });
let names = 0;

interface Seen {
  readonly stream: string;
  readonly complete: boolean;
  readonly bytes: Buffer;
  readonly missing: readonly { readonly first: number; readonly count: number; readonly unit: string }[];
}

/** Sends the datagrams through a loop into a gather; what came out, in order, and the report. */
async function through(
  datagrams: readonly Uint8Array[],
  options: GatherOptions,
): Promise<{ seen: Seen[]; report: Report }> {
  const name = `loop:identity-${names++}?link=datagram`;
  const out = await openPort(name, { arena });
  const into = await openPort(name, { arena });
  // The laws are about order and content: no chunk is given up because the machine was slow.
  const stream = flow(into).gather({ timeout: 60_000, ...options });
  const reading = (async () => {
    const seen: Seen[] = [];
    for await (const { stream: of, complete, missing, copy } of wrap(stream))
      seen.push({ stream: of, complete, missing, bytes: Buffer.from(copy()) });
    return seen;
  })();
  await sendDatagrams(out, datagrams);
  await out.close();
  const seen = await reading;
  await into.close();
  const report = stream.report();
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  assert.equal(report.held, 0);
  assert.equal(framesInUse(memoryOf(arena)), 0, "frames leaked");
  return { seen, report };
}

async function* wrap(chunks: AsyncIterable<import("../../src/flow/chunk.js").Chunk>) {
  for await (const chunk of chunks)
    yield {
      stream: chunk.stream,
      complete: chunk.complete,
      missing: chunk.missing,
      copy: () => chunk.copy(),
    };
}

/** Moves each datagram at most `distance` places from where it was. */
function displaced<T>(items: readonly T[], jumps: readonly number[], distance: number): T[] {
  return items
    .map((item, i) => ({
      item,
      at: i + (jumps.length === 0 ? 0 : jumps[i % jumps.length] % distance) + 1e-6 * i,
    }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

const chunksArbitrary = fc.array(
  fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 12 }),
  {
    minLength: 1,
    maxLength: 8,
  },
);

/** RTP datagrams of chunks, whose pieces have the given lengths; the bytes tell stream, chunk and place. */
function rtpStream(ssrc: number, chunks: readonly (readonly number[])[], first: number) {
  let sequence = first;
  const datagrams: Uint8Array[] = [];
  const whole: Buffer[] = [];
  for (const [number, lengths] of chunks.entries()) {
    const pieces = lengths.map((length, part) =>
      new Uint8Array(length).map((_, i) => (ssrc * 17 + number * 31 + part * 7 + i) & 0xff),
    );
    for (const [part, piece] of pieces.entries())
      datagrams.push(rtp(sequence++, number * 90, piece, { ssrc, marker: part === pieces.length - 1 }));
    whole.push(Buffer.concat(pieces));
  }
  return { datagrams, whole };
}

const settings = { numRuns: Number(process.env.MILLRACE_RUNS ?? 60) };

test("whatever the order within the window and however often doubled, each chunk comes out as it went in", async () => {
  await fc.assert(
    fc.asyncProperty(
      chunksArbitrary,
      fc.array(fc.nat(31), { maxLength: 40 }),
      fc.array(fc.nat(300), { maxLength: 10 }),
      fc.nat(65535),
      fc.boolean(),
      async (chunks, jumps, doubles, first, linked) => {
        const { datagrams, whole } = rtpStream(7, chunks, first);
        const moved = displaced(datagrams, jumps, 32);
        const sent = moved.flatMap((one, i) => (doubles.includes(i) ? [one, one] : [one]));
        const { seen, report } = await through(sent, { layout: "rtp", window: 64, linked });
        assert.equal(seen.length, whole.length);
        for (const [i, { bytes, complete }] of seen.entries()) {
          assert.ok(complete, `chunk ${i} is complete`);
          assert.ok(bytes.equals(whole[i]), `chunk ${i}`);
        }
        assert.equal(report.dropped.duplicate ?? 0, sent.length - moved.length);
        assert.equal(report.gaps.datagrams, 0);
        if (linked) assert.equal(report.copies.chunk, 0);
      },
    ),
    settings,
  );
});

test("with loss, every missing datagram is told and counted, and nothing else differs", async () => {
  await fc.assert(
    fc.asyncProperty(
      chunksArbitrary,
      fc.uniqueArray(fc.nat(80), { maxLength: 12 }),
      async (chunks, losses) => {
        const { datagrams, whole } = rtpStream(9, chunks, 65_500);
        // The first and the last tell where the stream begins and ends: no receiver can know of what came outside.
        const lost = losses.filter((i) => i > 0 && i < datagrams.length - 1);
        const { seen, report } = await through(
          datagrams.filter((_, i) => !lost.includes(i)),
          { layout: "rtp", gap: "skip" },
        );
        assert.equal(report.gaps.datagrams, lost.length);
        const told = seen.flatMap(({ missing }) => missing).reduce((sum, { count }) => sum + count, 0);
        assert.equal(told, lost.length);
        const kept = Buffer.concat(
          datagrams.filter((_, i) => !lost.includes(i)).map((one) => one.subarray(12)),
        );
        assert.ok(Buffer.concat(seen.map(({ bytes }) => bytes)).equals(kept), "what came is joined in order");
        if (lost.length === 0) assert.ok(Buffer.concat(whole).equals(kept));
      },
    ),
    settings,
  );
});

test("a thousand streams at once stay apart", async () => {
  const streams = Array.from({ length: 1000 }, (_, i) => rtpStream(i + 1, [[100, 50], [70]], i * 65));
  const datagrams: Uint8Array[] = [];
  for (let part = 0; part < 3; part++) for (const { datagrams: own } of streams) datagrams.push(own[part]);
  const { seen, report } = await through(datagrams, { layout: "rtp", window: 16, maxStreams: 1000 });
  assert.equal(report.streams, 1000);
  assert.equal(seen.length, 2000);
  for (const [i, { whole }] of streams.entries()) {
    const own = seen.filter(({ stream }) => stream.endsWith(`ssrc=${i + 1}`)).map(({ bytes }) => bytes);
    assert.ok(Buffer.concat(own).equals(Buffer.concat(whole)), `stream ${i + 1}`);
  }
});

test("more streams than the bound are dropped with a counter, and those within it are served", async () => {
  const streams = Array.from({ length: 300 }, (_, i) => rtpStream(i + 1, [[10], [20]], 0));
  const { seen, report } = await through(
    streams.flatMap(({ datagrams }) => datagrams),
    { layout: "rtp", window: 16, maxStreams: 100 },
  );
  assert.equal(seen.length, 200);
  assert.equal(report.dropped.streams, 400);
});

test("a sender that begins anew is a restart of the stream after two datagrams in sequence", async () => {
  const before = rtpStream(5, [[100, 100, 100]], 1000);
  const after = rtpStream(5, [[200, 200], [50]], 40_000);
  const stray = rtp(20_000, 7, new Uint8Array(10), { ssrc: 5 });
  const { seen, report } = await through(
    [...before.datagrams, ...before.datagrams.slice(0, 0), stray, ...after.datagrams],
    { layout: "rtp", window: 16 },
  );
  assert.equal(report.resync, 1);
  assert.equal(report.dropped.late, 1, "the stray one");
  assert.ok(
    Buffer.concat(seen.map(({ bytes }) => bytes)).equals(Buffer.concat([...before.whole, ...after.whole])),
  );
});

test("a gap is told when it is first seen, and a resent datagram fills it", async () => {
  const { datagrams, whole } = rtpStream(3, [[50, 60, 70, 80]], 10);
  const gaps: { first: number; count: number }[] = [];
  const [a, b, c, d] = datagrams;
  const { seen, report } = await through([a, c, d, b], {
    layout: "rtp",
    onGap: ({ first, count }) => gaps.push({ first, count }),
  });
  assert.deepEqual(gaps, [{ first: 11, count: 1 }]);
  assert.ok(seen[0].bytes.equals(whole[0]));
  assert.equal(report.gaps.datagrams, 0);
  assert.equal(report.reordered, 1);
});

test("a chunk size cuts exactly, whatever the datagrams' lengths", async () => {
  const { datagrams, whole } = rtpStream(4, [[300, 500, 100], [900]], 0);
  const plain = datagrams.map((one) => one.subarray(12));
  const { seen } = await through(plain, { layout: "raw", chunkSize: 256 });
  assert.ok(Buffer.concat(seen.map(({ bytes }) => bytes)).equals(Buffer.concat(whole)));
  assert.deepEqual(
    seen.map(({ bytes }) => bytes.length),
    [256, 256, 256, 256, 256, 256, 256, 8],
  );
});

test("two sources of one stream fill each other's gaps, and each one's own loss is told", async () => {
  const { datagrams, whole } = rtpStream(
    11,
    [
      [300, 300, 300, 300],
      [200, 200],
    ],
    65_534,
  );
  const ends = await Promise.all(
    ["a", "a", "b", "b"].map((name) => openPort(`loop:seamless-${name}?link=datagram`, { arena })),
  );
  const [outA, inA, outB, inB] = ends;
  const stream = flow([inA, inB]).gather({ layout: "rtp", timeout: 60_000 });
  const reading = (async () => {
    const bytes: Buffer[] = [];
    for await (const chunk of stream) {
      assert.ok(chunk.complete);
      bytes.push(Buffer.from(chunk.copy()));
    }
    return bytes;
  })();
  await sendDatagrams(
    outA,
    datagrams.filter((_, i) => i !== 1 && i !== 4),
  );
  await sendDatagrams(
    outB,
    datagrams.filter((_, i) => i !== 2),
  );
  await outA.close();
  await outB.close();
  assert.ok(Buffer.concat(await reading).equals(Buffer.concat(whole)));
  const report = stream.report();
  assert.deepEqual(
    report.sources.map(({ lost }) => lost),
    [2, 1],
  );
  assert.equal(report.dropped.duplicate, 3);
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  for (const port of ends) await port.close();
  assert.equal(framesInUse(memoryOf(arena)), 0);
});
