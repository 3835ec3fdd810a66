import assert from "node:assert/strict";
import { test } from "node:test";
import { receive, send } from "../../src/device/e1000e/run.js";
import { drainBurst, freeFrames, newBurst, openPair, putPacket } from "./cards.js";

function udpFrame(bytes: number, fill = 0): Uint8Array {
  const frame = new Uint8Array(bytes).map((_, i) => (i * 7 + fill) & 0xff);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
  return frame;
}

test("a packet goes from one card's driver over the wire to the other's", async () => {
  const pair = openPair();
  const { arena, a, b, settle } = pair;
  const out = newBurst(arena);
  const into = newBurst(arena);
  const free = freeFrames(arena, into);
  const sent = [udpFrame(60), udpFrame(61, 3), udpFrame(1514, 9)];
  for (const frame of sent) putPacket(arena, out, frame);
  assert.equal(send(a.card, 0, out, 0), 3);
  settle();
  assert.equal(receive(b.card, 0, into, 64), 3);
  const got = drainBurst(arena, into);
  assert.deepEqual(
    got.map((packet) => packet.bytes),
    sent.map((frame) => Buffer.from(frame)),
  );
  drainBurst(arena, out);
  arena.kernels.e1000eClean(a.card.tx[0].state);
  assert.equal(freeFrames(arena, into), free);
  await pair.close();
});
