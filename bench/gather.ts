// The main job against what the machine can copy: gather over loop: within one thread, the sender's work left out.
//
// A ring is filled with 4,096 datagrams, then the clock runs while they are received, gathered and given back. The
// peer copies slices of the same length from as many frames, which its sender touched in the same way, to a target as
// large as a chunk, with one memory.copy each. Both so find 6 MB of frames that are farther away than the second-level
// cache, but for the header lines, and a target of 1 MB that is written round and round.
import { randomFillSync } from "node:crypto";
import { pair } from "../src/cli/demo/pair.js";
import type { DemoTask } from "../src/cli/demo/task.js";
import { createArena, memoryOf } from "../src/flow/arena.js";
import { createGather, type Gather } from "../src/flow/gather.js";
import type { GatherOptions } from "../src/flow/gather-options.js";
import { N_MEMORY, N_OUTPUT, N_STREAMS } from "../src/kernels/gather-structs.js";
import { BURST_PACKETS } from "../src/kernels/structs.js";
import { appendPacket, createBurst } from "../src/memory/burst.js";
import { createRing } from "../src/memory/ring.js";
import { startBench } from "./compare.js";

const PAYLOAD = 1400;
const HEADER = 12;
const BURST = 256;
/** Datagrams that wait in the ring when the clock starts: more memory than the second-level cache holds. */
const BATCH = 16 * BURST;

const bench = startBench("gather");
// Every gather keeps its tables to the end, those for 10,000 streams among them.
const arena = memoryOf(createArena({ bytes: 2 ** 31 }));
const { kernels, u8, u32 } = arena;

/** A ring full of RTP datagrams of `streams` streams, `each` of them a chunk, each burst shuffled as asked. */
function sender(streams: number, reorder: number, each: number) {
  const ring = createRing(arena, { entries: 2 * BATCH, entrySize: 16, metas: true });
  const burst = createBurst(arena, 1024);
  const sequences = new Uint32Array(streams);
  let next = 0;
  let random = 12345;
  const chance = () => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return random / 2 ** 32;
  };
  return {
    ring,
    /** Puts a burst of datagrams into the ring. */
    fill() {
      const order: number[] = [];
      const frames: number[] = [];
      for (let i = 0; i < BURST; i++) {
        const frame = kernels.takeFrame() >>> 0;
        const at = frame + 128 + (((frame >>> arena.frameShift) & 15) << 6);
        const stream = next++ % streams;
        const sequence = sequences[stream]++;
        u8[at] = 0x80;
        u8[at + 1] = 96;
        u8[at + 2] = sequence >>> 8;
        u8[at + 3] = sequence;
        const stamp = Math.floor(sequence / each); // a new one ends the chunk
        u8[at + 4] = stamp >>> 24;
        u8[at + 5] = stamp >>> 16;
        u8[at + 6] = stamp >>> 8;
        u8[at + 7] = stamp;
        u8[at + 8] = stream >>> 24;
        u8[at + 9] = stream >>> 16;
        u8[at + 10] = stream >>> 8;
        u8[at + 11] = stream;
        frames.push(at);
        order.push(i);
      }
      for (let i = 0; i + 8 < BURST; i++)
        if (reorder > 0 && chance() < reorder / 2) {
          const other = i + 1 + Math.floor(chance() * 7);
          [order[i], order[other]] = [order[other], order[i]];
        }
      for (const i of order) appendPacket(arena, burst, [frames[i], HEADER + PAYLOAD]);
      kernels.ringSend(ring.producer, burst, 0, 0);
      kernels.burstRelease(burst, 0);
    },
  };
}

const into = createBurst(arena, 2048);

/** Gathers `packets` datagrams; nanoseconds of the gathering alone, a datagram. */
function gatherTime(gather: Gather, from: ReturnType<typeof sender>, packets: number): number {
  let spent = 0n;
  for (let done = 0; done < packets; done += BATCH) {
    for (let filled = 0; filled < BATCH; filled += BURST) from.fill();
    const start = process.hrtime.bigint();
    for (let received = 0; received < BATCH; received += BURST) {
      kernels.ringReceive(from.ring.consumer, into, BURST);
      gather.begin(into);
      for (;;) {
        const whole = gather.work() === "whole";
        for (let chunk = gather.take(); chunk !== undefined; chunk = gather.take()) chunk.release();
        if (whole) break;
      }
      kernels.burstRelease(into, 0);
    }
    spent += process.hrtime.bigint() - start;
  }
  return Number(spent) / packets;
}

/** Copies the same slices, round and round to as many targets of 1 MB together or more, with memory.copy and nothing else; nanoseconds a slice. */
function copyTime(packets: number, targets = 1): number {
  const count = BATCH;
  const frames: number[] = [];
  for (let i = 0; i < count; i++) frames.push(kernels.takeFrame() >>> 0);
  const each = targets === 1 ? 1 << 20 : 10 * PAYLOAD;
  const stride = Math.ceil(each / arena.frameSize) * arena.frameSize;
  const target = kernels.claimFrames((targets * stride) / arena.frameSize) >>> 0;
  let which = 0;
  let at = 0;
  let spent = 0n;
  for (let done = 0; done < packets; done += count) {
    // The sender's touch of each datagram.
    for (const frame of frames) {
      const header = frame + 128 + (((frame >>> arena.frameShift) & 15) << 6);
      u8.fill(done, header, header + HEADER);
    }
    const start = process.hrtime.bigint();
    for (const frame of frames) {
      const slice = frame + 140 + (((frame >>> arena.frameShift) & 15) << 6);
      kernels.copyBytes(target + which * stride + at, slice, PAYLOAD);
      if (++which < targets) continue;
      which = 0;
      at = at + PAYLOAD > each - PAYLOAD ? 0 : at + PAYLOAD;
    }
    spent += process.hrtime.bigint() - start;
  }
  for (const frame of frames) kernels.releaseFrame(frame);
  kernels.releaseFrames(target, (targets * stride) / arena.frameSize);
  return Number(spent) / packets;
}

const PACKETS = 20 * BATCH;
const rate = (nanoseconds: number) => PAYLOAD / nanoseconds; // GB/s

/** Datagrams of a chunk of about 1 MB. */
const MANY = 700;

function gathering(
  options: Partial<GatherOptions>,
  streams: number,
  reorder: number,
  each = MANY,
): () => number {
  const from = sender(streams, reorder, each);
  const gather = createGather(
    arena,
    {
      layout: "rtp",
      gap: "skip",
      maxStreams: Math.max(1024, 2 * streams),
      window: 64,
      timeout: 1,
      ...options,
    },
    { linkType: "DATAGRAM", live: false, merged: false },
  );
  // Each stream's first datagrams are held for as long as others could belong before them: that is over first.
  gatherTime(gather, from, Math.ceil(streams / BATCH) * BATCH);
  for (const end = performance.now() + 10; performance.now() < end; );
  gather.tick();
  for (let chunk = gather.take(); chunk !== undefined; chunk = gather.take()) chunk.release();
  return () => {
    const nanoseconds = gatherTime(gather, from, PACKETS);
    const dropped = gather.counter(N_MEMORY) + gather.counter(N_OUTPUT) + gather.counter(N_STREAMS);
    if (dropped > 0) throw new Error(`${dropped} datagrams were dropped`);
    return rate(nanoseconds);
  };
}

const copying = () => rate(copyTime(PACKETS));
const inOrder = gathering({}, 1, 0);
await bench.compare({
  name: "gather in order, 1,400 B",
  unit: "GB/s",
  against: "memory.copy of the same slices",
  ours: inOrder,
  peer: copying,
  goal: "≥ 0.7",
});
await bench.compare({
  name: "gather, 10 % out of order",
  unit: "GB/s",
  against: "memory.copy of the same slices",
  ours: gathering({}, 1, 0.1),
  peer: copying,
  goal: "≥ 0.5",
});
await bench.compare({
  name: "gather and sum in one pass, time",
  unit: "ns a datagram",
  against: "gather without the sum",
  ours: (
    (run) => () =>
      PAYLOAD / run()
  )(gathering({ checksum: true }, 1, 0)),
  peer: () => PAYLOAD / inOrder(),
  goal: "≤ 1.3",
});
for (const [streams, each] of [
  [100, 10],
  [10_000, 10],
  [10_000, 1],
]) {
  const name = `gather of ${streams} streams, ${each} to a chunk, time`;
  const many = gathering({ window: 16, chunkSize: 10 * PAYLOAD }, streams, 0, each);
  const ours = () => PAYLOAD / many();
  const unit = "ns a datagram";
  await bench.compare({ name, unit, against: "of one stream", ours, peer: () => PAYLOAD / inOrder() });
  const peer = () => copyTime(PACKETS, streams);
  await bench.compare({ name, unit, against: "memory.copy to as many places", ours, peer });
}
await bench.compare({
  name: "linked gather, time",
  unit: "ns a datagram",
  against: "copying gather",
  ours: (
    (run) => () =>
      PAYLOAD / run()
  )(gathering({ linked: true }, 1, 0)),
  peer: () => PAYLOAD / inOrder(),
});

// UDP on loopback, sender and receiver in a thread each: datagrams in, whole chunks out. Both receivers compare the same
// share of their chunks with what was sent (one in VERIFY), and neither's figure counts a chunk that is not whole.
const CHUNK = 2 ** 20;
const VERIFY = 16;
const source = kernels.claimFrames(CHUNK / arena.frameSize) >>> 0;
randomFillSync(u8.subarray(source, source + CHUNK));
let port = 45_460;
async function udp(send: DemoTask["role"], gather: DemoTask["role"], chunks: number) {
  port = port === 45_499 ? 45_460 : port + 1; // a late datagram of one run is nobody's in the next
  const task = {
    ...{ chunkBytes: CHUNK, chunks, payload: PAYLOAD, source, verifyEvery: VERIFY },
    ...{ progress: 0, ahead: 8, patience: 50 },
  };
  const locator = (role: DemoTask["role"]) =>
    role === "gather-plain" || role === "send-plain" ? `${port}` : `udp://127.0.0.1:${port}`;
  const { got } = await pair(
    arena,
    { ...task, role: send, locator: locator(send) },
    { ...task, role: gather, locator: locator(gather) },
  );
  if (got.wrong > 0) throw new Error(`${got.wrong} chunks differ from what was sent`);
  const bytes = got.chunks * CHUNK;
  return { speed: (bytes * 8) / got.seconds / 1e9, cpu: got.cpu / (bytes / 1e9) };
}
const ours = () => udp("send", "gather", 3000);
const plain = () => udp("send-plain", "gather-plain", 200);
const against = "node:dgram + Buffer.concat";
await bench.compare({
  name: "UDP loopback, GSO sender",
  unit: "Gbit/s",
  against,
  ours: async () => (await ours()).speed,
  peer: async () => (await plain()).speed,
  goal: "≥ 6",
});
await bench.compare({
  name: "UDP loopback, CPU of the receiver",
  unit: "s/GB",
  against,
  ours: async () => (await ours()).cpu,
  peer: async () => (await plain()).cpu,
  goal: "≤ 0.17",
});
await bench.compare({
  name: "UDP loopback, the GSO sender for both",
  unit: "Gbit/s",
  against,
  ours: async () => (await ours()).speed,
  peer: async () => (await udp("send", "gather-plain", 200)).speed,
});

gc?.();
const before = process.memoryUsage().heapUsed;
const long = gathering({}, 1, 0);
for (let round = 0; round < 10_000_000 / PACKETS / 10; round++) long();
gc?.();
bench.note("JavaScript heap growth", (process.memoryUsage().heapUsed - before) / 1_000_000, "bytes a packet");
console.log(`(${u32[(into + BURST_PACKETS) >>> 2]} packets left)`);
bench.finish();
