// Header views and checksums against tshark, on captures that no one here wrote.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { verifyChecksums } from "../../src/packet/checksum.js";
import { packetContext } from "../../src/packet/context.js";
import { geneve, geneveOptions, ipv6, ipv6Fragment, sll2 } from "../../src/packet/headers/index.js";
import { addPacket, cut, emptyBurst, freeFrames, makeBench, viewBurst } from "./arena.js";
import { encodePcap, find, parsePcap, readPcap, tsharkLayers } from "./captures.js";
import { needs } from "./oracle.js";
import { COMPARED, compare, expectedChecksum, isBroken } from "./tshark.js";

const folder = fileURLToPath(new URL("../../../test/data/captures/", import.meta.url));

/** Link types that begin with a header of ours. */
const LINKS = [0, 1, 9, 101, 108, 113, 228, 229, 276];

/** Protocols that tshark goes through to headers within, and that are none of ours. */
const FOREIGN = /avsp|erspan|macsec|nsh/;

/** Captures whose lengths and versions contradict each other: tshark reads on, here such a header is malformed. */
const CONTRADICTORY = new Set([
  ...[
    "bad-ipv4-version-pgm-heapoverflow",
    "gre-heapoverflow-1",
    "ipv4_invalid_hdr_length",
    "ipv4_invalid_total_length",
    "ipv6-bad-version",
  ],
  ...["ipv6_invalid_length_2", "LINKTYPE_IPV4_invalid", "LINKTYPE_IPV6_invalid", "beep-oobr"],
  // An IP length of 0: a jumbogram, or a packet larger than the field holds, whose checksums are not final.
  ...[
    "ipv6_jumbogram_invalid_length",
    "bigtcp-ipv4-geneve-ipv6",
    "bigtcp-ipv4-vxlan-ipv6",
    "bigtcp-ipv6-hbh",
  ],
]);

interface Recorded {
  readonly name: string;
  readonly where: string;
  readonly bytes: Buffer;
  readonly wire: number;
}

/** All recorded packets by link type. tcpdump makes classic pcap of what is none. */
function recordedPackets(): Map<number, Recorded[]> {
  const groups = new Map<number, Recorded[]>();
  for (const file of readdirSync(folder)) {
    const path = join(folder, file);
    const theirs = spawnSync("tcpdump", ["-r", path, "-w", "-"], { maxBuffer: 2 ** 26 });
    if (theirs.status !== 0) continue; // refused by libpcap: such files are the reader's tests'
    const { linkType, packets, wire } = parsePcap(theirs.stdout, file);
    const group = groups.get(linkType) ?? [];
    groups.set(linkType, group);
    const name = file.replace(/\.pcap(ng)?$/, "");
    packets.forEach((bytes, i) => {
      group.push({ name, where: `${file} packet ${i + 1}`, bytes, wire: Math.max(wire[i], bytes.length) });
    });
  }
  return groups;
}

test("headers and checksums of recorded traffic are what tshark reads", (t) => {
  if (!needs(t, "tshark") || !needs(t, "tcpdump")) return;
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const seen = new Set<string>();
  const checksums = new Map<string, number>();
  let compared = 0;
  for (const [linkType, group] of recordedPackets()) {
    if (!LINKS.includes(linkType)) continue;
    const file = join(directory, "all.pcap");
    const [packets, wire] = [group.map(({ bytes }) => bytes), group.map((packet) => packet.wire)];
    writeFileSync(file, encodePcap(linkType, packets, wire));
    const trees = tsharkLayers(file);
    assert.equal(trees.length, group.length);
    const bench = makeBench(4096);
    const total = freeFrames(bench.arena);
    group.forEach(({ name, where, bytes }, i) => {
      if (CONTRADICTORY.has(name) || FOREIGN.test(find(trees[i].frame, "frame.protocols") ?? "")) return;
      addPacket(bench, cut(bytes, i % 2 === 0 || bytes.length > 9000 ? 2048 : 31));
      verifyChecksums(packetContext(bench.arena), bench.burst, linkType);
      const packet = viewBurst(bench, linkType).at(0);
      for (const header of compare(packet, trees[i], where)) seen.add(header);
      const expected = expectedChecksum(trees[i]);
      if (expected === undefined) assert.notEqual(packet.checksum, "bad", `${where}: checksum`);
      else if (!isBroken(trees[i])) {
        assert.equal(packet.checksum, expected, `${where}: checksum`);
        checksums.set(expected, (checksums.get(expected) ?? 0) + 1);
      }
      compared++;
      emptyBurst(bench);
    });
    assert.equal(freeFrames(bench.arena), total);
  }
  assert.ok(compared > 2000, `${compared} packets were compared`);
  assert.ok((checksums.get("good") ?? 0) > 600 && (checksums.get("bad") ?? 0) > 400, String([...checksums]));
  for (const { type } of COMPARED)
    if (type.name !== "sll2" && type.name !== "ipv6-fragment")
      assert.ok(seen.has(type.name), `no capture has ${type.name}`);
});

test("headers that no recording has are what tshark reads", (t) => {
  if (!needs(t, "tshark")) return;
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const packet = Buffer.concat([
    sll2.encode({ protocol: 0x86dd, interfaceIndex: 7, hardwareType: 1, packetType: 4 }),
    ipv6.encode({ nextHeader: 44, payloadLength: 24, dscp: 46, ecn: 1, flowLabel: 0xabcde }),
    ipv6Fragment.encode({ nextHeader: 17, fragmentOffset: 64, moreFragments: 1, identification: 0xdeadbeef }),
    Buffer.alloc(16, 7),
  ]);
  const file = join(directory, "one.pcap");
  writeFileSync(file, encodePcap(276, [packet]));
  const [tree] = tsharkLayers(file);
  const bench = makeBench();
  addPacket(bench, cut(packet, 19));
  const read = viewBurst(bench, "LINUX_SLL2").at(0);
  assert.deepEqual(compare(read, tree, "made"), ["ipv6", "ipv6-fragment", "sll2"]);
  assert.equal(read.header(ipv6Fragment)?.fragmentOffset, 64);
  emptyBurst(bench);
});

test("Geneve options are taken apart as tshark takes them", (t) => {
  if (!needs(t, "tshark")) return;
  const file = join(folder, "geneve-gcp.pcap");
  const bench = makeBench();
  addPacket(bench, cut(readPcap(file).packets[0], 33));
  const ours = geneveOptions(viewBurst(bench).at(0).header(geneve)?.options ?? new Uint8Array(0));
  const field = (name: string) => ["-e", `geneve.option.${name}`];
  const args = [
    "-n",
    "-r",
    file,
    "-T",
    "fields",
    ...field("class"),
    ...field("type"),
    ...field("type.critical"),
  ];
  const [row] = execFileSync("tshark", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).split(
    "\n",
  );
  const theirs = row.split("\t").map((values) => values.split(",").map(Number));
  assert.deepEqual(
    ours.map((option) => option.class),
    theirs[0],
  );
  assert.deepEqual(
    ours.map(({ type }) => type),
    theirs[1],
  );
  assert.deepEqual(
    ours.map(({ critical }) => Number(critical)),
    theirs[2],
  );
  assert.deepEqual(
    ours.map(({ data }) => data.length),
    [4, 16, 8],
  );
  assert.deepEqual(geneveOptions(Uint8Array.of(1, 2, 0x83, 1, 9)), [], "cut off");
  emptyBurst(bench);
});
