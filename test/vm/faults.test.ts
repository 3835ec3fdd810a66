// What happens when things go wrong on real hardware: a reset in the middle of traffic, a DMA to nowhere.
import assert from "node:assert/strict";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openBus } from "../../src/device/bus/open.js";
import { openE1000e } from "../../src/device/e1000e/open.js";
import * as e1000e from "../../src/device/e1000e/run.js";
import { openNic } from "../../src/device/nic.js";
import { openVirtioCard, recover } from "../../src/device/virtio/card.js";
import * as virtio from "../../src/device/virtio/run.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { drainBurst, freeFrames, newBurst, putPacket, type Received } from "../device/cards.js";
import { udpFrame } from "../device/ipv4-frames.js";
import { eventually, macOf, setUpPeer, untilQuiet } from "./peers.js";
import { boundSocket, isUdpTo, macBytes, PLACES, type Place } from "./rig.js";

interface Resettable {
  receive(burst: number): void;
  reset(): void;
  settled(): Promise<unknown>;
  resets(): number;
  close(): Promise<void>;
}

async function openResettable(
  place: Place,
  arena: ReturnType<typeof createArenaMemory>,
): Promise<Resettable> {
  const bus = await openBus(arena, place.card);
  if (place.name === "virtio") {
    const card = openVirtioCard(bus);
    return {
      receive: (burst) => virtio.receive(card, 0, burst, 256),
      reset: () => recover(card, "the test asks for it"),
      settled: async () => {},
      resets: () => card.resets,
      close: () => virtio.closeCard(card),
    };
  }
  const card = openE1000e(bus);
  await eventually("the link is up", () => e1000e.updateLink(card));
  return {
    receive: (burst) => e1000e.receive(card, 0, burst, 256),
    reset: () => e1000e.recover(card),
    settled: () => eventually("the link is up", () => e1000e.updateLink(card)),
    resets: () => card.resets,
    close: () => e1000e.closeCard(card),
  };
}

for (const place of PLACES) {
  test(`${place.name}: resets in the middle of traffic lose packets, but no frame and not the card`, async () => {
    const arena = createArenaMemory({ bytes: 48 * 2 ** 20 });
    const into = newBurst(arena);
    const free = freeFrames(arena, into);
    const card = await openResettable(place, arena);
    await setUpPeer(place.peer, place.kernel, place.own, macBytes(place.mac));
    const socket = await boundSocket(place.kernel, 0);
    const flood = setInterval(() => {
      for (let i = 0; i < 20; i++) socket.send(Buffer.alloc(500, i), 9, place.own);
    }, 5);
    try {
      for (let round = 0; round < 4; round++) {
        const got: Received[] = [];
        await eventually("traffic comes", () => {
          card.receive(into);
          got.push(...drainBurst(arena, into).filter(isUdpTo(9)));
          return got.length >= 60;
        });
        for (const { bytes } of got) assert.deepEqual(bytes.subarray(42, 542), Buffer.alloc(500, bytes[42]));
        card.reset();
        await card.settled();
      }
      assert.equal(card.resets(), 4);
    } finally {
      clearInterval(flood);
      socket.close();
      await untilQuiet(() => {
        card.receive(into);
        return drainBurst(arena, into).length;
      });
      await card.close();
    }
    assert.equal(freeFrames(arena, into), free);
  });

  test(`${place.name}: a DMA to an address that was never mapped is stopped and reported; the card comes back`, async () => {
    const arena = createArenaMemory({ bytes: 48 * 2 ** 20 });
    const out = newBurst(arena);
    const free = freeFrames(arena, out);
    const nic = await openNic(await openBus(arena, place.card), new Map());
    await eventually("the link is up", () => nic.linkUp(0));
    assert.equal(nic.bus.interruptKind, "msix");
    const peer = await setUpPeer(place.peer, place.kernel, place.own, macBytes(place.mac));
    const addresses = {
      from: macBytes(place.mac),
      to: macOf(peer),
      source: place.own,
      destination: place.kernel,
    };
    const socket = await boundSocket(place.kernel, 7);
    const heard: string[] = [];
    socket.on("message", (message) => heard.push(message.toString()));
    const send = (text: string) => {
      putPacket(arena, out, udpFrame(addresses, 9, 7, Buffer.from(text)));
      nic.send(out, 0);
      drainBurst(arena, out);
    };
    const log = openSync("/dev/kmsg", constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      send("mapped");
      await eventually("it arrives", () => heard.length === 1);
      nic.clean();
      readLog(log); // what came before is not looked for
      const frames = arena.frames * arena.frameSize;
      nic.bus.unmap(0, frames);
      send("into the void");
      let report = "";
      await eventually("the IOMMU reports it", () => {
        report += readLog(log);
        return /DMAR: \[DMA Read/.test(report);
      });
      assert.match(report, new RegExp(`Request device \\[${place.card.slice(5)}\\] fault addr`));
      nic.bus.map(0, frames);
      // The card may have stopped for good; then its driver's watch resets it.
      await eventually("the card comes back", async () => {
        nic.watch(performance.now());
        send("back");
        await sleep(100);
        return heard.includes("back");
      });
      assert.ok(!heard.includes("into the void"));
    } finally {
      closeSync(log);
      socket.close();
      await nic.close();
    }
    assert.equal(freeFrames(arena, out), free);
  });
}

/** What the kernel has logged since the last call. */
function readLog(fd: number): string {
  const bytes = Buffer.alloc(8192);
  let text = "";
  while (true) {
    try {
      text += bytes.toString("latin1", 0, readSync(fd, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return text;
      if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error; // it was overwritten meanwhile
    }
  }
}
