// Live captures that go from the kernel's ring into the file as they lie there.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { MAIN, packetsAt } from "../kit/lan.js";
import { makeNamespaces, makeVeth, runIn, startIn } from "../kit/netns.js";
import { until } from "../kit/until.js";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "millrace-ring-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Two hosts that say nothing of their own accord, `e0` to `e0`. */
function pair(t: TestContext, mtu: number) {
  const lan = makeNamespaces(t, "a", "b");
  if (lan === undefined) return undefined;
  for (const name of [lan.a, lan.b]) runIn(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  makeVeth(
    { namespace: lan.a, name: "e0", addresses: ["10.9.4.1/24"] },
    { namespace: lan.b, name: "e0", addresses: ["10.9.4.2/24"] },
    { mtu },
  );
  return lan;
}

interface Started {
  readonly child: ChildProcess;
  /** Waits for its end; exit status and what it said on standard error. */
  end(): Promise<{ readonly status: number; readonly said: string }>;
}

/** Milliseconds for a capture to see what was sent, and to end by itself. */
const LIMIT = 120_000;

/** Starts a capture and waits until it listens. */
async function start(t: TestContext, namespace: string, ...command: readonly string[]): Promise<Started> {
  const child = startIn(t, namespace, command[0], ...command.slice(1));
  let said = "";
  const ended = once(child, "close").then(([status]) => ({ status: status as number, said }));
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on("data", (data) => {
      said += data;
      if (said.includes("listening on")) resolve();
    });
    ended.then(() => reject(new Error(said)), reject);
  });
  // One that waits for packets that never come is asked for its closing lines, which say how many did.
  async function end() {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGINT");
    }, LIMIT);
    const result = await ended;
    clearTimeout(timer);
    assert.ok(!late, `${command.join(" ")} did not end within ${LIMIT} ms: ${result.said}`);
    return result;
  }
  return { child, end };
}

const millrace = (...args: readonly string[]) => [process.execPath, MAIN, "capture", "e0", ...args];

function generate(namespace: string, template: string, size: string, count: number, rate: string): void {
  runIn(
    ...[namespace, process.execPath, MAIN, "generate", "packet:e0", "--template", template],
    ...["--size", size, "--count", String(count), "--rate", rate],
  );
}

function packetsOf(file: string): string {
  return execFileSync("tcpdump", ["-r", file, "-t", "-nn", "-xx"], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    stdio: ["ignore", "pipe", "ignore"],
  });
}

function infoOf(file: string): { readonly packets: number; readonly fault?: unknown } {
  return JSON.parse(execFileSync(process.execPath, [MAIN, "info", "--json", file], { encoding: "utf8" }));
}

/** A named pipe whose reader, a process of its own, puts what comes into a file. */
function readPipe(t: TestContext, namespace: string, dir: string, file: string) {
  const path = join(dir, "pipe");
  execFileSync("mkfifo", [path]);
  const reader = startIn(t, namespace, "sh", "-c", 'exec cat "$0" >"$1"', path, file);
  return { path, closed: once(reader, "close") };
}

const PLAIN = "eth(dst=02:00:00:00:00:02)/ipv4(dst=10.9.4.9)/udp";
const TAGGED = "eth(dst=02:00:00:00:00:02)/vlan(id=7)/ipv4(dst=10.9.4.9)/udp";
const TRAFFIC = [
  [TAGGED, "imix", 9000, "5kpps"],
  [PLAIN, "imix", 9000, "5kpps"],
  [TAGGED, "9000", 600, "1kpps"],
  [PLAIN, "61", 6000, "5kpps"],
] as const;
const SENT = 24_600;

for (const [to, ...options] of [
  ["a file", "--format", "pcapng"],
  ["a file", "--format", "pcap", "-s", "300"],
  ["a pipe", "--format", "pcapng"],
])
  test(`packets of all sizes go into ${to} as tcpdump has them: ${options.join(" ")}`, async (t) => {
    const lan = pair(t, 9000);
    if (lan === undefined) return;
    const dir = folder(t);
    const [ours, theirs] = [join(dir, "ours"), join(dir, "theirs")];
    const snaplen = options.slice(2);
    const count = ["-c", String(SENT)];
    const peer = await start(
      ...([t, lan.b, "tcpdump", "-i", "e0", "-B", "65536", ...count, ...snaplen, "-w", theirs] as const),
    );
    const pipe = to === "a pipe" ? readPipe(t, lan.b, dir, ours) : undefined;
    // More than the ring holds, at a pace that leaves a busy machine most of a second.
    const command = millrace("-B", "8192", ...options, ...count, "-w", pipe?.path ?? ours);
    const capture = await start(t, lan.b, ...command);
    for (const [template, size, packets, rate] of TRAFFIC) generate(lan.a, template, size, packets, rate);
    const [{ status, said }] = await Promise.all([capture.end(), peer.end()]);
    await pipe?.closed;
    assert.equal(status, 0, said);
    assert.match(
      said,
      new RegExp(`${SENT} packets captured\n${SENT} packets received by filter\n0 packets dropped`),
    );
    assert.ok(packetsOf(ours) === packetsOf(theirs));
  });

test("what this host sends is marked as outgoing, short or long", async (t) => {
  const lan = pair(t, 1500);
  if (lan === undefined) return;
  const file = join(folder(t), "out.pcapng");
  const capture = await start(t, lan.b, ...millrace("-w", file, "-c", "40", "icmp"));
  for (const size of ["10", "1000"]) runIn(lan.a, "ping", "-c", "10", "-i", "0.01", "-s", size, "10.9.4.2");
  const { status, said } = await capture.end();
  assert.equal(status, 0, said);
  const fields = ["-e", "icmp.type", "-e", "frame.packet_flags_direction", "-e", "frame.len"];
  const rows = execFileSync("tshark", ["-r", file, "-T", "fields", ...fields], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  })
    .trim()
    .split("\n")
    .map((line) => line.split("\t"));
  for (const [type, direction] of rows) assert.equal(Number(direction || 0), type === "0" ? 2 : 0);
  assert.deepEqual(
    rows.map(([, , length]) => Number(length)),
    [52, 1042].flatMap((length) => Array.from({ length: 20 }, () => length)),
  );
});

test("a signal ends it with what had come until then, while more comes", async (t) => {
  const lan = pair(t, 1500);
  if (lan === undefined) return;
  const file = join(folder(t), "out.pcapng");
  const capture = await start(t, lan.b, ...millrace("-w", file));
  const traffic = ["generate", "packet:e0", "--template", PLAIN, "--size", "imix", "--rate", "5kpps"];
  const generator = startIn(t, lan.a, process.execPath, MAIN, ...traffic);
  await until("5,000 packets have come", () => packetsAt(lan.b, "e0").rx >= 5000);
  const before = packetsAt(lan.b, "e0").rx;
  capture.child.kill("SIGINT");
  const { status, said } = await capture.end();
  generator.kill("SIGINT");
  assert.equal(status, 0, said);
  const [captured, received, dropped] = [...said.matchAll(/^(\d+) packets/gm)].map(([, count]) => +count);
  assert.ok(captured >= before, `${captured} of ${before} packets are in the file`);
  assert.deepEqual([received, dropped], [captured, 0]);
  assert.deepEqual(infoOf(file).packets, captured);
  assert.equal(infoOf(file).fault, undefined);
});

test("a buffer larger than the usual arena has room for is made room for", async (t) => {
  const lan = pair(t, 1500);
  if (lan === undefined) return;
  const file = join(folder(t), "out.pcap");
  const capture = await start(t, lan.b, ...millrace("-B", "65536", "-w", file, "-c", "2000", "udp"));
  generate(lan.a, PLAIN, "imix", 2000, "20kpps");
  const { status, said } = await capture.end();
  assert.equal(status, 0, said);
  assert.match(said, /2000 packets captured\n2000 packets received by filter\n0 packets dropped/);
  assert.equal(infoOf(file).packets, 2000);
});

test("-G begins a new file while packets come, and each of them is in one", async (t) => {
  const lan = pair(t, 1500);
  if (lan === undefined) return;
  const dir = folder(t);
  const capture = await start(t, lan.b, ...millrace("-w", join(dir, "%s.pcapng"), "-G", "1", "-c", "6000"));
  for (let turn = 0; turn < 3; turn++) generate(lan.a, PLAIN, "imix", 2000, "2kpps");
  const { status, said } = await capture.end();
  assert.equal(status, 0, said);
  const files = readdirSync(dir).map((name) => infoOf(join(dir, name)));
  assert.ok(files.length >= 3);
  assert.deepEqual(
    files.filter(({ fault }) => fault !== undefined),
    [],
  );
  assert.equal(
    files.reduce((sum, { packets }) => sum + packets, 0),
    6000,
  );
});

test("a disk that becomes full ends the capture with one error, and the file with its last whole packet", async (t) => {
  const lan = pair(t, 1500);
  if (lan === undefined) return;
  for (const format of ["pcap", "pcapng"]) {
    const dir = folder(t);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", dir]);
    try {
      const file = join(dir, `out.${format}`);
      const capture = await start(t, lan.b, ...millrace("-w", file));
      generate(lan.a, TAGGED, "imix", 5000, "50kpps");
      const { status, said } = await capture.end();
      assert.equal(status, 1, said);
      assert.match(said, /the disk is full/);
      const { packets, fault } = infoOf(file);
      assert.ok(packets > 1000);
      assert.equal(fault, undefined);
    } finally {
      execFileSync("umount", [dir]);
    }
  }
});
