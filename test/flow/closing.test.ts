// A flow over a port whose owner closes it: it ends as if the port had ended, with everything accounted for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createArena, memoryOf } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance } from "../../src/flow/report.js";
import { framesInUse, rtp, sendDatagrams } from "../kit/datagrams.js";

const PAYLOAD = new Uint8Array(500);
/** Chunks of ten datagrams; of the last only half comes, and no marker. */
const DATAGRAMS = Array.from({ length: 95 }, (_, i) =>
  rtp(i, Math.floor(i / 10), PAYLOAD, { marker: i % 10 === 9 }),
);

for (const wait of ["adaptive", "interrupt", "busy"] as const)
  for (const sink of ["file:/dev/null", undefined])
    test(`closing the port ends a flow that waits (${wait}) for it, into ${sink ?? "a loop over its chunks"}`, async () => {
      const arena = createArena({ bytes: 64 * 2 ** 20 });
      const name = `loop:closing-${wait}-${sink === undefined}?link=datagram`;
      const out = await openPort(name, { arena });
      const port = await openPort(name, { arena, wait });
      let seen = 0;
      let enough = () => {};
      const nine = new Promise<void>((resolve) => {
        enough = resolve;
      });
      const chunks = flow(port)
        .gather({ layout: "rtp", timeout: 1e6 })
        .transform(() => {
          if (++seen === 9) enough();
        });
      const ended =
        sink !== undefined
          ? chunks.to(sink)
          : (async () => {
              for await (const _ of chunks);
              return chunks.report();
            })();
      await sendDatagrams(out, DATAGRAMS);
      await nine;
      await port.close();
      const report = await ended;
      assert.equal(imbalance(report), 0, JSON.stringify(report));
      assert.equal(report.received.packets, 95);
      assert.equal(report.delivered.packets, 95);
      assert.equal(report.held, 0);
      await out.close();
      assert.equal(framesInUse(memoryOf(arena)), 0);
    });

test("a port closed in the middle of a burst leaves the burst to the flow that is at work on it", async () => {
  const arena = createArena({ bytes: 64 * 2 ** 20 });
  const out = await openPort("loop:closing-burst?link=datagram", { arena });
  const port = await openPort("loop:closing-burst?link=datagram", { arena });
  await sendDatagrams(out, DATAGRAMS);
  const bursts = flow(port);
  let packets = 0;
  for await (const burst of bursts) {
    await port.close();
    for (const packet of burst) {
      assert.equal(packet.u8(0), 0x80);
      packets++;
    }
  }
  const report = bursts.report();
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  assert.equal(report.delivered.packets, packets);
  await out.close();
  assert.equal(framesInUse(memoryOf(arena)), 0);
});
