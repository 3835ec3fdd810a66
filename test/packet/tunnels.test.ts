// Checksums of packets within packets, and of packets under way on a route: what tshark says of them.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { buildPacket } from "../../src/packet/build.js";
import { addSums, complement, sumBytes, verifyChecksums } from "../../src/packet/checksum.js";
import { packetContext } from "../../src/packet/context.js";
import { gre, ipv4, ipv6, udp } from "../../src/packet/headers/index.js";
import { parseTemplate } from "../../src/packet/template.js";
import { addPacket, cut, emptyBurst, makeBench, viewBurst } from "./arena.js";
import { encodePcap, tsharkLayers } from "./captures.js";
import { needs } from "./oracle.js";
import { expectedChecksum } from "./tshark.js";

const payload = Buffer.from("0123456789abcdefghijklmnopqrstuvwxyz!");

/** A UDP datagram that goes to `last` by way of the address in its IPv6 header. */
function routed(kind: number, segmentsLeft: number, addresses: readonly string[], last: string): Buffer {
  const source = "fd00::1";
  const list = addresses.map((text) => ipv6.encode({ destination: text }).subarray(24));
  const route = Buffer.concat([Uint8Array.of(17, 2 * list.length, kind, segmentsLeft, 0, 0, 0, 0), ...list]);
  const datagram = Buffer.concat([udp.encode({ length: 8 + payload.length }), payload]);
  const pseudo = ipv6.encode({ source, destination: last }).subarray(8);
  const sum = addSums(sumBytes(pseudo), sumBytes(datagram, 17 + datagram.length));
  datagram.writeUInt16BE(complement(sum), 6);
  const length = route.length + datagram.length;
  const header = ipv6.encode({ nextHeader: 43, payloadLength: length, source, destination: "fd00::99" });
  return Buffer.concat([header, route, datagram]);
}

/** An IPv4 packet that carries another through GRE with a checksum. */
function sealedGre(inner: Uint8Array): Buffer {
  const header = gre.encode({ checksumPresent: true });
  const carried = Buffer.concat([header, inner]);
  carried.writeUInt16BE(complement(sumBytes(carried)), 4);
  const ip = Buffer.from(ipv4.encode({ protocol: 47, totalLength: 20 + carried.length }));
  ip.writeUInt16BE(complement(sumBytes(ip)), 10);
  return Buffer.concat([ip, carried]);
}

test("checksums within tunnels, and those over a route's last address, are verified as tshark verifies them", (t) => {
  if (!needs(t, "tshark")) return;
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const made = [
    "ipv4/ipv4/udp",
    "ipv6/ipv4/tcp",
    "ipv4/ipv6/tcp",
    "ipv4/gre(key=7,seq=9)/ipv6/udp",
    "ipv4/gre/eth/vlan(id=3)/ipv4/tcp",
    "ipv4/gre/mpls(label=16)/ipv4/udp",
    "ipv4/udp/vxlan(vni=9)/eth/ipv4/tcp",
    "ipv4/udp/vxlan(vni=9)/eth/ipv4/udp/vxlan(vni=8)/eth/ipv6/icmpv6(type=128)",
    "ipv6/udp/geneve(vni=5)/eth/ipv6/udp",
  ].map((text) => Buffer.from(buildPacket(parseTemplate(text), payload)));
  const packets = [
    ...made,
    sealedGre(made[0]),
    routed(0, 2, ["fd00::98", "fd00::2"], "fd00::2"),
    routed(0, 0, ["fd00::98", "fd00::2"], "fd00::99"),
    routed(2, 1, ["fd00::3"], "fd00::3"),
    routed(4, 1, ["fd00::4", "fd00::97"], "fd00::4"),
  ];
  // Each once more with a wrong last byte, and then without the outer datagram's checksum.
  const all = packets.flatMap((packet) => {
    const wrong = Buffer.from(packet);
    wrong[wrong.length - 1] ^= 0x10;
    const unsealed = [packet, wrong].map((one) => {
      const bare = Buffer.from(one);
      if (bare[0] === 0x45 && bare[9] === 17) bare.writeUInt16BE(0, 26);
      return bare;
    });
    return [packet, wrong, ...unsealed];
  });
  const file = join(directory, "all.pcap");
  writeFileSync(file, encodePcap(101, all));
  const trees = tsharkLayers(file);
  const bench = makeBench();
  for (const size of [2048, 33, 7]) {
    all.forEach((packet, i) => {
      addPacket(bench, cut(packet, size));
      verifyChecksums(packetContext(bench.arena), bench.burst, "RAW");
      const where = `packet ${i} in pieces of ${size}`;
      assert.equal(viewBurst(bench, "RAW").at(0).checksum, i % 2 === 0 ? "good" : "bad", where);
      assert.equal(expectedChecksum(trees[i]), i % 2 === 0 ? "good" : "bad", where);
      emptyBurst(bench);
    });
  }
  // Of a route whose way of writing addresses is not known here nothing is said.
  addPacket(bench, [routed(3, 1, ["fd00::4"], "fd00::4")]);
  assert.equal(verifyChecksums(packetContext(bench.arena), bench.burst, "RAW"), 0);
  assert.equal(viewBurst(bench, "RAW").at(0).checksum, "unknown");
  emptyBurst(bench);
});
