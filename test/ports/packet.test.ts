import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import {
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  META_FLAGS,
  META_SECONDS,
  META_SEGMENT,
  META_UDP_SEGMENTS,
  META_WIRE_LENGTH,
} from "../../src/kernels/structs.js";
import { pattern, pump } from "../kit/driver.js";
import { MAIN, packetsAt } from "../kit/lan.js";
import { ip, makeNamespaces, makeVeth, outputOf, runIn, startIn, startIperf } from "../kit/netns.js";
import { bench, frame, pair } from "../kit/pair.js";
import { until } from "../kit/until.js";

/** Keeps a namespace's kernel from talking on an interface (or, "default", on any made later) of its own accord. */
function disableIpv6(namespace: string, name: string): void {
  runIn(namespace, "sh", "-c", `echo 1 > /proc/sys/net/ipv6/conf/${name}/disable_ipv6`);
}

for (const delay of [0, 20])
  test(`frames cross a veth byte for byte, tags and all, out of ${delay === 0 ? "slots" : "blocks"}`, async (t) => {
    const names = pair(t, 9000);
    if (names === undefined) return;
    const { open, send, receive } = bench(t);
    const source = await open(`packet:vb?delay=${delay}`, "in", names.two);
    const sink = await open("packet:va", "out", names.one);
    const frames = Array.from({ length: 2000 }, (_, index) =>
      frame(60 + ((index * 37) % 8900), index, index % 3 === 0 ? (index % 4000) + 1 : undefined),
    );
    for (let at = 0; at < frames.length; at += 50) {
      await send(sink, frames.slice(at, at + 50), { pieces: 1000 });
      const got = await receive(source, 50, { capacity: 7 + (at % 100) });
      assert.deepEqual(
        got.map(({ bytes }) => new Uint8Array(bytes)),
        frames.slice(at, at + 50),
      );
      for (const { bytes, meta } of got) {
        assert.equal(meta.getUint32(META_WIRE_LENGTH, true), bytes.length);
        assert.ok(Math.abs(meta.getFloat64(META_SECONDS, true) - Date.now() / 1000) < 10);
      }
    }
    const { rx } = JSON.parse(ip("-n", names.two, "-s", "-j", "link", "show", "vb"))[0].stats64;
    assert.equal(rx.packets, frames.length);
    assert.deepEqual(source.counters().received, sink.counters().transmitted);
    assert.equal(source.counters().dropped.kernel, 0);
  });

test("short frames in any mixture come out of blocks byte for byte, however many fit", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const { open, send, receive } = bench(t);
  const source = await open("packet:vb?delay=5", "in", names.two);
  const sink = await open("packet:va", "out", names.one);
  // Around the lengths at which the walk over a block goes another way: 48, 64 and 256 bytes; runs of one, and all alike.
  const length = fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 20, max: 300 }) },
    fc.integer({ min: 20, max: 1514 }),
    fc.constant(60),
  );
  const one = fc.record({ length, tag: fc.option(fc.integer({ min: 1, max: 4000 }), { freq: 6 }) });
  const alike = fc
    .tuple(one, fc.integer({ min: 1, max: 200 }))
    .map(([what, times]) => Array(times).fill(what));
  const mixture = fc.array(
    fc.oneof(
      one.map((what) => [what]),
      alike,
    ),
    { minLength: 1, maxLength: 40 },
  );
  let sent = 0;
  await fc.assert(
    fc.asyncProperty(mixture, fc.integer({ min: 1, max: 300 }), async (runs, capacity) => {
      const frames = (runs.flat() as { length: number; tag: number | null }[]).map(
        ({ length, tag }, index) => (tag === null ? frame(length, index) : frame(length, index, tag)),
      );
      sent += frames.length;
      await send(sink, frames, { pieces: 1000 });
      const got = await receive(source, frames.length, { capacity });
      assert.deepEqual(
        got.map(({ bytes }) => new Uint8Array(bytes)),
        frames,
      );
      for (const { bytes, meta } of got) {
        assert.equal(meta.getUint32(META_WIRE_LENGTH, true), bytes.length);
        assert.ok(Math.abs(meta.getFloat64(META_SECONDS, true) - Date.now() / 1000) < 600);
      }
    }),
    { numRuns: 60 },
  );
  assert.deepEqual(source.counters().received, sink.counters().transmitted);
  assert.equal(packetsAt(names.two, "vb").rx, sent);
  assert.equal(source.counters().dropped.kernel, 0);
});

test("TCP and UDP of two hosts run across, super-frames, unfinished checksums and all", async (t) => {
  const names = makeNamespaces(t, "left", "mill", "right");
  if (names === undefined) return;
  const { left, mill, right } = names;
  makeVeth(
    { namespace: left, name: "l0", addresses: ["10.9.0.1/24", "fd09::1/64"] },
    { namespace: mill, name: "l1" },
  );
  makeVeth(
    { namespace: right, name: "r0", addresses: ["10.9.0.2/24", "fd09::2/64"] },
    { namespace: mill, name: "r1" },
  );
  for (const name of ["l1", "r1"]) disableIpv6(mill, name);
  const { arena, open } = bench(t, 128 * 2 ** 20);
  const one = await open("packet:l1", "both", mill);
  const two = await open("packet:r1", "both", mill);
  const end = new AbortController();
  const pumps = [pump(arena, one, two, end.signal), pump(arena, two, one, end.signal)];
  const inLeft = (command: string, ...args: string[]) => outputOf(startIn(t, left, command, ...args));
  assert.match(await inLeft("ping", "-c", "5", "-i", "0.02", "10.9.0.2"), / 0% packet loss/);
  assert.match(await inLeft("ping", "-c", "5", "-i", "0.02", "-s", "20000", "fd09::2"), / 0% packet loss/);
  const checksumErrors = () => runIn(right, "nstat", "-asz", "TcpInCsumErrors", "UdpInCsumErrors");
  for (const extra of [
    ["-c", "10.9.0.2"],
    ["-c", "fd09::2"],
    ["-c", "10.9.0.2", "-R"],
  ]) {
    await startIperf(t, right);
    const report = JSON.parse(await inLeft("iperf3", "-J", "-t", "1", ...extra));
    t.diagnostic(`${extra.join(" ")}: ${(report.end.sum_received.bits_per_second / 1e9).toFixed(2)} Gbit/s`);
    assert.ok(report.end.sum_received.bytes > 1e6);
  }
  await startIperf(t, right);
  const datagrams = JSON.parse(await inLeft("iperf3", "-J", "-u", "-b", "100M", "-t", "1", "-c", "10.9.0.2"));
  assert.ok(datagrams.end.sum.packets > 1000);
  assert.doesNotMatch(checksumErrors(), /CsumErrors\s+[1-9]/);
  end.abort();
  await Promise.all(pumps);
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    const received = from.counters();
    const sent = to.counters();
    const lost = (["oversize", "refused", "unfinished"] as const).reduce(
      (sum, why) => sum + sent.dropped[why],
      0,
    );
    assert.equal(received.received.packets, sent.transmitted.packets + lost);
    assert.equal(lost, 0);
    assert.equal(received.dropped.truncated, 0);
  }
});

test("a super-packet of a UDP sender says how long its datagrams are", async (t) => {
  const names = makeNamespaces(t, "one", "two");
  if (names === undefined) return;
  makeVeth(
    { namespace: names.one, name: "va", addresses: ["10.9.3.1/24"] },
    { namespace: names.two, name: "vb", addresses: ["10.9.3.2/24"] },
  );
  const { open, send, receive } = bench(t);
  const source = await open("packet:vb", "in", names.two);
  const sink = await open("udp://10.9.3.2:9", "out", names.one);
  await send(
    sink,
    Array.from({ length: 40 }, (_, index) => pattern(1000, index)),
  );
  const got = (await receive(source, 100, { quiet: 300 })).filter(({ bytes }) => bytes.length > 2000);
  assert.ok(got.length > 0);
  for (const { bytes, meta } of got) {
    assert.equal(meta.getUint16(META_SEGMENT, true), 1000);
    const flags = meta.getUint16(META_FLAGS, true);
    assert.ok(flags & META_UDP_SEGMENTS);
    assert.equal(flags & CHECKSUM_MASK, CHECKSUM_PARTIAL);
    assert.equal((bytes.length - 42) % 1000, 0);
  }
});

test("sending past the queueing discipline sends the same", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const { open, send, receive } = bench(t);
  const source = await open("packet:vb", "in", names.two);
  const sink = await open("packet:va?bypass=1", "out", names.one);
  const frames = Array.from({ length: 300 }, (_, index) => frame(60 + index, index));
  await send(sink, frames);
  const got = await receive(source, 300);
  assert.deepEqual(
    got.map(({ bytes }) => new Uint8Array(bytes)),
    frames,
  );
});

test("a ring that nobody reads drops, and every drop is counted", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  for (const delay of [0, 10]) {
    const { open, send, receive } = bench(t);
    const source = await open(`packet:vb?buffer=512&delay=${delay}`, "in", names.two);
    const sink = await open("packet:va", "out", names.one);
    const frames = Array.from({ length: 5000 }, (_, index) => frame(1000, index));
    await send(sink, frames);
    const got = await receive(source, 5000, { quiet: 1000 });
    const { dropped } = source.counters();
    assert.ok(dropped.kernel > 1000);
    assert.equal(got.length + dropped.kernel, 5000);
    // And it goes on afterwards.
    await send(sink, frames.slice(0, 10));
    assert.equal((await receive(source, 10)).length, 10);
  }
});

test("a filter is applied by the kernel, and nothing from before it is seen or counted", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  // ldb [20]; jeq #7, 0, 1; ret #80; ret #0
  const program = [
    [0x30, 0, 0, 20],
    [0x15, 0, 1, 7],
    [0x06, 0, 0, 80],
    [0x06, 0, 0, 0],
  ] as const;
  const frames = Array.from({ length: 100 }, (_, index) => {
    const bytes = frame(100, index);
    bytes[20] = index % 10;
    return bytes;
  });
  for (const delay of [0, 10]) {
    const { open, send, receive } = bench(t);
    const sink = await open("packet:va", "out", names.one);
    const source = await open(`packet:vb?delay=${delay}`, "in", names.two, async (port) => {
      await send(sink, frames);
      assert.equal(port.attachFilter?.(program), "socket");
      await send(sink, frames.slice(0, 50));
    });
    await send(sink, frames);
    const got = await receive(source, 10, { quiet: 20_000 });
    got.push(...(await receive(source, 1, { quiet: 200 })));
    assert.equal(got.length, 10);
    for (const { bytes, meta } of got) {
      assert.equal(bytes.length, 80);
      assert.equal(meta.getUint32(META_WIRE_LENGTH, true), 100);
    }
    assert.equal(source.counters().received.packets, 10);
    assert.equal(source.counters().dropped.kernel, 0);
  }
});

test("nothing that a filter does not want comes out, however much comes in while the port opens", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const flood = startIn(t, names.one, process.execPath, MAIN, "forward", "null:", "packet:va", "--one-way");
  let told = "";
  flood.stderr?.on("data", (text) => {
    told += text;
  });
  await until(
    () => `it forwards: ${told}`,
    () => told.includes("forwarding between"),
  );
  // ldh [12]; jeq #0x88b5, 0, 1; ret #262144; ret #0
  const program = [
    [0x28, 0, 0, 12],
    [0x15, 0, 1, 0x88b5],
    [0x06, 0, 0, 0x40000],
    [0x06, 0, 0, 0],
  ] as const;
  const { open, send, receive } = bench(t, 128 * 2 ** 20);
  const sink = await open("packet:va", "out", names.one);
  for (let round = 0; round < 20; round++) {
    const { rx } = packetsAt(names.two, "vb");
    const source = await open(`packet:vb?delay=${5 * (round % 2)}`, "in", names.two, async (port) => {
      await until("the flood comes", () => packetsAt(names.two, "vb").rx > rx + 1000);
      port.attachFilter?.(program);
    });
    const frames = Array.from({ length: 10 }, (_, index) => frame(100, index));
    await send(sink, frames);
    const got = await receive(source, 10, { quiet: 20_000 });
    assert.deepEqual(
      got.map(({ bytes }) => new Uint8Array(bytes)),
      frames,
    );
    assert.deepEqual(await receive(source, 1, { quiet: 100 }), []);
    assert.ok(packetsAt(names.two, "vb").rx > rx + 1010);
    await source.close();
  }
});

test("all interfaces at once show each packet with where it came from", async (t) => {
  const names = pair(t, 9000);
  if (names === undefined) return;
  makeVeth({ namespace: names.one, name: "vc" }, { namespace: names.two, name: "vd" }, { mtu: 9000 });
  for (const delay of [0, 10]) {
    const { open, send, receive } = bench(t, 64 * 2 ** 20);
    const source = await open(`packet:any?delay=${delay}`, "in", names.two);
    assert.equal(source.can.linkType, "LINUX_SLL2");
    for (const [there, here] of [
      ["va", "vb"],
      ["vc", "vd"],
    ]) {
      const sink = await open(`packet:${there}`, "out", names.one);
      const frames = [100, 1514, 9000].map((length) => frame(length, length));
      await send(sink, frames);
      const got = await receive(source, 3);
      const [{ ifindex }] = JSON.parse(ip("-n", names.two, "-j", "link", "show", here));
      assert.equal(got.length, 3);
      for (const [index, { bytes }] of got.entries()) {
        assert.equal(bytes.readUInt16BE(0), 0x88b5); // protocol
        assert.equal(bytes.readUInt32BE(4), ifindex);
        assert.equal(bytes.readUInt16BE(8), 1); // Ethernet
        assert.equal(bytes[11], 6);
        assert.deepEqual([...bytes.subarray(12, 18)], [2, 0, 0, 0, 0, 1]); // who sent it
        assert.deepEqual(new Uint8Array(bytes.subarray(20)), frames[index].subarray(14));
      }
    }
  }
  await assert.rejects(bench(t).open("packet:any", "out", names.two), { code: "ERR_LOCATOR" });
});

test("sockets of one fanout group share the traffic", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const { open, send, receive } = bench(t, 64 * 2 ** 20);
  const first = await open("packet:vb?fanout=77&fanout-mode=balance", "in", names.two);
  const second = await open("packet:vb?fanout=77&fanout-mode=balance", "in", names.two);
  const sink = await open("packet:va", "out", names.one);
  await send(
    sink,
    Array.from({ length: 1000 }, (_, index) => frame(100, index)),
  );
  const one = await receive(first, 1000, { quiet: 1000 });
  const two = await receive(second, 1000, { quiet: 1000 });
  assert.equal(one.length + two.length, 1000);
  assert.ok(one.length > 100 && two.length > 100);
});

test("ports share what their arena has for rings: none is refused, and each receives and sends", async (t) => {
  const names = pair(t, 9000);
  if (names === undefined) return;
  const { open, send, receive } = bench(t);
  const sources = [];
  for (let index = 0; index < 6; index++)
    sources.push(await open(`packet:vb?delay=${index % 2}`, "both", names.two));
  const sink = await open("packet:va", "out", names.one);
  const frames = Array.from({ length: 20 }, (_, index) => frame(100 + 450 * index, index));
  await send(sink, frames);
  for (const source of sources)
    assert.deepEqual(
      (await receive(source, frames.length)).map(({ bytes }) => new Uint8Array(bytes)),
      frames,
    );
  const back = await open("packet:va", "in", names.one);
  for (const source of sources) {
    await send(source, frames);
    assert.equal((await receive(back, frames.length)).length, frames.length);
  }
  // A ring of a size that was asked for is made that large or not at all.
  await assert.rejects(open("packet:vb?buffer=16384", "in", names.two), { code: "ERR_MEMORY" });
});

test("an interface that goes down is waited for; one that is gone ends the port with one clear error", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const { open, send, receive } = bench(t);
  const source = await open("packet:vb", "in", names.two);
  const sink = await open("packet:va", "out", names.one);
  const waiting = source.readable(AbortSignal.timeout(60_000));
  ip("-n", names.two, "link", "set", "vb", "down");
  await sleep(50);
  ip("-n", names.two, "link", "set", "vb", "up");
  ip("-n", names.one, "link", "set", "va", "down");
  await send(sink, [frame(100)]);
  assert.equal(sink.counters().dropped.refused, 1);
  ip("-n", names.one, "link", "set", "va", "up");
  await until("the link is up again", () => ip("-n", names.one, "link", "show", "va").includes("state UP"));
  await send(sink, [frame(100)]);
  await waiting;
  assert.equal((await receive(source, 1)).length, 1);
  assert.equal(source.counters().errors?.ENETDOWN, 1);
  const gone = assert.rejects(source.readable(AbortSignal.timeout(60_000)), (error: Error) => {
    assert.match(error.message, /packet:vb: the interface is gone/);
    return true;
  });
  ip("-n", names.two, "link", "del", "vb");
  await gone;
  await assert.rejects(send(sink, [frame(100)]), {
    code: "ENODEV",
    message: /packet:va: the interface is gone/,
  });
});

test("what cannot be opened says why", async (t) => {
  const { open } = bench(t);
  await assert.rejects(open("packet:nonesuch0"), { code: "ENODEV" });
  await assert.rejects(open("packet:lo?traffic=sideways"), { code: "ERR_LOCATOR" });
  await assert.rejects(open("packet:lo?speed=11"), { code: "ERR_LOCATOR" });
});
