import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { shareArena } from "../../src/memory/arena.js";
import { createBurst } from "../../src/memory/burst.js";
import { sweepWorker } from "../../src/memory/owners.js";
import { createRing, destroyRing } from "../../src/memory/ring.js";
import { packetContext } from "../../src/packet/context.js";
import { viewOf } from "../../src/packet/packet.js";
import { addPacket, cut, emptyBurst, freeFrames, makeBench, viewBurst } from "./arena.js";
import type { ClonerData } from "./cloner.js";

test("four workers clone, cut and release the same packets at once, and lose nothing", async () => {
  const bench = makeBench();
  const { arena } = bench;
  const out = createBurst(arena, 256);
  const total = freeFrames(arena);
  const bytes = Buffer.from("the same bytes for all four, in several pieces");
  for (let i = 0; i < 8; i++) addPacket(bench, cut(bytes, 9));
  const rings = Array.from({ length: 4 }, () =>
    createRing(arena, { entries: 256, entrySize: 16, metas: true }),
  );
  for (const ring of rings) {
    for (const packet of viewBurst(bench)) {
      const held = packet.clone();
      const { burst, index } = viewOf(held);
      assert.equal(arena.kernels.packetMove(burst, index, out), 1);
      held.release();
    }
    assert.equal(arena.kernels.ringSend(ring.producer, out, 0, 17), 8);
    emptyBurst({ arena, burst: out });
  }
  const workers = rings.map((ring, i) => {
    const workerData: ClonerData = {
      share: shareArena(arena),
      consumer: ring.consumer,
      rounds: 4000,
      seed: i + 1,
      expected: bytes.toString("latin1"),
    };
    return new Worker(new URL("./cloner.js", import.meta.url), { workerData });
  });
  const codes = await Promise.all(
    workers.map(async (worker) => {
      const [code] = (await once(worker, "exit")) as [number];
      return code;
    }),
  );
  assert.deepEqual(codes, [0, 0, 0, 0]);
  for (const packet of viewBurst(bench)) assert.deepEqual(Buffer.from(packet.copy()), bytes);
  emptyBurst(bench);
  for (const ring of rings) destroyRing(arena, ring);
  // What a worker's magazines hold is free; sweeping them proves that nothing else was left behind.
  for (let owner = 2; owner <= 5; owner++) assert.equal(sweepWorker(arena, owner), 0);
  assert.equal(freeFrames(arena), total, "free + held == total");
  assert.equal(packetContext(arena).ledger.held, 0);
});
