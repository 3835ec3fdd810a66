import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createEdge, type MacRewrite } from "../../src/flow/forward-edge.js";
import {
  BURST_DESCS,
  BURST_PACKETS,
  BURST_STARTS,
  META_QUEUE,
  META_SEGMENT,
  META_SIZE,
  META_VERDICT,
  META_WIRE_LENGTH,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../../src/kernels/structs.js";
import { parseLocator } from "../../src/ports/locator.js";
import { openNull } from "../../src/ports/null.js";
import {
  addPacket,
  type Bench,
  emptyBurst,
  freeFrames,
  makeBench,
  metaOf,
  viewBurst,
} from "../packet/arena.js";

// Poisoned frames go back one by one. As most users have it, they are not: that is the way to be tested here.
delete process.env.MILLRACE_POISON;

const A = "02:00:00:00:00:0a";
const B = "02:00:00:00:00:0b";
const MTU = 300;
const DROPPED = 3;

interface Given {
  readonly bytes: Uint8Array;
  readonly pieces: number;
  readonly dropped: boolean;
  readonly shared: boolean;
}

// Mostly packets of one piece that pass, so that whole groups of them stand between the unusual ones.
const given = fc.record({
  bytes: fc.uint8Array({ minLength: 1, maxLength: MTU + 20, size: "max" }),
  pieces: fc.oneof(
    { arbitrary: fc.constant(1), weight: 12 },
    { arbitrary: fc.integer({ min: 2, max: 4 }), weight: 1 },
  ),
  dropped: fc.oneof(
    { arbitrary: fc.constant(false), weight: 12 },
    { arbitrary: fc.constant(true), weight: 1 },
  ),
  shared: fc.oneof(
    { arbitrary: fc.constant(false), weight: 12 },
    { arbitrary: fc.constant(true), weight: 1 },
  ),
});

const rewrites = fc.record({
  swap: fc.boolean(),
  destination: fc.constantFrom(undefined, A),
  source: fc.constantFrom(undefined, B),
});

function hex(address: string): number[] {
  return address.split(":").map((byte) => Number.parseInt(byte, 16));
}

/** The same in plain JavaScript. */
function rewritten(bytes: Uint8Array, { swap, destination, source }: MacRewrite): Uint8Array {
  const out = bytes.slice();
  if (out.length < 14) return out;
  if (swap) {
    out.set(bytes.subarray(6, 12), 0);
    out.set(bytes.subarray(0, 6), 6);
  }
  if (destination !== undefined) out.set(hex(destination), 0);
  if (source !== undefined) out.set(hex(source), 6);
  return out;
}

/** True when a forwarder has more to do to it than to set hardware addresses in place. */
function isUnusual({ bytes, pieces, dropped, shared }: Given, rewrite: MacRewrite): boolean {
  const rewrites = rewrite.swap || rewrite.destination !== undefined || rewrite.source !== undefined;
  const whole = pieces === 1 || bytes.length === 1;
  return !dropped && (!whole || bytes.length < 14 || bytes.length > MTU || (shared && rewrites));
}

/** Where in the arena the packet begins. */
function placeOf({ arena, burst }: Bench, packet: number): number {
  const first = arena.u32[(arena.u32[(burst + BURST_STARTS) >>> 2] >>> 2) + packet];
  return arena.u32[(arena.u32[(burst + BURST_DESCS) >>> 2] >>> 2) + 4 * first];
}

/** Adds a packet; a shared one's first frame gets a second reference. Returns its number and that frame's place. */
function add(bench: Bench, { bytes, pieces, dropped, shared }: Given): { packet: number; head: number } {
  const { arena } = bench;
  const size = Math.ceil(bytes.length / pieces);
  const parts = Array.from({ length: pieces }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
  const packet = addPacket(
    bench,
    parts.filter((part, i) => i === 0 || part.length > 0),
  );
  const head = placeOf(bench, packet);
  if (dropped) arena.u8[metaOf(bench, packet) + META_VERDICT] = DROPPED;
  if (shared) assert.equal(arena.kernels.addReference(head), 1);
  return { packet, head };
}

for (const frameSize of [2048, 4096] as const)
  test(`a forwarder rewrites and null: frees packets of all sorts side by side, frames of ${frameSize}`, async () => {
    const bench = makeBench(512, frameSize);
    const { arena, burst } = bench;
    const sink = await openNull(arena, parseLocator("null:"));
    const can = { ...sink.can, mtu: MTU };
    freeFrames(arena); // makes its scratch
    let sent = 0;
    fc.assert(
      fc.property(fc.array(given, { maxLength: 60 }), rewrites, (packets, rewrite) => {
        const free = freeFrames(arena);
        const placed = packets.map((one) => add(bench, one));
        const edge = createEdge(arena, can, rewrite);
        edge.fit(burst);
        const view = viewBurst(bench);
        packets.forEach(({ bytes, dropped }, i) => {
          const verdict = arena.u8[metaOf(bench, i) + META_VERDICT];
          if (dropped) assert.equal(verdict, DROPPED);
          else if (bytes.length > MTU) assert.notEqual(verdict, VERDICT_PASS);
          else assert.deepEqual(view.at(i).copy(), rewritten(bytes, rewrite));
        });
        const going = packets.filter(({ bytes, dropped }) => !dropped && bytes.length <= MTU);
        const before = sink.counters().transmitted;
        assert.equal(sink.send(burst, 0), packets.length);
        const after = sink.counters().transmitted;
        assert.equal(after.packets - before.packets, going.length);
        assert.equal(
          after.bytes - before.bytes,
          going.reduce((sum, { bytes }) => sum + bytes.length, 0),
        );
        sent += going.length;
        emptyBurst(bench);
        packets.forEach(({ bytes, pieces, shared }, i) => {
          if (!shared) return;
          const { head } = placed[i];
          const mine = arena.u8.slice(head, head + Math.ceil(bytes.length / pieces));
          assert.deepEqual(mine, bytes.slice(0, mine.length), "the other holder's bytes were rewritten");
          assert.equal(arena.kernels.releaseFrame(head), 1);
        });
        edge.close();
        assert.equal(freeFrames(arena), free, "every frame came back, once");
      }),
    );
    assert.ok(sent > 0);
    await sink.close();
  });

for (const frameSize of [2048, 4096] as const)
  test(`null: takes in one go what needs only its addresses rewritten, frames of ${frameSize}`, async () => {
    const bench = makeBench(512, frameSize);
    const { arena, burst } = bench;
    const sink = await openNull(arena, parseLocator("null:"));
    freeFrames(arena); // makes its scratch
    let whole = 0;
    fc.assert(
      fc.property(fc.array(given, { maxLength: 60, size: "max" }), rewrites, (packets, rewrite) => {
        const free = freeFrames(arena);
        const heads = packets.map((one) => add(bench, one).head);
        const edge = createEdge(arena, { ...sink.can, mtu: MTU }, rewrite);
        const before = sink.counters().transmitted;
        const unusual = packets.findIndex((one) => isUnusual(one, rewrite));
        const stop = unusual < 0 ? packets.length : unusual;
        assert.equal(sink.sendOrdinary?.(burst, edge.at), stop);
        // What has gone is still where it was, as long as nobody takes its frames.
        packets.slice(0, stop).forEach(({ bytes, dropped }, i) => {
          const gone = arena.u8.slice(heads[i], heads[i] + bytes.length);
          if (!dropped) assert.deepEqual(gone, rewritten(bytes, rewrite));
        });
        const gone = packets.slice(0, stop).filter(({ dropped }) => !dropped);
        const bytes = gone.reduce((sum, one) => sum + one.bytes.length, 0);
        const after = sink.counters().transmitted;
        assert.deepEqual(after, { packets: before.packets + gone.length, bytes: before.bytes + bytes });
        if (gone.length === packets.length) {
          whole++;
          assert.equal(arena.u32[(burst + BURST_PACKETS) >>> 2], 0, "a burst that goes as a whole");
        } else {
          const view = viewBurst(bench);
          packets.forEach((one, i) => {
            const verdict = one.dropped ? DROPPED : i < stop ? VERDICT_MOVED : VERDICT_PASS;
            assert.equal(arena.u8[metaOf(bench, i) + META_VERDICT], verdict);
            if (i >= stop || one.dropped) assert.deepEqual(view.at(i).copy(), one.bytes);
          });
          emptyBurst(bench);
        }
        packets.forEach(({ shared }, i) => {
          if (shared) assert.equal(arena.kernels.releaseFrame(heads[i]), 1);
        });
        edge.close();
        assert.equal(freeFrames(arena), free, "every frame came back, once");
      }),
    );
    assert.ok(whole > 0);
    await sink.close();
  });

for (const second of [1, 2, 3, 6])
  test(`null: finds the frame that packet ${second} names for the second time, and frees it once`, async () => {
    const bench = makeBench();
    const { arena, burst } = bench;
    const sink = await openNull(arena, parseLocator("null:"));
    const free = freeFrames(arena);
    for (let i = 0; i < 8; i++) addPacket(bench, [Uint8Array.of(i)]);
    const descs = arena.u32[(burst + BURST_DESCS) >>> 2] >>> 2;
    const lost = arena.u32[descs + 4 * second];
    arena.u32[descs + 4 * second] = arena.u32[descs];
    assert.throws(() => sink.send(burst, 0), {
      code: "ERR_FRAME",
      message: new RegExp(`^descriptor ${second} `),
    });
    assert.equal(sink.counters().transmitted.packets, second);
    assert.notEqual(arena.kernels.burstRelease(burst, 0), 0);
    assert.equal(arena.kernels.releaseFrame(lost), 1);
    assert.equal(freeFrames(arena), free);
    await sink.close();
  });

test("null: hands out every frame of the pool, and takes each back", async () => {
  const bench = makeBench(8192);
  const { arena, burst } = bench;
  const source = await openNull(arena, parseLocator("null:?burst=100"));
  const free = freeFrames(arena);
  let got = 0;
  for (let packets = source.receive(burst); packets > 0; packets = source.receive(burst)) {
    got += packets;
    if (got % 1000 === 0) assert.equal(freeFrames(arena), free - got);
  }
  const descs = arena.u32[(burst + BURST_DESCS) >>> 2] >>> 2;
  const places = new Set(
    Array.from({ length: got }, (_, i) => arena.u32[descs + 4 * i] >>> arena.frameShift),
  );
  for (const packet of viewBurst(bench)) assert.equal(packet.length, 64);
  assert.equal(places.size, got, "no frame twice");
  assert.equal(source.send(burst, 0), got);
  emptyBurst(bench);
  assert.equal(freeFrames(arena), free);
  await source.close();
});

test("null: brings clean metadata whatever became of it before, and leaves no burst empty that goes in part", async () => {
  const bench = makeBench();
  const { arena, burst } = bench;
  const port = await openNull(arena, parseLocator("null:?burst=101&size=70"));
  const edge = createEdge(arena, port.can, { swap: false });
  const sendOrdinary = () => port.sendOrdinary?.(burst, edge.at);
  const free = freeFrames(arena);
  const packets = () => arena.u32[(burst + BURST_PACKETS) >>> 2];
  const clean = new Uint8Array(META_SIZE);
  clean[META_WIRE_LENGTH] = 70;
  const receive = () => {
    assert.equal(port.receive(burst), 101);
    const starts = arena.u32[(burst + BURST_STARTS) >>> 2] >>> 2;
    for (let packet = 0; packet < 101; packet++) {
      const meta = metaOf(bench, packet);
      assert.deepEqual(arena.u8.slice(meta, meta + META_SIZE), clean);
      assert.equal(arena.u32[starts + packet], packet);
    }
  };
  const verdicts = () =>
    Array.from({ length: packets() }, (_, i) => arena.u8[metaOf(bench, i) + META_VERDICT]);
  for (let packet = 0; packet < 101; packet++) {
    receive();
    // A stage leaves its marks on one packet: every byte but the verdict, or those that make it a super-frame.
    arena.u8.fill(0xff, metaOf(bench, packet), metaOf(bench, packet) + META_SEGMENT);
    arena.u8[metaOf(bench, packet) + META_QUEUE] = 0xff;
    assert.equal(sendOrdinary(), 101);
    assert.equal(packets(), 0);
    assert.equal(freeFrames(arena), free);
  }
  receive();
  assert.equal(port.send(burst, 0), 101);
  assert.deepEqual(verdicts(), Array(101).fill(VERDICT_MOVED));
  emptyBurst(bench);
  for (const kept of [0, 50, 100]) {
    receive();
    arena.u8[metaOf(bench, kept) + META_VERDICT] = DROPPED;
    assert.equal(sendOrdinary(), 101);
    assert.deepEqual(
      verdicts(),
      Array.from({ length: 101 }, (_, i) => (i === kept ? DROPPED : VERDICT_MOVED)),
    );
    assert.equal(freeFrames(arena), free - 1);
    emptyBurst(bench);
    assert.equal(freeFrames(arena), free);
  }
  assert.equal(port.counters().transmitted.packets, 101 * 102 + 3 * 100);
  edge.close();
  await port.close();
});
