// Filters run by the kernel: classic programs attached to a socket, eBPF programs in test runs of XDP.
import assert from "node:assert/strict";
import { MillraceError } from "../../src/errors.js";
import type { ClassicProgram } from "../../src/filter/classic.js";
import { emitXdpFilter } from "../../src/filter/ebpf.js";
import { loadXdpProgram } from "../../src/linux/bpf.js";
import { libc, loadKoffi } from "../../src/linux/libc.js";
import { MSG_DONTWAIT, SOCK_DGRAM, SOL_SOCKET } from "../../src/linux/socket.js";
import type { CapturedPacket } from "./oracle.js";
import { standalone, testRun, XDP_PASS } from "./xdp-test-run.js";

const ARM = process.arch === "arm64";
const SYS_SOCKETPAIR = ARM ? 199 : 53;
const AF_UNIX = 1;
const SO_ATTACH_FILTER = 26;
const HEAD = 16; // struct sock_fprog

/** A pair of datagram sockets: what one sends, the filter of the other sees from the first byte on. */
export interface FilteredPair {
  /** Has the kernel take a program; 0, or the errno it refuses it with. */
  attach(program: ClassicProgram): number;
  /** What the attached program says of packets. */
  passes(packets: readonly CapturedPacket[]): boolean[];
  close(): void;
}

export function openFilteredPair(): FilteredPair {
  const pair = new Int32Array(2);
  assert.equal(libc().syscall(SYS_SOCKETPAIR, AF_UNIX, SOCK_DGRAM, 0, pair, null, null), 0);
  const [from, to] = pair;
  const into = new Uint8Array(16_384);
  return {
    attach(program) {
      // The instructions stand behind the head, so that nothing can be collected before the call.
      const head = Buffer.alloc(HEAD + 8 * program.length);
      program.forEach(([op, jt, jf, k], i) => {
        head.writeUInt16LE(op, HEAD + 8 * i);
        head[HEAD + 8 * i + 2] = jt;
        head[HEAD + 8 * i + 3] = jf;
        head.writeUInt32LE(k, HEAD + 8 * i + 4);
      });
      head.writeUInt16LE(program.length, 0);
      head.writeBigUInt64LE(BigInt(loadKoffi().address(head)) + BigInt(HEAD), 8);
      const result = libc().setsockopt(to, SOL_SOCKET, SO_ATTACH_FILTER, head, HEAD);
      return result === 0 ? 0 : libc().errno();
    },
    passes: (packets) =>
      packets.map(({ bytes }) => {
        assert.equal(libc().sendto(from, bytes, bytes.length, 0, null, 0), bytes.length);
        return libc().recvfrom(to, into, into.length, MSG_DONTWAIT, null, null) >= 0;
      }),
    close() {
      libc().close(from);
      libc().close(to);
    },
  };
}

/** What the kernel says of packets of 14 bytes and more when it runs a filter as an XDP program. Throws what its verifier says. */
export function xdpPasses(program: ClassicProgram, packets: readonly CapturedPacket[]): boolean[] {
  const code = standalone(emitXdpFilter(program, { context: 6, unwanted: "unwanted" }));
  const loaded = loadXdpProgram(code, "a test run");
  try {
    return packets.map(({ bytes }) => testRun(loaded, bytes, 1).verdict === XDP_PASS);
  } finally {
    libc().close(loaded);
  }
}

/** Why this process may not load XDP programs; undefined: it may. */
export function xdpRefusal(): string | undefined {
  try {
    libc().close(loadXdpProgram(standalone([]), "a test run"));
    return undefined;
  } catch (error) {
    if (!(error instanceof MillraceError) || (error.code !== "EPERM" && error.code !== "ENOSYS")) throw error;
    return `${error.message}: ${error.hint}`;
  }
}
