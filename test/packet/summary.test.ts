// One line a packet: what tcpdump prints for the same packet.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { buildPacket } from "../../src/packet/build.js";
import { summarize } from "../../src/packet/summary.js";
import { parseTemplate } from "../../src/packet/template.js";
import { addPacket, emptyBurst, makeBench, viewBurst } from "./arena.js";
import { encodePcap } from "./captures.js";
import { needs } from "./oracle.js";

const TEMPLATES = [
  "eth/ipv4(src=10.0.0.1,dst=10.0.0.2)/udp(sport=40000,dport=50000)",
  "eth/ipv6(src=fd00::1,dst=fd00::2:0:0:3)/udp(sport=40000,dport=50000)",
  "eth/ipv4/tcp(sport=40000,dport=50000,flags=0x18,seq=7,ack=9,window=512)",
  "eth/ipv6/tcp(sport=40000,dport=50000,flags=0x02,seq=4294967295)",
  "eth/ipv4/tcp(sport=40000,dport=50000,flags=0,seq=1)",
  "eth/ipv4/icmp(type=8,id=3,seq=9)",
  "eth/ipv6/icmpv6(type=129,id=3,seq=9)",
  "eth/arp(op=1,spa=10.0.0.1,tpa=10.0.0.2)",
  "eth/arp(op=2,spa=10.0.0.1,tpa=10.0.0.2)",
  "eth/ipv4/gre/ipv6/udp(sport=40000,dport=50000)",
  "eth/ipv4/udp(sport=40000)/vxlan(vni=77)/eth/ipv4/udp(sport=40000,dport=50000)",
  "eth/mpls(label=16,ttl=3)/ipv4/udp(sport=40000,dport=50000)",
  "eth/pppoe(session=17)/ppp/ipv4/udp(sport=40000,dport=50000)",
];

test("the summary of a packet is tcpdump's line", (t) => {
  if (!needs(t, "tcpdump")) return;
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const text of TEMPLATES) {
    const packet = buildPacket(parseTemplate(text), Buffer.from(/arp/.test(text) ? "" : "payload!"));
    const file = join(directory, "one.pcap");
    writeFileSync(file, encodePcap(1, [packet]));
    const theirs = execFileSync("tcpdump", ["-nn", "-t", "-S", "-r", file], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const bench = makeBench();
    addPacket(bench, [packet]);
    // What tcpdump breaks into two lines stands in one here.
    assert.equal(summarize(viewBurst(bench).at(0)), theirs.trim().replace(/\n\s*/g, ": "), text);
    emptyBurst(bench);
  }
});

test("what cannot be read is said to be so", () => {
  const bench = makeBench();
  const whole = buildPacket(parseTemplate("eth/ipv4/udp"), Buffer.from("x"));
  const line = (bytes: Uint8Array, link: "EN10MB" | "RAW" | number = "EN10MB") => {
    addPacket(bench, [bytes]);
    const text = summarize(viewBurst(bench, link).at(0));
    emptyBurst(bench);
    return text;
  };
  assert.equal(line(whole.subarray(0, 30)), "[|ipv4]");
  assert.equal(line(whole.subarray(0, 36)), "IP 10.0.0.1 > 10.0.0.2: [|udp]");
  assert.equal(line(whole.subarray(0, 9)), "[|ethernet]");
  assert.equal(line(whole, 147), "link type 147, length 43");
  assert.equal(
    line(Uint8Array.from([...whole.subarray(0, 12), 0x88, 0xcc, 1, 2])),
    "ethertype Unknown (0x88cc), length 2",
  );
});
