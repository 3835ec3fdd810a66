// What each layout costs against raw, over a ring within one thread, the sender's work left out; and what share
// of a core the threads of a video and of a camera stream need at their real rates.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createArena, memoryOf } from "../src/flow/arena.js";
import { createGather } from "../src/flow/gather.js";
import { SEND_DATA_LENGTH, SEND_HEADER, SEND_HEADER_LENGTH, SEND_SIZE } from "../src/kernels/structs.js";
import { findLayout } from "../src/layout/find.js";
import { compileScatter } from "../src/layout/scatter.js";
import { appendPacket, createBurst } from "../src/memory/burst.js";
import { allocateRegion } from "../src/memory/region.js";
import { createRing } from "../src/memory/ring.js";
import { startBench } from "./compare.js";
import { type PacedTask, paced } from "./paced/run.js";

const DATA = 1200; // bytes of data in every datagram: a quarter of a row of 1080p video of 10 bit
const CHUNK = 720 * DATA;
const BURST = 256;
const BATCH = 16 * BURST;
const PACKETS = 60 * BATCH; // the first run, which does not count, warms the compiler up

const bench = startBench("layouts");
const arena = memoryOf(createArena({ bytes: 2048 * 2 ** 20 }));
const { kernels, u32 } = arena;
const into = createBurst(arena, 2048);

interface Form {
  readonly name: string;
  readonly layout: string;
  readonly variant?: string;
  readonly parameters?: Record<string, number>;
}

/** A sender that fills a ring with a layout's datagrams, and its gather; returns nanoseconds a datagram of data. */
function measured({ layout: name, variant, parameters }: Form): () => number {
  const layout = findLayout(name);
  const common = {
    ...(variant === undefined ? {} : { variant }),
    ...(parameters === undefined ? {} : { parameters }),
  };
  const header = compileScatter(layout, { ...common, datagramSize: 1400 }).headerBytes;
  const plan = compileScatter(layout, { ...common, datagramSize: header + DATA });
  if (plan.dataBytes !== DATA) throw new RangeError(`${name} carries ${plan.dataBytes} bytes, not ${DATA}`);
  const scatterer = plan.instantiate(arena.memory, allocateRegion(arena, plan.regionBytes));
  const table = allocateRegion(arena, BURST * SEND_SIZE);
  const ends = !["raw", "vdif", "vtp"].includes(name);
  const ring = createRing(arena, { entries: 2 * BATCH, entrySize: 16, metas: true });
  const burst = createBurst(arena, 1024);
  let ordinal = 0;
  let shape = scatterer.begin(CHUNK, ordinal);
  let next = 0;

  const frameAddress = () => {
    const frame = kernels.takeFrame() >>> 0;
    return frame + 128 + (((frame >>> arena.frameShift) & 15) << 6);
  };
  const control = (index: number) => {
    const at = frameAddress();
    appendPacket(arena, burst, [at, scatterer.control(index, at)]);
  };
  /** Puts a burst of data datagrams into the ring, with the control datagrams that go before and behind them. */
  const fill = () => {
    for (let made = 0; made < BURST; ) {
      if (next === 0) for (let i = 0; i < shape.before; i++) control(i);
      const count = Math.min(BURST - made, shape.datagrams - next);
      for (let i = 0; i < count; i++) u32[(table + i * SEND_SIZE + SEND_HEADER) >>> 2] = frameAddress();
      scatterer.headers(table, next, count);
      for (let i = 0; i < count; i++) {
        const entry = (table + i * SEND_SIZE) >>> 2;
        const length = u32[entry + SEND_HEADER_LENGTH / 4] + u32[entry + SEND_DATA_LENGTH / 4];
        appendPacket(arena, burst, [u32[entry + SEND_HEADER / 4], length]);
      }
      made += count;
      next += count;
      if (next < shape.datagrams) continue;
      for (let i = 0; i < shape.after; i++) control(shape.before + i);
      shape = scatterer.begin(CHUNK, ++ordinal);
      next = 0;
    }
    kernels.ringSend(ring.producer, burst, 0, 0);
    kernels.burstRelease(burst, 0);
  };

  const gather = createGather(
    arena,
    {
      layout: name,
      ...(ends ? {} : { chunkSize: CHUNK }),
      ...(parameters === undefined ? {} : { parameters }),
    },
    { linkType: "DATAGRAM", live: false, merged: false },
  );
  return () => {
    let spent = 0; // microseconds of processor time: what else the machine does is not in it
    let datagrams = 0;
    for (let batch = 0; batch < PACKETS; batch += BATCH) {
      for (let filled = 0; filled < BATCH; filled += BURST) fill();
      const start = process.cpuUsage();
      while (kernels.ringReceive(ring.consumer, into, BURST) > 0) {
        gather.begin(into);
        for (;;) {
          const whole = gather.work() === "whole";
          for (let chunk = gather.take(); chunk !== undefined; chunk = gather.take()) chunk.release();
          if (whole) break;
        }
        kernels.burstRelease(into, 0);
      }
      const { user, system } = process.cpuUsage(start);
      spent += user + system;
      datagrams += BATCH;
    }
    return (spent * 1000) / datagrams;
  };
}

const video = { name: "rfc4175, 10 bit", layout: "rfc4175", parameters: { stride: 4800, pixel: 2.5 } };
const camera = { name: "gvsp", layout: "gvsp" };
const folder = mkdtempSync(join(tmpdir(), "millrace-bench-"));
const own = join(folder, "own.json");
writeFileSync(own, JSON.stringify({ ...findLayout("spead"), name: "own" }));

const raw = measured({ name: "raw", layout: "raw" });
const forms: Form[] = [
  { name: "rtp", layout: "rtp" },
  video,
  camera,
  { name: "gvsp, extended ids", layout: "gvsp", variant: "extended" },
  { name: "gvsp, multi-part", layout: "gvsp", variant: "multi-part" },
  { name: "vdif", layout: "vdif" },
  { name: "vtp", layout: "vtp" },
  { name: "spead 64-48", layout: "spead" },
  { name: "spead 64-40", layout: "spead", variant: "64-40" },
  { name: "spead 64-48 as a user's file", layout: own },
];
for (const form of forms) {
  await bench.compare({
    name: form.name,
    unit: `ns a datagram of ${DATA} B`,
    against: "raw",
    ours: measured(form),
    peer: raw,
    goal: "≤ 1.3",
  });
}
rmSync(folder, { recursive: true });

/** A real run at the rate of a real source, sender and receiver in a thread each over loop:. */
async function live(
  name: string,
  task: Omit<PacedTask, "locator" | "frames">,
  frames: number,
): Promise<void> {
  const shares = await paced(arena, { ...task, locator: `loop:${task.layout}?link=datagram`, frames });
  bench.note(`${name}: received in whole frames`, shares.gbits, "Gbit/s");
  bench.note(`${name}: receiving thread`, shares.receiver, "% of a core");
}

const hd = 1920 * 1080 * 2.5;
await live(
  "ST 2110-20 1080p60 10 bit over a loop",
  {
    layout: "rfc4175",
    parameters: video.parameters,
    datagramBytes: DATA + 20,
    dataBytes: DATA,
    frameBytes: hd,
    bitsPerSecond: hd * 8 * 60,
  },
  300,
);
const mono = 1920 * 1200;
await live(
  "GigE camera of 1 Gbit/s over a loop",
  { layout: "gvsp", datagramBytes: 1400, dataBytes: 1392, frameBytes: mono, bitsPerSecond: 1e9 },
  270,
);
bench.finish();
