// The kernel's JIT: a filter as an XDP program, run again and again on one packet.
import type { ClassicProgram } from "../../src/filter/classic.js";
import { emitXdpFilter } from "../../src/filter/ebpf.js";
import { loadXdpProgram } from "../../src/linux/bpf.js";
import { libc } from "../../src/linux/libc.js";
import { standalone, testRun } from "../../test/filter/xdp-test-run.js";

const REPEAT = 2000;

/** Nanoseconds that a program takes for each of the packets, on average; the loop of the test run is in it. */
export function kernelNanoseconds(program: ClassicProgram, packets: readonly Uint8Array[]): number {
  const loaded = loadXdpProgram(
    standalone(emitXdpFilter(program, { context: 6, unwanted: "unwanted" })),
    "bench",
  );
  try {
    const total = packets.reduce((sum, packet) => sum + testRun(loaded, packet, REPEAT).nanoseconds, 0);
    return total / packets.length;
  } finally {
    libc().close(loaded);
  }
}
