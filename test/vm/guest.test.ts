import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

test("the guest has an IOMMU and sees the devices on its bus", () => {
  assert.match(readFileSync("/proc/cmdline", "utf8"), /intel_iommu=on/);
  assert.equal(readFileSync("/sys/bus/pci/devices/0000:00:05.0/vendor", "utf8").trim(), "0x1234");
});
