import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "../../src/errors.js";
import type { ClassicProgram } from "../../src/filter/classic.js";
import { compileProgram } from "../../src/filter/program.js";
import { runsInSocket } from "../../src/filter/socket.js";
import { interpreted } from "./backends.js";
import { expression, seeded } from "./grammar.js";
import { openFilteredPair, xdpPasses, xdpRefusal } from "./kernel.js";
import { type CapturedPacket, capturedPackets, mutated } from "./oracle.js";

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

test("the kernel takes every classic program for a socket, and its verdicts are ours", () => {
  const { programs, packets } = cases(seeded(41), 120);
  const pair = openFilteredPair();
  try {
    for (const [text, program] of programs) {
      if (!runsInSocket(program)) continue;
      assert.equal(pair.attach(program), 0, text);
      assert.deepEqual(pair.passes(packets), interpreted(program, packets), text);
    }
  } finally {
    pair.close();
  }
});

test("the verifier takes every eBPF program, and the kernel's verdicts are ours", (t) => {
  const refusal = xdpRefusal();
  if (refusal !== undefined) {
    t.skip(refusal);
    return;
  }
  const { programs, packets } = cases(seeded(43), 120);
  for (const [text, program] of programs)
    assert.deepEqual(xdpPasses(program, packets), interpreted(program, packets), text);
});

test("what the kernel would run in another way at a socket, or not at all, is not given to one", () => {
  const packet = new Uint8Array(64);
  packet.set([0x08, 0x00, 0x45], 12);
  packet.set([103, 0xff, 0xff, 0xff, 0xff], 23);
  const packets = [{ bytes: packet, wireLength: packet.length }];
  const pair = openFilteredPair();
  try {
    for (const text of [
      // 20 bytes of header and 2^32 - 1 are beyond any packet, but not in 32 bits.
      "pim[(2 - 17):4] <= 0xfffffffe",
      // 14 + 0xffffffff is 13.
      "ip[ether[24:4]:2] >= 0",
      // 1 << 255 is 0 here, and whatever the processor makes of it there.
      "1 << ip[10] != 0",
    ]) {
      const program = compileProgram(text, { linkType: "EN10MB", snaplen: 262_144 });
      assert.ok(!runsInSocket(program), text);
      assert.equal(pair.attach(program), 0, text);
      assert.deepEqual(interpreted(program, packets), [false], text);
      assert.deepEqual(pair.passes(packets), [true], text);
    }
    const before = compileProgram("ether[-2:2] = 1", { linkType: "EN10MB", snaplen: 262_144 });
    const ports = Array.from({ length: 5000 }, (_, i) => 2 * i + 1);
    const long = compileProgram(ports.map((port) => `udp dst port ${port}`).join(" or "), {
      linkType: "EN10MB",
      snaplen: 262_144,
    });
    for (const program of [before, long]) {
      assert.ok(!runsInSocket(program));
      assert.notEqual(pair.attach(program), 0);
    }
  } finally {
    pair.close();
  }
  for (const text of [...EXPRESSIONS, "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420", "ip[ip[0] & 0xf] = 1"])
    if (!text.includes("<<"))
      assert.ok(
        runsInSocket(compileProgram(text, { linkType: "EN10MB", snaplen: 262_144, tagsBeside: true })),
        text,
      );
});
