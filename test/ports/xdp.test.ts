import assert from "node:assert/strict";
import { test } from "node:test";
import { compileFilter } from "../../src/filter/compile.js";
import { createEdge } from "../../src/flow/forward-edge.js";
import {
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  CHECKSUM_PARTIAL,
  DESC_LEN,
  DESC_SIZE,
  META_FLAGS,
  META_SEGMENT,
  META_SIZE,
} from "../../src/kernels/structs.js";
import {
  XDP_BAD_COMPLETED,
  XDP_BAD_RECEIVED,
  XDP_COMPLETION,
  XDP_FILL,
  XDP_QUEUE_SIZE,
  XDP_RUNTS,
  XDP_RX,
  XDP_RX_OWNER,
  XDP_SENT,
  XDP_TAKEN,
  XDP_TX,
  XDP_TX_OWNER,
} from "../../src/kernels/xdp-structs.js";
import { enterNetns } from "../../src/linux/thread.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst, destroyBurst, throwFault } from "../../src/memory/burst.js";
import { claimOwner } from "../../src/memory/owners.js";
import { allocateRegion, freeRegion } from "../../src/memory/region.js";
import { initRingSide } from "../../src/memory/ring.js";
import { parseLocator } from "../../src/ports/locator.js";
import type { PortDriver } from "../../src/ports/port.js";
import { openXdp } from "../../src/ports/xdp/port.js";
import { MAIN, makeLan } from "../kit/lan.js";
import { ip, runIn, startIn, startIperf } from "../kit/netns.js";

// Each test file is a process of its own: its thread moves from one test's namespace to the next.

async function openIn(
  namespace: string,
  arena: ArenaMemory,
  locator: string,
  prepare: (port: PortDriver) => void = () => {},
): Promise<PortDriver> {
  enterNetns(namespace);
  const options = { direction: "both", wait: "interrupt", signal: new AbortController().signal } as const;
  const port = await openXdp(arena, parseLocator(locator), options);
  prepare(port);
  port.start?.();
  return port;
}

function freeFrames(arena: ArenaMemory): number {
  const at = allocateRegion(arena, 4096);
  arena.kernels.census(at);
  const free = arena.u32[at >>> 2];
  freeRegion(arena, at, 4096);
  return free;
}

/** Passes packets both ways until `done`; what a port does not take is dropped and counted. */
async function forward(
  arena: ArenaMemory,
  a: PortDriver,
  b: PortDriver,
  done: AbortSignal,
): Promise<{ lost: number }> {
  const burst = createBurst(arena, 2048);
  let lost = 0;
  const pass = (from: PortDriver, to: PortDriver) => {
    const packets = from.receive(burst);
    if (packets === 0) return 0;
    lost += packets - to.send(burst, 0);
    throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
    return packets;
  };
  const ended = aborted(done);
  while (!done.aborted) {
    for (let turn = 0; turn < 16; turn++) pass(a, b) + pass(b, a);
    const quiet = new AbortController();
    await Promise.race([a.readable(quiet.signal), b.readable(quiet.signal), ended]);
    quiet.abort();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { lost };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function finished(child: ReturnType<typeof startIn>): Promise<{ code: number; output: string }> {
  let output = "";
  child.stdout?.on("data", (data) => {
    output += data;
  });
  const code = await new Promise<number>((resolve) => child.on("close", (status) => resolve(status ?? -1)));
  return { code, output };
}

for (const [title, parameters, options] of [
  ["native XDP", "mode=native", {}],
  ["generic XDP", "mode=generic", {}],
  ["native XDP, 9,000 bytes MTU, packets of several frames", "mode=native", { mtu: 9000 }],
  ["generic XDP, 9,000 bytes MTU", "mode=generic", { mtu: 9000 }],
  ["native XDP, two queues", "mode=native&queues=2", { queues: 2 }],
] as const)
  test(`ping and iperf3 run across two AF_XDP ports: ${title}`, async (t) => {
    const lan = makeLan(t, options);
    if (lan === undefined) return;
    const arena = createArenaMemory();
    const free = freeFrames(arena);
    const a = await openIn(lan.middle, arena, `xdp:v0?${parameters}`);
    const b = await openIn(lan.middle, arena, `xdp:v1?${parameters}`);
    assert.match(a.can.why ?? "", parameters.includes("native") ? /^native XDP/ : /^generic XDP/);
    assert.equal(a.can.mode, "copy", "veth has no zero-copy");
    const stop = new AbortController();
    const forwarding = forward(arena, a, b, stop.signal);

    for (const target of ["10.7.0.2", "fd07::2"]) {
      const size = String((options as { mtu?: number }).mtu === 9000 ? 8900 : 1400);
      const ping = startIn(t, lan.client, "ping", "-c", "5", "-i", "0.1", "-W", "2", "-s", size, target);
      const { code, output } = await finished(ping);
      assert.equal(code, 0, output);
      assert.match(output, / 0% packet loss/);
      await startIperf(t, lan.server);
      const client = startIn(t, lan.client, "iperf3", "-c", target, "-n", "20M", "-J");
      const { code: status, output: report } = await finished(client);
      assert.equal(status, 0, report);
      assert.ok(JSON.parse(report).end.sum_received.bytes > 10 * 2 ** 20, report);
    }

    stop.abort();
    const { lost } = await forwarding;
    await a.close();
    await b.close();
    const [left, right] = [a.counters(), b.counters()];
    // What the kernel lost never came to the port.
    const sum = (counts: Readonly<Record<string, number>>) =>
      Object.entries(counts).reduce(
        (total, [reason, n]) => (reason.startsWith("kernel") ? total : total + n),
        0,
      );
    assert.equal(
      left.received.packets + right.received.packets,
      left.transmitted.packets + right.transmitted.packets + sum(left.dropped) + sum(right.dropped) + lost,
      "every packet is accounted for",
    );
    assert.equal(left.held + right.held, 0);
    assert.equal(freeFrames(arena), free, "every frame is back");
    assert.doesNotMatch(ip("-n", lan.middle, "-d", "link"), /xdp/, "no program is left");
  });

test("a queue that is taken and an interface with another program are told apart", async (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  const arena = createArenaMemory();
  const other = createArenaMemory();
  const a = await openIn(lan.middle, arena, "xdp:v0");
  await assert.rejects(openIn(lan.middle, other, "xdp:v0"), {
    code: "EBUSY",
    message: "v0 is open on another arena of this program already",
  });
  await assert.rejects(openIn(lan.middle, arena, "xdp:v0"), {
    code: "EBUSY",
    message: /queue 0 of v0 belongs/,
  });
  await assert.rejects(openIn(lan.middle, arena, "xdp:v0?mode=generic"), { code: "EBUSY" });
  // The failures left the first port as it was.
  const burst = createBurst(arena, 64);
  runIn(lan.client, "ping", "-c", "1", "-W", "1", "10.7.0.1");
  startIn(t, lan.client, "ping", "-c", "3", "-i", "0.1", "10.7.0.9");
  await a.readable(AbortSignal.timeout(5000));
  assert.ok(a.receive(burst) > 0);
  throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  await a.close();
  await (await openIn(lan.middle, arena, "xdp:v0")).close();
});

test("an interface that vanishes ends in one clear error", async (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  const arena = createArenaMemory();
  const free = freeFrames(arena);
  const a = await openIn(lan.middle, arena, "xdp:v0");
  ip("-n", lan.middle, "link", "del", "v0");
  await assert.rejects(
    async () => {
      for (;;) await a.readable(AbortSignal.timeout(10_000));
    },
    { code: "ENODEV", message: /xdp:v0: the interface is gone/ },
  );
  await a.close();
  assert.equal(freeFrames(arena), free);
});

test("an interface that goes down and up again goes on", async (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  const arena = createArenaMemory();
  const a = await openIn(lan.middle, arena, "xdp:v0");
  const burst = createBurst(arena, 64);
  const receiveOne = async () => {
    const ping = startIn(t, lan.client, "ping", "-c", "5", "-i", "0.2", "10.7.0.9");
    while (a.receive(burst) === 0) await a.readable(AbortSignal.timeout(5000));
    throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
    ping.kill("SIGKILL");
  };
  await receiveOne();
  ip("-n", lan.middle, "link", "set", "v0", "down");
  const frame = arena.kernels.takeFrame() >>> 0;
  appendPacket(arena, burst, [frame, 60]);
  a.send(burst, 0);
  throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  ip("-n", lan.middle, "link", "set", "v0", "up");
  await receiveOne();
  await a.close();
});

test("with the pool empty the kernel's drops are counted, and it goes on when frames come back", async (t) => {
  const lan = makeLan(t, { silent: true });
  if (lan === undefined) return;
  const arena = createArenaMemory({ bytes: 16 * 2 ** 20 });
  const free = freeFrames(arena);
  const a = await openIn(lan.middle, arena, "xdp:v0");
  const bursts: number[] = [];
  const hold = (): number => {
    const burst = createBurst(arena, 256);
    bursts.push(burst);
    return a.receive(burst);
  };
  const blast = (packets: number) =>
    runIn(lan.client, process.execPath, MAIN, "generate", "packet:e0", "--count", String(packets));
  let held = 0;
  for (let sent = 0; sent < 5000; sent += 1000) {
    blast(1000);
    for (let got = hold(); got > 0; got = hold()) held += got;
  }
  const { received, dropped } = a.counters();
  assert.equal(received.packets, held);
  assert.ok(dropped["kernel-fill-empty"] > 0, JSON.stringify(dropped));
  assert.equal(held + Object.values(dropped).reduce((sum, packets) => sum + packets, 0), 5000);
  for (const burst of bursts) throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  assert.equal(hold(), 0); // the fill ring has frames again
  blast(20);
  let more = 0;
  while (more < 20) more += hold();
  await a.close();
  for (const burst of bursts) throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  assert.equal(a.counters().received.packets, held + 20);
  for (const burst of bursts) destroyBurst(arena, burst);
  assert.equal(freeFrames(arena), free);
});

/** A queue whose four rings are plain memory, so that a test can play the kernel. */
function makeQueue(arena: ArenaMemory): { queue: number; rings: readonly number[] } {
  const queue = allocateRegion(arena, XDP_QUEUE_SIZE);
  const sides = [XDP_RX, XDP_TX, XDP_FILL, XDP_COMPLETION];
  const rings = sides.map((side, index) => {
    const offset = allocateRegion(arena, 4096);
    initRingSide(arena, queue + side, index === 0 || index === 3 ? "consumer" : "producer", {
      ...{ producer: offset, consumer: offset + 64, flags: offset + 128, entries: offset + 192 },
      ...{ metas: 0, mask: 15, entrySize: index < 2 ? 16 : 8, owner: 0 },
    });
    return offset;
  });
  arena.u32[(queue + XDP_RX_OWNER) >>> 2] = claimOwner(arena, { counts: false });
  arena.u32[(queue + XDP_TX_OWNER) >>> 2] = claimOwner(arena, { counts: true });
  return { queue, rings };
}

test("a completion for a frame the ring does not own is counted and not believed", () => {
  const arena = createArenaMemory();
  const { u32, u64, kernels } = arena;
  const mine = kernels.takeFrame() >>> 0;
  const { queue, rings } = makeQueue(arena);
  const counted = (counter: number) => arena.f64[(queue + counter) >>> 3];

  const burst = createBurst(arena, 16);
  const sent = kernels.takeFrame() >>> 0;
  appendPacket(arena, burst, [sent + 64, 60]);
  appendPacket(arena, burst, [kernels.takeFrame() >>> 0, 10]);
  assert.equal(kernels.xdpSend(queue, burst, 0, 17, 0), 2);
  assert.equal(counted(XDP_RUNTS), 1, "what is shorter than an Ethernet header never reaches the kernel");
  throwFault(arena, burst, kernels.burstRelease(burst, 0));

  const lies = [mine, sent + 64, sent + 64, 0, 2 ** 40, arena.frames * arena.frameSize];
  for (const [index, address] of lies.entries()) u64[(rings[3] + 192 + 8 * index) >>> 3] = BigInt(address);
  Atomics.store(u32, rings[3] >>> 2, lies.length);
  kernels.xdpComplete(queue);
  assert.equal(counted(XDP_SENT), 1);
  assert.equal(counted(XDP_BAD_COMPLETED), lies.length - 1);
  assert.equal(kernels.holds(mine), 1, "a frame of mine stays mine");
  assert.equal(kernels.holds(sent), 0, "what was completed is free");

  // Received descriptors: one that names my frame, one of the fill ring's, a dangling one behind it.
  assert.equal(kernels.xdpFill(queue, 4), 4);
  const given = Number(u64[(rings[2] + 192) >>> 3]);
  const descriptors = [
    [mine, 60, 0],
    [given + 256, 60, 0],
    [given + 256, 60, 0],
    [given + 4000, 200, 0],
  ];
  for (const [index, [address, length, options]] of descriptors.entries())
    u32.set([address, 0, length, options], (rings[0] + 192 + 16 * index) >>> 2);
  Atomics.store(u32, rings[0] >>> 2, descriptors.length);
  assert.equal(kernels.xdpReceive(queue, burst, 16, 0, 0), 1, "one of them is true");
  assert.equal(counted(XDP_BAD_RECEIVED), 3);
  assert.equal(kernels.holds(mine), 1);
  throwFault(arena, burst, kernels.burstRelease(burst, 0));
});

test("a packet begins at the sum of both parts of its address, and frames taken are given back in groups", () => {
  const arena = createArenaMemory();
  const { u32, u64, kernels } = arena;
  const { queue, rings } = makeQueue(arena);
  const [rx, , fill] = rings;
  const burst = createBurst(arena, 16);
  assert.equal(kernels.xdpFill(queue, 16), 16);
  const given = Array.from({ length: 16 }, (_, i) => Number(u64[(fill + 192 + 8 * i) >>> 3]));
  const receive = (count: number, at: number) => {
    for (let i = at; i < at + count; i++)
      u32.set([given[i], 256 << 16, 60 + i, 0], (rx + 192 + 16 * i) >>> 2); // as the kernel writes unaligned chunks
    Atomics.store(u32, rx >>> 2, at + count);
    Atomics.store(u32, (fill + 64) >>> 2, at + count);
    return kernels.xdpReceive(queue, burst, 16, 0, 0);
  };
  assert.equal(receive(1, 0), 1);
  assert.equal(Atomics.load(u32, fill >>> 2), 16, "less than an eighth of the ring is not worth a look");
  assert.equal(receive(4, 1), 4);
  assert.equal(Atomics.load(u32, fill >>> 2), 21, "the ring is full again");
  const descs = u32[(burst + BURST_DESCS) >>> 2];
  for (let i = 0; i < 5; i++) {
    const at = (descs + i * DESC_SIZE) >>> 2;
    assert.deepEqual([...u32.subarray(at, at + 4)], [given[i] + 256, 0, 60 + i, 0]);
    assert.equal(kernels.holds(given[i]), 1);
  }
  throwFault(arena, burst, kernels.burstRelease(burst, 0));
});

test("a packet of several pieces goes out whole or not at all", () => {
  const arena = createArenaMemory();
  const { u32, kernels } = arena;
  const { queue, rings } = makeQueue(arena);
  const burst = createBurst(arena, 16);
  const free = freeFrames(arena);
  const frames = Array.from({ length: 3 }, () => kernels.takeFrame() >>> 0);
  const held = () => frames.map((frame) => kernels.holds(frame));
  const [first, second, third] = frames.map((frame) => [frame + 64, 60] as const);
  appendPacket(arena, burst, [first, second, third].flat());
  const piece = (index: number) => u32[(burst + BURST_DESCS) >>> 2] + index * DESC_SIZE;

  u32[piece(2) >>> 2] = 0; // no frame's
  assert.throws(() => throwFault(arena, burst, kernels.xdpSend(queue, burst, 0, 17, 0)), {
    code: "ERR_FRAME",
  });
  assert.deepEqual(held(), [1, 1, 1], "all of it stays here");
  assert.equal(u32[rings[1] >>> 2], 0, "nothing stands in the transmit ring");
  u32[piece(2) >>> 2] = third[0];
  assert.equal(kernels.xdpSend(queue, burst, 0, 1, 0), 0, "of more pieces than the port takes");
  assert.equal(kernels.xdpSend(queue, burst, 0, 17, 0), 1);
  assert.deepEqual(held(), [0, 0, 0]);
  assert.deepEqual(
    [...u32.subarray((rings[1] + 192) >>> 2, (rings[1] + 192 + 3 * DESC_SIZE) >>> 2)],
    [first[0], 0, 60, 1, second[0], 0, 60, 1, third[0], 0, 60, 0],
  );
  throwFault(arena, burst, kernels.burstRelease(burst, 0));

  const others = Array.from({ length: 3 }, () => [kernels.takeFrame() >>> 0, 60] as const);
  appendPacket(arena, burst, others.flat());
  u32[(piece(1) + DESC_LEN) >>> 2] = 0;
  assert.equal(kernels.xdpSend(queue, burst, 0, 17, 0), 1);
  assert.equal(arena.f64[(queue + XDP_RUNTS) >>> 3], 1, "AF_XDP chokes on a piece with nothing in it");
  assert.equal(u32[rings[1] >>> 2], 3);
  assert.equal(freeFrames(arena), free - 3, "its frames are free");
  throwFault(arena, burst, kernels.burstRelease(burst, 0));
});

test("packets of one shared frame go out and come back by the run, and no completion more than went out is believed", () => {
  const arena = createArenaMemory();
  const { u32, u64, kernels } = arena;
  const { queue, rings } = makeQueue(arena);
  const counted = (counter: number) => arena.f64[(queue + counter) >>> 3];
  const free = freeFrames(arena);
  const [model, burst] = [createBurst(arena, 16), createBurst(arena, 16)];
  const [one, other] = [kernels.takeFrame() >>> 0, kernels.takeFrame() >>> 0];
  for (const address of [one, one + 64, one + 128, other]) appendPacket(arena, model, [address, 60]);
  for (let more = 0; more < 2; more++) assert.equal(kernels.addReference(one), 1);

  assert.equal(kernels.burstRepeat(model, 2, burst, 9), 9); // one other one one one other one one one
  const sent = Array.from(
    { length: 9 },
    (_, i) => u32[(u32[(burst + BURST_DESCS) >>> 2] + i * DESC_SIZE) >>> 2],
  );
  assert.deepEqual(
    sent,
    [128, -1, 0, 64, 128, -1, 0, 64, 128].map((at) => (at < 0 ? other : one + at)),
  );
  assert.equal(kernels.xdpSend(queue, burst, 0, 17, 0), 9);
  assert.equal(counted(XDP_TAKEN), 9);
  throwFault(arena, burst, kernels.burstRelease(burst, 0));
  throwFault(arena, model, kernels.burstRelease(model, 0));
  assert.equal(freeFrames(arena), free - 2, "what is under way is held");

  const complete = (addresses: readonly number[], at: number) => {
    for (const [i, address] of addresses.entries())
      u64[(rings[3] + 192 + 8 * (at + i)) >>> 3] = BigInt(address);
    Atomics.store(u32, rings[3] >>> 2, at + addresses.length);
    kernels.xdpComplete(queue);
  };
  complete([...sent.slice(0, 7), other], 0); // the other went out twice
  assert.equal(counted(XDP_SENT), 7);
  assert.equal(counted(XDP_BAD_COMPLETED), 1);
  complete([...sent.slice(7), one], 8);
  assert.equal(counted(XDP_SENT), 9);
  assert.equal(counted(XDP_BAD_COMPLETED), 2);
  assert.equal(freeFrames(arena), free, "every frame is back");
});

const ODDITIES: Readonly<Record<string, (arena: ArenaMemory, meta: number, frame: number) => number>> = {
  "nothing odd": () => 60,
  "too long": () => 1600,
  "shorter than its header": () => 10,
  "a super-frame": (arena, meta) => {
    arena.u16[(meta + META_SEGMENT) >>> 1] = 20;
    return 60;
  },
  "an unfinished checksum": (arena, meta) => {
    arena.u16[(meta + META_FLAGS) >>> 1] = CHECKSUM_PARTIAL;
    return 60;
  },
  "somebody else's too": (arena, _meta, frame) => {
    assert.equal(arena.kernels.addReference(frame), 1);
    return 60;
  },
};

for (const [odd, make] of Object.entries(ODDITIES))
  test(`packets go out with their addresses swapped up to one that is ${odd}`, () => {
    const arena = createArenaMemory();
    const { u8, u32, kernels } = arena;
    const { queue, rings } = makeQueue(arena);
    const can = { linkType: "EN10MB", mtu: 1518, queues: 1, live: true, fragments: 17 } as const;
    const lacks = {
      segmentation: false,
      headerSplit: false,
      hash: false,
      checksum: { rx: false, tx: false },
    };
    const edge = createEdge(
      arena,
      { ...can, ...lacks, timestamps: "software", mode: "copy" },
      { swap: true },
    );
    const burst = createBurst(arena, 16);
    const header = Uint8Array.from({ length: 16 }, (_, i) => i);
    const swapped = Uint8Array.of(
      ...header.subarray(6, 12),
      ...header.subarray(0, 6),
      ...header.subarray(12),
    );
    const frames = Array.from({ length: 6 }, () => kernels.takeFrame() >>> 0);
    for (const [packet, frame] of frames.entries()) {
      u8.set(header, frame + 64);
      appendPacket(arena, burst, [frame + 64, 60]);
      const meta = u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
      const length = packet === 3 ? make(arena, meta, frame) : 60;
      u32[(u32[(burst + BURST_DESCS) >>> 2] + packet * DESC_SIZE + DESC_LEN) >>> 2] = length;
    }
    const stop = odd === "nothing odd" ? 6 : 3;
    assert.equal(kernels.xdpSend(queue, burst, 0, 17, edge.at), stop);
    assert.equal(u32[rings[1] >>> 2], stop, "entries in the transmit ring");
    for (const [packet, frame] of frames.entries()) {
      const entry = (rings[1] + 192 + packet * DESC_SIZE) >>> 2;
      if (packet < stop) assert.deepEqual([...u32.subarray(entry, entry + 4)], [frame + 64, 0, 60, 0]);
      assert.deepEqual(u8.slice(frame + 64, frame + 80), packet < stop ? swapped : header);
      assert.equal(kernels.holds(frame), packet < stop ? 0 : 1);
    }
    assert.equal(
      u32[(burst + BURST_PACKETS) >>> 2],
      stop === 6 ? 0 : 6,
      "a burst that goes as a whole is empty",
    );
    assert.equal(arena.f64[(queue + XDP_TAKEN) >>> 3], stop);
    throwFault(arena, burst, kernels.burstRelease(burst, 0));
    edge.close();
  });

test("a filter sits in the XDP program: what does not match stays with the kernel", async (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  ip("-n", lan.middle, "address", "add", "10.7.0.3/24", "dev", "v0");
  const arena = createArenaMemory();
  const filter = compileFilter("icmp[icmptype] = icmp-echo and less 200", { linkType: "EN10MB" });
  const a = await openIn(lan.middle, arena, "xdp:v0", (port) =>
    assert.equal(port.attachFilter?.(filter.program), "xdp"),
  );
  const burst = createBurst(arena, 64);
  runIn(lan.client, "ping", "-c", "2", "-i", "0.1", "-W", "2", "-s", "500", "10.7.0.3");
  assert.equal(a.receive(burst), 0, "the kernel answered, and this port saw nothing of it");
  startIn(t, lan.client, "ping", "-c", "3", "-i", "0.1", "-s", "20", "10.7.0.3");
  while (a.receive(burst) === 0) await a.readable(AbortSignal.timeout(5000));
  const start = arena.u32[arena.u32[(burst + BURST_DESCS) >>> 2] >>> 2];
  assert.equal(arena.u8[start + 23], 1, "an ICMP packet");
  throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  await a.close();
});
