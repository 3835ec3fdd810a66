import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { META_FLAGS, META_PEER, META_SECONDS, META_STAMPED } from "../../src/kernels/structs.js";
import { createBurst } from "../../src/memory/burst.js";
import type { PortDriver } from "../../src/ports/port.js";
import { type Bench, createBench, dgram, freePort, pattern } from "../kit/driver.js";

function bench(t: TestContext, bytes?: number): Bench {
  const made = createBench(bytes);
  t.after(() => made.close());
  return made;
}

test("datagrams of another program arrive byte for byte, with their sender and their time", async (t) => {
  for (const host of ["127.0.0.1", "::1"]) {
    const { open, receive } = bench(t);
    const port = await freePort(host);
    const literal = host.includes(":") ? `[${host}]` : host;
    const driver = await open(`udp://${literal}:${port}`);
    const other = await dgram(host);
    const sizes = [0, 1, 100, 1400, 4096, 4097, 9000, 65507];
    for (const [index, size] of sizes.entries()) other.socket.send(pattern(size, index), port, host);
    const got = await receive(driver, sizes.length);
    assert.deepEqual(
      got.map(({ bytes }) => bytes.length),
      sizes,
    );
    for (const [index, { bytes, meta }] of got.entries()) {
      assert.deepEqual(new Uint8Array(bytes), pattern(sizes[index], index));
      assert.equal(driver.peer?.(meta.getUint32(META_PEER, true)), `${literal}:${other.port}`);
      assert.ok(meta.getUint16(META_FLAGS, true) & META_STAMPED);
      assert.ok(Math.abs(meta.getFloat64(META_SECONDS, true) - Date.now() / 1000) < 10);
    }
    assert.equal(driver.counters().received.packets, sizes.length);
    other.socket.close();
  }
});

test("what is sent as super-packets reaches another program as the datagrams it was", async (t) => {
  const { open, send } = bench(t);
  const other = await dgram("127.0.0.1");
  const driver = await open(`udp://127.0.0.1:${other.port}`, "out");
  // Runs of equal datagrams, one shorter at their end, empty ones, and ones longer than a frame.
  const sizes = [...Array(100).fill(1400), 700, ...Array(70).fill(16), 0, 0, 3, 9000, 9000, 9001, 65507, 1];
  const packets = sizes.map((size, index) => pattern(size, index));
  await send(driver, packets, { pieces: 1000 });
  while (other.messages.length < sizes.length) await sleep(1);
  assert.deepEqual(
    other.messages.map((message) => new Uint8Array(message)),
    packets,
  );
  const { transmitted, held } = driver.counters();
  assert.deepEqual(transmitted, { packets: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) });
  assert.equal(held, 0);
  other.socket.close();
});

for (const host of ["127.0.0.1", "[::1]"])
  test(`any datagrams survive GSO and GRO over ${host} whole and in order, whatever the burst holds`, async (t) => {
    const { open, send, receive } = bench(t);
    const port = await freePort(host.replace(/[[\]]/g, ""));
    const source = await open(`udp://${host}:${port}`);
    const sink = await open(`udp://${host}:${port}`, "out");
    const run = fc.record({
      size: fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 0, max: 20000 })),
      times: fc.integer({ min: 1, max: 80 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(run, { maxLength: 6 }),
        fc.integer({ min: 7, max: 300 }),
        fc.integer({ min: 1000, max: 4096 }),
        async (runs, capacity, pieces) => {
          const packets = runs.flatMap(({ size, times }) =>
            Array.from({ length: times }, (_, index) => pattern(size, index)),
          );
          await send(sink, packets, { pieces });
          const got = await receive(source, packets.length, { capacity });
          assert.deepEqual(
            got.map(({ bytes }) => new Uint8Array(bytes)),
            packets,
          );
        },
      ),
      { numRuns: 25 },
    );
    assert.equal(source.counters().dropped.kernel, 0);
    assert.deepEqual(source.counters().received, sink.counters().transmitted);
  });

test("a bound port answers each packet's sender, and drops what has none", async (t) => {
  const { open, send, receive } = bench(t);
  const port = await freePort();
  const driver = await open(`udp://127.0.0.1:${port}`);
  const one = await dgram("127.0.0.1");
  const two = await dgram("127.0.0.1");
  one.socket.send("one", port);
  two.socket.send("two", port);
  for (const { bytes, meta } of await receive(driver, 2))
    await send(driver, [Buffer.from(`to ${bytes}`)], { peer: meta.getUint32(META_PEER, true) });
  while (one.messages.length + two.messages.length < 2) await sleep(1);
  assert.deepEqual([String(one.messages), String(two.messages)], ["to one", "to two"]);
  await send(driver, [Buffer.from("to nobody")]);
  await send(driver, [Buffer.from("to a stranger")], { peer: 4711 });
  assert.equal(driver.counters().dropped.unaddressed, 2);
  assert.equal(driver.peer?.(4711), "unknown");
  one.socket.close();
  two.socket.close();
});

test("nobody listening is counted and ends nothing", async (t) => {
  const { open, send } = bench(t);
  const port = await freePort();
  const driver = await open(`udp://127.0.0.1:${port}`, "out");
  for (let round = 0; round < 5; round++) {
    await send(driver, [pattern(100)]);
    await sleep(2);
  }
  const other = await dgram("127.0.0.1");
  other.socket.close();
  await once(other.socket, "close");
  const { transmitted, errors } = driver.counters();
  assert.equal(transmitted.packets, 5);
  assert.ok((errors?.ECONNREFUSED ?? 0) >= 2, JSON.stringify(errors));
});

test("what the kernel drops at a full socket is counted to the datagram", async (t) => {
  const { open, receive } = bench(t);
  const port = await freePort();
  const source = await open(`udp://127.0.0.1:${port}?rcvbuf=65536`);
  const other = await dgram("127.0.0.1");
  for (let round = 0; round < 500; round++)
    await new Promise((resolve) => other.socket.send(pattern(1000), port, "127.0.0.1", resolve));
  const got = await receive(source, 500, { quiet: 1000 });
  assert.ok(got.length < 500);
  assert.equal(source.counters().dropped.kernel, 500 - got.length);
  other.socket.close();
});

test("a pool without frames loses nothing: datagrams wait in the socket", async (t) => {
  const { arena, open, send, receive } = bench(t, 16 * 2 ** 20);
  const port = await freePort();
  const source = await open(`udp://127.0.0.1:${port}`);
  const sink = await open(`udp://127.0.0.1:${port}`, "out");
  await send(
    sink,
    Array.from({ length: 300 }, (_, index) => pattern(1400, index)),
  );
  const { takeFrame, claimFrames } = arena.kernels;
  const hoard: number[] = [];
  for (const take of [takeFrame, () => claimFrames(1)])
    for (let frame = take(); frame !== 0; frame = take()) hoard.push(frame);
  const burst = createBurst(arena, 64);
  assert.equal(source.receive(burst), 0);
  const waiting = source.readable(AbortSignal.timeout(5000));
  for (const frame of hoard) arena.kernels.releaseFrame(frame);
  await waiting;
  const got = await receive(source, 300);
  assert.equal(got.length, 300);
  assert.equal(source.counters().dropped.kernel, 0);
});

test("frames under MSG_ZEROCOPY are the kernel's until it says that it has done", async (t) => {
  const { open, send, receive } = bench(t);
  const port = await freePort();
  const source = await open(`udp://127.0.0.1:${port}`);
  const sink = await open(`udp://127.0.0.1:${port}?zerocopy=1`, "out");
  if (sink.can.mode !== "zero-copy") return t.skip("this kernel has no SO_ZEROCOPY");
  const packets = Array.from({ length: 3000 }, (_, index) => pattern(3000, index));
  for (let at = 0; at < packets.length; at += 100) {
    await send(sink, packets.slice(at, at + 100), { pieces: 4096 });
    const got = await receive(source, 100);
    assert.deepEqual(
      got.map(({ bytes }) => new Uint8Array(bytes)),
      packets.slice(at, at + 100),
    );
  }
  await sink.close();
  assert.equal(sink.counters().held, 0);
  assert.equal(sink.counters().copies.kernel, 0);
});

test("a wrong locator is refused with the mend", async (t) => {
  const { open } = bench(t);
  const refused = async (locator: string, message: RegExp) =>
    assert.rejects(open(locator), (error: Error) => message.test(error.message), locator);
  await refused("udp://10.0.0.1", /names no address and port/);
  await refused("udp://127.0.0.1:70000", /names no address and port/);
  await refused("udp://127.0.0.1:5000?colour=red", /no option "colour"/);
  await refused("udp://127.0.0.1:5000?source=10.0.0.1", /multicast/);
  await refused("udp://127.0.0.1:5000?iface=nonesuch0", /no interface "nonesuch0"/);
  await refused("udp://192.0.2.1:5000", /bind: .*EADDRNOTAVAIL/);
});

test("a descriptor that is not the sender's is refused, and closing twice is closing once", async (t) => {
  const { arena, open } = bench(t);
  const sink: PortDriver = await open(`udp://127.0.0.1:9`, "out");
  const { appendPacket, throwFault } = await import("../../src/memory/burst.js");
  const burst = createBurst(arena, 8);
  const frame = arena.kernels.takeFrame() >>> 0;
  appendPacket(arena, burst, [frame + arena.frameSize, 10]);
  assert.throws(() => sink.send(burst, 0), { code: "ERR_FRAME" });
  appendPacket(arena, burst, [frame + arena.frameSize - 5, 10]);
  arena.u32[(burst + 8) >>> 2] = 0;
  arena.u32[(burst + 4) >>> 2] = 0;
  throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  arena.kernels.releaseFrame(frame);
  await sink.close();
  await sink.close();
});
