// Interrupts by a line, which the kernel masks as it fires: each one must let the next come.
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "./peers.js";
import { boundSocket, isUdpTo, LINE_PLACE, openRig } from "./rig.js";

test("a card with an interrupt line alone tells of each packet, again and again", async () => {
  const rig = await openRig(LINE_PLACE, {}, "interrupt");
  const socket = await boundSocket(LINE_PLACE.kernel, 0);
  try {
    const { bus } = rig.nic;
    assert.deepEqual([bus.interruptKind, bus.vectors], ["intx", 1]);
    const fired = () => Atomics.load(rig.arena.u32, bus.counter(0) >>> 2);
    for (let round = 0; round < 20; round++) {
      rig.nic.arm({ receive: true, transmit: false });
      const before = fired();
      socket.send(Buffer.alloc(100, round), 9, LINE_PLACE.own);
      await eventually("the line fires", () => fired() !== before);
      const [{ bytes }] = await rig.receive(1, isUdpTo(9));
      assert.deepEqual(bytes.subarray(42, 142), Buffer.alloc(100, round));
    }
  } finally {
    socket.close();
    await rig.close();
  }
});
