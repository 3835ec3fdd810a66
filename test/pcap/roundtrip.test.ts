import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import {
  BURST_METAS,
  BURST_PACKETS,
  META_FLAGS,
  META_NANOSECONDS,
  META_OUTGOING,
  META_QUEUE,
  META_SECONDS,
  META_SIZE,
  META_STAMPED,
  META_WIRE_LENGTH,
} from "../../src/kernels/structs.js";
import { appendPacket, createBurst, destroyBurst } from "../../src/memory/burst.js";
import { convertCapture } from "../../src/ports/pcap/convert.js";
import { closeWriter, openWriter, writeBurst, writerReady } from "../../src/ports/pcap/writer.js";
import { arena, folder, heldFrames, readAll } from "./kit.js";

interface Made {
  readonly length: number;
  readonly beyond: number;
  readonly seconds: number;
  readonly nano: number;
  readonly outgoing: boolean;
  readonly queue: number;
}
const packet: fc.Arbitrary<Made> = fc.record({
  length: fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 20_000 })),
  beyond: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 100_000 })),
  seconds: fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constant(1_700_000_000)),
  nano: fc.integer({ min: 0, max: 999_999_999 }),
  outgoing: fc.boolean(),
  queue: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 255 })),
});

function bytesOf(made: Made, index: number): Uint8Array {
  return Uint8Array.from({ length: made.length }, (_, i) => (i * 7 + index * 31 + made.length) & 255);
}

/** Puts a packet into the burst over as many frames as it takes, each piece at an odd place. */
function put(burst: number, made: Made, index: number): void {
  const bytes = bytesOf(made, index);
  const pieces: number[] = [];
  for (let at = 0; at < bytes.length || pieces.length === 0; ) {
    const frame = arena.kernels.takeFrame() >>> 0;
    const start = frame + ((index * 13) & 63);
    const part = bytes.subarray(at, at + 4000 - ((index * 13) & 63));
    arena.u8.set(part, start);
    pieces.push(start, part.length);
    at += Math.max(1, part.length);
  }
  assert.notEqual(appendPacket(arena, burst, pieces), -1);
  const meta = arena.u32[(burst + BURST_METAS) >>> 2] + index * META_SIZE;
  arena.f64[(meta + META_SECONDS) / 8] = made.seconds;
  arena.u32[(meta + META_NANOSECONDS) >>> 2] = made.nano;
  arena.u32[(meta + META_WIRE_LENGTH) >>> 2] = made.length + made.beyond;
  arena.u16[(meta + META_FLAGS) >>> 1] = META_STAMPED | (made.outgoing ? META_OUTGOING : 0);
  arena.u8[meta + META_QUEUE] = made.queue;
}

const formats = [
  { format: "pcap" as const, nano: false, bigEndian: false },
  { format: "pcap" as const, nano: true, bigEndian: true },
  { format: "pcapng" as const, nano: true, bigEndian: false },
  { format: "pcapng" as const, nano: true, bigEndian: true },
];
for (const options of formats) {
  const name = `${options.format}, ${options.nano ? "ns" : "µs"}, ${options.bigEndian ? "big" : "little"} endian`;
  test(`${name}: what is written is read, and written again it is the same file`, async (t) => {
    const dir = folder(t);
    const [first, second] = [join(dir, "first"), join(dir, "second")];
    await fc.assert(
      fc.asyncProperty(fc.array(packet, { maxLength: 60 }), async (made) => {
        const burst = createBurst(arena, 1024);
        const writer = await openWriter(arena, first, { linkType: 1, name: "eth0" }, options);
        made.forEach((one, i) => {
          put(burst, one, i);
        });
        const count = arena.u32[(burst + BURST_PACKETS) >>> 2];
        for (let at = 0; at < count; ) {
          at = writeBurst(writer, burst, at);
          if (at < count) await writerReady(writer);
        }
        await closeWriter(writer);
        destroyBurst(arena, burst);
        const { packets, error } = await readAll(first);
        assert.equal(error, undefined);
        const pcapng = options.format === "pcapng";
        assert.deepEqual(
          packets,
          made.map((one, i) => ({
            bytes: bytesOf(one, i),
            wire: one.length + one.beyond,
            time: `${one.seconds}.${String(options.nano ? one.nano : one.nano - (one.nano % 1000)).padStart(9, "0")}`,
            peer: 0,
            outgoing: pcapng && one.outgoing,
            queue: pcapng ? one.queue : 0,
          })),
        );
        assert.equal(heldFrames(), 0);
        if (options.bigEndian && options.format === "pcap") return; // convert writes pcap in our own order
        await convertCapture(arena, first, second, options);
        assert.deepEqual(readFileSync(second), readFileSync(first));
      }),
      { numRuns: 40 },
    );
  });
}
