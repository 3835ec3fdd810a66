// What capture prints without -w, and what it takes of all interfaces at once: tcpdump's lines, tcpdump's packets.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { MAIN, startMillrace } from "../kit/lan.js";
import { ip, makeNamespaces, makeVeth, runIn, startIn } from "../kit/netns.js";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "millrace-lines-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function tcpdump(...args: readonly string[]): string {
  return execFileSync("tcpdump", ["-nn", ...args], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
    stdio: ["ignore", "pipe", "ignore"],
  });
}

function millrace(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return stdout;
}

const WAYS = [[], ["-e"], ["-q"], ["-q", "-e"]] as const;

const TEMPLATES = [
  "eth/ipv4/udp",
  "eth/ipv6/udp",
  "eth/ipv4/tcp(flags=2)",
  "eth/arp(op=1,spa=10.0.0.1,tpa=10.0.0.2)",
  "eth/vlan(id=7,pcp=3)/ipv4/udp",
  "eth/vlan(id=7)/vlan(id=9)/ipv6/udp",
  "eth/vlan(id=7)/arp(op=2,spa=10.0.0.1,tpa=10.0.0.2)",
  "eth/mpls(label=16,ttl=3)/ipv4/udp(sport=40000,dport=50000)",
];

test("lines of Ethernet are tcpdump's, plain, with -e, with -q and with both", (t) => {
  const file = join(folder(t), "one.pcap");
  for (const template of TEMPLATES) {
    millrace("generate", file, "--template", template, "--size", "100", "--count", "1");
    for (const options of WAYS)
      assert.equal(
        millrace("capture", "-t", ...options, "-r", file),
        tcpdump("-t", ...options, "-r", file),
        `${template} ${options.join(" ")}`,
      );
  }
});

test("TCP's numbers count from a connection's first, and fragments and neighbours are told of, as by tcpdump", (t) => {
  const lan = makeNamespaces(t, "a", "b");
  if (lan === undefined) return;
  const ends = [lan.a, lan.b].map((namespace, index) => ({
    ...{ namespace, name: "e0" },
    addresses: [`10.9.5.${index + 1}/24`, `fd09:5::${index + 1}/64`],
  }));
  makeVeth(ends[0], ends[1]);
  const file = join(folder(t), "traffic.pcap");
  const peer = startIn(t, lan.b, "tcpdump", "-i", "e0", "--immediate-mode", "-U", "-w", file, "not udp");
  return listening(peer).then(async () => {
    const server = `const s = require("net").createServer((c) => { c.end("x".repeat(9000)); s.close(); });
      s.listen(7000, () => console.log("ready"));`;
    const client = `const c = require("net").connect(7000, "10.9.5.1", () => c.write("hello"));
      c.on("data", () => {}); c.on("close", () => console.log("done"));`;
    for (let connection = 0; connection < 2; connection++) {
      const served = startIn(t, lan.a, process.execPath, "-e", server);
      assert.ok(served.stdout);
      await once(served.stdout, "data");
      runIn(lan.b, process.execPath, "-e", client);
    }
    for (const target of ["10.9.5.1", "fd09:5::1"])
      runIn(lan.b, "ping", "-c", "2", "-i", "0.1", "-s", "4000", target);
    runIn(lan.b, "ping", "-c", "1", "-p", "ab", "-s", "77", "10.9.5.1"); // the last
    for (let last = ""; !/ICMP echo reply.*length 85$/m.test(last); ) last = tcpdump("-r", file);
    peer.kill("SIGINT");
    await once(peer, "close");
    const plain = (text: string) => text.split("\n").filter((line) => !/router|listener/.test(line));
    for (const options of WAYS)
      assert.deepEqual(
        plain(millrace("capture", ...options, "-r", file)),
        plain(tcpdump(...options, "-r", file)),
      );
    assert.match(tcpdump("-r", file), /Flags \[P?\.\], seq 1:\d+, ack 1,/);
  });
});

/** Waits until tcpdump listens. */
async function listening(peer: ChildProcess): Promise<void> {
  let said = "";
  await new Promise<void>((resolve, reject) => {
    peer.stderr?.on("data", (data) => {
      said += data;
      if (said.includes("listening on")) resolve();
    });
    peer.once("exit", () => reject(new Error(said)));
  });
}

/** A host in the middle that two others can ping, and its interfaces. */
function makeMiddle(t: TestContext) {
  const names = makeNamespaces(t, "left", "middle", "right");
  if (names === undefined) return undefined;
  const { left, middle, right } = names;
  for (const [namespace, name, net] of [
    [left, "v0", 6],
    [right, "v1", 7],
  ] as const)
    makeVeth(
      { namespace: middle, name, addresses: [`10.9.${net}.1/24`] },
      { namespace, name: "e0", addresses: [`10.9.${net}.2/24`] },
    );
  const [{ ifindex }] = JSON.parse(ip("-n", middle, "-j", "link", "show", "v1"));
  const pings = () => {
    for (const [namespace, target] of [
      [left, "10.9.6.1"],
      [right, "10.9.7.1"],
    ])
      for (const size of ["20", "500"]) runIn(namespace, "ping", "-c", "3", "-i", "0.02", "-s", size, target);
  };
  return { middle, ifindex: Number(ifindex), pings };
}

test("of all interfaces at once a filter takes what it takes for tcpdump", async (t) => {
  const host = makeMiddle(t);
  if (host === undefined) return;
  const { middle, ifindex, pings } = host;
  const dir = folder(t);
  for (const [expression, packets, place] of [
    ["icmp", 24, "socket"],
    ["icmp and inbound", 12, "socket"],
    [`icmp[icmptype] = icmp-echoreply and ifindex ${ifindex}`, 6, "socket"],
    ["host 10.9.6.2 and icmp", 12, "socket"],
    ["icmp and less 200", 12, "wasm"],
  ] as const) {
    const [ours, theirs] = [join(dir, "ours"), join(dir, "theirs")];
    const count = ["-c", String(packets)];
    const peer = startIn(t, middle, "tcpdump", "-i", "any", ...count, "-w", theirs, expression);
    const ended = once(peer, "close");
    await listening(peer);
    const args = ["capture", "any", ...count, "-w", ours, expression];
    const capture = await startMillrace(t, middle, /listening/, ...args);
    assert.match(capture.said(), new RegExp(`filter in ${place}`));
    pings();
    await Promise.all([capture.ended, ended]);
    const bytes = (file: string) => tcpdump("-t", "-xx", "-r", file);
    assert.equal(bytes(ours), bytes(theirs), expression);
  }
});

test("lines of all interfaces at once say which interface and which way, as tcpdump's do", async (t) => {
  const host = makeMiddle(t);
  if (host === undefined) return;
  for (const options of [[], ["-e"], ["-q", "-e"]]) {
    const args = ["-nn", "-t", "-i", "any", ...options, "-c", "24", "icmp"];
    const peer = startIn(t, host.middle, "tcpdump", ...args);
    let theirs = "";
    peer.stdout?.on("data", (data) => {
      theirs += data;
    });
    const ended = once(peer, "close");
    await listening(peer);
    const command = ["capture", "any", "-t", ...options, "-c", "24", "icmp"];
    const capture = await startMillrace(t, host.middle, /listening/, ...command);
    host.pings();
    await Promise.all([capture.ended, ended]);
    assert.match(theirs, /^v1 +Out /m);
    assert.equal(capture.printed(), theirs);
  }
});
