// Sends one UDP packet of 64 bytes for ever out of an interface: `node live-frames.js INTERFACE`. The kernel runs an XDP
// program over frames of its own that redirects each to the interface (Documentation/bpf/bpf_prog_run.rst, live frames):
// no packet has a socket buffer, so that one core sends more than another can forward. The other end of a veth takes
// such frames while it has a native XDP program. Ends by SIGTERM.

import { loadXdpProgram } from "../../src/linux/bpf.js";
import { assemble, call, exit, moveImmediate } from "../../src/linux/ebpf.js";
import { libc, loadKoffi } from "../../src/linux/libc.js";
import { findLink } from "../../src/linux/netlink.js";

const SYS_BPF = process.arch === "arm64" ? 280 : 321;
const BPF_PROG_TEST_RUN = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES = 2;
const BPF_FUNC_redirect = 23;
const ATTRIBUTES = 80;
const BATCH = 64;
const REPEAT = 1 << 28;

const PACKET = Buffer.alloc(64);
PACKET.write(
  "02000000000002000000000108004500003200000000401191a2c6120001c6120002000900090" + "01e0000",
  "hex",
);

const [name = ""] = process.argv.slice(2);
const program = loadXdpProgram(
  assemble([moveImmediate(1, findLink(name).index), moveImmediate(2, 0), call(BPF_FUNC_redirect), exit()]),
  name,
);
// The packet stands behind the attributes, so that it cannot be collected before the call.
const block = Buffer.concat([Buffer.alloc(ATTRIBUTES), PACKET]);
block.writeUInt32LE(program, 0);
block.writeUInt32LE(PACKET.length, 8);
block.writeBigUInt64LE(BigInt(loadKoffi().address(block)) + BigInt(ATTRIBUTES), 16);
block.writeUInt32LE(REPEAT, 32);
block.writeUInt32LE(BPF_F_TEST_XDP_LIVE_FRAMES, 64);
block.writeUInt32LE(BATCH, 72);
process.stderr.write("sending\n");
if (libc().syscall(SYS_BPF, BPF_PROG_TEST_RUN, block, ATTRIBUTES, null, null, null) !== 0)
  throw new Error(`BPF_PROG_TEST_RUN failed, errno ${libc().errno()}`);
