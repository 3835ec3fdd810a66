// Scatter then gather is the identity: for each layout, and for random ones of the language's grammar, through
// a loop, out of order, some datagrams twice, some never.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createArena, memoryOf } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import type { GatherOptions } from "../../src/flow/gather-options.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance, type Report } from "../../src/flow/report.js";
import { findLayout } from "../../src/layout/find.js";
import { compileScatter, type ScatterPlan } from "../../src/layout/scatter.js";
import type { Layout } from "../../src/layout/types.js";
import { framesInUse, sendDatagrams } from "../kit/datagrams.js";
import { markLost, writableLayout } from "./grammar.js";
import { makeSender } from "./pieces.js";

const arena = createArena({ bytes: 96 * 2 ** 20 });
let names = 0;

interface Seen {
  readonly id: bigint;
  readonly complete: boolean;
  readonly bytes: Uint8Array;
  readonly missing: readonly { readonly first: number; readonly count: number }[];
}

async function through(
  datagrams: readonly Uint8Array[],
  options: GatherOptions,
): Promise<{ seen: Seen[]; report: Report }> {
  const used = framesInUse(memoryOf(arena));
  const name = `loop:layouts-${names++}?link=datagram`;
  const out = await openPort(name, { arena });
  const into = await openPort(name, { arena });
  // Nothing but what is sent ends the waiting, however slow the machine is.
  const run = flow(into).gather({ timeout: 600_000, ...options });
  const reading = (async () => {
    const seen: Seen[] = [];
    for await (const chunk of run)
      seen.push({ id: chunk.id, complete: chunk.complete, bytes: chunk.copy(), missing: chunk.missing });
    return seen;
  })();
  await sendDatagrams(out, datagrams);
  await out.close();
  const seen = await reading;
  await into.close();
  const report = run.report();
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  assert.equal(framesInUse(memoryOf(arena)), used, "frames leaked");
  return { seen, report };
}

/** What happens on the way: how far each datagram is moved, which are doubled, and which get lost. */
const mishaps = fc.record({
  jumps: fc.array(fc.nat(12), { minLength: 1, maxLength: 30 }),
  doubles: fc.array(fc.nat(100), { maxLength: 5 }),
  losses: fc.array(fc.nat(100), { maxLength: 3 }),
  /** Of what is lost some datagrams come all the same, without their data, and say so. */
  told: fc.boolean(),
});
type Mishaps = typeof mishaps extends fc.Arbitrary<infer T> ? T : never;

/** Chunks before the first: the ids of many a counter start again soon after. */
const ordinals = fc.constantFrom(0, 1, 250, 254, 65_530, 65_533);

interface Sent {
  readonly id: bigint;
  readonly bytes: Uint8Array;
}

/** A slice of a sent chunk's bytes, as one datagram carried it, and whether that came through. */
interface Carried {
  readonly chunk: number;
  readonly first: number;
  readonly count: number;
  readonly came: boolean;
}

interface Trip {
  readonly sent: Sent[];
  readonly carried: Carried[];
  readonly received: Uint8Array[];
  readonly lost: { bytes: number; datagrams: number };
  readonly doubled: number;
}

interface Way {
  /** Number of the first chunk. */
  readonly first: number;
  /** Whether any datagram may be lost, or data in a chunk's midst only. */
  readonly any?: boolean;
  /** Makes a datagram say that its data is lost. */
  readonly mark?: (datagram: Uint8Array) => Uint8Array;
}

/** Makes the chunks' datagrams, and lets mishaps befall them. */
function travel(plan: ScatterPlan, sizes: readonly number[], fate: Mishaps, way: Way): Trip {
  const { first, any = false, mark } = way;
  const send = makeSender(plan);
  const sent: Sent[] = [];
  const all: { datagram: Uint8Array; chunk: number; data: number; mayBeLost: boolean }[] = [];
  for (const [ordinal, size] of sizes.entries()) {
    const bytes = Uint8Array.from({ length: size }, (_, i) => (ordinal * 37 + i * 7 + (i >> 8)) & 255);
    const { id, before, data, datagrams, lengths } = send(bytes, first + ordinal);
    sent.push({ id, bytes });
    for (const [index, datagram] of datagrams.entries())
      all.push({
        datagram,
        chunk: ordinal,
        data: lengths[index - before] ?? 0,
        mayBeLost: any || (index > before && index < before + data - 1),
      });
  }
  const gone = new Set(fate.losses.filter((index) => all[index]?.mayBeLost));
  const lost = { bytes: 0, datagrams: gone.size };
  for (const index of gone) lost.bytes += all[index].data;
  const at = sizes.map(() => 0);
  const carried = all.map(({ chunk, data }, index): Carried => {
    at[chunk] += data;
    return { chunk, first: at[chunk] - data, count: data, came: !gone.has(index) };
  });
  const opening = carried.findIndex(({ came }) => came);
  const left = all
    // The first that comes keeps its turn: it tells where a counter stands, which may be about to start again.
    .map(({ datagram }, index) => ({
      datagram,
      index,
      at: index <= opening ? index : index + fate.jumps[index % fate.jumps.length],
    }))
    .filter(({ index }) => !gone.has(index) || (fate.told && mark !== undefined))
    .map((one) =>
      gone.has(one.index) && mark !== undefined ? { ...one, datagram: mark(one.datagram) } : one,
    )
    .sort((a, b) => a.at - b.at || a.index - b.index);
  const doubles = new Set(fate.doubles.filter((index) => index < left.length));
  const received = left.flatMap(({ datagram }, index) =>
    doubles.has(index) ? [datagram, datagram] : [datagram],
  );
  return { sent, carried, received, lost, doubled: doubles.size };
}

async function holds(layout: Layout, plan: ScatterPlan, trip: Trip, options: GatherOptions): Promise<void> {
  const { seen, report } = await through(trip.received, options);
  const { sent, lost } = trip;
  const told = seen.flatMap(({ missing }) => missing).reduce((sum, { count }) => sum + count, 0);
  if (layout.place?.by === "sequence") {
    assert.equal(told, lost.datagrams);
    assert.equal(report.gaps.datagrams, lost.datagrams);
    if (lost.datagrams > 0) return;
    assert.deepEqual(
      seen.map(({ bytes }) => bytes),
      sent.map(({ bytes }) => bytes),
    );
    return;
  }
  assert.equal(told, lost.bytes);
  assert.equal(report.gaps.bytes, lost.bytes);
  assert.equal(seen.length, sent.length);
  assert.equal(report.dropped.late ?? 0, 0, "a chunk's first datagram may come behind the next chunk's last");
  assert.equal(report.chunks.lost, 0);
  if (layout.chunk?.ids === "counter")
    assert.deepEqual(
      seen.map(({ id }) => id),
      sent.map(({ id }) => id),
    );
  for (const { id, bytes } of sent) {
    const found = seen.find((chunk) => chunk.id === id) as Seen;
    const expected = bytes.slice();
    for (const { first, count } of found.missing) expected.fill(0, first, first + count);
    assert.deepEqual(found.bytes, expected, `chunk ${id} of ${plan.name}`);
    assert.equal(found.complete, found.missing.length === 0);
  }
}

/** Whatever got lost: what came is in its place, what did not is never said to be there. */
async function keeps(layout: Layout, trip: Trip, options: GatherOptions): Promise<void> {
  const { seen, report } = await through(trip.received, options);
  const { sent, carried } = trip;
  assert.equal(report.dropped.late ?? 0, 0);
  if (layout.place?.by === "sequence") {
    const came = carried.filter((one) => one.came);
    const parts = came.map(({ chunk, first, count }) => sent[chunk].bytes.subarray(first, first + count));
    assert.deepEqual(Buffer.concat(seen.map(({ bytes }) => bytes)), Buffer.concat(parts));
    const between = carried.slice(
      carried.findIndex((one) => one.came),
      carried.findLastIndex((one) => one.came) + 1,
    );
    assert.equal(report.gaps.datagrams, between.filter((one) => !one.came).length);
    return;
  }
  sent.forEach(({ id, bytes }, chunk) => {
    const mine = carried.filter((one) => one.chunk === chunk);
    const data = mine.filter(({ count }) => count > 0);
    const found = seen.filter((one) => one.id === id);
    if (!data.some(({ came }) => came)) return;
    assert.equal(found.length, 1, `chunk ${id} came out ${found.length} times`);
    const [{ bytes: back, complete, missing }] = found;
    const present = new Uint8Array(bytes.length).fill(1, 0, back.length);
    for (const { first, count } of missing) present.fill(0, first, first + count);
    for (const { first, count, came } of data) {
      const end = first + count;
      assert.ok(
        present.subarray(first, end).every((one) => one === Number(came)),
        `${first} of chunk ${id}`,
      );
      if (came) assert.deepEqual(back.subarray(first, end), bytes.subarray(first, end));
    }
    if (mine.every(({ came }) => came)) assert.ok(complete);
    else if (data.some(({ came }) => !came)) assert.ok(!complete, `chunk ${id} is not complete`);
  });
}

const forms: {
  layout: string;
  variant?: string;
  parameters?: Record<string, number>;
  unit: number;
  size?: number;
}[] = [
  { layout: "rtp", unit: 1 },
  { layout: "rfc4175", parameters: { stride: 480, pixel: 2.5 }, unit: 480 },
  { layout: "rfc4175", parameters: { stride: 90, pixel: 2.5 }, unit: 90 },
  { layout: "rfc4175", parameters: { stride: 128, pixel: 2 }, unit: 128 },
  { layout: "rfc4175", parameters: { stride: 1288, pixel: 2 }, unit: 1288 },
  { layout: "gvsp", unit: 1 },
  { layout: "gvsp", variant: "extended", unit: 1 },
  { layout: "gvsp", variant: "multi-part", unit: 1 },
  { layout: "gvsp", variant: "extended-multi-part", unit: 1 },
  { layout: "gvsp", variant: "all-in", unit: 1, size: 1 },
  { layout: "vdif", unit: 8 },
  { layout: "vdif", variant: "legacy", unit: 8 },
  { layout: "vtp", unit: 8 },
  { layout: "spead", unit: 1 },
  { layout: "spead", variant: "64-40", unit: 1 },
];

for (const { layout: name, variant, parameters, unit, size = 4000 } of forms)
  test(`${variant ?? ""} ${name}: what scatter made of chunks, gather makes chunks of again`, async () => {
    const layout = findLayout(name);
    const plan = compileScatter(layout, {
      datagramSize: 300,
      ...(variant === undefined ? {} : { variant }),
      ...(parameters === undefined ? {} : { parameters }),
    });
    const sizes = fc.array(fc.integer({ min: 1, max: Math.max(1, Math.floor(size / unit)) }), {
      minLength: 1,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(sizes, mishaps, ordinals, async (counts, fate, first) => {
        const trip = travel(
          plan,
          counts.map((count) => count * unit),
          fate,
          { first },
        );
        const options = {
          layout: name,
          open: 16,
          window: 64,
          ...(parameters === undefined ? {} : { parameters }),
        };
        await holds(layout, plan, trip, options);
      }),
      { numRuns: 30, includeErrorInReport: true },
    );
  });

test("the same for random layouts of the grammar", async () => {
  await fc.assert(
    fc.asyncProperty(
      writableLayout,
      fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 5 }),
      mishaps,
      ordinals,
      fc.boolean(),
      async (layout, counts, fate, first, other) => {
        const variant = layout.cases === undefined || other ? {} : { variant: "other" };
        const plan = compileScatter(layout, { datagramSize: 300, fields: { source: 77 }, ...variant });
        const trip = travel(
          plan,
          counts.map((count) => count * 20),
          fate,
          { first, mark: (datagram) => markLost(layout, datagram) },
        );
        await holds(layout, plan, trip, { layout, open: 16, window: 64 });
      },
    ),
    { numRuns: 100, includeErrorInReport: true },
  );
});

// Not those that count datagrams: where of a chunk only the last came, which is short, nothing tells how long the
// others were. And those whose chunks say where they end.
const exact = forms.filter(
  ({ layout, variant }) =>
    !["vdif", "vtp"].includes(layout) && (layout !== "gvsp" || /multi|all/.test(variant ?? "")),
);

for (const { layout: name, variant, parameters, unit, size = 4000 } of exact)
  test(`${variant ?? ""} ${name}: whatever datagrams get lost, the others' data is where it belongs`, async () => {
    const layout = findLayout(name);
    const given = parameters === undefined ? {} : { parameters };
    const plan = compileScatter(layout, {
      datagramSize: 300,
      ...(variant === undefined ? {} : { variant }),
      ...given,
    });
    const sizes = fc.array(fc.integer({ min: 1, max: Math.max(1, Math.floor(size / unit)) }), {
      minLength: 1,
      maxLength: 6,
    });
    const losses = fc.array(fc.nat(80), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(sizes, mishaps, losses, ordinals, async (counts, fate, more, first) => {
        const trip = travel(
          plan,
          counts.map((count) => count * unit),
          { ...fate, losses: more, told: false },
          { first, any: true },
        );
        await keeps(layout, trip, { layout: name, open: 16, window: 64, ...given });
      }),
      { numRuns: 30, includeErrorInReport: true },
    );
  });
