import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { openBus } from "../../src/device/bus/open.js";
import type { VirtioFeature } from "../../src/device/virtio/features.js";
import { createBurst } from "../../src/memory/burst.js";
import { udpFrame } from "../device/ipv4-frames.js";
import { appendCut, drain } from "../device/packets.js";
import { makeArena, type Nic, virtioNic } from "../device/virtio-rig.js";
import { freeFrames } from "../packet/arena.js";
import { eventually, macOf, setUpPeer } from "./peers.js";
import { boundSocket, isUdpTo } from "./rig.js";

const CARD = "0000:00:11.0";
const PEER = "0000:00:19.0";
const OWN = "10.9.2.1"; // the kernel's
const CARDS = "10.9.2.2";

function addresses(nic: Nic, peer: string) {
  return { from: nic.mac, to: macOf(peer), source: CARDS, destination: OWN };
}

const shapes: readonly (readonly [string, readonly VirtioFeature[]])[] = [
  ["packed ring, indirect, event index", []],
  ["packed ring, direct", ["indirect", "eventIndex"]],
  ["split ring, indirect, event index", ["packed"]],
  ["split ring, direct, no merged buffers", ["packed", "indirect", "eventIndex", "mergeBuffers"]],
];

for (const [name, without] of shapes)
  test(`virtio (${name}): datagrams go both ways between the card and the kernel, in any number of pieces`, async () => {
    const nic = virtioNic(await openBus(makeArena(), CARD), { without });
    const free = freeFrames(nic.arena);
    const peer = await setUpPeer(PEER, OWN, CARDS, nic.mac);
    const socket = await boundSocket(OWN, 7);
    try {
      const heard: Buffer[] = [];
      socket.on("message", (message) => heard.push(message));
      const out = createBurst(nic.arena, 256);
      // Out: every way to cut a frame into up to 18 pieces of any length at any offset.
      const sent: Buffer[] = [];
      const frame = fc.record({
        payload: fc.uint8Array({ minLength: 1, maxLength: 1472 }),
        cuts: fc.uniqueArray(fc.integer({ min: 14, max: 42 + 1471 }), {
          maxLength: without.includes("indirect") ? 9 : 17,
        }),
        offsets: fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 18, maxLength: 18 }),
      });
      for (const { payload, cuts, offsets } of fc.sample(frame, { numRuns: 60, seed: 7 })) {
        const bytes = udpFrame(addresses(nic, peer), 9, 7, payload);
        const inside = cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b);
        appendCut(nic.arena, out, bytes, inside, offsets);
        sent.push(Buffer.from(payload));
        assert.equal(nic.send(0, out, 0), 1);
        assert.equal(nic.arena.kernels.burstRelease(out, 0), 0);
        await eventually("the kernel hears it", () => heard.length === sent.length);
      }
      assert.deepEqual(heard, sent);
      // In: what the kernel sends comes up whole, by interrupt.
      for (const bytes of [1, 63, 64, 65, 1000, 1471, 1472]) {
        const payload = Buffer.alloc(bytes, bytes);
        socket.send(payload, 9, CARDS);
        let got: Buffer[] = [];
        while (got.length === 0) {
          await nic.wait(1000);
          nic.receive(0, 64);
          got = drain(nic.arena, nic.burst).filter((bytes) => isUdpTo(9)({ bytes }));
        }
        assert.equal(got.length, 1);
        assert.deepEqual(got[0].subarray(42, 42 + bytes), payload);
      }
      await eventually("the device reports all of it", () => {
        nic.clean();
        return nic.counts().sent === sent.length;
      });
      assert.equal(freeFrames(nic.arena), free);
    } finally {
      socket.close();
      await nic.close();
    }
  });
