// Reads a word whose value nobody wants, in a loop that V8 has optimized, and then takes the page away. A read that
// is really made ends this process with SIGSEGV; one that was optimized away does not notice.
import { openSync } from "node:fs";
import { createWindowBar } from "../../src/device/bus/window.js";
import { mapOver } from "../../src/linux/mapping.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { allocateRegion } from "../../src/memory/region.js";

const arena = createArenaMemory({ bytes: 16 * 2 ** 20 });
const window = allocateRegion(arena, 16384);
const bar = createWindowBar(arena, 0, window, 4096);
const words = arena.u32;
const at = (window + 64) >>> 2;

const throughBar = (count: number) => {
  for (let i = 0; i < count; i++) bar.read32(64);
};
const plainly = (count: number) => {
  for (let i = 0; i < count; i++) words[at];
};
const read = process.argv[2] === "plain" ? plainly : throughBar;

for (let round = 0; round < 30; round++) read(100_000);
mapOver(arena, window, 16384, { fd: openSync("/dev/zero", "r"), at: 0, protection: 0 }, "nothing");
read(10);
console.log("the reads were not made");
