import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arm, receive, recover, send, watch } from "../../src/device/e1000e/run.js";
import { counter } from "../../src/device/e1000e/statistics.js";
import {
  RX_DONE,
  RX_END,
  RXQ_DESCS,
  RXQ_ERRORS,
  RXQ_FAULTS,
  RXQ_NEXT,
  RXQ_PACKETS,
  TXQ_CLEAN,
  TXQ_DESCS,
} from "../../src/kernels/e1000e.js";
import { POISON_BYTE } from "../../src/kernels/structs.js";
import { drainBurst, type End, newBurst, openPair, type Pair, putPacket } from "./cards.js";
import { pattern } from "./frames.js";

/** One thing a card might do that it should not. Numbers choose descriptors, lengths and bits. */
type Misdeed =
  | { readonly kind: "complete"; readonly slot: number; readonly length: number; readonly bits: number }
  | { readonly kind: "scribble"; readonly slot: number; readonly words: readonly number[] }
  | { readonly kind: "report"; readonly slot: number }
  | { readonly kind: "jump"; readonly head: number }
  | { readonly kind: "storm" | "mute" | "hang" | "behave" | "watch" | "recover" | "traffic" | "zombie" };

/** Counted from the descriptor whose turn it is: mostly that one, or one of those after it. */
const slot = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 63 }));
const word = fc.oneof(
  fc.constantFrom(0, 1, 0xffffffff, 0x80000000, 0x7fffffff),
  fc.integer({ min: 0, max: 0xffffffff }),
);
const misdeed: fc.Arbitrary<Misdeed> = fc.oneof(
  fc.record({
    kind: fc.constant("complete" as const),
    slot,
    length: fc.oneof(
      fc.constantFrom(0, 1, 13, 14, 2048, 2049, 4097, 65535),
      fc.integer({ min: 0, max: 65535 }),
    ),
    bits: fc.oneof(fc.constantFrom(RX_DONE, RX_DONE | RX_END, RX_END), word),
  }),
  fc.record({
    kind: fc.constant("scribble" as const),
    slot,
    words: fc.array(word, { minLength: 4, maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant("report" as const), slot }),
  fc.record({ kind: fc.constant("jump" as const), head: fc.integer({ min: 0, max: 300 }) }),
  fc.record({
    kind: fc.constantFrom(
      "storm",
      "mute",
      "hang",
      "behave",
      "watch",
      "recover",
      "traffic",
      "traffic",
      "zombie",
    ),
  }),
);

function commit(pair: Pair, end: End, deed: Misdeed, clock: { now: number }): void {
  const { arena } = pair;
  const { card, model } = end;
  const split = card.settings.headerSplit ? 32 : 16;
  const rx = arena.u32[(card.rx[0].state + RXQ_DESCS) >>> 2];
  const tx = arena.u32[(card.tx[0].state + TXQ_DESCS) >>> 2];
  const next = arena.u32[(card.rx[0].state + RXQ_NEXT) >>> 2];
  const clean = arena.u32[(card.tx[0].state + TXQ_CLEAN) >>> 2];
  const received = (slot: number) => rx + ((next + slot) % 64) * split;
  switch (deed.kind) {
    case "complete":
      arena.u16[(received(deed.slot) + 12) >>> 1] = deed.length;
      arena.u32[(received(deed.slot) + 8) >>> 2] = deed.bits;
      return;
    case "scribble":
      deed.words.forEach((value, i) => {
        arena.u32[(received(deed.slot) + 4 * i) >>> 2] = value;
      });
      return;
    case "report":
      arena.u32[(tx + ((clean + deed.slot) % 64) * 16 + 12) >>> 2] |= 1;
      return;
    case "jump":
      model.regs[0x2810 >>> 2] = deed.head;
      model.regs[0x3810 >>> 2] = deed.head;
      return;
    case "storm":
    case "mute":
      model.signals = deed.kind;
      return;
    case "hang":
      model.hung = true;
      return;
    case "behave":
      model.hung = false;
      model.signals = "right";
      return;
    case "watch":
      clock.now += 1500;
      watch(card, clock.now);
      return;
    case "recover":
      recover(card);
      return;
    case "zombie": {
      // DMA after a reset: the bus must not let it through.
      const faults = end.bus.ledger().faults;
      end.bus.setBusMaster(false);
      assert.equal(model.host.dmaWrite(arena.frameSize, Uint8Array.of(1)), false);
      assert.equal(end.bus.ledger().faults, faults + 1);
      end.bus.setBusMaster(true);
      return;
    }
    case "traffic":
  }
}

for (const headerSplit of [false, true])
  test(`whatever a card does, frames add up and nothing else is touched (${headerSplit ? "split" : "whole"})`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(misdeed, { minLength: 1, maxLength: 40 }), async (deeds) => {
        const pair = openPair({
          bytes: 32 * 2 ** 20,
          b: { rxRing: 64, txRing: 64, headerSplit },
          a: { rxRing: 64, txRing: 64 },
        });
        const { arena, a, b } = pair;
        const burst = newBurst(arena, 128);
        // A frame of someone else's, full of a pattern that must survive.
        const witness = arena.kernels.takeFrame() >>> 0;
        arena.u8.fill(POISON_BYTE ^ 0xff, witness, witness + arena.frameSize);
        const clock = { now: performance.now() };
        const look = () => {
          if (b.card.failure !== undefined) return;
          const packets = receive(b.card, 0, burst, 64);
          const got = drainBurst(arena, burst);
          assert.equal(got.length, packets);
          for (const { addresses, pieces } of got)
            addresses.forEach((address, i) => {
              assert.ok(address >= arena.frameSize && pieces[i] > 0);
              assert.ok((address % arena.frameSize) + pieces[i] <= arena.frameSize, "inside its frame");
              assert.notEqual(Math.floor(address / arena.frameSize), witness / arena.frameSize);
            });
        };
        for (const deed of deeds) {
          commit(pair, b, deed, clock);
          look();
          for (const end of [a, b]) {
            for (let i = 0; i < 4; i++) putPacket(arena, burst, pattern(200, i));
            if (end.card.failure === undefined) send(end.card, 0, burst, 0);
            drainBurst(arena, burst);
          }
          for (let i = 0; i < 5; i++) pair.step();
          if (b.card.failure === undefined) arm(b.card, { receive: true, transmit: true });
          look();
        }
        assert.ok(
          arena.u8
            .subarray(witness, witness + arena.frameSize)
            .every((byte) => byte === (POISON_BYTE ^ 0xff)),
        );
        arena.kernels.releaseFrame(witness);
        b.model.signals = "right";
        await pair.close(); // asserts that every frame is back in the pool
      }),
      { numRuns: 60, includeErrorInReport: true },
    );
  });

test("impossible completions are counted, each under its name, and the ring goes on", async () => {
  const pair = openPair({ b: { rxRing: 64 } });
  const { arena, a, b, settle } = pair;
  const burst = newBurst(arena);
  const state = b.card.rx[0].state;
  const rx = arena.u32[(state + RXQ_DESCS) >>> 2];
  const complete = (index: number, length: number, status: number) => {
    arena.u16[(rx + index * 16 + 12) >>> 1] = length;
    arena.u32[(rx + index * 16 + 8) >>> 2] = status;
    b.model.regs[0x2810 >>> 2] = index + 1;
    return receive(b.card, 0, burst, 64);
  };
  assert.equal(complete(0, 2049, RX_DONE | RX_END), 0, "longer than its buffer");
  assert.equal(complete(1, 0, RX_DONE | RX_END), 0, "done without data");
  assert.equal(complete(2, 13, RX_DONE | RX_END), 0, "shorter than a header");
  assert.equal(complete(3, 100, RX_DONE), 0, "without an end, where a packet has one descriptor");
  assert.equal(counter(arena, state + RXQ_FAULTS), 4);
  assert.equal(complete(4, 100, (RX_DONE | RX_END | 0x01000000) >>> 0), 0, "marked as broken");
  assert.equal(counter(arena, state + RXQ_ERRORS), 1);
  assert.equal(complete(60, 100, RX_DONE | RX_END), 0, "one that is not its turn yet");
  b.model.regs[0x2810 >>> 2] = 5;
  arena.u32[(rx + 60 * 16 + 8) >>> 2] = 0;
  putPacket(arena, burst, pattern(100));
  send(a.card, 0, burst, 0);
  drainBurst(arena, burst);
  settle();
  assert.equal(receive(b.card, 0, burst, 64), 1);
  drainBurst(arena, burst);
  assert.equal(counter(arena, state + RXQ_PACKETS), 1);
  await pair.close();
});

test("a card that is pulled is given up with a clear error, and its frames come back", async () => {
  const pair = openPair();
  const { arena, b } = pair;
  const burst = newBurst(arena);
  for (let i = 0; i < 8; i++) putPacket(arena, burst, pattern(100));
  send(b.card, 0, burst, 0);
  drainBurst(arena, burst);
  b.model.pulled = true;
  assert.equal(watch(b.card, performance.now()), "gone");
  const gone = { code: "ERR_DEVICE", message: /b@model: no longer answers/ };
  assert.throws(() => receive(b.card, 0, burst, 64), gone);
  assert.throws(() => send(b.card, 0, burst, 0), gone);
  await pair.close();
  assert.equal(b.card.lost, 8);
});
