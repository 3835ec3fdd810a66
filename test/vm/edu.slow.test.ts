import assert from "node:assert/strict";
import { test } from "node:test";
import { openDevice } from "millrace/device";
import { testEdu } from "../device/edu-suite.js";

const EDU = "0000:00:05.0";

test("QEMU's edu interrupts by messages, of which it has one", async () => {
  await using device = await openDevice(EDU);
  assert.deepEqual([device.interruptKind, device.vectors], ["msi", 1]);
});

// QEMU's device takes 100 ms a transfer, whatever its size; and some versions of QEMU stop with an error when a
// transfer fills the device's 4 KiB to the last byte.
testEdu(EDU, 1 << 20, 4095);
