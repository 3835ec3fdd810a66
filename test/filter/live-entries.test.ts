// Hostile filters where several threads or the kernel run them: each lets through what it must, or ends in one clear
// error, at once.
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { imbalance } from "../../src/flow/report.js";
import { MAIN } from "../kit/lan.js";
import { makeNamespaces, makeVeth, runIn, startIn } from "../kit/netns.js";
import { DATA } from "./oracle.js";

const FILE = join(DATA, "gather/rtp-mp2t-ffmpeg.pcap");
/** UDP port of RTP in the file, and how many packets go there by tcpdump's count; one more goes elsewhere. */
const PORT = 41_010;
const TO_PORT = 287;
const STATIONS = Array.from(
  { length: 3230 },
  (_, i) => `ether dst 02:00:00:00:${(0x1000 + i).toString(16).replace(/../, "$&:")}`,
);
/** 100,000 characters, of which every packet to PORT sees each term. */
const LONG = `${STATIONS.join(" or ")} or udp dst port ${PORT}`;
const SHORT = `udp dst port ${PORT}`;
const DEEP = 10_000;
const REFUSED = {
  "10,000 parentheses": `${"(".repeat(DEEP)}udp${")".repeat(DEEP)}`,
  "10,000 nots": `${"not ".repeat(DEEP)}udp`,
  "one word of 100,000 characters": "a".repeat(100_000),
};

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "millrace-hostile-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A command that must end by itself. */
function ended(command: string, ...words: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(command, words, { encoding: "utf8", timeout: 120_000 });
}

/** Two interfaces that nothing but a test sends to: what goes into `v1` comes out of `v0`. */
function pair(t: TestContext): string | undefined {
  const names = makeNamespaces(t, "lan");
  if (names === undefined) return undefined;
  runIn(names.lan, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  makeVeth({ namespace: names.lan, name: "v0" }, { namespace: names.lan, name: "v1" }, { queues: 2 });
  return names.lan;
}

/** Waits until so many packet sockets of a namespace take packets. */
async function listening(namespace: string, sockets: number, over: () => boolean): Promise<void> {
  for (;;) {
    const lines = runIn(namespace, "cat", "/proc/net/packet").trim().split("\n").slice(1);
    // sk RefCnt Type Proto Iface R …
    const running = lines.map((line) => line.trim().split(/\s+/)).filter((words) => words[5] === "1");
    if (running.length >= sockets) return;
    assert.ok(!over(), "it ended before it listened");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

for (const [name, text, place] of [
  ["a short filter", SHORT, "socket"],
  ["100,000 characters", LONG, "wasm"], // more instructions than a socket takes
] as const)
  test(`forward with two workers under ${name} passes on what matches`, async (t) => {
    const lan = pair(t);
    if (lan === undefined) return;
    const words = [
      "forward",
      "packet:v0",
      "null:",
      "--one-way",
      "--workers",
      "2",
      "--json",
      "--filter",
      text,
    ];
    const forward = startIn(t, lan, process.execPath, MAIN, ...words);
    let [out, said] = ["", ""];
    forward.stdout?.on("data", (data) => {
      out += data;
    });
    forward.stderr?.on("data", (data) => {
      said += data;
    });
    const closed = once(forward, "close");
    await listening(lan, 2, () => forward.exitCode !== null);
    runIn(lan, process.execPath, MAIN, "replay", FILE, "packet:v1", "--topspeed");
    forward.kill("SIGINT");
    const [status] = await closed;
    assert.equal(status, 0, said.slice(0, 1000));
    const report = JSON.parse(out);
    assert.equal(report.transmitted.packets, TO_PORT, out);
    assert.equal(imbalance(report), 0, out);
    assert.match(report.mode[0], new RegExp(`filter in ${place}$`));
  });

test("gather with two workers under 100,000 characters gathers what it does under a short filter", (t) => {
  const path = folder(t);
  const reports = [SHORT, LONG].map((text) => {
    const to = `file:${join(path, "gathered-%w")}`;
    const words = ["gather", "--from", `pcap:${FILE}`, "--to", to, "--layout", "rtp", "--workers", "2"];
    const { status, stdout, stderr } = ended(process.execPath, MAIN, ...words, "--json", "--filter", text);
    assert.equal(status, 0, stderr.slice(0, 1000));
    const report = JSON.parse(stdout);
    assert.equal(imbalance(report), 0, stdout);
    return report;
  });
  assert.equal(reports[0].delivered.packets, TO_PORT);
  assert.deepEqual(reports[1].delivered, reports[0].delivered);
  assert.deepEqual(reports[1].chunks, reports[0].chunks);
});

/** Commands that open a live port or start workers, by what they are called; run in a namespace with `v0`. */
const COMMANDS: Readonly<Record<string, (path: string) => readonly string[]>> = {
  "forward packet: with two workers": () => [
    ...["forward", "packet:v0", "null:", "--one-way", "--workers", "2", "--filter"],
  ],
  "forward xdp: with two workers": () => [
    ...["forward", "xdp:v0", "null:", "--one-way", "--workers", "2", "--filter"],
  ],
  "gather packet: with two workers": (path) => [
    ...["gather", "--from", "packet:v0", "--to", `file:${join(path, "%w")}`],
    ...["--layout", "rtp", "--workers", "2", "--filter"],
  ],
  "capture packet:": (path) => ["capture", "-i", "v0", "-w", join(path, "out.pcap")],
  "capture xdp:": (path) => ["capture", "-i", "xdp:v0", "-w", join(path, "out.pcap")],
};

for (const [command, words] of Object.entries(COMMANDS))
  test(`${command}: a filter nested without measure ends it with one clear error`, (t) => {
    const lan = pair(t);
    if (lan === undefined) return;
    const path = folder(t);
    for (const [name, text] of Object.entries(REFUSED)) {
      const run = ended("ip", "netns", "exec", lan, process.execPath, MAIN, ...words(path), text);
      const { status, signal, stderr } = run;
      assert.equal(status, 2, `${name}: ${signal} ${stderr.slice(0, 1000)}`);
      assert.equal(stderr.match(/filter: column \d+: /g)?.length, 1, stderr.slice(0, 1000));
      assert.ok(stderr.length < 500, `${name}: ${stderr.length} characters`);
    }
  });

test("a udp: port refuses a filter that no socket takes, in one line", () => {
  for (const text of [`${LONG} and udp[8] = 1`, REFUSED["10,000 nots"]]) {
    const { status, stderr } = ended(process.execPath, MAIN, "capture", "-i", "udp://127.0.0.1:0", text);
    assert.equal(status, 2, stderr.slice(0, 1000));
    assert.equal(stderr.match(/filter: /g)?.length, 1, stderr.slice(0, 1000));
    assert.ok(stderr.length < 500, `${stderr.length} characters`);
  }
});
