// V8 merges plain reads of a typed array and drops those whose result is not used. A register, or memory that a
// device writes, must be read each time the program says so. Another thread plays the device here: it changes a
// word without pause, so two reads that are really made will, now and then, differ.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { createWindowBar } from "../../src/device/bus/window.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { allocateRegion } from "../../src/memory/region.js";

const LIMIT = 60_000; // milliseconds: where processors are scarce, the other thread runs only now and then
const READS = 400_000;

async function whileCounting(word: Int32Array<SharedArrayBuffer>, body: () => void): Promise<void> {
  const worker = new Worker(
    `const { parentPort, workerData } = require("node:worker_threads");
     parentPort.postMessage("runs");
     for (;;) for (let i = 0; i < 100000; i++) workerData[0] = workerData[0] + 1;`,
    { eval: true, workerData: word },
  );
  try {
    await new Promise((resolve) => worker.once("message", resolve));
    body();
  } finally {
    await worker.terminate();
  }
}

test("two reads of a register are two reads, also in a hot loop, and a poll sees what changes", async () => {
  const arena = createArenaMemory({ bytes: 16 * 2 ** 20 });
  const window = allocateRegion(arena, 4096);
  const bar = createWindowBar(arena, 0, window, 4096);
  const word = new Int32Array(arena.buffer, window + 64, 1);
  const changes = (read: () => number) => {
    let different = 0;
    for (let i = 0; i < READS; i++) {
      const first = read();
      if (read() !== first) different++;
    }
    return different;
  };
  await whileCounting(word, () => {
    let different = 0;
    changes(() => bar.read32(64)); // until it is optimized
    const limit = performance.now() + LIMIT;
    while (different === 0 && performance.now() < limit) different = changes(() => bar.read32(64));
    assert.ok(different > 0, "reads were merged");
    // A poll that waits for a change ends: the load has not been moved out of the loop.
    for (let round = 0; round < 50; round++) {
      const before = bar.read32(64);
      let spins = 0;
      while (bar.read32(64) === before && spins < 4e9) spins++;
      assert.ok(spins < 4e9, "the read was moved out of the loop");
    }
  });
});

function unusedReads(how: "bar" | "plain") {
  const script = fileURLToPath(new URL("./unused-read.js", import.meta.url));
  return spawnSync(process.execPath, [script, how], { encoding: "utf8" });
}

test("a read whose value nobody wants is made all the same", (t) => {
  assert.equal(
    unusedReads("bar").signal,
    "SIGSEGV",
    "the page was gone: a read that is made ends the process",
  );
  const plain = unusedReads("plain");
  assert.match(plain.signal ?? plain.stdout, /SIGSEGV|not made/);
  const fate = plain.signal === "SIGSEGV" ? "made" : "removed";
  t.diagnostic(`plain reads of a typed array were ${fate} by Node ${process.version}`);
});
