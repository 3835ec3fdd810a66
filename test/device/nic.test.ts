import assert from "node:assert/strict";
import { test } from "node:test";
import { BURST_PACKETS } from "../../src/kernels/structs.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { parseLocator } from "../../src/ports/locator.js";
import { openNicPort } from "../../src/ports/nic/nic.js";
import { drainBurst, freeFrames, newBurst, putPacket } from "./cards.js";

const signal = new AbortController().signal;

const WAYS = [
  ["busy", "msix"],
  ["interrupt", "msix"],
  ["interrupt", "intx"],
  ["adaptive", "msi"],
] as const;
for (const [model, wait, interrupts] of ["e1000e", "virtio"].flatMap((name) =>
  WAYS.map((way) => [name, ...way] as const),
)) {
  test(`two modelled ${model} cards on one wire, each with a port: 2,000 packets arrive in order (${wait}, ${interrupts})`, async () => {
    const arena = createArenaMemory({ bytes: 64 * 2 ** 20 });
    const probe = newBurst(arena);
    const free = freeFrames(arena, probe);
    const open = (text: string) =>
      openNicPort(arena, parseLocator(text), { direction: "both", wait, signal });
    const [a, b] = await Promise.all([
      open(`nic:${model}@model?wire=between&interrupts=${interrupts}&mac=02:00:00:00:00:0a`),
      open(`nic:${model}@model?wire=between&interrupts=${interrupts}&mac=02:00:00:00:00:0b&ring=256`),
    ]);
    const out = newBurst(arena);
    const into = newBurst(arena);
    let sent = 0;
    let got = 0;
    const sender = (async () => {
      while (sent < 2000) {
        const batch = Math.min(32, 2000 - sent);
        for (let i = 0; i < batch; i++) {
          const frame = new Uint8Array(64);
          frame.set([2, 0, 0, 0, 0, 0x0b, 2, 0, 0, 0, 0, 0x0a, 0x88, 0xb5]);
          new DataView(frame.buffer).setUint32(14, sent + i);
          putPacket(arena, out, frame);
        }
        for (let first = 0; ; ) {
          first = a.send(out, first);
          if (first === batch) break;
          await a.writable(signal);
        }
        drainBurst(arena, out);
        sent += batch;
      }
    })();
    while (got < 2000) {
      await b.readable(signal);
      b.receive(into);
      for (const { bytes } of drainBurst(arena, into)) assert.equal(bytes.readUInt32BE(14), got++);
    }
    await sender;
    await a.close();
    await b.close();
    await b.close();
    assert.equal(arena.u32[(into + BURST_PACKETS) >>> 2], 0);
    assert.equal(a.counters().transmitted.packets, 2000);
    assert.equal(b.counters().received.packets, 2000);
    assert.equal(freeFrames(arena, probe), free);
  });
}

test("a card alone hears itself, and says what it does not know", async () => {
  const arena = createArenaMemory({ bytes: 64 * 2 ** 20 });
  const open = (text: string) =>
    openNicPort(arena, parseLocator(text), { direction: "both", wait: "adaptive", signal });
  const port = await open("nic:e1000e@model");
  const burst = newBurst(arena);
  putPacket(arena, burst, new Uint8Array(100).fill(1));
  port.send(burst, 0);
  drainBurst(arena, burst);
  while (port.receive(burst) === 0) await port.readable(signal);
  const [{ bytes }] = drainBurst(arena, burst);
  assert.equal(bytes.length, 100);
  await port.close();
  await assert.rejects(open("nic:e1000e@model?rings=7"), { code: "ERR_LOCATOR", message: /"rings"/ });
  await assert.rejects(open("nic:e1000e@model?ring=100"), { code: "ERR_DEVICE", message: /rxRing/ });
  await assert.rejects(open("nic:virtio@model?split"), { code: "ERR_LOCATOR", message: /"split"/ });
  await assert.rejects(open("nic:e1000e@model?interrupts=none"), {
    code: "ERR_DEVICE",
    message: /none of msix, msi, intx/,
  });
  await assert.rejects(open("nic:rtl8139@model"), { code: "ERR_DEVICE", message: /no model/ });
});
