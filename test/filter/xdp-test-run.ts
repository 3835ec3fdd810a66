// A filter as an XDP program of its own, which the kernel runs on packets given to it: bpf(2), BPF_PROG_TEST_RUN.
import { bpf } from "../../src/linux/bpf.js";
import { assemble, type EbpfItem, exit, label, move, moveImmediate } from "../../src/linux/ebpf.js";
import { libc, loadKoffi } from "../../src/linux/libc.js";

export const BPF_PROG_TEST_RUN = 10;
const EINTR = 4;
export const ATTRIBUTES = 80; // bytes of its attributes
const HEADROOM = 512;
const XDP_DROP = 1;
export const XDP_PASS = 2;

/** A filter emitted with `context: 6, unwanted: "unwanted"` as a program of its own; an empty one passes all. */
export function standalone(filter: readonly EbpfItem[]): Buffer {
  return assemble([
    move(6, 1),
    ...filter,
    moveImmediate(0, XDP_PASS),
    exit(),
    ...(filter.length === 0 ? [] : [label("unwanted"), moveImmediate(0, XDP_DROP), exit()]),
  ]);
}

export interface TestRun {
  readonly verdict: number;
  /** What one run took, on average; the kernel's loop is in it. */
  readonly nanoseconds: number;
}

/** Runs a loaded program `repeat` times on one packet. */
export function testRun(program: number, packet: Uint8Array, repeat: number): TestRun {
  // The packet and what comes back stand behind the attributes, so that nothing can be collected before the call.
  const block = Buffer.alloc(ATTRIBUTES + 2 * packet.length + HEADROOM);
  block.set(packet, ATTRIBUTES);
  const at = BigInt(loadKoffi().address(block));
  block.writeUInt32LE(program, 0);
  block.writeUInt32LE(packet.length, 8);
  block.writeUInt32LE(packet.length + HEADROOM, 12);
  block.writeBigUInt64LE(at + BigInt(ATTRIBUTES), 16);
  block.writeBigUInt64LE(at + BigInt(ATTRIBUTES + packet.length), 24);
  block.writeUInt32LE(repeat, 32);
  while (bpf(BPF_PROG_TEST_RUN, block, ATTRIBUTES) !== 0) {
    const errno = libc().errno();
    if (errno !== EINTR) throw new Error(`BPF_PROG_TEST_RUN failed, errno ${errno}`);
  }
  return { verdict: block.readUInt32LE(4), nanoseconds: block.readUInt32LE(36) };
}
