import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createStillMachine } from "../../src/device/model/inthread.js";
import { traceIommu, traceModeration, traceRss, traceSplit } from "../../src/device/ways/card.js";
import { compareWays, countBatches } from "../../src/device/ways/compare.js";
import { makeDmaController, sendByDmaController } from "../../src/device/ways/dma-controller.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { DEFAULT_RSS_KEY, toeplitz } from "../../src/packet/toeplitz.js";

test("each way moves the same packet, and the ledger shows who moved it", async () => {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  for (const bytes of [60, 61, 1514]) {
    const ways = new Map((await compareWays(arena, bytes)).map(({ name, ledger }) => [name, ledger]));
    const words = Math.ceil(bytes / 2);
    assert.equal(ways.get("port I/O")!.portWrites, words + 2);
    assert.equal(ways.get("memory-mapped buffer")!.mmioWrites, Math.ceil(bytes / 4) + 1);
    assert.equal(
      ways.get("DMA controller")!.dmaReads,
      words,
      "a bus transaction a word, none the processor's",
    );
    assert.equal(ways.get("DMA controller")!.portWrites, 10);
    const master = ways.get("bus master")!;
    assert.equal(master.dmaReadBytes, bytes + 16, "the packet and its descriptor");
    assert.equal(master.mmioWrites, 2, "the tail, and the interrupt's mask");
  }
});

test("the more packets a batch has, the less a doorbell costs each", async () => {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  const batches = await countBatches(arena, 60, [1, 4, 32], 128);
  assert.deepEqual(
    batches.map(({ batch, ledger }) => ledger.mmioWrites * batch),
    [256, 256, 256],
    "two register writes a batch",
  );
  assert.deepEqual(
    batches.map(({ ledger }) => ledger.interrupts),
    [128, 32, 4],
  );
});

test("a DMA controller cannot reach beyond 16 MiB or across its page, and says so", async () => {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  const machine = createStillMachine(arena);
  const bus = machine.fit(
    "dma@model",
    makeDmaController(() => {}),
  );
  const refusal = { code: "ERR_DEVICE", message: /cannot move/ };
  await assert.rejects(sendByDmaController(bus, 16 * 2 ** 20, 64), refusal);
  await assert.rejects(sendByDmaController(bus, 128 * 1024 - 32, 64), refusal);
  await assert.rejects(sendByDmaController(bus, 4097, 64), refusal);
  await bus.close();
});

test("the card's trace: flows by Toeplitz, data page-aligned, interrupts no faster than allowed, stray DMA stopped", async () => {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  const flows = [1, 2, 3, 4, 5, 6, 7, 8].map(
    (source) => ({ protocol: "tcp", source, destination: 80 }) as const,
  );
  for (const { source, hash, entry, queue } of await traceRss(arena, flows)) {
    const input = Uint8Array.from([10, 0, 0, 1, 10, 0, 0, 2, 0, source, 0, 80]);
    assert.equal(hash, toeplitz(DEFAULT_RSS_KEY, input));
    assert.equal(entry, hash & 127);
    assert.equal(queue, hash & 1);
  }
  const [split] = await traceSplit(arena, [{ ...flows[0], payload: 1000 }]);
  assert.deepEqual(
    split.pieces.map(({ bytes }) => bytes),
    [54, 1000],
  );
  assert.equal(split.pieces[1].offset, 0);
  for (const { moderation, interrupts, packets } of await traceModeration(arena, [0, 50, 200], 400, 5))
    assert.ok(interrupts > 0 && interrupts <= Math.min(packets, 1 + (packets * 5) / Math.max(1, moderation)));
  const [right, unmapped, off] = await traceIommu(arena);
  assert.deepEqual([right.stopped, right.packets], [undefined, 1]);
  assert.equal(unmapped.stopped, arena.frames * arena.frameSize);
  assert.ok(off.stopped !== undefined && off.packets === 0);
});

test("millrace trace prints the ledgers side by side, and what the card does", () => {
  const cli = fileURLToPath(new URL("../../lib/millrace.js", import.meta.url));
  const run = (...options: string[]) =>
    spawnSync(process.execPath, [cli, "trace", ...options], { encoding: "utf8" });
  assert.match(run("--card").stdout, /RSS: flow +hash +table entry +queue/);
  const text = run("--bus", "--bytes", "64").stdout;
  assert.match(text, /one packet of 64 bytes +port I\/O +memory-mapped buffer +DMA controller +bus master/);
  assert.match(text, /port writes +34 +0 +10 +0/);
  const lines = run("--bus", "--json").stdout.trimEnd().split("\n");
  assert.equal(lines.length, 10);
  assert.equal(JSON.parse(lines[0]).ledger.portWrites, 759);
  assert.equal(run("--bus", "--bytes", "10").status, 2);
  assert.equal(run().status, 2);
});
