import assert from "node:assert/strict";
import { test } from "node:test";
import { BURST_PACKETS } from "../../src/kernels/structs.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst, throwFault } from "../../src/memory/burst.js";
import { createRing } from "../../src/memory/ring.js";

test("a packet of two fragments goes through a ring and back into a burst", () => {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  const { kernels } = arena;
  const ring = createRing(arena, { entries: 64, entrySize: 16, metas: true });
  const out = createBurst(arena, 64);
  const into = createBurst(arena, 64);
  const a = kernels.takeFrame() >>> 0;
  const b = kernels.takeFrame() >>> 0;
  assert.equal(appendPacket(arena, out, [a + 64, 100, b, 4096]), 0);
  assert.equal(kernels.ringSend(ring.producer, out, 0, 17), 1);
  assert.equal(kernels.ringReceive(ring.consumer, into, 64), 1);
  assert.equal(arena.u32[(into + BURST_PACKETS) >>> 2], 1);
  throwFault(arena, into, kernels.burstRelease(into, 0));
  throwFault(arena, out, kernels.burstRelease(out, 0));
  assert.equal(kernels.releaseFrame(a), 0, "freed twice");
});
