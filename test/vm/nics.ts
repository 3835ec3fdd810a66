// The cards of the guest behind one face, and the kernel's interfaces they are cabled to.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Bus } from "../../src/device/bus/bus.js";
import { counterChange } from "../../src/device/bus/interrupts.js";
import { openBus } from "../../src/device/bus/open.js";
import {
  cardCounters,
  linkIsUp,
  openVirtioCard,
  recover as recoverVirtio,
  type VirtioOptions,
} from "../../src/device/virtio/card.js";
import * as virtio from "../../src/device/virtio/run.js";
import type { ArenaMemory } from "../../src/memory/arena.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { createBurst } from "../../src/memory/burst.js";

/** One card with its driver, and a burst to work with. */
export interface Nic {
  readonly bus: Bus;
  readonly arena: ArenaMemory;
  readonly burst: number;
  readonly mac: Uint8Array;
  readonly queues: number;
  receive(queue: number, most: number): number;
  send(queue: number, burst: number, first: number): number;
  clean(): void;
  /** Resolves at the next interrupt for receive or transmit, or after `milliseconds`. */
  wait(milliseconds: number): Promise<void>;
  linkUp(): boolean;
  reset(): void;
  /** Packets that the card has sent and received. */
  counts(): { readonly sent: number; readonly received: number; readonly lost: number };
  close(): Promise<void>;
}

export function makeArena(): ArenaMemory {
  return createArenaMemory({ bytes: 32 * 2 ** 20, frameSize: 2048 });
}

export async function openVirtio(
  address: string,
  options: VirtioOptions = {},
  arena: ArenaMemory = makeArena(),
): Promise<Nic> {
  const bus = await openBus(arena, address);
  const card = openVirtioCard(bus, options);
  const burst = createBurst(arena, 256);
  return {
    bus,
    arena,
    burst,
    mac: card.mac,
    queues: card.pairs,
    receive: (queue, most) => virtio.receive(card, queue, burst, most),
    send: (queue, from, first) => virtio.send(card, queue, from, first),
    clean: () => virtio.clean(card),
    wait: async (milliseconds) => {
      const seen = virtio.vectorsOf(card).map((vector) => ({
        vector,
        before: Atomics.load(arena.u32, bus.counter(vector) >>> 2),
      }));
      virtio.arm(card, { receive: true, transmit: false });
      const stop = new AbortController();
      const waits = seen.map(({ vector, before }) =>
        counterChange(arena, bus.counter(vector), before, milliseconds, stop.signal).catch(() => 0),
      );
      await Promise.race(waits);
      stop.abort();
      virtio.disarm(card);
    },
    linkUp: () => linkIsUp(card),
    reset: () => recoverVirtio(card, "the test asks for it"),
    counts: () => ({
      sent: cardCounters(card, "tx").packets,
      received: cardCounters(card, "rx").packets,
      lost: card.lost,
    }),
    close: () => virtio.closeCard(card),
  };
}

/** The kernel's interface on the device at a PCI address. */
export function interfaceAt(address: string): string {
  const folder = `/sys/bus/pci/devices/${address}`;
  const holder = readdirSync(folder).find((name) => /^virtio\d/.test(name));
  const [name] = readdirSync(`${folder}/${holder === undefined ? "" : `${holder}/`}net`);
  assert.ok(name, `the kernel drives no interface at ${address}`);
  return name;
}

export function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });
}

/** Gives the kernel's interface at a PCI address an IPv4 address, and one neighbour: the card it is cabled to. */
export function setUpPeer(address: string, own: string, neighbour: string, mac: Uint8Array): string {
  const name = interfaceAt(address);
  writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "1");
  ip("addr", "replace", `${own}/24`, "dev", name);
  ip("link", "set", name, "up");
  const text = [...mac].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  ip("neigh", "replace", neighbour, "lladdr", text, "dev", name);
  return name;
}

export function macOf(name: string): Uint8Array {
  const text = readFileSync(`/sys/class/net/${name}/address`, "utf8").trim();
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

/** Asks again until it holds; throws after `milliseconds`. */
export async function eventually(what: string, holds: () => boolean, milliseconds = 10_000): Promise<void> {
  const limit = performance.now() + milliseconds;
  while (!holds()) {
    if (performance.now() > limit) throw new Error(`${what}: not within ${milliseconds} ms`);
    await sleep(1);
  }
}
