import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MillraceError } from "../../src/errors.js";
import { ALU, type ClassicProgram, LSH, RSH, X } from "../../src/filter/classic.js";
import { emitXdpFilter } from "../../src/filter/ebpf.js";
import { compileProgram } from "../../src/filter/program.js";
import { loadXdpProgram } from "../../src/linux/bpf.js";
import { assemble, type EbpfItem, exit, label, move, moveImmediate } from "../../src/linux/ebpf.js";
import { libc, loadKoffi } from "../../src/linux/libc.js";
import { MSG_DONTWAIT, SOCK_DGRAM, SOL_SOCKET } from "../../src/linux/socket.js";
import { interpreted } from "./backends.js";
import { expression, seeded } from "./grammar.js";
import { type CapturedPacket, capturedPackets, mutated } from "./oracle.js";

const ARM = process.arch === "arm64";
const SYS_SOCKETPAIR = ARM ? 199 : 53;
const SYS_BPF = ARM ? 280 : 321;
const BPF_PROG_TEST_RUN = 10;
const AF_UNIX = 1;
const SO_ATTACH_FILTER = 26;
const HEAD = 16; // struct sock_fprog
const ATTRIBUTES = 80;
const HEADROOM = 512;

const EXPRESSIONS = [
  "",
  "ip",
  "tcp port 80 or udp port 53",
  "host 192.168.1.1 and not icmp",
  "net 10.0.0.0/8 or ip6 net fe80::/10",
  "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
  "portrange 1-1023 or vlan 100",
  "ip[2:2] > 576 or len > 500",
  "ip[ip[9]] * 3 % 7 = 2 or len / ip[8] > 3 or 1 + (len << ip[0]) > 5",
  "ip6 protochain 17 or protochain 6",
  "vxlan and host 10.0.0.1",
  "geneve 11 or arp",
  "mpls 16 and ip",
  "pppoes and ip",
  "greater 5000",
];

/** Expressions for Ethernet that look at nothing beside the bytes, with their programs and packets to try them on. */
function cases(
  random: () => number,
  count: number,
): { programs: Map<string, ClassicProgram>; packets: CapturedPacket[] } {
  const programs = new Map<string, ClassicProgram>();
  const add = (text: string) => {
    if (/inbound|outbound|ifindex/.test(text)) return;
    try {
      programs.set(text, compileProgram(text, { linkType: "EN10MB", snaplen: 262_144 }));
    } catch (error) {
      assert.ok(error instanceof MillraceError);
    }
  };
  for (const text of EXPRESSIONS) add(text);
  while (programs.size < count) add(expression(random, 4));
  const list = mutated(capturedPackets(3).get("EN10MB")!, random).filter(({ bytes }) => bytes.length >= 14);
  const packets = list.slice(0, 240).map(({ bytes }) => ({ bytes, wireLength: bytes.length }));
  const long = new Uint8Array(9000);
  long.set([0x08, 0x00, 0x45], 12);
  packets.push({ bytes: long, wireLength: long.length });
  return { programs, packets };
}

/** A pair of datagram sockets: what one sends, the filter of the other sees from the first byte on. */
function socketPair(): readonly [number, number] {
  const pair = new Int32Array(2);
  assert.equal(libc().syscall(SYS_SOCKETPAIR, AF_UNIX, SOCK_DGRAM, 0, pair, null, null), 0);
  return [pair[0], pair[1]];
}

function attach(socket: number, program: ClassicProgram): number {
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
  return libc().setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, head, HEAD);
}

test("the kernel takes every classic program for a socket, and its verdicts are ours", () => {
  const { programs, packets } = cases(seeded(41), 120);
  const [from, to] = socketPair();
  const into = new Uint8Array(16_384);
  try {
    for (const [text, program] of programs) {
      // What a shift by more than 31 gives is the processor's affair in the kernel, and 0 elsewhere.
      if (program.some(([code]) => code === (ALU | LSH | X) || code === (ALU | RSH | X))) continue;
      assert.equal(attach(to, program), 0, `${text}: errno ${libc().errno()}`);
      const expected = interpreted(program, packets);
      packets.forEach(({ bytes }, i) => {
        assert.equal(libc().sendto(from, bytes, bytes.length, 0, null, 0), bytes.length);
        const passed = libc().recvfrom(to, into, into.length, MSG_DONTWAIT, null, null) >= 0;
        assert.equal(passed, expected[i], `${text}: packet ${i} of ${bytes.length} bytes`);
      });
    }
  } finally {
    libc().close(from);
    libc().close(to);
  }
});

const XDP_DROP = 1;
const XDP_PASS = 2;

function standalone(filter: readonly EbpfItem[]): Buffer {
  return assemble([
    move(6, 1),
    ...filter,
    moveImmediate(0, XDP_PASS),
    exit(),
    ...(filter.length === 0 ? [] : [label("unwanted"), moveImmediate(0, XDP_DROP), exit()]),
  ]);
}

/** What an XDP program returns for a packet, run by the kernel. */
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
  block.writeUInt32LE(1, 32);
  const result = libc().syscall(SYS_BPF, BPF_PROG_TEST_RUN, block, ATTRIBUTES, null, null, null);
  assert.equal(result, 0, `errno ${libc().errno()}`);
  return block.readUInt32LE(4);
}

/** Whether this process may load XDP programs; skips the test, with the reason, where it may not. */
function mayLoad(t: TestContext): boolean {
  try {
    libc().close(loadXdpProgram(standalone([])));
    return true;
  } catch (error) {
    if (!(error instanceof MillraceError) || (error.code !== "EPERM" && error.code !== "ENOSYS")) throw error;
    t.skip(`${error.message}: ${error.hint}`);
    return false;
  }
}

test("the verifier takes every eBPF program, and the kernel's verdicts are ours", (t) => {
  if (!mayLoad(t)) return;
  const { programs, packets } = cases(seeded(43), 120);
  for (const [text, program] of programs) {
    const loaded = loadXdpProgram(standalone(emitXdpFilter(program, { context: 6, unwanted: "unwanted" })));
    try {
      const expected = interpreted(program, packets);
      packets.forEach(({ bytes }, i) => {
        const passed = testRun(loaded, bytes) === XDP_PASS;
        assert.equal(passed, expected[i], `${text}: packet ${i} of ${bytes.length} bytes`);
      });
    } finally {
      libc().close(loaded);
    }
  }
});
