// Two kernels' worth of network (namespaces), and between them nothing but millrace: each packet comes in on one
// card by DMA and leaves on the other from the very same frame.
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { BURST_PACKETS } from "../../src/kernels/structs.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { throwFault } from "../../src/memory/burst.js";
import { parseLocator } from "../../src/ports/locator.js";
import { openNicPort } from "../../src/ports/nic/nic.js";
import type { PortDriver } from "../../src/ports/port.js";
import { freeFrames, newBurst } from "../device/cards.js";
import { interfaceAt, ip } from "./peers.js";
import { PLACES } from "./rig.js";

const run = promisify(execFile);
const SIDES = PLACES.map((place, index) => ({
  ...place,
  netns: `mrvm${index}`,
  address: `10.9.9.${index + 1}`,
}));

/** Puts each card's kernel interface into a namespace of its own, on one subnet; it is down yet. */
function setUpSides(): void {
  for (const { netns, peer, address } of SIDES) {
    ip("netns", "add", netns);
    const name = interfaceAt(peer);
    ip("addr", "flush", "dev", name);
    ip("link", "set", name, "netns", netns, "name", "net0");
    ip("-n", netns, "addr", "add", `${address}/24`, "dev", "net0");
    ip("-n", netns, "link", "set", "lo", "up");
    // Groups that nobody has joined end at the peer's own filter, and IPv6 talks to several.
    ip("netns", "exec", netns, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
  }
}

/** Packets that a namespace's interface has sent and received. */
async function kernelCounts(netns: string): Promise<{ readonly sent: number; readonly received: number }> {
  const { stdout } = await run("ip", ["-n", netns, "-j", "-s", "link", "show", "net0"]);
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
  const open = (card: string) =>
    openNicPort(arena, parseLocator(`nic:${card}`), {
      direction: "both",
      wait: "adaptive",
      signal: stop.signal,
    });
  setUpSides();
  const before = await Promise.all(SIDES.map(({ netns }) => kernelCounts(netns)));
  const ends = [await open(SIDES[0].card), await open(SIDES[1].card)] as const;
  try {
    for (const { netns } of SIDES) ip("-n", netns, "link", "set", "net0", "up");
    const running = forward(arena, ends, stop.signal);
    const inNetns = (side: number, ...command: readonly string[]) =>
      run("ip", ["netns", "exec", SIDES[side].netns, ...command]);
    const ping = await inNetns(0, "ping", "-c", "20", "-i", "0.05", "-W", "5", SIDES[1].address);
    assert.match(ping.stdout, /20 packets transmitted, 20 received, 0% packet loss/);
    const large = await inNetns(
      1,
      "ping",
      "-c",
      "5",
      "-i",
      "0.05",
      "-W",
      "5",
      "-s",
      "1472",
      SIDES[0].address,
    );
    assert.match(large.stdout, /5 received, 0% packet loss/);

    server = spawn("ip", ["netns", "exec", SIDES[1].netns, "iperf3", "-s", "-1"], { stdio: "ignore" });
    const ended = once(server, "exit");
    await sleep(1500);
    const client = await inNetns(0, "iperf3", "-c", SIDES[1].address, "-n", "4M", "-J");
    const { end } = JSON.parse(client.stdout);
    // The client stops when it has written everything; the server counts what it has read by then.
    assert.equal(end.sum_sent.bytes, 4 * 2 ** 20);
    assert.ok(end.sum_received.bytes >= 2 ** 20);
    await ended;
    await sleep(500);
    const after = await Promise.all(SIDES.map(({ netns }) => kernelCounts(netns)));
    stop.abort();
    await running;
    const [a, b] = ends.map((port) => port.counters());
    const counts = JSON.stringify({ before, after, a, b });
    // Each hand-over is counted on both sides of it: kernel, card, card, kernel. Between a kernel's interface and
    // a card lies QEMU's hub, which may drop without a word, so there one side may have less.
    for (const [index, [own, other]] of [[a, b] as const, [b, a] as const].entries()) {
      const sent = after[index].sent - before[index].sent;
      const received = after[index].received - before[index].received;
      assert.ok(own.received.packets + (own.dropped.missed ?? 0) <= sent, counts);
      const { reset, refused } = other.dropped;
      assert.equal(other.transmitted.packets + other.held + reset + refused, own.received.packets, counts);
      assert.ok(received <= own.transmitted.packets, counts);
    }
    context.diagnostic(`${a.received.packets} packets one way, ${b.received.packets} the other`);
  } finally {
    stop.abort();
    server?.kill();
    for (const { netns } of SIDES)
      if (readFileSync("/proc/mounts", "utf8").includes(`/run/netns/${netns}`)) ip("netns", "del", netns);
    for (const port of ends) await port.close();
  }
  assert.equal(freeFrames(arena, probe), free);
});
