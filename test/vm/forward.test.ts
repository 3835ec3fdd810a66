// Two kernels' worth of network (namespaces), and between them nothing but millrace: each packet comes in on one
// card by DMA and leaves on the other from the very same frame.
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { promisify } from "node:util";
import { openBus } from "../../src/device/bus/open.js";
import { openNic } from "../../src/device/nic.js";
import { BURST_PACKETS } from "../../src/kernels/structs.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { throwFault } from "../../src/memory/burst.js";
import { createNicPort } from "../../src/ports/nic/nic.js";
import type { PortDriver } from "../../src/ports/port.js";
import { drainBurst, freeFrames, newBurst } from "../device/cards.js";
import { eventually, interfaceAt, ip, untilQuiet } from "./peers.js";
import { PLACES } from "./rig.js";

const run = promisify(execFile);
const SIDES = PLACES.map((place, index) => ({
  name: interfaceAt(place.peer),
  card: place.card,
  netns: `mrvm${index}`,
  address: `10.9.9.${index + 1}`,
}));
type Side = (typeof SIDES)[number];
/** Bytes that iperf3 may have under way: far fewer packets than QEMU's hub queues before it drops. */
const WINDOW = 64 * 1024;

/** Puts each card's kernel interface into a namespace of its own, on one subnet; it is down yet. */
function setUpSides(): void {
  for (const { netns, name, address } of SIDES) {
    ip("netns", "add", netns);
    ip("addr", "flush", "dev", name);
    ip("link", "set", name, "netns", netns);
    ip("-n", netns, "addr", "add", `${address}/24`, "dev", name);
    ip("-n", netns, "link", "set", "lo", "up");
    // Groups that nobody has joined end at the peer's own filter, and IPv6 talks to several.
    ip("netns", "exec", netns, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
  }
}

/** Gives the interfaces back: a namespace that ends would do so some time later. */
function takeDownSides(): void {
  for (const { netns, name } of SIDES) {
    if (!readFileSync("/proc/mounts", "utf8").includes(`/run/netns/${netns}`)) continue;
    if (!existsSync(`/sys/class/net/${name}`)) ip("-n", netns, "link", "set", name, "netns", "1");
    ip("netns", "del", netns);
  }
}

/** Once the kernel's interface has a carrier: before, it drops without a word what it is to send. */
async function bringUp({ netns, name }: Side): Promise<void> {
  ip("-n", netns, "link", "set", name, "up");
  await eventually(`${name} has a carrier`, async () => {
    const { stdout } = await run("ip", ["-n", netns, "-j", "link", "show", name]);
    return (JSON.parse(stdout)[0].flags as string[]).includes("LOWER_UP");
  });
}

/** Packets that a namespace's interface has sent and received. */
async function kernelCounts({ netns, name }: Side): Promise<{
  readonly sent: number;
  readonly received: number;
}> {
  const { stdout } = await run("ip", ["-n", netns, "-j", "-s", "link", "show", name]);
  const [{ stats64 }] = JSON.parse(stdout);
  return { sent: stats64.tx.packets, received: stats64.rx.packets };
}

/** Moves packets between two ports until the signal aborts. */
async function forward(
  arena: ReturnType<typeof createArenaMemory>,
  ends: readonly [PortDriver, PortDriver],
  signal: AbortSignal,
): Promise<void> {
  const burst = newBurst(arena);
  while (!signal.aborted) {
    let moved = 0;
    for (const [from, to] of [ends, [...ends].reverse()]) {
      from.receive(burst);
      const packets = arena.u32[(burst + BURST_PACKETS) >>> 2];
      for (let first = to.send(burst, 0); first < packets; first = to.send(burst, first))
        await to.writable(signal);
      throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
      moved += packets;
    }
    if (moved > 0) continue;
    const wait = new AbortController();
    const either = AbortSignal.any([signal, wait.signal]);
    await Promise.race(ends.map((port) => port.readable(either))).catch(() => {});
    wait.abort();
  }
}

test("ping and iperf3 go from one card to the other through millrace, and every packet is accounted for", async (context) => {
  const arena = createArenaMemory({ bytes: 64 * 2 ** 20 });
  const probe = newBurst(arena);
  const free = freeFrames(arena, probe);
  const stop = new AbortController();
  let server: ChildProcess | undefined;
  const open = async (card: string) => {
    const nic = await openNic(await openBus(arena, card), new Map());
    await eventually("the card's link is up", () => nic.linkUp(0));
    return createNicPort(arena, nic, "adaptive");
  };
  setUpSides();
  const ends = [await open(SIDES[0].card), await open(SIDES[1].card)] as const;
  try {
    const take = () =>
      ends.reduce((sum, port) => sum + port.receive(probe) + drainBurst(arena, probe).length, 0);
    await untilQuiet(take); // what earlier tests left in the cables
    const before = await Promise.all(SIDES.map(kernelCounts));
    const had = ends.map((port) => port.counters().received.packets);
    for (const side of SIDES) await bringUp(side);
    const running = forward(arena, ends, stop.signal);
    const inNetns = (side: number, ...command: readonly string[]) =>
      run("ip", ["netns", "exec", SIDES[side].netns, ...command]);
    const ping = async (side: number, count: number, ...options: readonly string[]) => {
      const common = ["-c", String(count), "-i", "0.05", "-W", "60"];
      const { stdout } = await inNetns(side, "ping", ...common, ...options, SIDES[1 - side].address);
      assert.match(stdout, new RegExp(`${count} received, 0% packet loss`));
    };
    await ping(0, 20);
    await ping(1, 5, "-s", "1472");

    server = spawn("ip", ["netns", "exec", SIDES[1].netns, "iperf3", "-s", "-1", "--forceflush"]);
    const ended = once(server, "exit");
    await once(server.stdout!, "data"); // it says that it listens
    const bytes = 4 * 2 ** 20;
    const client = await inNetns(
      ...([0, "iperf3", "-c", SIDES[1].address, "-J"] as const),
      ...["-n", String(bytes), "-w", String(WINDOW)],
    );
    const { end } = JSON.parse(client.stdout);
    // The client stops when it has written everything; the server counts what it has read by then. What lies
    // between fits into the two windows, which Linux makes twice as large as asked for.
    assert.equal(end.sum_sent.bytes, bytes);
    assert.ok(end.sum_received.bytes >= bytes - 4 * WINDOW);
    await ended;
    // Each hand-over is counted on both sides of it: kernel, card, card, kernel.
    let counts = "";
    const balanced = async () => {
      const after = await Promise.all(SIDES.map(kernelCounts));
      const cards = ends.map((port) => port.counters());
      counts = JSON.stringify({ before, had, after, cards });
      return SIDES.every((_, i) => {
        const [own, other] = [cards[i], cards[1 - i]];
        const received = own.received.packets - had[i];
        const { reset, refused } = other.dropped;
        return (
          received + (own.dropped.missed ?? 0) === after[i].sent - before[i].sent &&
          other.transmitted.packets + other.held + reset + refused === received &&
          after[1 - i].received - before[1 - i].received === other.transmitted.packets
        );
      });
    };
    await eventually("every packet is accounted for", balanced).catch((error) => {
      throw new Error(`${error.message}: ${counts}`);
    });
    stop.abort();
    await running;
    const [a, b] = ends.map((port) => port.counters());
    context.diagnostic(`${a.received.packets} packets one way, ${b.received.packets} the other`);
  } finally {
    stop.abort();
    server?.kill();
    takeDownSides();
    for (const port of ends) await port.close();
  }
  assert.equal(freeFrames(arena, probe), free);
});
