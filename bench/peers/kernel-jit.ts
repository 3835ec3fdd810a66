// The kernel's JIT: a filter as an XDP program, run again and again on one packet, and at packet sockets.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { ClassicProgram } from "../../src/filter/classic.js";
import { emitXdpFilter } from "../../src/filter/ebpf.js";
import { formatNumbers } from "../../src/filter/listing.js";
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

const SOCKET_JIT = fileURLToPath(new URL("./socket-jit.js", import.meta.url));

export interface SocketJit {
  /** Nanoseconds that a program takes at a packet socket for each packet, on average. */
  nanoseconds(program: ClassicProgram): number;
  remove(): void;
}

/** A veth pair for packet sockets, in a namespace where nothing else is on the wire. */
export function makeSocketJit(): SocketJit {
  const namespace = `mrbench${process.pid}-s`;
  const ip = (...args: string[]) => execFileSync("ip", args, { encoding: "utf8", stdio: "pipe" });
  const run = (...command: string[]) => ip("netns", "exec", namespace, ...command);
  ip("netns", "add", namespace);
  run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  ip("-n", namespace, "link", "add", "v0", "type", "veth", "peer", "name", "v1");
  for (const name of ["v0", "v1"]) ip("-n", namespace, "link", "set", name, "up");
  return {
    nanoseconds: (program) => Number(run(process.execPath, SOCKET_JIT, "v0", "v1", formatNumbers(program))),
    remove: () => void ip("netns", "del", namespace),
  };
}
