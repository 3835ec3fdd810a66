// Sending over packet:'s mapped ring, judged by what tcpdump and the kernel's counters see at the other end.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { CHECKSUM_PARTIAL } from "../../src/kernels/structs.js";
import { udpFrame } from "../device/ipv4-frames.js";
import { packetsAt } from "../kit/lan.js";
import { ip, runIn, startIn } from "../kit/netns.js";
import { bench, frame, pair } from "../kit/pair.js";
import { until } from "../kit/until.js";
import { readPcap } from "../packet/captures.js";

/** Has tcpdump record `count` packets that come in at `vb`; what that returns resolves with them. */
async function record(
  t: TestContext,
  namespace: string,
  count: number,
): Promise<() => Promise<Uint8Array[]>> {
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "seen.pcap");
  const args = [
    "-i",
    "vb",
    "-Q",
    "in",
    "-B",
    "65536",
    "-Z",
    "root",
    "-s",
    "0",
    "-w",
    file,
    "-c",
    String(count),
  ];
  const tcpdump = startIn(t, namespace, "tcpdump", ...args);
  let told = "";
  tcpdump.stderr?.on("data", (text) => {
    told += text;
  });
  const ended = once(tcpdump, "close");
  await until(
    () => `tcpdump listens: ${told}`,
    () => told.includes("listening on"),
  );
  return async () => {
    await ended;
    return readPcap(file).packets.map((packet) => new Uint8Array(packet));
  };
}

for (const bypass of [0, 1])
  test(`tcpdump sees what was sent, byte for byte, in order${bypass ? ", past the queueing discipline" : ""}`, async (t) => {
    const names = pair(t);
    if (names === undefined) return;
    const { open, send } = bench(t);
    const sink = await open(`packet:va?bypass=${bypass}`, "out", names.one);
    // Short and long, with tags and without, the longest with a tag 4 bytes longer than an untagged one may be.
    const frames = Array.from({ length: 2000 }, (_, index) =>
      index % 50 === 0
        ? frame(1518, index, 7)
        : frame(60 + ((index * 37) % 1455), index, index % 3 === 0 ? (index % 4000) + 1 : undefined),
    );
    const seen = await record(t, names.two, frames.length);
    for (let at = 0; at < frames.length; at += 200)
      await send(sink, frames.slice(at, at + 200), { pieces: 1000 });
    assert.deepEqual(await seen(), frames);
    const { transmitted, dropped } = sink.counters();
    const bytes = frames.reduce((sum, { length }) => sum + length, 0);
    assert.deepEqual(transmitted, { packets: frames.length, bytes });
    assert.deepEqual([dropped.refused, dropped.oversize, dropped.unfinished], [0, 0, 0]);
    assert.equal(packetsAt(names.one, "va").tx, frames.length);
  });

test("checksums that were left to be finished are right on the wire", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  runIn(names.one, "ethtool", "-K", "va", "tx", "off"); // the kernel finishes them, as for a card that cannot
  const { open, send } = bench(t);
  const sink = await open("packet:va", "out", names.one);
  const addresses = {
    ...{ from: Uint8Array.of(2, 0, 0, 0, 0, 1), to: Uint8Array.of(2, 0, 0, 0, 0, 2) },
    ...{ source: "10.9.0.1", destination: "10.9.0.2" },
  };
  const whole = Array.from({ length: 300 }, (_, index) =>
    udpFrame(addresses, 5000, 6000, frame(18 + ((index * 31) % 1455), index)),
  );
  const unfinished = whole.map((packet) => {
    const copy = Buffer.from(packet);
    // RFC 768: the pseudo-header's sum, over addresses, protocol and length.
    let sum = 17 + copy.readUInt16BE(38);
    for (let at = 26; at < 34; at += 2) sum += copy.readUInt16BE(at);
    copy.writeUInt16BE((sum & 0xffff) + (sum >>> 16), 40);
    return copy;
  });
  const seen = await record(t, names.two, whole.length);
  await send(sink, unfinished, { flags: CHECKSUM_PARTIAL });
  const wanted = whole.map((packet) => new Uint8Array(packet));
  assert.deepEqual(await seen(), wanted);
  // What has no checksum to finish is no reason to lose those around it.
  const next = await record(t, names.two, 20);
  await send(sink, [...unfinished.slice(0, 10), frame(100), ...unfinished.slice(10, 20)], {
    flags: CHECKSUM_PARTIAL,
  });
  assert.deepEqual(await next(), wanted.slice(0, 20));
  assert.equal(sink.counters().dropped.unfinished, 1);
});

/** Has `va` send 100 Mbit/s and keep up to `limit` bytes waiting. */
function slowDown(namespace: string, limit: string): void {
  const rate = ["rate", "100mbit", "burst", "16kb", "limit", limit];
  runIn(namespace, "tc", "qdisc", "add", "dev", "va", "root", "tbf", ...rate);
}

test("a queue that empties slowly is waited for, and nothing is lost or put out of order", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  slowDown(names.one, "100mb"); // packets that wait there are still the ring's
  const { open, send } = bench(t);
  const sink = await open("packet:va", "out", names.one);
  const frames = Array.from({ length: 3000 }, (_, index) => frame(1000, index));
  const seen = await record(t, names.two, frames.length);
  await send(sink, frames);
  assert.deepEqual(await seen(), frames);
  assert.equal(sink.counters().transmitted.packets, frames.length);
  const full = sink.counters().errors?.["ring-full"] ?? 0;
  assert.ok(full > 0, "it was never full");
});

test("a discipline that drops what it has no room for is waited for too", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  slowDown(names.one, "20kb");
  const { open, send } = bench(t);
  const sink = await open("packet:va", "out", names.one);
  const frames = Array.from({ length: 500 }, (_, index) => frame(1000, index));
  const seen = await record(t, names.two, frames.length);
  await send(sink, frames);
  assert.deepEqual(await seen(), frames);
  const { errors, transmitted } = sink.counters();
  assert.equal(transmitted.packets, frames.length);
  assert.ok((errors?.["ring-full"] ?? 0) + (errors?.["queue-full"] ?? 0) > 0, "it was never full");
});

test("an interface that is down refuses each packet, counted, and takes them when it is up again", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const { open, send } = bench(t);
  const sink = await open("packet:va", "out", names.one);
  const frames = Array.from({ length: 40 }, (_, index) => frame(100 + index, index));
  await send(sink, frames);
  ip("-n", names.one, "link", "set", "va", "down");
  await send(sink, frames);
  assert.equal(sink.counters().dropped.refused, 40);
  assert.equal(sink.counters().errors?.ENETDOWN, 40);
  assert.equal(sink.counters().transmitted.packets, 40);
  ip("-n", names.one, "link", "set", "va", "up");
  await until(
    "vb is up",
    () => JSON.parse(ip("-n", names.two, "-j", "link", "show", "vb"))[0].operstate === "UP",
  );
  const seen = await record(t, names.two, frames.length);
  await send(sink, frames);
  assert.deepEqual(await seen(), frames);
  assert.equal(sink.counters().transmitted.packets, 80);
});

test("an MTU that changes is followed at once, down and up", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const setMtu = (mtu: number) => {
    ip("-n", names.two, "link", "set", "vb", "mtu", String(mtu));
    ip("-n", names.one, "link", "set", "va", "mtu", String(mtu));
  };
  const { open, send } = bench(t);
  const sink = await open("packet:va", "out", names.one);
  const frames = Array.from({ length: 40 }, (_, index) => frame(index % 2 === 0 ? 1514 : 500, index));
  setMtu(1000);
  let seen = await record(t, names.two, 20);
  await send(sink, frames);
  assert.deepEqual(
    await seen(),
    frames.filter(({ length }) => length === 500),
  );
  assert.equal(sink.counters().dropped.refused, 20);
  assert.equal(sink.counters().errors?.EMSGSIZE, 20);
  setMtu(1500);
  seen = await record(t, names.two, 40);
  await send(sink, frames);
  assert.deepEqual(await seen(), frames);
  const { transmitted, dropped } = sink.counters();
  assert.equal(transmitted.packets, 60);
  assert.equal(dropped.refused, 20);
});

test("whatever is sent, in whatever order, is received in that order or counted", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const { open, send, receive } = bench(t);
  const source = await open("packet:vb", "in", names.two);
  const sink = await open("packet:va", "out", names.one);
  // 13 and fewer have no whole Ethernet header, more than 1514 are longer than the MTU: the kernel refuses both.
  const length = fc.oneof(fc.integer({ min: 60, max: 1514 }), fc.integer({ min: 1, max: 1600 }));
  const run = fc.array(length, { minLength: 1, maxLength: 200 });
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(run, fc.integer({ min: 200, max: 2000 }), async (lengths, pieces) => {
      const frames = lengths.map((bytes, index) => frame(bytes, index));
      const wanted = frames.filter((bytes) => bytes.length >= 14 && bytes.length <= 1514);
      await send(sink, frames, { pieces });
      const got = await receive(source, wanted.length, { quiet: 20_000 });
      assert.deepEqual(
        got.map(({ bytes }) => new Uint8Array(bytes)),
        wanted,
      );
      refused += frames.length - wanted.length;
      const { dropped } = sink.counters();
      assert.equal(dropped.refused + dropped.oversize, refused);
    }),
    { numRuns: 100 },
  );
});
