import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { appendFileSync, createReadStream, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { flow } from "../../src/flow/flow.js";
import { open } from "../../src/flow/port.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { createBurst, destroyBurst } from "../../src/memory/burst.js";
import { convertCapture } from "../../src/ports/pcap/convert.js";
import { captureReadable, closeReader, openReader, readCapture } from "../../src/ports/pcap/reader.js";
import { closeWriter, openWriter, writeBurst, writerReady } from "../../src/ports/pcap/writer.js";
import { arena, folder, heldFrames, pcapFile, readAll, words } from "./kit.js";

const data = new Uint8Array(1000).fill(7);
const record = words(true, [1_700_000_000, 0, data.length, data.length], data);

test("a file many times larger than the arena passes through it", async (t) => {
  const path = join(folder(t), "large.pcap");
  const small = createArenaMemory({ bytes: 16 * 2 ** 20 });
  const chunk = Buffer.concat(Array.from({ length: 1000 }, () => record));
  writeFileSync(path, pcapFile([]));
  for (let i = 0; i < 64; i++) appendFileSync(path, chunk);
  const burst = createBurst(small, 512);
  const reader = await openReader(small, path);
  let packets = 0;
  while (!reader.ended) {
    const count = readCapture(reader, burst);
    packets += count;
    small.kernels.burstRelease(burst, 0);
    if (count === 0) await captureReadable(reader);
  }
  await closeReader(reader);
  destroyBurst(small, burst);
  assert.equal(packets, 64_000);
  assert.equal(heldFrames(small), 0);
});

test("while a user keeps its packets the reader waits; nothing is lost", async (t) => {
  const path = join(folder(t), "kept.pcap");
  const small = createArenaMemory({ bytes: 16 * 2 ** 20 });
  writeFileSync(path, Buffer.concat([pcapFile([]), ...Array.from({ length: 20_000 }, () => record)]));
  const reader = await openReader(small, path);
  const kept: number[] = [];
  let packets = 0;
  let starved = 0;
  let idle = 0;
  while (!reader.ended) {
    const burst = createBurst(small, 512);
    const count = readCapture(reader, burst);
    packets += count;
    idle = count > 0 ? 0 : idle + 1;
    if (count > 0) kept.push(burst);
    else {
      destroyBurst(small, burst);
      // 16 MiB of arena cannot hold 20 MB of file: only what is given back makes room.
      if (idle > 50) {
        starved++;
        for (const one of kept.splice(0)) destroyBurst(small, one);
      }
      await captureReadable(reader);
    }
  }
  for (const one of kept) destroyBurst(small, one);
  await closeReader(reader);
  assert.equal(packets, 20_000);
  assert.ok(starved > 0);
  assert.equal(heldFrames(small), 0);
});

test("a pipe's packets come as they are written, however slowly", async (t) => {
  const path = join(folder(t), "fifo");
  execFileSync("mkfifo", [path]);
  const opening = openReader(arena, path);
  const writer = await new Promise<number>((resolve, reject) =>
    fs.open(path, "w", (error, fd) => (error === null ? resolve(fd) : reject(error))),
  );
  fs.writeSync(writer, pcapFile([]));
  const reader = await opening;
  const burst = createBurst(arena, 64);
  for (let i = 0; i < 5; i++) {
    fs.writeSync(writer, record.subarray(0, 100));
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(readCapture(reader, burst), 0);
    fs.writeSync(writer, record.subarray(100));
    let count = 0;
    while (count === 0) {
      await captureReadable(reader);
      count = readCapture(reader, burst);
    }
    assert.equal(count, 1);
    arena.kernels.burstRelease(burst, 0);
  }
  const gone = new AbortController();
  const waiting = captureReadable(reader, gone.signal);
  gone.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  fs.closeSync(writer);
  await closeReader(reader);
  destroyBurst(arena, burst);
  assert.equal(heldFrames(), 0);
});

test("a slow reader of what is written bounds memory: the writer takes nothing until there is room", async (t) => {
  const dir = folder(t);
  const fifo = join(dir, "fifo");
  execFileSync("mkfifo", [fifo]);
  const input = join(dir, "in.pcap");
  writeFileSync(input, Buffer.concat([pcapFile([]), ...Array.from({ length: 12_000 }, () => record)]));
  const both = openSync(fifo, "r+"); // so that neither end waits for the other
  const writer = await openWriter(arena, fifo, { linkType: 1 }, { format: "pcap", snaplen: 65_535 });
  const reader = await openReader(arena, input);
  const burst = createBurst(arena, 2048);
  let refused = 0;
  let total = 0;
  const received: Buffer[] = [];
  const drain = createReadStream("", { fd: both, highWaterMark: 65_536 }).pause();
  drain.on("data", (chunk) => received.push(chunk as Buffer));
  while (!reader.ended) {
    const count = readCapture(reader, burst);
    total += count;
    for (let at = 0; at < count; ) {
      at = writeBurst(writer, burst, at);
      if (at === count) break;
      refused++;
      drain.resume();
      await writerReady(writer);
    }
    arena.kernels.burstRelease(burst, 0);
    if (count === 0) await captureReadable(reader);
  }
  await closeReader(reader);
  drain.resume();
  await closeWriter(writer);
  const bytes = readFileSync(input).length;
  while (received.reduce((sum, one) => sum + one.length, 0) < bytes)
    await new Promise((resolve) => setTimeout(resolve, 10));
  fs.writeSync(both, "x"); // wakes the stream's last read, so that it can be closed
  drain.destroy();
  destroyBurst(arena, burst);
  assert.equal(total, 12_000);
  assert.ok(refused > 0);
  assert.deepEqual(Buffer.concat(received).subarray(0, bytes), readFileSync(input));
});

test("a full disk is one clear error", async (t) => {
  if (!existsSync("/dev/full")) return t.skip("there is no /dev/full");
  const input = join(folder(t), "in.pcap");
  writeFileSync(input, pcapFile([record]));
  await assert.rejects(convertCapture(arena, input, "/dev/full", { format: "pcap" }), { code: "ENOSPC" });
  assert.equal(heldFrames(), 0);
});

test("as ports: a flow copies a capture with its link type, and counts every packet", async (t) => {
  const dir = folder(t);
  const out = join(dir, "out.pcapng");
  const from = "test/data/captures/mptcp-v1.pcap";
  const report = await flow(from).to(out);
  const [before, after] = [await readAll(from), await readAll(out)];
  assert.equal(report.received.packets, before.packets.length);
  assert.equal(report.transmitted.packets, before.packets.length);
  assert.equal(after.reader.interfaces[0].linkType, 113);
  assert.deepEqual(
    after.packets.map(({ bytes, time, wire }) => ({ bytes, time, wire })),
    before.packets.map(({ bytes, time, wire }) => ({ bytes, time, wire })),
  );
});

test("as ports: other link types are passed over and counted, or asked for", async () => {
  const file = "test/data/pcapng/test101.pcapng";
  const read = async (locator: string) => {
    const port = await open(locator);
    let packets = 0;
    for await (const burst of port) packets += burst.length;
    const stats = port.stats();
    await port.close();
    return [packets, stats.dropped.linktype ?? 0, port.can.linkType];
  };
  assert.deepEqual(await read(file), [3, 1, "EN10MB"]);
  assert.deepEqual(await read(`pcap:${file}?linktype=NULL`), [1, 3, "NULL"]);
  await assert.rejects(open(`pcap:${file}?linktype=FROB`), { code: "ERR_LOCATOR" });
  await assert.rejects(open(`pcap:${file}?frob=1`), { code: "ERR_LOCATOR" });
});
