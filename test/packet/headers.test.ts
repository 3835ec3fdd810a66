// Header views over packets made from templates, which tshark reads too.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { MillraceError } from "../../src/errors.js";
import { applyTemplate, buildPacket } from "../../src/packet/build.js";
import { finishChecksums, verifyChecksums } from "../../src/packet/checksum.js";
import { packetContext } from "../../src/packet/context.js";
import {
  ethernet,
  ipv4,
  ipv4Options,
  ipv6,
  loopback,
  ppp,
  raw,
  sll,
  TCP_ACK,
  TCP_SYN,
  tcp,
  tcpOptions,
  udp,
  vlan,
} from "../../src/packet/headers/index.js";
import { linkTypeNumber } from "../../src/packet/linktype.js";
import { summarize } from "../../src/packet/summary.js";
import { parseTemplate } from "../../src/packet/template.js";

import { addPacket, cut, emptyBurst, makeBench, viewBurst } from "./arena.js";
import { encodePcap, find, tsharkLayers } from "./captures.js";
import { needs } from "./oracle.js";
import { compare } from "./tshark.js";

const payload = Buffer.from("0123456789abcdefghijklmnopqrstuvwxyz!");

const TEMPLATES = [
  "eth(dst=02:00:00:00:00:02,src=02:00:00:00:00:09)/ipv4(dst=10.0.0.2,ttl=9,df=1)/udp(dport=5000)",
  "eth/vlan(id=7,pcp=5)/ipv4(dst=10.0.0.2)/udp(dport=5000)",
  "eth/qinq(id=100)/vlan(id=4095,dei=1)/ipv6(dst=fd00::9,flow=0xabcde)/tcp(dport=443,flags=0x18,seq=4294967295)",
  "eth/ipv4/icmp(type=8,id=3,seq=9)",
  "eth/ipv6/icmpv6(type=128,id=3,seq=9)",
  "eth/mpls(label=16,ttl=3)/mpls(label=1048575,tc=7)/ipv4/udp",
  "eth/ipv4/gre(key=7,seq=9)/ipv6/udp",
  "eth/ipv4/gre/eth/ipv4/udp",
  "eth/ipv4/udp/vxlan(vni=16777215)/eth/vlan(id=3)/ipv4/tcp",
  "eth/ipv6/udp/geneve(vni=5)/eth/ipv6/udp",
  "eth/pppoe(session=17)/ppp/ipv4/udp",
  "eth/arp(op=2,spa=10.0.0.1,tpa=10.0.0.2)",
  "ipv4/udp",
  "ipv6/ipv4/tcp",
  "sll/ipv4/udp",
];

test("packets made from templates are whole and right to tshark, and the same made in the arena", (t) => {
  if (!needs(t, "tshark")) return;
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const text of TEMPLATES) {
    const template = parseTemplate(text);
    const packet = buildPacket(template, /arp/.test(text) ? Buffer.alloc(0) : payload);
    const file = join(directory, "one.pcap");
    writeFileSync(file, encodePcap(linkTypeNumber(template.linkType), [packet]));
    const [tree] = tsharkLayers(file);
    assert.ok(!("_ws.malformed" in tree), `${text} is malformed to tshark`);
    const protocols = find(tree.frame, "frame.protocols");
    const bench = makeBench();
    addPacket(bench, cut(packet, 50));
    const seen = compare(viewBurst(bench, template.linkType).at(0), tree, text);
    assert.ok(seen.length >= 2 || /arp/.test(text), `${text} became ${protocols}`);
    const json = JSON.stringify(tree);
    assert.doesNotMatch(json, /checksum\.status": ?"0"/, `${text}: a checksum is wrong`);
    emptyBurst(bench);

    if (/arp/.test(text)) continue;
    addPacket(bench, cut(payload, 9), 300);
    applyTemplate(packetContext(bench.arena), template, bench.burst, 0);
    finishChecksums(packetContext(bench.arena), bench.burst, template.linkType, "partial");
    assert.deepEqual(Buffer.from(viewBurst(bench).at(0).copy()), Buffer.from(packet), text);
    emptyBurst(bench);
  }
});

test("a template that cannot be read names the column", () => {
  const column = (text: string) => {
    try {
      parseTemplate(text);
    } catch (error) {
      return (error as { code: string; at: { column: number } }).code === "ERR_TEMPLATE"
        ? (error as { at: { column: number } }).at.column
        : error;
    }
    return undefined;
  };
  assert.equal(column(""), 1);
  assert.equal(column("eth/"), 5);
  assert.equal(column("eth/vlam(id=7)"), 5);
  assert.equal(column("eth/vlan(id=4096)"), 13);
  assert.equal(column("eth/vlan(id=7,id=8)"), 15);
  assert.equal(column("eth(dst=02:00)/ipv4"), 9);
  assert.equal(column("eth/ipv4(dst=fd00::1)"), 14);
  assert.equal(column("eth/udp"), 5);
  assert.equal(column("eth/ipv4(hops=3)/udp"), 10);
  assert.equal(column("eth/ipv4)/udp"), 5);
});

test("whatever stands in a template, it is read or refused with its place", () => {
  const words = fc.constantFrom(
    ..."eth vlan qinq mpls pppoe ppp sll arp ipv4 ipv6 udp tcp icmp icmpv6 gre vxlan geneve hex".split(" "),
    ..."( ) / , = id dst src key data 0 1 0x10 4095 99999999999 ff fd00::1 10.0.0.1 02:00:00:00:00:02".split(
      " ",
    ),
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(words, { maxLength: 12 }).map((parts) => parts.join("")),
    fc.array(words, { maxLength: 6 }).map((parts) => parts.join("/")),
  );
  fc.assert(
    fc.property(text, (template) => {
      try {
        const { bytes, lengths } = parseTemplate(template);
        for (const { at } of lengths) assert.ok(at + 2 <= bytes.length);
      } catch (error) {
        assert.ok(error instanceof MillraceError && error.code === "ERR_TEMPLATE", `${template}: ${error}`);
        assert.ok((error.at?.column ?? 0) >= 1 && (error.at?.column ?? 0) <= template.length + 1, template);
      }
    }),
    { numRuns: 3000 },
  );
});

test("a port fills what a template leaves out, and no more", () => {
  const defaults = { mac: "02:aa:00:00:00:01", ipv4: "192.0.2.7" };
  const { bytes } = parseTemplate("eth(dst=02:00:00:00:00:02)/ipv4(dst=192.0.2.1)/udp", defaults);
  assert.equal(Buffer.from(bytes).toString("hex", 0, 12), "02000000000202aa00000001");
  assert.equal([...bytes.subarray(26, 30)].join("."), "192.0.2.7");
  assert.equal(
    [...parseTemplate("eth/ipv4(src=10.9.8.7)/udp", defaults).bytes.subarray(26, 30)].join("."),
    "10.9.8.7",
  );
});

test("one view moves over a burst; fields are written in place, and the checksum follows", () => {
  const bench = makeBench();
  const template = parseTemplate("eth/vlan(id=7)/ipv4(ttl=64)/udp(sport=1,dport=2)");
  for (let i = 0; i < 4; i++) addPacket(bench, cut(buildPacket(template, Buffer.from([i])), 21));
  addPacket(bench, [buildPacket(parseTemplate("eth/arp"), Buffer.alloc(0))]);
  const burst = viewBurst(bench);
  const view = ipv4.view();
  let moved = 0;
  for (const packet of burst) {
    if (!view.moveTo(packet)) continue;
    moved++;
    view.ttl -= 1;
    view.destination = "10.9.9.9";
    assert.equal(packet.header(vlan)?.id, 7);
    assert.equal(packet.header(ethernet)?.type, 0x8100);
    assert.equal(packet.header(udp)?.destination, 2);
    assert.equal(packet.header(ipv6), undefined);
  }
  assert.equal(moved, 4);
  assert.throws(() => view.ttl, { code: "ERR_HEADER" }, "the last packet has none");
  const context = packetContext(bench.arena);
  assert.equal(verifyChecksums(context, bench.burst, "EN10MB"), 4, "all are bad now");
  assert.deepEqual(finishChecksums(context, bench.burst, "EN10MB", "all"), { finished: 4, unfinished: 1 });
  assert.equal(verifyChecksums(context, bench.burst, "EN10MB"), 0);
  for (let i = 0; i < 4; i++) {
    assert.equal(burst.at(i).checksum, "good");
    assert.equal(burst.at(i).header(ipv4)?.ttl, 63);
  }
  assert.throws(() => tcp.emit({ window: 0 }, burst.at(0)), { code: "ERR_HEADER" });
  udp.emit({ destination: 53 }, burst.at(0));
  assert.equal(burst.at(0).u16(14 + 4 + 20 + 2), 53);
  emptyBurst(bench);
});

test("a packet without a byte has no header, of whatever kind", () => {
  const bench = makeBench();
  for (const link of ["EN10MB", "RAW", "LINUX_SLL", "NULL", 9] as const) {
    addPacket(bench, [new Uint8Array(0)]);
    const packet = viewBurst(bench, link).at(0);
    for (const type of [ethernet, raw, sll, loopback, ppp])
      assert.equal(packet.header<object>(type), undefined);
    assert.match(summarize(packet), /^\[\|/);
    emptyBurst(bench);
  }
});

test("options are taken apart, and what is malformed in them ends the list", () => {
  const options = Buffer.from("020405b4" + "0103030a" + "0402" + "080a00000001ffffffff" + "00000000", "hex");
  assert.deepEqual(tcpOptions(options), {
    maximumSegment: 1460,
    windowScale: 10,
    sackPermitted: true,
    timestamp: { value: 1, echo: 0xffffffff },
  });
  assert.deepEqual(tcpOptions(Buffer.from("0812", "hex")), {});
  assert.deepEqual(
    ipv4Options(Buffer.from("01940400000700", "hex")).map(({ type }) => type),
    [1, 148],
  );
  const bench = makeBench();
  const header = tcp.encode({ flags: TCP_SYN | TCP_ACK, headerLength: 44, options: options.subarray(0, 24) });
  assert.equal(header.length, 44);
  addPacket(bench, [Buffer.concat([ipv4.encode({ protocol: 6, totalLength: 64 }), header])]);
  const found = viewBurst(bench, "RAW").at(0).header(tcp);
  assert.deepEqual(found?.options, Uint8Array.from(options.subarray(0, 24)));
  assert.equal(found?.flags, TCP_SYN | TCP_ACK);
  emptyBurst(bench);
});
