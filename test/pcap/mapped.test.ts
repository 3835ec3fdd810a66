// Large files of which a filter takes little are mapped under a lease instead of read.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { MillraceError } from "../../src/errors.js";
import { type OpenPort, openPort } from "../../src/flow/port.js";
import { MAIN } from "../kit/lan.js";
import { pcapFile, words } from "./kit.js";

const folder = mkdtempSync(join(tmpdir(), "millrace-mapped-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A UDP datagram of `length` bytes in an Ethernet frame, to port `port`. */
function datagram(length: number, port: number): Buffer {
  const frame = Buffer.alloc(length, length & 255);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
  frame.writeUInt16BE(Math.min(length - 14, 65_535), 16);
  frame.set([0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2, 4, 0], 18);
  frame.writeUInt16BE(port, 36);
  return frame;
}

/**
 * A capture of `bytes` bytes and more: of each thousand packets the first `kept` go to port 53, the others to port 9.
 * Lengths are of every kind, each `long`th longer than what a window has before it; times grow.
 */
function makeCapture(name: string, bytes: number, kept: number, long = 997): string {
  const file = join(folder, name);
  const fd = openSync(file, "w");
  writeSync(fd, pcapFile([], { snaplen: 262_144 }));
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  let written = 24;
  for (let number = 0; written < bytes; ) {
    const records: Buffer[] = [];
    for (let i = 0; i < 1000; i++, number++) {
      const length =
        number % long === 0 ? 150_000 + random(100_000) : [60, 590, 1514, 64 + random(1400)][random(4)];
      const packet = datagram(length, i < kept ? 53 : 9);
      const time = [1_700_000_000 + Math.floor(number / 1000), (number % 1000) * 1000];
      records.push(words(true, [...time, length, length], packet));
    }
    written += writeSync(fd, Buffer.concat(records));
  }
  closeSync(fd);
  return file;
}

const LARGE = 60e6;
const FEW = 5;
const large = makeCapture("large.pcap", LARGE, FEW);

function openMapping(file: string): Promise<OpenPort> {
  return openPort(`pcap:${file}`, { direction: "in", filter: "udp port 53", maps: true });
}

const isMapped = (file: string) => readFileSync("/proc/self/maps", "utf8").includes(file);
const isLeased = (file: string) =>
  readFileSync("/proc/locks", "utf8")
    .split("\n")
    .some((line) => line.includes("LEASE") && line.includes(`:${statSync(file).ino} `));

/** How many packets come from here on. */
async function countPackets(port: OpenPort): Promise<number> {
  let packets = 0;
  for await (const burst of port) packets += burst.length;
  return packets;
}

function tcpdumpCount(file: string): number {
  const { stdout, status, stderr } = spawnSync("tcpdump", ["-r", file, "-w", "-", "udp port 53"], {
    maxBuffer: 2 ** 30,
  });
  assert.equal(status, 0, String(stderr));
  let packets = 0;
  for (let at = 24; at < stdout.length; at += 16 + stdout.readUInt32LE(at + 8)) packets++;
  return packets;
}

for (const [what, kept] of [
  ["few", FEW],
  ["most", 900],
] as const)
  for (const format of ["pcap", "pcapng"] as const)
    test(`a ${format} file of which a filter takes ${what} is captured as tcpdump does`, () => {
      const source = what === "few" ? large : makeCapture("most.pcap", LARGE, kept);
      const file = join(folder, `${what}.${format}ng`);
      if (format === "pcapng") {
        const { status, stderr } = spawnSync(process.execPath, [MAIN, "convert", source, file], {
          encoding: "utf8",
        });
        assert.equal(status, 0, stderr);
      }
      const from = format === "pcapng" ? file : source;
      const out = join(folder, "out.pcap");
      const run = spawnSync(process.execPath, [MAIN, "capture", "-r", from, "-w", out, "udp port 53"], {
        encoding: "utf8",
      });
      assert.equal(run.status, 0, run.stderr);
      const theirs = spawnSync("tcpdump", ["-r", source, "-w", "-", "udp port 53"], { maxBuffer: 2 ** 30 });
      assert.equal(theirs.status, 0, String(theirs.stderr));
      assert.ok(theirs.stdout.length > 1000);
      assert.ok(theirs.stdout.equals(readFileSync(out)), "the same packets, times and lengths");
    });

const long = makeCapture("long.pcap", LARGE, 0, 2);
for (const [what, expression] of [
  ["short", "less 2000"],
  ["longest", "greater 240000"],
] as const)
  test(`of a file where nearly each window ends within a long packet, the ${what} ones are captured as tcpdump does`, () => {
    const out = join(folder, "out.pcap");
    const run = spawnSync(process.execPath, [MAIN, "capture", "-r", long, "-w", out, expression], {
      encoding: "utf8",
    });
    assert.equal(run.status, 0, run.stderr);
    const theirs = spawnSync("tcpdump", ["-r", long, "-w", "-", expression], { maxBuffer: 2 ** 30 });
    assert.equal(theirs.status, 0, String(theirs.stderr));
    assert.ok(theirs.stdout.length > 100_000);
    assert.ok(theirs.stdout.equals(readFileSync(out)), "the same packets, times and lengths");
  });

test("what a filter takes of a mapped file is copied, and nothing stays mapped or leased", async () => {
  const port = await openMapping(large);
  let packets = 0;
  let bytes = 0;
  let mapped = false;
  for await (const burst of port) {
    mapped ||= isMapped(large) && isLeased(large);
    for (const packet of burst) {
      packets++;
      bytes += packet.length;
    }
  }
  const { received, dropped, delivered, copied } = port.stats();
  await port.close();
  assert.ok(mapped, "it was mapped, under a lease");
  assert.equal(packets, tcpdumpCount(large));
  assert.equal(delivered.packets, packets);
  assert.equal(received.packets, packets + dropped.filter);
  assert.ok(copied.copybreak > 0 && copied.copybreak <= bytes, `${copied.copybreak} of ${bytes} bytes`);
  assert.ok(!isMapped(large) && !isLeased(large));
});

test("a mapped file that someone cuts short is let go of, and ends as any file that is cut short", async () => {
  const file = makeCapture("cut.pcap", LARGE, FEW);
  const whole = tcpdumpCount(file);
  const port = await openMapping(file);
  const source = port.reader();
  while (!isMapped(file)) await new Promise((resolve) => setImmediate(resolve)); // threads are at it
  let packets = source.poll();
  const cutter = spawn(process.execPath, ["-e", `fs.truncateSync(${JSON.stringify(file)}, 1e6)`]);
  const [status] = await new Promise<[number | null]>((resolve) =>
    cutter.on("close", (code) => resolve([code])),
  );
  assert.equal(status, 0, "the lease was given back, so that the file could be cut");
  assert.ok(!isLeased(file));
  await assert.rejects(
    async () => {
      packets += await countPackets(port);
    },
    (error: MillraceError) => error.code === "ERR_CAPTURE" && /cut short/.test(error.message),
  );
  await port.close();
  assert.ok(packets < whole);
  assert.ok(!isMapped(file));
});

test("a file that is open for writing is read, not mapped", async () => {
  const file = makeCapture("written.pcap", LARGE, FEW);
  const writing = openSync(file, "r+");
  try {
    const port = await openMapping(file);
    assert.ok(!isMapped(file) && !isLeased(file));
    assert.equal(await countPackets(port), tcpdumpCount(file));
    await port.close();
  } finally {
    closeSync(writing);
  }
});

test("a port that is closed in the middle of a mapped file lets go of it", async () => {
  const port = await openMapping(large);
  for await (const burst of port) {
    assert.ok(burst.length > 0);
    break;
  }
  await port.close();
  assert.ok(!isMapped(large) && !isLeased(large));
});

test("packets that are kept outlive the file's next windows", async () => {
  const port = await openMapping(large);
  const kept: { packet: { release(): void; copy(): Uint8Array }; bytes: Uint8Array }[] = [];
  for await (const burst of port)
    for (const packet of burst)
      if (kept.length < 100) kept.push({ packet: packet.clone(), bytes: packet.copy() });
  assert.equal(kept.length, 100);
  for (const { packet, bytes } of kept) {
    assert.deepEqual(packet.copy(), bytes);
    packet.release();
  }
  await port.close();
});
