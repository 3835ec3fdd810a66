// The kernel's JIT: a filter as an XDP program, run again and again on one packet by bpf(2) BPF_PROG_TEST_RUN.
import type { ClassicProgram } from "../../src/filter/classic.js";
import { emitXdpFilter } from "../../src/filter/ebpf.js";
import { loadXdpProgram } from "../../src/linux/bpf.js";
import { assemble, exit, label, move, moveImmediate } from "../../src/linux/ebpf.js";
import { libc, loadKoffi } from "../../src/linux/libc.js";

const SYS_BPF = process.arch === "arm64" ? 280 : 321;
const BPF_PROG_TEST_RUN = 10;
const REPEAT = 2000;
const EINTR = 4;
const ATTRIBUTES = 80;
const HEADROOM = 512;

/** Nanoseconds that a program takes for each of the packets, on average; the loop of the test run is in it. */
export function kernelNanoseconds(program: ClassicProgram, packets: readonly Uint8Array[]): number {
  const filter = emitXdpFilter(program, { context: 6, unwanted: "unwanted" });
  const drop = [label("unwanted"), moveImmediate(0, 1), exit()];
  const loaded = loadXdpProgram(assemble([move(6, 1), ...filter, moveImmediate(0, 2), exit(), ...drop]));
  try {
    const total = packets.reduce((sum, packet) => sum + testRun(loaded, packet), 0);
    return total / packets.length;
  } finally {
    libc().close(loaded);
  }
}

function testRun(program: number, packet: Uint8Array): number {
  // The packet and what comes back stand behind the attributes, so that nothing can be collected before the call.
  const block = Buffer.alloc(ATTRIBUTES + 2 * packet.length + HEADROOM);
  block.set(packet, ATTRIBUTES);
  const at = BigInt(loadKoffi().address(block));
  block.writeUInt32LE(program, 0);
  block.writeUInt32LE(packet.length, 8);
  block.writeUInt32LE(packet.length + HEADROOM, 12);
  block.writeBigUInt64LE(at + BigInt(ATTRIBUTES), 16);
  block.writeBigUInt64LE(at + BigInt(ATTRIBUTES + packet.length), 24);
  block.writeUInt32LE(REPEAT, 32);
  while (libc().syscall(SYS_BPF, BPF_PROG_TEST_RUN, block, ATTRIBUTES, null, null, null) !== 0)
    if (libc().errno() !== EINTR) throw new Error(`BPF_PROG_TEST_RUN failed, errno ${libc().errno()}`);
  return block.readUInt32LE(36);
}
