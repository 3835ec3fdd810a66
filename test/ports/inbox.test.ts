// What the kernel hands back is looked at as if anybody had written it.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  OUTPUT_PCAPNG,
  OUTPUT_SIZE,
  OUTPUT_SNAPLEN,
  OUTPUT_UNITS,
  RECORDS_ARENA,
  RECORDS_BLOCK,
  RECORDS_BLOCK_END,
  RECORDS_BYTES,
  RECORDS_COPIED,
  RECORDS_COUNT,
  RECORDS_LIMIT,
  RECORDS_SIZE,
  RECORDS_VECTORS,
} from "../../src/kernels/captures.js";
import { BURST_COUNT, BURST_DESCS, BURST_PACKETS } from "../../src/kernels/structs.js";
import {
  INBOX_CONTROL_SIZE,
  INBOX_CONTROLS,
  INBOX_HEADERS,
  INBOX_NAMES,
  INBOX_SENDERS,
  MESSAGE_CONTROL_LENGTH,
  MESSAGE_FLAGS,
  MESSAGE_LENGTH,
  MESSAGE_NAME_LENGTH,
  SENDER_SIZE,
  SENDERS_BYTES,
  SENDERS_ENTRIES,
  SENDERS_LIMIT,
  SENDERS_MASK,
  SENDERS_SLOTS,
  TPACKET_ETHERNET,
  TPACKET_KINDS,
  TPACKET_MALFORMED,
  TPACKET_PACKETS,
  TPACKET_RING,
  TPACKET_SIZE,
  TPACKET_TRUNCATED,
  TPACKET_UNIT_SIZE,
  TPACKET_UNITS,
  TPACKET_VNET,
  VECTOR_SIZE,
} from "../../src/kernels/structs-messages.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { createBurst, throwFault } from "../../src/memory/burst.js";
import { closeInbox, createInbox, createRegions, setWords } from "../../src/ports/messages.js";
import { freeFrames } from "../kit/driver.js";

const MESSAGES = 3;

/** Every descriptor of the burst lies in a frame; then the burst is freed. */
function checkAndFree(arena: ArenaMemory, burst: number): void {
  const { u32, frameSize, frames, kernels } = arena;
  const descs = u32[(burst + BURST_DESCS) >>> 2];
  for (let index = 0; index < u32[(burst + BURST_COUNT) >>> 2]; index++) {
    const [address, high, length] = u32.subarray(
      (descs + 16 * index) >>> 2,
      ((descs + 16 * index) >>> 2) + 3,
    );
    assert.equal(high, 0);
    assert.ok(address >= frameSize && address < frames * frameSize);
    assert.ok((address % frameSize) + length <= frameSize);
  }
  throwFault(arena, burst, kernels.burstRelease(burst, 0));
}

test("messages with any lengths, flags and control bytes yield packets within frames, and leak none", () => {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  const { u8, u32, u64, kernels } = arena;
  const burst = createBurst(arena, 200);
  const before = freeFrames(arena);
  const message = fc.record({
    length: fc.oneof(fc.integer({ min: 0, max: 70000 }), fc.constantFrom(0xffffffff, 65535, 65536, 65537)),
    flags: fc.constantFrom(0, 0, 0, 0x20),
    segment: fc.oneof(fc.integer({ min: 0, max: 70000 }), fc.integer({ min: 0, max: 3000 })),
    controlLength: fc.oneof(fc.constantFrom(0n, 20n, 24n, 2n ** 63n), fc.bigInt({ min: 0n, max: 200n })),
    cmsgLength: fc.oneof(
      fc.constantFrom(20n, 20n, 20n, 0n, 2n ** 64n - 1n),
      fc.bigInt({ min: 0n, max: 300n }),
    ),
    junk: fc.uint8Array({ minLength: INBOX_CONTROL_SIZE - 20, maxLength: INBOX_CONTROL_SIZE - 20 }),
    name: fc.uint8Array({ minLength: SENDER_SIZE, maxLength: SENDER_SIZE }),
    nameLength: fc.constantFrom(0, 16, 28, 0xffffffff),
  });
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: MESSAGES }), (messages) => {
      const regions = createRegions(arena);
      const senders = regions.take(SENDERS_BYTES + 4 * 8 + 32 * 5);
      setWords(arena, senders, [
        [SENDERS_MASK, 7],
        [SENDERS_LIMIT, 4],
        [SENDERS_SLOTS, senders + SENDERS_BYTES],
        [SENDERS_ENTRIES, senders + SENDERS_BYTES + 32],
      ]);
      const inbox = createInbox(arena, regions, MESSAGES, senders);
      assert.equal(u32[(inbox + INBOX_SENDERS) >>> 2], senders);
      for (let round = 0; round < 2; round++) {
        assert.equal(kernels.inboxPost(inbox), MESSAGES);
        for (const [index, one] of messages.entries()) {
          const header = u32[(inbox + INBOX_HEADERS) >>> 2] + 64 * index;
          const control = u32[(inbox + INBOX_CONTROLS) >>> 2] + INBOX_CONTROL_SIZE * index;
          u32[(header + MESSAGE_LENGTH) >>> 2] = one.length;
          u32[(header + MESSAGE_FLAGS) >>> 2] = one.flags;
          u32[(header + MESSAGE_NAME_LENGTH) >>> 2] = one.nameLength;
          u64[(header + MESSAGE_CONTROL_LENGTH) / 8] = one.controlLength;
          u64[control / 8] = one.cmsgLength;
          u32.set([17, 104, one.segment], (control + 8) >>> 2);
          u8.set(one.junk, control + 20);
          u8.set(one.name, u32[(inbox + INBOX_NAMES) >>> 2] + SENDER_SIZE * index);
        }
        kernels.inboxReceived(inbox, messages.length);
        for (let bursts = 0; bursts < 400 + 70000 && kernels.inboxSplit(inbox, burst) > 0; bursts++) {
          checkAndFree(arena, burst);
          if (round === 1 && bursts > 2) break; // closed in the middle of a message
        }
      }
      closeInbox(arena, inbox);
      regions.free();
      assert.equal(freeFrames(arena), before);
    }),
    { numRuns: 200 },
  );
});

for (const [blocks, records] of [
  [false, false],
  [true, false],
  [true, true],
])
  test(`a ring of ${blocks ? "blocks" : "slots"} with any bytes in it is never read outside, nor believed for ever${records ? ", into a capture file" : ""}`, () => {
    const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
    const { u8, u32, u64, kernels } = arena;
    const burst = createBurst(arena, 64);
    const before = freeFrames(arena);
    const regions = createRegions(arena);
    const ring = regions.take(16384);
    const state = regions.take(TPACKET_SIZE);
    const output = regions.take(OUTPUT_SIZE);
    const named = regions.take(RECORDS_SIZE);
    const room = regions.take(16384);
    const unitSize = blocks ? 8192 : 2048;
    const receive = () => (blocks ? kernels.tpacketBlocks(state, burst) : kernels.tpacketSlots(state, burst));
    // Vectors first, then the block.
    const list = 16 * VECTOR_SIZE;
    const record = (copied: number) => {
      u8.fill(0xee, room + list + 9000, room + list + 9064);
      u64[(named + RECORDS_ARENA) / 8] = 2n ** 40n;
      setWords(arena, named, [
        [RECORDS_VECTORS, room],
        [RECORDS_LIMIT, 16],
        [RECORDS_BLOCK, room + list],
        [RECORDS_BLOCK_END, room + list + 9000],
        [RECORDS_COPIED, copied],
      ]);
      setWords(arena, output, [
        [OUTPUT_PCAPNG, 1],
        [OUTPUT_UNITS, 1e9],
        [OUTPUT_SNAPLEN, 8000],
      ]);
      const got = kernels.tpacketRecord(state, output, named, 70);
      const count = u32[(named + RECORDS_COUNT) >>> 2];
      assert.ok(count <= 16);
      assert.ok(u8.subarray(room + list + 9000, room + list + 9064).every((byte) => byte === 0xee));
      const pieces = Array.from({ length: count }, (_, index) => {
        const vector = (room + index * VECTOR_SIZE) / 8;
        const [at, length] = [Number(u64[vector] - 2n ** 40n), Number(u64[vector + 1])];
        const inside = (from: number, bytes: number) => at >= from && at + length <= from + bytes;
        assert.ok(inside(room + list, 9000) || inside(ring, 16384));
        return u8.subarray(at, at + length);
      });
      const bytes = Buffer.concat(pieces);
      assert.equal(bytes.length, u32[(named + RECORDS_BYTES) >>> 2]);
      let found = 0;
      for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) found++;
      assert.equal(found, got);
      return got;
    };
    const words = fc.array(
      fc.oneof(
        fc.constantFrom(0, 1, 3, 48, 64, 66, 80, 100, 0xffff, 0xffffffff),
        fc.nat(9000),
        fc.nat(0xffffffff),
      ),
      { minLength: 20, maxLength: 20 },
    );
    fc.assert(
      fc.property(
        fc.array(words, { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        fc.constantFrom(16, 256, 8000),
        (units, vnet, copied) => {
          u8.fill(0, state, state + TPACKET_SIZE);
          u8.fill(0xff, ring, ring + 16384);
          setWords(arena, state, [
            [TPACKET_RING, ring],
            [TPACKET_UNITS, 16384 / unitSize],
            [TPACKET_UNIT_SIZE, unitSize],
            [TPACKET_VNET, vnet ? 10 : 0],
            [TPACKET_KINDS, 0xff],
            [TPACKET_ETHERNET, 1],
          ]);
          for (let unit = 0; unit < 16384 / unitSize; unit++) {
            const at = ring + unit * unitSize;
            u32.set(units[unit % units.length], at >>> 2);
            if (blocks) u32.set([1, units[unit % units.length][3] % 50], (at + 8) >>> 2);
            else u32[at >>> 2] |= 1;
          }
          for (let rounds = 0; rounds < 100; rounds++) {
            const got = records ? record(copied) : receive();
            checkAndFree(arena, burst);
            if (got === 0) {
              if (blocks || kernels.tpacketReady(state, 0) === 0) break;
              // A slot that claims that its packet waits in the socket's queue, where there is none.
              kernels.tpacketLarge(state, 0, burst, 0);
            }
          }
          assert.equal(kernels.tpacketReady(state, blocks ? 1 : 0), 0);
          const count = (at: number) => Number(u64[(state + at) / 8]);
          assert.ok(count(TPACKET_PACKETS) + count(TPACKET_MALFORMED) + count(TPACKET_TRUNCATED) >= 0);
          assert.equal(u32[(burst + BURST_PACKETS) >>> 2], 0);
          assert.equal(freeFrames(arena), before);
        },
      ),
      { numRuns: 300 },
    );
  });
