import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { receive, send } from "../../src/device/e1000e/run.js";
import { counter } from "../../src/device/e1000e/statistics.js";
import { RXQ_COPIED, TXQ_REFUSED } from "../../src/kernels/e1000e.js";
import { META_FLAGS, META_TAGGED, META_TCP_SEGMENTS } from "../../src/kernels/structs.js";
import { drainBurst, freeFrames, metaAt, newBurst, openPair, type PairOptions, putPacket } from "./cards.js";
import { pattern, wholeFrame } from "./frames.js";

function frameOf(bytes: number, seed = 0): Uint8Array {
  const frame = pattern(bytes, seed);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
  return frame;
}

const SETUPS: readonly { readonly name: string; readonly options: PairOptions; readonly longest: number }[] =
  [
    { name: "4 KiB frames", options: {}, longest: 1514 },
    { name: "frames not poisoned", options: { poison: false }, longest: 1514 },
    { name: "2 KiB frames", options: { frameSize: 2048 }, longest: 1514 },
    { name: "behind a bias", options: { bias: 0x1_2345_6000 }, longest: 1514 },
    { name: "long packets", options: { a: { mtu: 9018 }, b: { mtu: 9018 } }, longest: 9014 },
    {
      name: "long packets in 2 KiB frames",
      options: { frameSize: 2048, a: { mtu: 9018 }, b: { mtu: 9018 } },
      longest: 9014,
    },
    { name: "header split", options: { b: { headerSplit: true } }, longest: 1514 },
    {
      name: "header split of long packets",
      options: { frameSize: 2048, a: { mtu: 9018 }, b: { mtu: 9018, headerSplit: true } },
      longest: 9014,
    },
    { name: "copybreak", options: { b: { copybreak: 256 } }, longest: 1514 },
  ];

for (const { name, options, longest } of SETUPS)
  test(`any packet arrives as it was sent, however it is cut and placed (${name})`, async () => {
    const pair = openPair(options);
    const { arena, a, b, settle } = pair;
    const out = newBurst(arena);
    const into = newBurst(arena);
    const probe = newBurst(arena);
    const free = freeFrames(arena, probe);
    const packet = fc.record({
      bytes: fc.integer({ min: 60, max: longest }),
      cuts: fc.array(fc.integer({ min: 1, max: longest }), { maxLength: 12 }),
      offset: fc.integer({ min: 0, max: 100 }),
      ip: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(packet, { minLength: 1, maxLength: 8 }), async (packets) => {
        const sent = packets.map(({ bytes, cuts, offset, ip }, index) => {
          const frame =
            ip && bytes > 100
              ? wholeFrame({ family: 4, protocol: "udp" }, pattern(bytes - 42, index))
              : frameOf(bytes, index);
          const lengths: number[] = [];
          let left = bytes;
          for (const cut of [...cuts, longest, longest, longest, longest]) {
            const most = Math.min(left, arena.frameSize - 200);
            const part = Math.min(cut, most);
            if (part > 0) lengths.push(part);
            left -= part;
          }
          while (left > 0) {
            lengths.push(Math.min(left, 1024));
            left -= Math.min(left, 1024);
          }
          putPacket(arena, out, frame, lengths, (i) => offset + i);
          return frame;
        });
        assert.equal(send(a.card, 0, out, 0), sent.length);
        drainBurst(arena, out);
        settle();
        receive(b.card, 0, into, 64);
        const got = drainBurst(arena, into);
        assert.deepEqual(
          got.map(({ bytes }) => bytes.toString("hex")),
          sent.map((frame) => Buffer.from(frame).toString("hex")),
        );
        arena.kernels.e1000eClean(a.card.tx[0].state);
        // A slot that waits for its turn may keep the frames it did not have to hand over.
        const missing = free - freeFrames(arena, probe);
        assert.ok(missing >= 0 && missing <= 4, `${missing} frames did not come back`);
      }),
      { numRuns: 40 },
    );
    assert.equal(b.bus.ledger().faults + a.bus.ledger().faults, 0);
    await pair.close();
  });

test("header split puts headers and data into frames of their own, the data page-aligned", async () => {
  const pair = openPair({ b: { headerSplit: true } });
  const { arena, a, b, settle } = pair;
  const burst = newBurst(arena);
  const payload = pattern(1000);
  for (const frame of [
    wholeFrame({ family: 4, protocol: "tcp" }, payload),
    wholeFrame({ family: 6, protocol: "udp" }, payload),
    wholeFrame({ family: 4, protocol: "tcp" }, new Uint8Array(6)),
    frameOf(700),
  ])
    putPacket(arena, burst, frame);
  send(a.card, 0, burst, 0);
  drainBurst(arena, burst);
  settle();
  receive(b.card, 0, burst, 64);
  const got = drainBurst(arena, burst);
  assert.deepEqual(
    got.map(({ pieces }) => pieces),
    [
      [54, 1000],
      [62, 1000],
      [54, 6],
      [256, 444],
    ],
  );
  for (const { addresses, pieces } of got) assert.equal(pieces.length > 1 ? addresses[1] % 4096 : 0, 0);
  await pair.close();
});

test("a packet handed over keeps its frame; one below copybreak is copied, and the ring keeps the frame", async () => {
  const pair = openPair({ b: { copybreak: 200 } });
  const { arena, a, b, settle } = pair;
  const burst = newBurst(arena);
  for (const bytes of [60, 200, 201, 1514]) putPacket(arena, burst, frameOf(bytes));
  send(a.card, 0, burst, 0);
  drainBurst(arena, burst);
  settle();
  receive(b.card, 0, burst, 64);
  assert.equal(drainBurst(arena, burst).length, 4);
  assert.equal(counter(arena, b.card.rx[0].state + RXQ_COPIED), 260);
  await pair.close();
});

for (const poison of [true, false])
  test(`thousands of packets go round both rings without loss, and flow control holds the sender back (${poison ? "poisoned" : "plain"})`, async () => {
    const pair = openPair({ a: { txRing: 64 }, b: { rxRing: 64 }, poison });
    const { arena, a, b, settle } = pair;
    const out = newBurst(arena);
    const into = newBurst(arena);
    let received = 0;
    for (let round = 0; round < 200; round++) {
      for (let i = 0; i < 32; i++) putPacket(arena, out, frameOf(1000, i));
      let first = 0;
      while (first < 32) {
        first = send(a.card, 0, out, first);
        settle();
        // A slow receiver: it looks only now and then.
        if (round % 3 === 0 || first < 32) {
          while (receive(b.card, 0, into, 16) > 0) {
            received += drainBurst(arena, into).length;
            settle();
          }
        }
      }
      drainBurst(arena, out);
    }
    settle();
    while (receive(b.card, 0, into, 64) > 0) {
      received += drainBurst(arena, into).length;
      settle();
    }
    assert.equal(received, 6400);
    assert.equal(b.model.regs[0x4010 >>> 2], 0, "nothing was missed");
    assert.ok(b.model.regs[0x4054 >>> 2] > 0, "pauses were asked for");
    await pair.close();
  });

test("a bad burst is refused whole: a foreign frame, an empty fragment, a continuation that leads nowhere", async () => {
  const pair = openPair();
  const { arena, a } = pair;
  const burst = newBurst(arena);
  const desc = () => arena.u32[(burst + 12) >>> 2] >>> 2;
  putPacket(arena, burst, frameOf(100), [60, 40]);
  const state = arena.u8.slice(a.card.tx[0].state, a.card.tx[0].state + 128);
  const spoil = (index: number, value: number) => {
    const good = arena.u32[desc() + index];
    arena.u32[desc() + index] = value;
    assert.throws(() => send(a.card, 0, burst, 0), { code: "ERR_FRAME" });
    arena.u32[desc() + index] = good;
    assert.deepEqual(arena.u8.slice(a.card.tx[0].state, a.card.tx[0].state + 128), state);
  };
  spoil(4, 5 * arena.frameSize * 100); // a frame that is not this worker's
  spoil(6, 0);
  spoil(7, 1);
  spoil(3, 2);
  spoil(2, 5000);
  assert.equal(send(a.card, 0, burst, 0), 1, "as it was, it goes");
  drainBurst(arena, burst);
  await pair.close();
});

test("what this card cannot send is refused and counted, and its frames come back", async () => {
  const pair = openPair();
  const { arena, a, settle, seen } = pair;
  const burst = newBurst(arena);
  const probe = newBurst(arena);
  const free = freeFrames(arena, probe);
  putPacket(arena, burst, frameOf(2000)); // longer than the wire takes
  const segments = putPacket(arena, burst, frameOf(1000)); // not TCP at all
  arena.u16[(metaAt(arena, burst, segments) + META_FLAGS) >>> 1] = META_TCP_SEGMENTS;
  arena.u16[(metaAt(arena, burst, segments) + 28) >>> 1] = 100;
  const tagged = putPacket(arena, burst, frameOf(100)); // its VLAN option is off
  arena.u16[(metaAt(arena, burst, tagged) + META_FLAGS) >>> 1] = META_TAGGED;
  putPacket(arena, burst, frameOf(100));
  assert.equal(send(a.card, 0, burst, 0), 4);
  drainBurst(arena, burst);
  settle();
  assert.equal(seen.length, 1);
  assert.equal(counter(arena, a.card.tx[0].state + TXQ_REFUSED), 3);
  arena.kernels.e1000eClean(a.card.tx[0].state);
  assert.equal(freeFrames(arena, probe), free);
  await pair.close();
});
