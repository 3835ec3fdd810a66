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

const WRONG: Readonly<Record<string, (mine: number, gone: number) => readonly number[]>> = {
  "goes past the end of its frame": (mine) => [mine + 64, 4096],
  "names no frame": () => [0, 60],
  "lies in a frame that was given back": (_, gone) => [gone + 64, 60],
  "ends in a frame that was given back": (mine, gone) => [mine + 64, 60, gone + 64, 60],
};

for (const [wrong, pieces] of Object.entries(WRONG))
  test(`a packet that ${wrong} ends what goes into a ring, and is all where it was`, () => {
    const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
    const { kernels } = arena;
    const ring = createRing(arena, { entries: 64, entrySize: 16, metas: true });
    const [out, into] = [createBurst(arena, 64), createBurst(arena, 64)];
    const frames = Array.from({ length: 4 }, () => kernels.takeFrame() >>> 0);
    const [first, mine, last, gone] = frames;
    kernels.releaseFrame(gone);
    for (const packet of [[first + 64, 60], pieces(mine, gone), [last + 64, 60]])
      appendPacket(arena, out, packet);
    assert.throws(() => throwFault(arena, out, kernels.ringSend(ring.producer, out, 0, 17)), {
      code: "ERR_FRAME",
    });
    const held = () => frames.map((frame) => kernels.holds(frame));
    assert.deepEqual(held(), [0, 1, 1, 0]);
    assert.equal(kernels.ringReceive(ring.consumer, into, 64), 1, "what stood before it went");
    assert.deepEqual(held(), [1, 1, 1, 0]);
  });
