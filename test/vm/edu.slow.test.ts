import { testEdu } from "../device/edu-suite.js";

// QEMU's device takes 100 ms a transfer, whatever its size; and some versions of QEMU stop with an error when a
// transfer fills the device's 4 KiB to the last byte.
testEdu("0000:00:05.0", 1 << 20, 4095);
