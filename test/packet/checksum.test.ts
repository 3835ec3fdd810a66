import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addSums, complement, sumBytes, updateChecksum } from "../../src/packet/checksum.js";
import { addPacket, emptyBurst, makeBench } from "./arena.js";

/** RFC 1071 as its text says it. */
function reference(bytes: Uint8Array): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i += 2) sum += BigInt((bytes[i] << 8) | (bytes[i + 1] ?? 0));
  while (sum >> 16n !== 0n) sum = (sum & 0xffffn) + (sum >> 16n);
  return Number(sum);
}

// 0 and 0xffff are the same number in one's complement.
const same = (sum: number) => (sum === 0xffff ? 0 : sum);

test("the sum is RFC 1071's, at any address, of any length, also while copying", () => {
  const { arena } = makeBench();
  const from = arena.kernels.takeFrame() >>> 0;
  const to = arena.kernels.takeFrame() >>> 0;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1600 }), fc.nat(64), fc.nat(64), (bytes, shift, other) => {
      arena.u8.set(bytes, from + shift);
      const expected = reference(bytes);
      assert.equal(arena.kernels.checksum(from + shift, bytes.length), expected);
      arena.u8.fill(0xee, to, to + 2048);
      assert.equal(arena.kernels.checksumCopy(to + other, from + shift, bytes.length), expected);
      assert.deepEqual(arena.u8.slice(to + other, to + other + bytes.length), bytes);
      assert.equal(arena.u8[to + other + bytes.length], 0xee);
      assert.equal(sumBytes(bytes), expected);
    }),
    { numRuns: 500 },
  );
  arena.u8.fill(0xff, 1 << 20, 3 << 20);
  assert.equal(
    arena.kernels.checksum((1 << 20) + 1, 1_900_001),
    reference(new Uint8Array(1_900_001).fill(0xff)),
  );
});

test("fragments of odd length do not disturb the sum", () => {
  const bench = makeBench();
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { minLength: 1, maxLength: 17 }),
      fc.nat(300),
      fc.nat(3000),
      (pieces, from, length) => {
        addPacket(bench, pieces);
        const all = Buffer.concat(pieces);
        assert.equal(
          bench.arena.kernels.packetChecksum(bench.burst, 0, from, length),
          reference(all.subarray(from, from + length)),
        );
        emptyBurst(bench);
      },
    ),
  );
});

test("an incremental update (RFC 1624) equals a new computation", () => {
  const word = fc.nat(0xffff);
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 20 }), fc.nat(19), word, (words, which, after) => {
      const index = which % words.length;
      const sum = (all: number[]) => all.reduce(addSums, 0);
      const changed = words.with(index, after);
      const updated = updateChecksum(complement(sum(words)), words[index], after);
      assert.equal(same(updated), same(complement(sum(changed))));
    }),
    { numRuns: 2000 },
  );
  assert.equal(updateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000, "the example of RFC 1624 section 4");
});
