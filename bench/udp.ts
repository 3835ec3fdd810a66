// UDP over loopback, into whole chunks: scatter and gather over udp: against node:dgram and Buffer.concat, sender
// and receiver in a thread each. The halves are those that `millrace demo` runs.
import { half } from "../src/cli/demo/pair.js";
import type { DemoTask } from "../src/cli/demo/task.js";
import { createArena, memoryOf } from "../src/flow/arena.js";
import { allocateRegion, freeRegion } from "../src/memory/region.js";
import { startBench } from "./compare.js";

const PAYLOAD = 1388; // with 12 bytes of RTP 1,400
const CHUNK_BYTES = 2 ** 20;
const PORT = 39_411;

const bench = startBench("udp");
const arena = memoryOf(createArena({ bytes: 512 * 2 ** 20 }));
const source = arena.kernels.claimFrames(CHUNK_BYTES / arena.frameSize) >>> 0;
for (let at = 0; at < CHUNK_BYTES; at += 4) arena.u32[(source + at) >>> 2] = Math.imul(at, 2654435761);

interface Figures {
  readonly gbits: number;
  /** CPU seconds of the receiving thread a gigabyte of payload. */
  readonly cpu: number;
}

/** What arrived in whole, verified chunks, a second of the time between the first and the last. */
async function run(
  send: DemoTask["role"],
  gather: DemoTask["role"],
  locator: { send: string; gather: string },
  chunks: number,
): Promise<Figures> {
  const progress = allocateRegion(arena, 4);
  const common = { chunkBytes: CHUNK_BYTES, chunks, payload: PAYLOAD, source, progress };
  const receiving = half(arena, { ...common, role: gather, locator: locator.gather });
  await receiving.ready;
  const sending = half(arena, { ...common, role: send, locator: locator.send });
  const [, got] = await Promise.all([sending.result, receiving.result]);
  freeRegion(arena, progress, 4);
  if (got.wrong > 0) throw new Error(`${got.wrong} chunks differ from what was sent`);
  return { gbits: (got.bytes * 8) / got.seconds / 1e9, cpu: got.cpu / (got.bytes / 1e9) };
}

const udp = `udp://127.0.0.1:${PORT}`;
const plain = `${PORT + 1}`;
const ours = () => run("send", "gather", { send: udp, gather: udp }, 1500);
const theirs = () => run("send-plain", "gather-plain", { send: plain, gather: plain }, 100);
// The same super-packets for both: what is left is the receiver's own.
const theirsFed = () => run("send", "gather-plain", { send: `udp://127.0.0.1:${plain}`, gather: plain }, 100);

const against = "node:dgram + Buffer.concat";
await bench.compare({
  name: "whole chunks over loopback",
  unit: "Gbit/s",
  against,
  ours: async () => (await ours()).gbits,
  peer: async () => (await theirs()).gbits,
  goal: "≥ 6",
});
await bench.compare({
  name: "the same sender for both",
  unit: "Gbit/s",
  against,
  ours: async () => (await ours()).gbits,
  peer: async () => (await theirsFed()).gbits,
});
await bench.compare({
  name: "receiver's CPU",
  unit: "s/GB",
  against,
  ours: async () => (await ours()).cpu,
  peer: async () => (await theirs()).cpu,
  goal: "≤ 0.17",
});
bench.finish();
