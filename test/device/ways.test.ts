import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createStillMachine } from "../../src/device/model/inthread.js";
import { compareWays, countBatches } from "../../src/device/ways/compare.js";
import { makeDmaController, sendByDmaController } from "../../src/device/ways/dma-controller.js";
import { createArenaMemory } from "../../src/memory/arena.js";

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

test("millrace trace --bus prints the ledgers side by side", () => {
  const cli = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
  const run = (...options: string[]) =>
    spawnSync(process.execPath, [cli, "trace", ...options], { encoding: "utf8" });
  const text = run("--bus", "--bytes", "64").stdout;
  assert.match(text, /one packet of 64 bytes +port I\/O +memory-mapped buffer +DMA controller +bus master/);
  assert.match(text, /port writes +34 +0 +10 +0/);
  const lines = run("--bus", "--json").stdout.trimEnd().split("\n");
  assert.equal(lines.length, 10);
  assert.equal(JSON.parse(lines[0]).ledger.portWrites, 759);
  assert.equal(run("--bus", "--bytes", "10").status, 2);
  assert.equal(run().status, 2);
});
