// What every card must do, on QEMU's cards behind vfio-pci and an emulated IOMMU, against the guest's kernel.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { CHECKSUM_PARTIAL, META_FLAGS, META_SEGMENT, META_TCP_SEGMENTS } from "../../src/kernels/structs.js";
import { drainBurst, metaAt, putPacket } from "../device/cards.js";
import { tcpFrame, udpFrame } from "../device/ipv4-frames.js";
import { setLink } from "./monitor.js";
import { eventually } from "./peers.js";
import { boundSocket, isUdpTo, openRig, PLACES } from "./rig.js";

for (const place of PLACES) {
  const { name } = place;

  test(`${name}: the kernel hears what the card sends, in any number of pieces of any length anywhere`, async () => {
    const rig = await openRig(place);
    const socket = await boundSocket(place.kernel, 7);
    try {
      const heard: Buffer[] = [];
      socket.on("message", (message) => heard.push(message));
      const fragments = Math.min(rig.port.can.fragments, 17);
      const datagram = fc.record({
        payload: fc.uint8Array({ minLength: 20, maxLength: 1472 }),
        cuts: fc.uniqueArray(fc.integer({ min: 14, max: 1500 }), { maxLength: fragments }),
        offsets: fc.array(fc.integer({ min: 0, max: 2000 }), { minLength: 18, maxLength: 18 }),
      });
      const sent: Buffer[] = [];
      for (const { payload, cuts, offsets } of fc.sample(datagram, { numRuns: 100, seed: 3 })) {
        const frame = udpFrame(rig.addresses, 9, 7, payload);
        const ends = [...cuts.filter((at) => at < frame.length).sort((a, b) => a - b), frame.length];
        const lengths = ends.map((end, index) => end - (ends[index - 1] ?? 0));
        putPacket(rig.arena, rig.out, frame, lengths, (piece) => offsets[piece]);
        sent.push(Buffer.from(payload));
        await rig.sendAll();
        await eventually("the kernel hears it", () => heard.length === sent.length);
      }
      assert.deepEqual(heard, sent);
      assert.equal(rig.port.counters().transmitted.packets, sent.length);
    } finally {
      socket.close();
      await rig.close();
    }
  });

  for (const wait of ["busy", "interrupt"] as const)
    test(`${name}: what the kernel sends comes up whole and in order (${wait})`, async () => {
      const rig = await openRig(place, {}, wait);
      const socket = await boundSocket(place.kernel, 0);
      try {
        for (let round = 0; round < 10; round++) {
          const lengths = Array.from({ length: 20 }, (_, i) => 1 + (((round * 20 + i) * 37) % 1472));
          for (const [i, length] of lengths.entries()) socket.send(Buffer.alloc(length, i), 9, place.own);
          const got = await rig.receive(20, isUdpTo(9));
          assert.deepEqual(
            got.map(({ bytes }) => bytes.subarray(42, 34 + bytes.readUInt16BE(38))),
            lengths.map((length, i) => Buffer.alloc(length, i)),
          );
        }
        const { received, dropped } = rig.port.counters();
        assert.ok(received.packets >= 200);
        assert.ok(Object.values(dropped).every((count) => count === 0));
      } finally {
        socket.close();
        await rig.close();
      }
    });

  test(`${name}: offloads that the card has end in right frames on the wire`, async (context) => {
    const rig = await openRig(place);
    try {
      const { checksum, segmentation } = rig.port.can;
      context.diagnostic(`checksum ${checksum.tx}, segmentation ${segmentation}`);
      const payload = Buffer.from(Array.from({ length: 1000 }, (_, i) => i & 0xff));
      const mark = (packet: number, flags: number, segment = 0) => {
        const meta = metaAt(rig.arena, rig.out, packet);
        rig.arena.u16[(meta + META_FLAGS) >>> 1] = flags;
        rig.arena.u16[(meta + META_SEGMENT) >>> 1] = segment;
      };
      if (checksum.tx) {
        mark(
          putPacket(rig.arena, rig.out, udpFrame(rig.addresses, 9, 4001, payload, true)),
          CHECKSUM_PARTIAL,
        );
        mark(putPacket(rig.arena, rig.out, tcpFrame(rig.addresses, 9, 4002, 1, payload)), CHECKSUM_PARTIAL);
      }
      if (segmentation) {
        const long = Buffer.concat(Array.from({ length: 12 }, () => payload));
        const frame = tcpFrame(rig.addresses, 9, 4003, 0xffffff00, long);
        const lengths = [54, 3001, 4000, 2999, frame.length - 10054];
        const packet = putPacket(rig.arena, rig.out, frame, lengths, (piece) => piece * 3);
        mark(packet, CHECKSUM_PARTIAL | META_TCP_SEGMENTS, 1400);
      }
      await rig.sendAll();
      // What is expected of the capture is judged once the guest is gone.
      writeFileSync(`/run/out/${name}.offloads`, JSON.stringify({ checksum: checksum.tx, segmentation }));
    } finally {
      await rig.close();
    }
  });

  test(`${name}: a pulled cable is noticed, and traffic goes on when it is back`, async () => {
    const rig = await openRig(place);
    const socket = await boundSocket(place.kernel, 0);
    try {
      const send = (mark: number) => socket.send(Buffer.alloc(30, mark), 9, place.own);
      send(1);
      await rig.receive(1, isUdpTo(9));
      await setLink(name, false);
      await eventually("the card tells of it", async () => !(await rig.nic.linkUp(0)));
      send(2);
      await sleep(300); // time in which it could come, but must not
      rig.port.receive(rig.into);
      assert.deepEqual(drainBurst(rig.arena, rig.into).filter(isUdpTo(9)), []);
      await setLink(name, true);
      await eventually("the link is back", () => rig.nic.linkUp(0));
      send(3);
      // What was sent while the cable was out may have waited in QEMU.
      await rig.receive(1, (packet) => isUdpTo(9)(packet) && packet.bytes[42] === 3);
    } finally {
      await setLink(name, true);
      socket.close();
      await rig.close();
    }
  });
}
