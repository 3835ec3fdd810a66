// A sender of frames at a rate, or the gather that receives them: one thread each, over one loop: port.
import { readFileSync, readlinkSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { defaultArena, memoryOf } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import { createOutlet } from "../../src/flow/outlet.js";
import { createPacer } from "../../src/flow/pace.js";
import { createPacketizer } from "../../src/flow/packetize.js";
import { openPort } from "../../src/flow/port.js";
import type { PacedMessage, PacedSeed } from "./run.js";

const { role, task } = workerData as PacedSeed;
const memory = memoryOf(defaultArena());
const tell = (message: PacedMessage) => parentPort?.postMessage(message);
const WARM_UP = 10; // frames, in which code is compiled

/** CPU seconds of this thread alone (proc_pid_schedstat). */
function cpuSeconds(): number {
  const id = readlinkSync("/proc/thread-self").split("/").pop();
  return Number(readFileSync(`/proc/self/task/${id}/schedstat`, "utf8").split(" ")[0]) / 1e9;
}

/** Seconds of processor and of time since it was made. */
function stopwatch(): () => { cpu: number; seconds: number } {
  const [cpu, started] = [cpuSeconds(), performance.now()];
  return () => ({ cpu: cpuSeconds() - cpu, seconds: (performance.now() - started) / 1000 });
}

async function send(): Promise<void> {
  const port = await openPort(task.locator, { direction: "out" });
  const maker = createPacketizer(memory, port.driver, {
    layout: task.layout,
    datagramSize: task.datagramBytes,
    ...(task.parameters === undefined ? {} : { parameters: task.parameters }),
  });
  const outlet = createOutlet(memory, port.driver);
  const { signal } = new AbortController();
  const claimed = Math.ceil(task.frameBytes / memory.frameSize);
  const frame = memory.kernels.claimFrames(claimed) >>> 0;
  if (frame === 0) throw new RangeError(`no memory for a frame of ${task.frameBytes} bytes`);
  const pacer = createPacer({ unit: "bits", perSecond: task.bitsPerSecond });
  let watch = stopwatch();
  for (let sent = 0; sent < WARM_UP + task.frames; sent++) {
    if (sent === WARM_UP) watch = stopwatch();
    maker.begin(maker.single(frame, task.frameBytes));
    // The rate is that of the frames' bytes: what a burst holds of them is told by its packets' share.
    let left = task.frameBytes;
    for (let packets = maker.next(); packets > 0; packets = maker.next()) {
      await outlet.send(maker.burst, signal);
      const bytes = Math.min(left, packets * task.dataBytes);
      left -= bytes;
      await pacer.sent(packets, bytes, signal);
    }
  }
  const used = watch();
  maker.close();
  outlet.close();
  await port.close();
  memory.kernels.releaseFrames(frame, claimed);
  tell({ ...used, frames: task.frames });
}

async function receive(): Promise<void> {
  const port = await openPort(task.locator, { direction: "in" });
  const run = flow(port).gather({
    layout: task.layout,
    ...(task.parameters === undefined ? {} : { parameters: task.parameters }),
  });
  let whole = 0;
  let seen = 0;
  let watch = stopwatch();
  let used = watch();
  tell({ ready: true });
  for await (const chunk of run) {
    if (++seen === WARM_UP) watch = stopwatch();
    if (seen > WARM_UP && chunk.complete && chunk.length === task.frameBytes) whole++;
    used = watch();
    if (seen === WARM_UP + task.frames) break;
  }
  await port.close();
  tell({ ...used, frames: whole });
}

await (role === "send" ? send() : receive());
