// The network card's driver on its model: what the driver's side costs alone. The model runs between the timed
// pieces, in the same thread, so its cost is not in the figures.
import { readFileSync } from "node:fs";
import { openBus } from "../src/device/bus/open.js";
import { openE1000e } from "../src/device/e1000e/open.js";
import { ITR, STATUS } from "../src/device/e1000e/registers.js";
import { clean, closeCard, linkUp, receive, send } from "../src/device/e1000e/run.js";
import type { CardOptions } from "../src/device/e1000e/settings.js";
import { collect } from "../src/device/e1000e/statistics.js";
import { createModelE1000e } from "../src/device/model/e1000e/model.js";
import { createStillMachine } from "../src/device/model/inthread.js";
import { createWire } from "../src/device/model/wire.js";
import { createArenaMemory } from "../src/memory/arena.js";
import { appendPacket, createBurst } from "../src/memory/burst.js";
import { parseLocator } from "../src/ports/locator.js";
import { openNicPort } from "../src/ports/nic/nic.js";
import { type Case, measure, type Result, report } from "./harness.js";

const UNDER_WAY = 256; // packets between two runs of the model
const ROUNDS = 15;
const PHASES = 24;
const nanoseconds = () => performance.now() * 1e6;

/** A card whose cable comes back to itself: what it sends, it receives. */
async function openLoop(options: CardOptions) {
  const arena = createArenaMemory({ bytes: 128 * 2 ** 20 });
  const machine = createStillMachine(arena);
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const bus = machine.fit("e1000e@model", (host) => createModelE1000e(host, createWire(true), mac).device);
  const card = openE1000e(bus, { rxRing: 1024, txRing: 1024, moderation: 0, ...options });
  await linkUp(card);
  machine.settle();
  const burst = createBurst(arena, 1024);
  const packets = () => arena.u32[(burst + 4) >>> 2];
  return { arena, machine, card, burst, packets };
}
type Loop = Awaited<ReturnType<typeof openLoop>>;

function put(loop: Loop, bytes: number, pieces = 1): void {
  const list: number[] = [];
  for (let i = 0; i < pieces; i++) {
    const frame = loop.arena.kernels.takeFrame() >>> 0;
    list.push(frame + 64 + 64 * (i % 16), Math.floor(bytes / pieces));
  }
  appendPacket(loop.arena, loop.burst, list);
}

/** Forwarding: receive a batch, send it on. Time of the driver's calls alone, a packet. */
async function forwarding(
  batch: number,
  options: CardOptions = {},
): Promise<Case & { close(): Promise<void> }> {
  const loop = await openLoop(options);
  const { card, arena, machine, burst } = loop;
  for (let i = 0; i < UNDER_WAY; i++) put(loop, 64);
  send(card, 0, burst, 0);
  arena.kernels.burstRelease(burst, 0);
  machine.settle();
  return {
    name: `batch ${String(batch).padStart(3)}`,
    unit: "ns a packet",
    run: () => {
      let time = 0;
      let moved = 0;
      for (let phase = 0; phase < PHASES; phase++) {
        const from = nanoseconds();
        for (let left = UNDER_WAY; left > 0; ) {
          const packets = receive(card, 0, burst, batch);
          if (packets === 0) throw new Error("packets were lost");
          send(card, 0, burst, 0);
          arena.kernels.burstRelease(burst, 0);
          left -= packets;
          moved += packets;
        }
        time += nanoseconds() - from;
        machine.settle();
      }
      return time / moved;
    },
    close: async () => {
      const missed = collect(card).get("rx_missed") ?? 0;
      if (missed > 0 || card.lost > 0) throw new Error(`${missed} packets were missed, ${card.lost} lost`);
      await closeCard(card, 0);
    },
  };
}

/** Billions of cycles a second, as the kernel tells; 0 where it does not. */
function clockRate(): number {
  return Number(/cpu MHz\s*: ([\d.]+)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? 0) / 1000;
}

async function batches(): Promise<void> {
  const cases = await Promise.all([1, 4, 16, 32, 64, 256].map((batch) => forwarding(batch)));
  const heading = "driver alone, forwarding 64-byte packets, receive and send";
  const results = await measure(cases, ROUNDS);
  report(heading, results);
  const gigahertz = clockRate();
  const cycles = ({ median, low, high, ...rest }: Result): Result => ({
    ...rest,
    unit: "cycles a packet",
    median: median * gigahertz,
    low: low * gigahertz,
    high: high * gigahertz,
  });
  // Emmerich et al., "The Case for Writing Network Drivers in High-Level Programming Languages", ANCS 2019, batch 32.
  if (gigahertz > 0)
    report(`${heading}; published: ixy.js about 630 cycles, ixy in C about 95`, results.map(cycles));
  for (const each of cases) await each.close();
}

/** JavaScript heap that the driver's calls use, in bytes a packet; the model's own is not in it. */
async function heap(): Promise<void> {
  const loop = await openLoop({});
  const { card, arena, machine, burst } = loop;
  const used = () => process.memoryUsage().heapUsed;
  const grown = (calls: () => void) => {
    const first = used();
    const before = used(); // asking costs too: as much as between these two
    calls();
    return used() - before - (before - first);
  };
  const one: Case = {
    name: "batch  32",
    unit: "bytes a packet",
    run: () => {
      const figures: number[] = [];
      for (let phase = 0; phase < PHASES; phase++) {
        for (let i = 0; i < UNDER_WAY; i++) put(loop, 64);
        const sending = grown(() => {
          send(card, 0, burst, 0);
          arena.kernels.burstRelease(burst, 0);
        });
        machine.settle();
        const receiving = grown(() => {
          for (let packets = 0; packets < UNDER_WAY; ) {
            packets += receive(card, 0, burst, 32);
            arena.kernels.burstRelease(burst, 0);
          }
          clean(card);
        });
        figures.push((sending + receiving) / UNDER_WAY);
      }
      return figures.sort((a, b) => a - b)[PHASES / 2]; // a collection in between makes a figure negative
    },
  };
  report("heap that the driver's calls use", await measure([one], 9, 10));
  await closeCard(card, 0);
}

/** Receiving only: hand a frame over, or copy the packet out of it. */
async function copybreak(): Promise<void> {
  const results = [];
  for (const bytes of [64, 128, 256, 512, 1024, 1500]) {
    const cases = await Promise.all(
      [0, 2048].map(async (limit): Promise<Case> => {
        const loop = await openLoop({ copybreak: limit });
        const { card, arena, machine, burst } = loop;
        return {
          name: `${String(bytes).padStart(4)} bytes, ${limit === 0 ? "handed over" : "copied"}`,
          unit: "ns a packet",
          run: () => {
            let time = 0;
            for (let phase = 0; phase < PHASES; phase++) {
              for (let i = 0; i < UNDER_WAY; i++) put(loop, bytes);
              let sent = 0;
              let got = 0;
              while (got < UNDER_WAY) {
                sent = send(card, 0, burst, sent);
                if (sent === UNDER_WAY) arena.kernels.burstRelease(burst, 0);
                machine.settle();
                if (sent < UNDER_WAY) continue;
                for (let packets = 1; packets > 0; ) {
                  const from = nanoseconds();
                  packets = receive(card, 0, burst, 32);
                  arena.kernels.burstRelease(burst, 0);
                  time += nanoseconds() - from;
                  got += packets;
                }
              }
              clean(card);
            }
            return time / (PHASES * UNDER_WAY);
          },
        };
      }),
    );
    results.push(...(await measure(cases, ROUNDS)));
  }
  report("receive: hand-over against copybreak", results);
}

/** Sending only: fragments as they stand, or copied together first. */
async function fragments(): Promise<void> {
  const results = [];
  for (const [pieces, size] of [2, 4, 8, 16].flatMap((count) =>
    [64, 256].map((bytes) => [count, bytes] as const),
  )) {
    const cases = await Promise.all(
      [false, true].map(async (linearize): Promise<Case> => {
        const loop = await openLoop({ mtu: 4096, flowControl: false, promiscuous: false });
        const { card, arena, machine, burst } = loop;
        return {
          name: `${String(pieces).padStart(2)} × ${size} bytes, ${linearize ? "linearized" : "scatter-gather"}`,
          unit: "ns a packet",
          run: () => {
            let time = 0;
            const packets = Math.floor(512 / pieces);
            for (let phase = 0; phase < PHASES; phase++) {
              const frames = Array.from({ length: packets * pieces }, () => arena.kernels.takeFrame() >>> 0);
              const whole = Array.from(
                { length: linearize ? packets : 0 },
                () => arena.kernels.takeFrame() >>> 0,
              );
              for (let i = 0; i < packets; i++) {
                const list = frames
                  .slice(i * pieces, (i + 1) * pieces)
                  .flatMap((frame) => [frame + 64, size]);
                appendPacket(arena, burst, linearize ? [whole[i], pieces * size] : list);
              }
              const from = nanoseconds();
              for (let i = 0; linearize && i < frames.length; i++) {
                const to = whole[Math.floor(i / pieces)] + (i % pieces) * size;
                arena.kernels.copyBytes(to, frames[i] + 64, size);
                arena.kernels.releaseFrame(frames[i]);
              }
              send(card, 0, burst, 0);
              arena.kernels.burstRelease(burst, 0);
              time += nanoseconds() - from;
              machine.settle();
              const again = nanoseconds();
              clean(card);
              time += nanoseconds() - again;
            }
            return time / (PHASES * packets);
          },
        };
      }),
    );
    results.push(...(await measure(cases, ROUNDS)));
  }
  report("send: scatter-gather against linearize and send", results);
}

/** A packet out and back through the port, with the model in its own thread: how soon it is noticed, how busy we are. */
async function waiting(): Promise<void> {
  const { signal } = new AbortController();
  const cases: Case[] = [];
  const loads: Case[] = [];
  const ports: { close(): Promise<void> }[] = [];
  for (const wait of ["busy", "interrupt", "adaptive"] as const) {
    const arena = createArenaMemory({ bytes: 64 * 2 ** 20 });
    const locator = parseLocator("nic:e1000e@model?moderation=0");
    const port = await openNicPort(arena, locator, { direction: "both", wait, signal });
    ports.push(port);
    const burst = createBurst(arena, 64);
    const once = async () => {
      appendPacket(arena, burst, [(arena.kernels.takeFrame() >>> 0) + 64, 64]);
      port.send(burst, 0);
      arena.kernels.burstRelease(burst, 0);
      while (port.receive(burst) === 0) await port.readable(signal);
      arena.kernels.burstRelease(burst, 0);
    };
    const name = wait === "busy" ? "poll" : wait;
    cases.push({
      name,
      unit: "µs out and back",
      run: async () => {
        const times: number[] = [];
        for (let i = 0; i < 50; i++) {
          const from = nanoseconds();
          await once();
          times.push((nanoseconds() - from) / 1000);
        }
        return times.sort((a, b) => a - b)[25];
      },
    });
    loads.push({
      name,
      unit: "% of this thread",
      run: async () => {
        // One packet every 5 ms: what the waiting in between costs.
        const before = performance.eventLoopUtilization();
        const until = performance.now() + 100;
        let next = performance.now();
        while (performance.now() < until) {
          await once();
          next += 5;
          const patience = AbortSignal.timeout(Math.max(1, Math.round(next - performance.now())));
          while (!patience.aborted) {
            await port.readable(patience).catch(() => {});
            port.receive(burst);
          }
        }
        return 100 * performance.eventLoopUtilization(before).utilization;
      },
    });
  }
  report("waiting for a packet: latency", await measure(cases, 9));
  report("waiting for a packet: load at one packet every 5 ms", await measure(loads, 5));
  for (const port of ports) await port.close();
}

/** What the model's bus itself costs its user, with the machine in its own thread. */
async function registers(): Promise<void> {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  const bus = await openBus(arena, "e1000e@model");
  const bar = bus.bar(0);
  const count = 256;
  const perAccess = (access: () => void): number => {
    bar.read32(STATUS.offset);
    const from = nanoseconds();
    for (let i = 0; i < count; i++) access();
    return (nanoseconds() - from) / count;
  };
  const cases: Case[] = [
    { name: "write", unit: "ns", run: () => perAccess(() => bar.write32(ITR.offset, 0)) },
    { name: "read", unit: "ns", run: () => perAccess(() => void bar.read32(STATUS.offset)) },
  ];
  report("a register of the model", await measure(cases, 50, 10));
  await bus.close();
}

/** Packets of the very first second of a driver's life, before anything is compiled: none may be lost. */
async function firstPackets(): Promise<void> {
  const { signal } = new AbortController();
  const total = 20_000;
  const once: Case = {
    name: `${total} packets from a cold start`,
    unit: "lost",
    run: async () => {
      const arena = createArenaMemory({ bytes: 64 * 2 ** 20 });
      const locator = parseLocator("nic:e1000e@model?promiscuous");
      const port = await openNicPort(arena, locator, { direction: "both", wait: "adaptive", signal });
      const out = createBurst(arena, 64);
      const into = createBurst(arena, 64);
      let got = 0;
      for (let sent = 0; sent < total; sent += 32) {
        for (let i = 0; i < 32; i++) appendPacket(arena, out, [(arena.kernels.takeFrame() >>> 0) + 64, 64]);
        for (let first = 0; first < 32; ) {
          first = port.send(out, first);
          got += port.receive(into);
          arena.kernels.burstRelease(into, 0);
          if (first < 32) await port.writable(signal);
        }
        arena.kernels.burstRelease(out, 0);
      }
      const limit = performance.now() + 2000;
      while (got < total && performance.now() < limit) {
        await port.readable(signal);
        got += port.receive(into);
        arena.kernels.burstRelease(into, 0);
      }
      await port.close();
      return total - got;
    },
  };
  report("no loss while the engine still compiles", await measure([once], 1, 0));
}

await firstPackets();
await batches();
await heap();
await copybreak();
await fragments();
await waiting();
await registers();
