// One half of a run: opens its port, sends or gathers, tells what came of it.
import { createSocket } from "node:dgram";
import { readFileSync, readlinkSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { defaultArena, memoryOf } from "../../flow/arena.js";
import { ChunkView } from "../../flow/chunk.js";
import { flow } from "../../flow/flow.js";
import { createOutlet } from "../../flow/outlet.js";
import { createPacketizer } from "../../flow/packetize.js";
import { openPort } from "../../flow/port.js";
import type { DemoMessage, DemoSeed, DemoTask } from "./task.js";

type Result = Extract<DemoMessage, { readonly result: unknown }>["result"];

const { task } = workerData as DemoSeed;
const memory = memoryOf(defaultArena());
const tell = (message: DemoMessage) => parentPort?.postMessage(message);
/** CPU time of this thread when its work began: loading the program is not part of the job. */
let cpuBefore = 0;
tell({ owner: memory.worker });
/** After so long without a datagram a gathering half believes that no more will come. */
const SILENCE_MS = 3000;

let givenUp = 0; // chunks that seem to be lost

/** UDP has no flow control: waits until fewer than `ahead` chunks are under way. */
async function keepPace(sent: number): Promise<void> {
  const started = performance.now();
  for (;;) {
    const underWay = sent - givenUp - Atomics.load(memory.u32, task.progress >>> 2);
    if (underWay < task.ahead) return;
    if (performance.now() - started > task.patience) givenUp += underWay;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function send(): Promise<Result> {
  const port = await openPort(task.locator, { direction: "out" });
  const maker = createPacketizer(memory, port.driver, {
    layout: "rtp",
    datagramSize: task.payload + 12,
    ...(task.header === undefined ? {} : { header: task.header }),
  });
  const outlet = createOutlet(memory, port.driver);
  const signal = new AbortController().signal;
  // References to a frame are counted by worker: this one sends from a copy of its own.
  const frames = task.chunkBytes / memory.frameSize;
  const own = memory.kernels.claimFrames(frames) >>> 0;
  memory.kernels.copyBytes(own, task.source, task.chunkBytes);
  cpuBefore = threadCpuSeconds();
  const started = performance.now();
  for (let chunk = 0; chunk < task.chunks; chunk++) {
    await keepPace(chunk);
    maker.begin(maker.single(own, task.chunkBytes));
    for (let packets = maker.next(); packets > 0; packets = maker.next()) {
      await outlet.send(maker.burst, signal);
    }
  }
  const seconds = (performance.now() - started) / 1000;
  const datagrams = maker.made;
  maker.close();
  outlet.close();
  await port.close();
  memory.kernels.releaseFrames(own, frames);
  return { chunks: task.chunks, datagrams, verified: 0, wrong: 0, seconds, cpu: 0 };
}

async function gather(): Promise<Result> {
  const port = await openPort(task.locator);
  const chunks = flow(port).gather({ layout: "rtp", gap: "skip", timeout: 2000 });
  let [whole, verified, wrong] = [0, 0, 0];
  let started = 0;
  let last = performance.now();
  cpuBefore = threadCpuSeconds();
  tell({ ready: true });
  const silence = setInterval(() => {
    if (started > 0 && performance.now() - last > SILENCE_MS) void port.close();
  }, 100);
  // Taken one by one, not sent on to a sink, which may fall behind: then the sender would have to wait for that.
  for await (const chunk of chunks) {
    last = performance.now();
    started ||= last;
    Atomics.add(memory.u32, task.progress >>> 2, 1);
    if (!chunk.complete || chunk.length !== task.chunkBytes) continue;
    whole++;
    if (whole % task.verifyEvery === 0) {
      const same =
        chunk instanceof ChunkView && memory.kernels.equalBytes(chunk.linear(), task.source, chunk.length);
      if (same) verified++;
      else wrong++;
    }
    if (whole === task.chunks) break;
  }
  const report = chunks.report();
  clearInterval(silence);
  await port.close();
  return {
    report,
    chunks: whole,
    datagrams: report.delivered.packets,
    verified,
    wrong,
    seconds: (last - started) / 1000,
    cpu: 0,
  };
}

/** Both ends of a cable in one thread; the cards have a thread of their own. */
async function both(): Promise<Result> {
  const gathering = gather();
  await send();
  return gathering;
}

/** The same sender without us: one datagram a call, through node:dgram. */
async function sendPlain(): Promise<Result> {
  const socket = createSocket("udp4");
  const source = memory.u8.subarray(task.source, task.source + task.chunkBytes);
  await new Promise<void>((resolve) => socket.connect(Number(task.locator), "127.0.0.1", resolve));
  cpuBefore = threadCpuSeconds();
  const started = performance.now();
  let sequence = 0;
  let under = 0;
  for (let chunk = 0; chunk < task.chunks; chunk++) {
    await keepPace(chunk);
    for (let at = 0; at < task.chunkBytes; at += task.payload) {
      const last = at + task.payload >= task.chunkBytes;
      const header = Buffer.alloc(12);
      header[0] = 0x80;
      header[1] = last ? 0xe0 : 0x60;
      header.writeUInt16BE(sequence++ & 0xffff, 2);
      header.writeUInt32BE(chunk, 4);
      under++;
      socket.send([header, source.subarray(at, Math.min(at + task.payload, task.chunkBytes))], () => under--);
      if ((sequence & 15) === 0) while (under > 64) await new Promise((resolve) => setImmediate(resolve));
    }
  }
  while (under > 0) await new Promise((resolve) => setImmediate(resolve));
  const seconds = (performance.now() - started) / 1000;
  socket.close();
  return {
    chunks: task.chunks,
    datagrams: sequence,
    verified: 0,
    wrong: 0,
    seconds,
    cpu: 0,
  };
}

/** The same gatherer without us: node:dgram, and Buffer.concat at each marker. */
async function gatherPlain(): Promise<Result> {
  const socket = createSocket({ type: "udp4", recvBufferSize: 32 * 2 ** 20 });
  const source = Buffer.from(memory.buffer, task.source, task.chunkBytes);
  let pieces: Buffer[] = [];
  let [whole, verified, wrong, datagrams] = [0, 0, 0, 0];
  let started = 0;
  let last = 0;
  await new Promise<void>((resolve) => socket.bind(Number(task.locator), "127.0.0.1", resolve));
  cpuBefore = threadCpuSeconds();
  tell({ ready: true });
  await new Promise<void>((resolve) => {
    const silence = setInterval(() => {
      if (started === 0 || performance.now() - last < SILENCE_MS) return;
      clearInterval(silence);
      resolve();
    }, 100);
    socket.on("message", (message) => {
      datagrams++;
      pieces.push(message.subarray(12));
      if ((message[1] & 0x80) === 0) return;
      last = performance.now();
      started ||= last;
      Atomics.add(memory.u32, task.progress >>> 2, 1);
      const chunk = Buffer.concat(pieces);
      pieces = [];
      if (chunk.length !== task.chunkBytes) return;
      whole++;
      if (whole % task.verifyEvery === 0) {
        if (chunk.equals(source)) verified++;
        else wrong++;
      }
      if (whole < task.chunks) return;
      clearInterval(silence);
      resolve();
    });
  });
  socket.close();
  return { chunks: whole, datagrams, verified, wrong, seconds: (last - started) / 1000, cpu: 0 };
}

const HALVES: Readonly<Record<DemoTask["role"], () => Promise<Result>>> = {
  send,
  gather,
  both,
  "send-plain": sendPlain,
  "gather-plain": gatherPlain,
};

const result = await HALVES[task.role]();
tell({ result: { ...result, cpu: threadCpuSeconds() - cpuBefore } });

/** CPU time of this thread alone (proc_pid_schedstat: nanoseconds on the CPU). */
function threadCpuSeconds(): number {
  try {
    const id = readlinkSync("/proc/thread-self").split("/").pop();
    return Number(readFileSync(`/proc/self/task/${id}/schedstat`, "utf8").split(" ")[0]) / 1e9;
  } catch {
    return process.cpuUsage().user / 1e6; // without /proc: the whole process's
  }
}
