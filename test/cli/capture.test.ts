import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  createWriteStream,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { MAIN, makeLan } from "../kit/lan.js";
import { makeNamespaces, makeVeth, outputOf, runIn, startIn } from "../kit/netns.js";
import { until } from "../kit/until.js";
import { encodePcap } from "../packet/captures.js";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "millrace-capture-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function millrace(...args: readonly string[]) {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8", maxBuffer: 2 ** 26 });
}

/** Milliseconds for what takes a few at most on an idle machine. */
const LIMIT = 120_000;

/** Fails with a message of its own when something takes for ever. */
async function within<T>(what: () => string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${LIMIT} ms for ${what()}`)), LIMIT);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits for a line on standard error that matches. */
function told(child: ChildProcess, pattern: RegExp): Promise<string> {
  let text = "";
  const line = new Promise<string>((resolve, reject) => {
    child.stderr?.on("data", (data) => {
      text += data;
      if (pattern.test(text)) resolve(text);
    });
    child.once("exit", (code) => reject(new Error(`ended with ${code} before ${pattern}: ${text}`)));
  });
  return within(() => `${pattern}: ${text}`, line);
}

/** tcpdump forgets at SIGINT what it has not read yet: it gets its time, until its file grows no more. */
async function settled(file: string): Promise<void> {
  for (let size = -1, now = statSync(file).size; size !== now; ) {
    size = now;
    await new Promise((resolve) => setTimeout(resolve, 500));
    now = statSync(file).size;
  }
}

/** Every packet of a capture in hexadecimal, as tcpdump prints it. */
function packetsOf(file: string, ...filter: string[]): string {
  return execFileSync("tcpdump", ["-r", file, "-t", "-nn", "-xx", ...filter], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
    stdio: ["ignore", "pipe", "ignore"],
  });
}

test("capture writes what tcpdump captures of the same traffic, and closes with its three lines", async (t) => {
  const lan = makeNamespaces(t, "a", "b");
  if (lan === undefined) return;
  const address = (host: number) => [`10.9.0.${host}/24`];
  makeVeth(
    { namespace: lan.a, name: "e0", addresses: address(1) },
    { namespace: lan.b, name: "e0", addresses: address(2) },
  );
  const dir = folder(t);
  const [ours, theirs] = [join(dir, "ours.pcapng"), join(dir, "theirs.pcap")];
  const peer = startIn(
    t,
    lan.b,
    "tcpdump",
    "-i",
    "e0",
    "--immediate-mode",
    "-U",
    "-w",
    theirs,
    "icmp[0] = 0 or icmp[0] = 8",
  );
  await told(peer, /listening on/);
  const child = startIn(
    t,
    lan.b,
    process.execPath,
    MAIN,
    "capture",
    "e0",
    "-w",
    ours,
    "icmp[0] = 0 or icmp[0] = 8",
  );
  await told(child, /listening on e0/);
  runIn(lan.a, "ping", "-c", "20", "-i", "0.01", "-s", "1200", "10.9.0.2");
  await settled(theirs);
  for (const one of [peer, child]) one.kill("SIGINT");
  const [lines] = await Promise.all([closingLines(child), once(peer, "close")]);
  assert.match(lines, /40 packets captured\n40 packets received by filter\n0 packets dropped by kernel\n$/);
  assert.equal(packetsOf(ours), packetsOf(theirs));
  const info = JSON.parse(millrace("info", "--json", ours).stdout);
  const [{ name, filter, statistics }] = info.interfaces;
  assert.deepEqual([name, filter], ["e0", "icmp[0] = 0 or icmp[0] = 8"]);
  assert.equal(statistics.received, 40);
  assert.equal(statistics.droppedBySystem, 0);
});

async function closingLines(child: ChildProcess): Promise<string> {
  let text = "";
  child.stderr?.on("data", (data) => {
    text += data;
  });
  const [code] = await within(() => `the end: ${text}`, once(child, "close"));
  assert.equal(code, 0, text);
  return text;
}

test("tags, sizes and a snap length come out of the ring as tcpdump sees them", async (t) => {
  const lan = makeNamespaces(t, "a", "b");
  if (lan === undefined) return;
  makeVeth({ namespace: lan.a, name: "e0" }, { namespace: lan.b, name: "e0" });
  for (const name of ["a", "b"] as const)
    runIn(lan[name], "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/e0/disable_ipv6");
  const dir = folder(t);
  for (const [name, ...more] of [["whole.pcap"], ["cut.pcapng", "-s", "70"]]) {
    const [ours, theirs] = [join(dir, name), join(dir, "theirs.pcap")];
    const peer = startIn(t, lan.b, "tcpdump", "-i", "e0", "-c", "400", ...more, "-w", theirs);
    await told(peer, /listening on/);
    const ended = once(peer, "close");
    const child = startIn(t, lan.b, process.execPath, MAIN, "capture", "e0", ...more, "-w", ours);
    await told(child, /listening on e0/);
    for (const template of ["eth/vlan(id=7)/ipv4/udp", "eth/ipv4/udp"])
      runIn(
        ...[lan.a, process.execPath, MAIN, "generate", "packet:e0", "--template", template],
        ...["--size", "imix", "--count", "200", "--rate", "5kpps"],
      );
    await within(() => `tcpdump to see 400 packets: its file has ${statSync(theirs).size} bytes`, ended);
    child.kill("SIGINT");
    const lines = await closingLines(child);
    assert.match(lines, /400 packets captured\n400 packets received by filter\n0 packets dropped/);
    assert.match(packetsOf(ours), /8100 0007/);
    assert.equal(packetsOf(ours), packetsOf(theirs));
  }
});

test("SIGUSR1 tells the counts, and SIGKILL leaves a file that can be read", async (t) => {
  const lan = makeNamespaces(t, "a", "b");
  if (lan === undefined) return;
  makeVeth(
    { namespace: lan.a, name: "e0", addresses: ["10.9.1.1/24"] },
    { namespace: lan.b, name: "e0", addresses: ["10.9.1.2/24"] },
  );
  const file = join(folder(t), "out.pcapng");
  // Through `ip netns exec` the process is the shell's child and the signal must reach Node itself.
  const child = startIn(
    t,
    lan.b,
    process.execPath,
    MAIN,
    "capture",
    "e0",
    "-w",
    file,
    "icmp[0] = 0 or icmp[0] = 8",
  );
  await told(child, /listening on e0/);
  runIn(lan.a, "ping", "-c", "10", "-i", "0.01", "10.9.1.2");
  const lines = () => spawnSync("tcpdump", ["-r", file], { encoding: "utf8" }).stdout;
  await until(
    () => `20 packets are in the file: ${lines()}`,
    () => lines().split("\n").length >= 21,
  );
  child.kill("SIGUSR1");
  assert.match(await told(child, /dropped by kernel/), /20 packets captured/);
  child.kill("SIGKILL");
  await once(child, "exit");
  const { packets, fault } = JSON.parse(millrace("info", "--json", file).stdout);
  assert.equal(packets, 20);
  assert.equal(fault, undefined);
});

test("a capture whose reader is slow drops in the kernel, and counts what it dropped", async (t) => {
  const lan = makeLan(t, { silent: true });
  if (lan === undefined) return;
  const dir = folder(t);
  const child = startIn(
    t,
    lan.middle,
    process.execPath,
    ...[MAIN, "capture", "v0", "-B", "512", "-w", "-", "udp"],
  );
  await told(child, /listening on v0/);
  const sent = 40_000; // some 40 MB, and nobody reads
  runIn(
    ...[lan.client, process.execPath, MAIN, "generate", "packet:e0"],
    ...["--size", "1000", "--count", String(sent), "--rate", "50kpps"],
  );
  const file = join(dir, "out.pcapng");
  child.stdout?.pipe(createWriteStream(file));
  child.kill("SIGINT");
  const lines = await closingLines(child);
  const [captured, received, dropped] = [...lines.matchAll(/^(\d+) packets/gm)].map(([, count]) => +count);
  assert.equal(received, sent);
  assert.equal(captured + dropped, sent);
  assert.ok(dropped > 0);
  const { packets, fault } = JSON.parse(millrace("info", "--json", file).stdout);
  assert.equal(packets, captured);
  assert.equal(fault, undefined);
});

const recorded = "test/data/captures/mptcp-v1.pcap";

test("without -w a line is printed for each packet, in tcpdump's forms", () => {
  const { stdout, status } = millrace("capture", "-r", "test/data/captures/dns_udp.pcap", "-tt", "-n", "-e");
  assert.equal(status, 0);
  const [first] = stdout.split("\n");
  assert.equal(
    first,
    "1591780794.740079 00:11:22:33:44:55 > 00:11:22:33:44:66, ethertype IPv4 (0x0800), length 98: 192.168.1.11.43966 > 209.87.249.18.53: UDP, length 56",
  );
  const hex = millrace("capture", "-r", "test/data/captures/dns_udp.pcap", "-t", "-x", "-c", "1").stdout;
  const theirs = execFileSync("tcpdump", ["-r", "test/data/captures/dns_udp.pcap", "-t", "-nx", "-c", "1"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  assert.deepEqual(hex.split("\n").slice(1), theirs.split("\n").slice(1));
  const json = millrace("capture", "-r", "test/data/captures/dns_udp.pcap", "--json", "src port 53").stdout;
  assert.deepEqual(JSON.parse(json).length, 266);
});

test("times and link headers of the lines are tcpdump's", (t) => {
  const dir = folder(t);
  const every = join(dir, "every.pcap");
  const ethertypes = Array.from({ length: 0x10000 - 1536 }, (_, i) => i + 1536);
  const frame = (type: number) =>
    Uint8Array.from({ length: 60 }, (_, i) => [type >> 8, type & 255][i - 12] ?? 0);
  writeFileSync(every, encodePcap(1, ethertypes.map(frame)));
  const head = (text: string) =>
    text
      .split("\n")
      .map((line) => /^.*? > .*?(?:\)|802\.3), length \d+:/.exec(line)?.[0])
      .filter((line) => line !== undefined);
  const named = (text: string) => head(text).filter((line) => !line.includes("Unknown"));
  const time = (text: string) => text.match(/^.*?(?= [A-Z])/gm);
  const compare = (part: (text: string) => unknown, file: string, ...options: readonly string[]) => {
    const theirs = spawnSync("tcpdump", ["-n", "-r", file, ...options], {
      encoding: "latin1",
      maxBuffer: 2 ** 26,
    });
    assert.equal(theirs.status, 0, theirs.stderr);
    const ours = millrace("capture", "-r", file, ...options);
    assert.deepEqual(part(ours.stdout), part(theirs.stdout), `${file} ${options.join(" ")}`);
    assert.notEqual(part(ours.stdout), null);
  };
  compare(named, every, "-e", "-t");
  compare(head, "test/data/captures/802.1D_spanning_tree.pcap", "-e", "-t");
  for (const times of [[], ["-tt"], ["-ttt"], ["-tttt"], ["-ttttt"]]) compare(time, recorded, ...times);
});

test("-C and -W cut the output into a ring of files, every packet in one of them", (t) => {
  const dir = folder(t);
  const many = join(dir, "many.pcap");
  const made = millrace("generate", many, "--size", "1000", "--count", "5000");
  assert.equal(made.status, 0, made.stderr);
  const plain = millrace("capture", "-r", many, "-w", join(dir, "cut.pcap"), "-C", "1");
  assert.equal(plain.status, 0, plain.stderr);
  const files = readdirSync(dir).filter((name) => name.startsWith("cut.pcap"));
  assert.deepEqual(files.sort(), [
    "cut.pcap",
    "cut.pcap1",
    "cut.pcap2",
    "cut.pcap3",
    "cut.pcap4",
    "cut.pcap5",
  ]);
  const theirs = spawnSync("tcpdump", ["-r", many, "-w", join(dir, "their.pcap"), "-C", "1", "-Z", "root"]);
  assert.equal(theirs.status, 0, String(theirs.stderr));
  for (const name of files) {
    const peer = join(dir, name.replace("cut", "their"));
    assert.deepEqual(readFileSync(join(dir, name)).subarray(24), readFileSync(peer).subarray(24), name);
  }
  const ring = millrace(
    "capture",
    "-r",
    many,
    "-w",
    join(dir, "ring"),
    "--format",
    "pcap",
    "-C",
    "1",
    "-W",
    "3",
  );
  assert.equal(ring.status, 0, ring.stderr);
  const kept = readdirSync(dir).filter((name) => name.startsWith("ring"));
  assert.deepEqual(kept.sort(), ["ring0", "ring1", "ring2"]);
  // The sixth file has taken the third one's place.
  assert.equal(statSync(join(dir, "ring2")).size, statSync(join(dir, "cut.pcap5")).size);
});

test("-z is run with each finished file", async (t) => {
  const dir = folder(t);
  const file = join(dir, "one.pcap");
  const { status, stderr } = millrace("capture", "-r", recorded, "-w", file, "-z", "gzip");
  assert.equal(status, 0, stderr);
  await until(
    () => `gzip has done its work: ${readdirSync(dir)}`,
    () => existsSync(`${file}.gz`) && !existsSync(file),
  );
  assert.equal(
    packetsOf(recorded),
    execFileSync("sh", ["-c", `gzip -dc ${file}.gz | tcpdump -r - -t -nn -xx 2>/dev/null`], {
      encoding: "utf8",
    }),
  );
});

test("captures go through pipes: from standard input to standard output", async () => {
  const child = spawn("sh", [
    "-c",
    `"${process.execPath}" "${MAIN}" capture -r - -w - tcp <"${recorded}" | tcpdump -r - -t -nn -xx 2>/dev/null`,
  ]);
  assert.equal(
    await outputOf(child).then((text) => text.replace(/^(reading|\d+ packets).*\n/gm, "")),
    packetsOf(recorded, "tcp"),
  );
});

test("replay keeps the packets and their gaps; generate makes what the template says", (t) => {
  const dir = folder(t);
  const out = join(dir, "out.pcapng");
  const replayed = millrace("replay", recorded, `${out}?linktype=LINUX_SLL`, "--topspeed", "--json");
  assert.equal(replayed.status, 0, replayed.stderr);
  assert.equal(packetsOf(out), packetsOf(recorded));
  const { created, transmitted } = JSON.parse(replayed.stdout);
  assert.equal(created, transmitted.packets);
  const mixed = millrace("generate", out, "--size", "imix", "--flows", "10", "--count", "1200", "--json");
  assert.equal(mixed.status, 0, mixed.stderr);
  const sizes = execFileSync(
    "tshark",
    ["-r", out, "-T", "fields", "-e", "frame.len", "-e", "udp.srcport", "-e", "udp.checksum.status"],
    {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    },
  )
    .trim()
    .split("\n")
    .map((line) => line.split("\t").map(Number));
  const count = (size: number) => sizes.filter(([length]) => length === size).length;
  assert.deepEqual([count(60), count(590), count(1514)], [700, 400, 100]);
  assert.equal(new Set(sizes.map(([, port]) => port)).size, 10);
});

test("wrong usage ends with status 2 and one line that says why, failures with 1", () => {
  const cases: [string[], number, RegExp][] = [
    [["capture"], 2, /needs a port/],
    [["capture", "-r", recorded, "-i", "eth0"], 2, /exclude each other/],
    [["capture", "-r", recorded, "-C", "1"], 2, /need -w/],
    [["capture", "-r", recorded, "-W", "1", "-w", "/dev/null"], 2, /-W needs/],
    [["capture", "-r", recorded, "port frob"], 2, /frob/],
    [["capture", "-r", "/nowhere.pcap"], 1, /does not exist/],
    [["replay", recorded, "/dev/null?linktype=EN10MB", "--speed", "1", "--topspeed"], 2, /exclude/],
    [["replay", recorded, "/dev/null"], 2, /link type/],
    [["generate", "/dev/null", "--size", "10"], 2, /headers alone/],
    [["generate", "/dev/null", "--rate", "10furlongs"], 2, /no rate/],
    [["convert", recorded, recorded], 2, /one file/],
    [["info", "/etc/passwd"], 1, /neither pcap nor pcapng/],
  ];
  for (const [args, expected, message] of cases) {
    const { status, stderr } = millrace(...args);
    assert.equal(status, expected, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, message);
  }
});
