// Sends UDP packets of 64 bytes out of an interface, 2^28 unless a signal ends it before: `node live-frames.js
// INTERFACE`. The kernel runs an XDP program over frames of its own that redirects each to the interface
// (Documentation/bpf/bpf_prog_run.rst, live frames): no packet has a socket buffer, so that one core sends more than
// another can forward. A veth takes such frames while its other end has a native XDP program.
import { bpf, loadXdpProgram } from "../../src/linux/bpf.js";
import { assemble, call, exit, moveImmediate } from "../../src/linux/ebpf.js";
import { libc, loadKoffi } from "../../src/linux/libc.js";
import { findLink } from "../../src/linux/netlink.js";
import { ATTRIBUTES, BPF_PROG_TEST_RUN } from "../../test/filter/xdp-test-run.js";

const BPF_F_TEST_XDP_LIVE_FRAMES = 2;
const BPF_FUNC_redirect = 23;
const BATCH = 64;
const REPEAT = 1 << 28; // in one run: to set one up and to end it takes a tenth of a second, in which nothing is sent

// 198.18.0.1 to 198.18.0.2, discard, to nobody's hardware address.
const PACKET = Buffer.alloc(64);
PACKET.write(
  "0200000000000200000000010800" + "45000032000000004011ee93c6120001c6120002" + "00090009001e0000",
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
if (bpf(BPF_PROG_TEST_RUN, block, ATTRIBUTES) !== 0)
  throw new Error(`BPF_PROG_TEST_RUN failed, errno ${libc().errno()}`);
