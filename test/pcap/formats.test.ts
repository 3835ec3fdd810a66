import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as zlib from "node:zlib";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { MillraceError } from "../../src/errors.js";
import {
  block,
  folder,
  heldFrames,
  interfaceHead,
  option,
  pcapFile,
  readAll,
  sectionHead,
  words,
} from "./kit.js";

const data = Buffer.from("0011223344550066778899aa0800cafe", "hex");

function readBytes(t: Parameters<typeof folder>[0], bytes: Uint8Array, name = "file") {
  const path = join(folder(t), name);
  writeFileSync(path, bytes);
  return readAll(path);
}

for (const little of [true, false]) {
  const order = little ? "little" : "big";
  test(`pcap, ${order} endian: microseconds and nanoseconds`, async (t) => {
    const record = words(little, [1_700_000_000, 123_456, 16, 60], data);
    const micro = await readBytes(t, pcapFile([record, record], { little }));
    assert.deepEqual(
      micro.packets.map(({ time, wire, bytes }) => [time, wire, bytes.length]),
      [
        ["1700000000.123456000", 60, 16],
        ["1700000000.123456000", 60, 16],
      ],
    );
    const nano = await readBytes(t, pcapFile([record], { little, magic: 0xa1b23c4d }));
    assert.equal(nano.packets[0].time, "1700000000.000123456");
    assert.deepEqual(nano.packets[0].bytes, Uint8Array.from(data));
  });

  test(`modified pcap, ${order} endian: both sizes of record header`, async (t) => {
    const extra = (bytes: number) => Buffer.alloc(bytes, 0);
    for (const more of [8, 12]) {
      const records = [1, 2, 3].map((second) =>
        Buffer.concat([words(little, [second, 0, 16, 16]), extra(more), data]),
      );
      const { packets, error } = await readBytes(t, pcapFile(records, { little, magic: 0xa1b2cd34 }));
      assert.equal(error, undefined);
      assert.deepEqual(
        packets.map(({ time, bytes }) => [time, Buffer.from(bytes).toString("hex")]),
        [1, 2, 3].map((second) => [`${second}.000000000`, data.toString("hex")]),
      );
    }
  });

  test(`pcapng, ${order} endian: every unit of time and an offset`, async (t) => {
    const packet = (high: number, low: number, number: number) =>
      block(little, 6, Buffer.concat([words(little, [number, high, low, 16, 60]), data]));
    const signed = (seconds: bigint) => {
      const bytes = Buffer.alloc(8);
      if (little) bytes.writeBigInt64LE(seconds);
      else bytes.writeBigInt64BE(seconds);
      return bytes;
    };
    const units = [0, 3, 6, 9, 12, 19, 128, 128 + 10, 128 + 34, 128 + 40, 128 + 63, 25];
    const heads = units.map((unit) => interfaceHead(little, [option(little, 9, Uint8Array.of(unit))]));
    heads.push(interfaceHead(little, [option(little, 9, Uint8Array.of(9)), option(little, 14, signed(-5n))]));
    const [high, low] = [0x1234, 0x89abcdef];
    const body = heads.map((_, number) => packet(high, low, number));
    const { packets, error } = await readBytes(t, Buffer.concat([sectionHead(little), ...heads, ...body]));
    assert.equal(error, undefined);
    const time = (BigInt(high) << 32n) | BigInt(low);
    const expected = units.map((unit) => {
      const perSecond = unit >= 128 ? 2n ** BigInt(unit & 127) : 10n ** BigInt(unit);
      const nano = ((time % perSecond) * 1_000_000_000n) / perSecond;
      return `${Number(time / perSecond)}.${String(nano).padStart(9, "0")}`;
    });
    expected.push(`${time / 1_000_000_000n - 5n}.${String(time % 1_000_000_000n).padStart(9, "0")}`);
    assert.deepEqual(
      packets.map((one) => one.time),
      expected,
    );
    assert.deepEqual(
      packets.map((one) => one.peer),
      heads.map((_, number) => number),
    );
  });

  test(`pcapng, ${order} endian: obsolete and simple packets, direction and queue, unknown blocks`, async (t) => {
    const flags = option(little, 2, words(little, [2]));
    const queue = option(little, 6, words(little, [3]));
    const enhanced = block(little, 6, Buffer.concat([words(little, [0, 0, 1, 16, 16]), data, flags, queue]));
    const head = Buffer.alloc(4);
    if (little) head.writeUInt16LE(7, 2);
    else head.writeUInt16BE(7, 2);
    const obsolete = block(little, 2, Buffer.concat([head, words(little, [0, 2, 16, 99]), data]));
    const simple = block(little, 3, Buffer.concat([words(little, [16]), data]));
    const unknown = block(little, 0x0bad1dea, Buffer.alloc(40, 1));
    const { packets, error } = await readBytes(
      t,
      Buffer.concat([
        sectionHead(little),
        interfaceHead(little),
        unknown,
        enhanced,
        obsolete,
        unknown,
        simple,
      ]),
    );
    assert.equal(error, undefined);
    assert.deepEqual(
      packets.map(({ time, wire, outgoing, queue: number }) => [time, wire, outgoing, number]),
      [
        ["0.000001000", 16, true, 3],
        ["0.000002000", 99, false, 0],
        ["", 16, false, 0],
      ],
    );
  });
}

test("old files keep their two lengths the other way round", async (t) => {
  const swapped = await readBytes(t, pcapFile([words(true, [1, 0, 60, 16], data)], { version: [2, 2] }));
  assert.deepEqual([swapped.packets[0].bytes.length, swapped.packets[0].wire], [16, 60]);
  const either = await readBytes(
    t,
    pcapFile([words(true, [1, 0, 60, 16], data), words(true, [1, 0, 16, 60], data)], { version: [2, 3] }),
  );
  assert.deepEqual(
    either.packets.map(({ bytes, wire }) => [bytes.length, wire]),
    [
      [16, 60],
      [16, 60],
    ],
  );
});

test("compressed captures are read as they are", async (t) => {
  const plain = pcapFile(Array.from({ length: 5000 }, (_, i) => words(true, [i, 0, 16, 16], data)));
  const zstd = (zlib as { zstdCompressSync?: (bytes: Uint8Array) => Buffer }).zstdCompressSync;
  const files: [string, Uint8Array][] = [
    ["a.pcap.gz", gzipSync(plain)],
    ["a.pcap.br", brotliCompressSync(plain)],
  ];
  if (zstd !== undefined) files.push(["a.pcap.zst", zstd(plain)]);
  for (const [name, bytes] of files) {
    const { packets, error } = await readBytes(t, bytes, name);
    assert.equal(error, undefined, name);
    assert.deepEqual(
      packets.map(({ time }) => time),
      Array.from({ length: 5000 }, (_, i) => `${i}.000000000`),
      name,
    );
  }
  const cut = await readBytes(t, gzipSync(plain).subarray(0, 200), "cut.gz");
  assert.ok(cut.packets.length > 0 && cut.packets.length < 5000);
  assert.ok(cut.error instanceof MillraceError && cut.error.code === "ERR_CAPTURE");
  assert.equal(typeof cut.error.at?.offset, "number");
});

test("each kind of damage is one clear error that names the place, after the packets before it", async (t) => {
  const good = words(true, [1, 0, 16, 16], data);
  const head = Buffer.concat([sectionHead(true), interfaceHead(true)]);
  const packet = (words_: number[]) => block(true, 6, Buffer.concat([words(true, words_), data]));
  const fine = packet([0, 0, 1, 16, 16]);
  const trailer = Buffer.from(fine);
  trailer.writeUInt32LE(52, trailer.length - 4);
  const at = head.length + fine.length;
  const cases: [string, Uint8Array, number, RegExp][] = [
    ["cut in a record", pcapFile([good, good.subarray(0, 20)]), 56, /cut short/],
    ["cut in a header", pcapFile([good, good.subarray(0, 7)]), 56, /cut short/],
    ["a giant", pcapFile([good, words(true, [1, 0, 0xfffffff0, 16], data)]), 56, /4294967280 bytes/],
    ["no interface", Buffer.concat([head, fine, packet([5, 0, 1, 16, 16])]), at, /interface 5/],
    ["more data than block", Buffer.concat([head, fine, packet([0, 0, 1, 17, 17])]), at, /17 bytes/],
    ["two lengths", Buffer.concat([head, fine, trailer]), at, /another length/],
    ["a tiny block", Buffer.concat([head, fine, words(true, [6, 8, 0])]), at, /impossible length/],
    ["an odd block", Buffer.concat([head, fine, words(true, [6, 45, 0])]), at, /impossible length/],
    ["a huge block", Buffer.concat([head, fine, words(true, [99, 0x7ffffffc, 0])]), at, /impossible length/],
    ["a cut block", Buffer.concat([head, fine, fine.subarray(0, 20)]), at, /cut short/],
    [
      "a second section without order",
      Buffer.concat([head, fine, words(true, [0x0a0d0d0a, 28, 1, 2, 3, 4, 28])]),
      at,
      /byte-order/,
    ],
    [
      "an option too long",
      Buffer.concat([
        head,
        fine,
        block(true, 6, Buffer.concat([words(true, [0, 0, 1, 0, 0]), words(true, [0x00640001])])),
      ]),
      at,
      /option/,
    ],
  ];
  for (const [name, bytes, offset, message] of cases) {
    const { packets, error } = await readBytes(t, bytes);
    assert.equal(packets.length, 1, name);
    assert.ok(error instanceof MillraceError, name);
    assert.equal(error.code, "ERR_CAPTURE", name);
    assert.equal(error.at?.offset, offset, `${name}: ${error.message}`);
    assert.match(error.message, message, name);
  }
  assert.equal(heldFrames(), 0);
});

test("what is no capture is refused with a reason", async (t) => {
  const refused = async (bytes: Uint8Array, message: RegExp) =>
    assert.rejects(
      readBytes(t, bytes),
      (error: MillraceError) => error.code === "ERR_CAPTURE" && message.test(error.message),
    );
  await refused(new Uint8Array(0), /is empty/);
  await refused(Buffer.from("hello, world, this is no capture"), /neither pcap nor pcapng/);
  await refused(pcapFile([]).subarray(0, 20), /ends after 20 bytes/);
  await refused(Buffer.from([0x04, 0x22, 0x4d, 0x18, 0, 0, 0, 0]), /LZ4/);
  await assert.rejects(readAll("/nowhere/at-all.pcap"), { code: "ENOENT" });
  await assert.rejects(readAll("/tmp"), /is a directory/);
});

test("a file cut short ends quietly when asked to", async (t) => {
  const path = join(folder(t), "cut.pcap");
  writeFileSync(path, pcapFile([words(true, [1, 0, 16, 16], data), words(true, [1, 0, 16, 16])]));
  const { packets, error } = await readAll(path, { truncatedQuiet: true });
  assert.equal(packets.length, 1);
  assert.equal(error, undefined);
});
