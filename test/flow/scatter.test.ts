import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createArena, memoryOf } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance } from "../../src/flow/report.js";
import { scatter } from "../../src/flow/scatter.js";
import { framesInUse } from "../kit/datagrams.js";

const LAYOUTS = [
  { layout: "raw", gap: "skip", chunkSize: 100_000 },
  { layout: "rtp", gap: "skip" },
  { layout: "gvsp", gap: "zero" },
  { layout: "spead", gap: "zero" },
] as const;

for (const { layout, gap, ...more } of LAYOUTS)
  for (const impaired of ["", "&reorder=10%&duplicate=5%&distance=16"])
    test(`a file scattered as ${layout} over a loop${impaired} is gathered byte for byte`, async () => {
      if (layout === "raw" && impaired !== "") return; // raw has no order of its own
      const folder = mkdtempSync(join(tmpdir(), "millrace-"));
      try {
        const bytes = randomFillSync(new Uint8Array(3_000_001));
        writeFileSync(join(folder, "in"), bytes);
        const arena = createArena({ bytes: 128 * 2 ** 20 });
        const out = await openPort(`loop:scatter?link=datagram${impaired}`, { arena });
        const into = await openPort("loop:scatter?link=datagram", { arena });
        const gathered = flow(into)
          .gather({ layout, gap, ...more })
          .to(`file:${join(folder, "out")}`);
        const sent = await scatter(join(folder, "in"), out, { layout, chunkSize: 250_000, arena });
        await out.close();
        const report = await gathered;
        await into.close();
        assert.ok(Buffer.from(bytes).equals(readFileSync(join(folder, "out"))), JSON.stringify(report));
        assert.equal(imbalance(report), 0, JSON.stringify(report));
        assert.equal(imbalance(sent), 0, JSON.stringify(sent));
        assert.equal(framesInUse(memoryOf(arena)), 0);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
