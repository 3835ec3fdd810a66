import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { openBus } from "../../src/device/bus/open.js";
import { arenaBase } from "../../src/linux/mapping.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { PLACES } from "./rig.js";

const HUGE_PAGE = 2 ** 21;
const SWITCH = "/sys/kernel/mm/transparent_hugepage/enabled";

/** Bytes in huge pages of the mappings that touch a range of addresses, as the kernel tells (proc(5), smaps). */
function hugeBytes(from: number, to: number): number {
  let inside = false;
  let bytes = 0;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range !== null) inside = Number.parseInt(range[1], 16) < to && Number.parseInt(range[2], 16) > from;
    const size = /^AnonHugePages: +(\d+) kB/.exec(line);
    if (inside && size !== null) bytes += 1024 * Number(size[1]);
  }
  return bytes;
}

test("the frames that a card may reach lie in huge pages, and one entry of the IOMMU's tables can translate each", async () => {
  const before = /\[(\w+)\]/.exec(readFileSync(SWITCH, "utf8"))![1];
  writeFileSync(SWITCH, "madvise"); // now only those have them who ask for them
  const arena = createArenaMemory({ bytes: 64 * 2 ** 20 });
  const bytes = arena.frames * arena.frameSize;
  const bus = await openBus(arena, PLACES[0].card);
  try {
    const base = arenaBase(arena);
    assert.equal(hugeBytes(base, base + bytes), 0);
    bus.map(0, bytes);
    assert.ok(hugeBytes(base, base + bytes) >= bytes / 2);
    assert.equal((base - bus.bias) % HUGE_PAGE, 0, "a huge page starts at one for the device too");
    bus.unmap(0, bytes);
  } finally {
    await bus.close();
    writeFileSync(SWITCH, before);
  }
});
