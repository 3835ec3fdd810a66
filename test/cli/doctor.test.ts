import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { forbidsNative } from "../../src/ports/interfaces.js";
import { ip, makeNamespaces, makeVeth, runIn, startIn } from "../kit/netns.js";

const MAIN = new URL("../../lib/millrace.js", import.meta.url).pathname;

/** Runs what follows without any capability. */
const NOBODY: readonly string[] = [
  ...["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--reuid", "65534", "--clear-groups"],
];

interface Finding {
  readonly about: string;
  readonly state: string;
  readonly what: string;
  readonly mend?: string;
}

test("ports lists kinds and interfaces as the kernel has them", (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  makeVeth({ namespace: names.a, name: "p0" }, { namespace: names.a, name: "p1" }, { queues: 2, mtu: 1700 });
  const listed = JSON.parse(runIn(names.a, process.execPath, MAIN, "ports", "--json"));
  assert.ok(listed.kinds.includes("xdp"));
  assert.deepEqual(listed.interfaces.map((one: { name: string }) => one.name).sort(), ["p0", "p1"]);
  const p0 = listed.interfaces.find((one: { name: string }) => one.name === "p0");
  assert.equal(p0.driver, "veth");
  assert.equal(p0.mtu, 1700);
  assert.equal(p0.queues.rx, 2);
  const text = runIn(names.a, process.execPath, MAIN, "ports", "--all");
  assert.match(text, /^lo: /m);
  assert.match(text, /^p0: up, veth, MTU 1700, 2 queues$/m);
});

test("doctor is right with root, and names what is missing without", (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  makeVeth({ namespace: names.a, name: "p0" }, { namespace: names.a, name: "p1" });
  const parse = (text: string): Finding[] => JSON.parse(text);
  const command = [process.execPath, MAIN, "doctor", "--json"];
  const rooted = parse(runIn(names.a, command[0], ...command.slice(1)));
  const about = (findings: Finding[], name: string) => findings.find((one) => one.about === name);
  assert.equal(about(rooted, "packet:")?.state, "ok");
  assert.equal(about(rooted, "xdp:")?.state, "ok");
  assert.match(about(rooted, "p0")?.mend ?? "", /ethtool -K PEER tx off gro off/);
  ip("-n", names.a, "link", "set", "p0", "down");
  const down = parse(runIn(names.a, command[0], ...command.slice(1)));
  assert.equal(about(down, "p0")?.mend, "sudo ip link set dev p0 up");
  ip("-n", names.a, "link", "set", "p0", "up");

  const plain = parse(runIn(names.a, NOBODY[0], ...NOBODY.slice(1), ...command));
  assert.equal(about(plain, "packet:")?.state, "no");
  assert.match(about(plain, "packet:")?.what ?? "", /CAP_NET_RAW missing/);
  assert.match(about(plain, "xdp:")?.what ?? "", /CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF missing/);
  assert.match(about(plain, "xdp:")?.mend ?? "", /setcap cap_net_raw,cap_net_admin,cap_bpf\+ep/);
  // What it says is so: the port fails for the reason given.
  const refused = spawnSync(
    "ip",
    ["netns", "exec", names.a, ...NOBODY, process.execPath, MAIN, "forward", "xdp:p0", "xdp:p1"],
    { encoding: "utf8", timeout: 30_000 },
  );
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /CAP_/);
});

test("without capabilities every command says which one its port lacks", (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  makeVeth({ namespace: names.a, name: "p0" }, { namespace: names.a, name: "p1" });
  const recorded = "test/data/captures/dns_udp.pcap";
  const cases: readonly (readonly [RegExp, ...string[]])[] = [
    [/CAP_NET_RAW/, "capture", "p0"],
    [/CAP_NET_RAW/, "capture", "any", "-w", "/dev/null"],
    [/CAP_NET_RAW|CAP_BPF/, "capture", "xdp:p0"],
    [/CAP_NET_ADMIN/, "capture", "tap:mr0"],
    [/CAP_NET_RAW/, "forward", "packet:p0", "null:"],
    [/CAP_NET_RAW/, "forward", "null:", "packet:p0", "--one-way", "--workers", "2"],
    [/CAP_NET_ADMIN/, "forward", "null:", "tap:mr0", "--one-way"],
    [/CAP_NET_RAW/, "generate", "packet:p0", "--count", "1"],
    [/CAP_NET_RAW|CAP_BPF/, "generate", "xdp:p0", "--count", "1"],
    [/CAP_NET_RAW/, "replay", recorded, "packet:p0"],
    [/CAP_NET_RAW/, "gather", "--from", "packet:p0", "--to", "file:/dev/null", "--layout", "rtp"],
  ];
  for (const [capability, ...args] of cases) {
    const command: string[] = ["netns", "exec", names.a, ...NOBODY, process.execPath, MAIN, ...args];
    const { status, stderr } = spawnSync("ip", command, { encoding: "utf8", timeout: 60_000 });
    assert.equal(status, 1, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, capability, args.join(" "));
    assert.doesNotMatch(stderr, /\n {4}at /);
  }
});

test("of several capabilities the missing one is named, and locked memory when that is short", (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  makeVeth({ namespace: names.a, name: "p0" }, { namespace: names.a, name: "p1" });
  const needed = ["net_raw", "net_admin", "bpf"];
  const open = (held: readonly string[], ...before: string[]) =>
    spawnSync(
      "ip",
      [
        ...["netns", "exec", names.a, ...before, "setpriv", "--inh-caps", "-all"],
        ...["--bounding-set", ["-all", ...held.map((name) => `+${name}`)].join(",")],
        ...[process.execPath, MAIN, "forward", "xdp:p0", "null:", "--one-way", "--duration", "0.1"],
      ],
      { encoding: "utf8", timeout: 60_000 },
    );
  for (const missing of needed) {
    const { status, stderr } = open(needed.filter((name) => name !== missing));
    assert.equal(status, 1, stderr);
    assert.match(stderr, new RegExp(`millrace: CAP_${missing.toUpperCase()} missing`));
  }
  const short = open(needed, "prlimit", "--memlock=65536");
  assert.equal(short.status, 1, short.stderr);
  assert.match(
    short.stderr,
    /frames, 234881024 bytes, do not fit into the 65536 bytes of RLIMIT_MEMLOCK: raise it .* or give CAP_IPC_LOCK/,
  );
  const enough = open([...needed, "ipc_lock"], "prlimit", "--memlock=65536");
  assert.equal(enough.status, 0, enough.stderr);
});

test("doctor says how much locked memory is wanted where the limit is too low", (t) => {
  if (process.getuid?.() !== 0) return t.skip("prlimit and setpriv need root");
  const says = (held: string) => {
    const caps = ["setpriv", "--inh-caps", "-all", "--bounding-set", `-all${held}`];
    const command = ["--memlock=65536", ...caps, process.execPath, MAIN, "doctor", "--json"];
    const { stdout, stderr } = spawnSync("prlimit", command, { encoding: "utf8", timeout: 60_000 });
    assert.notEqual(stdout, "", stderr);
    const findings = JSON.parse(stdout) as { about: string; state: string; what: string }[];
    const found = findings.find(({ about }) => about === "locked memory");
    return `${found?.state}: ${found?.what}`;
  };
  assert.match(says(""), /^limited: RLIMIT_MEMLOCK is 65536 bytes: .* 234881024 bytes by default$/);
  assert.match(says(",+ipc_lock"), /^ok: CAP_IPC_LOCK held/);
});

test("a virtio card whose host does not let its offloads be turned off is known by its feature bits", () => {
  const features = (...bits: readonly number[]) =>
    Array.from({ length: 128 }, (_, bit) => (bits.includes(bit) ? "1" : "0")).join("");
  // A card of Firecracker's, on which Linux 6.18 answers EOPNOTSUPP to native mode; then QEMU's of test/vm.
  assert.equal(forbidsNative(features(0, 1, 5, 7, 8, 10, 11, 12, 14, 15, 29, 32)), true);
  assert.equal(forbidsNative(features(0, 1, 2, 5, 7, 8, 9, 10, 11, 12, 14, 15, 17, 28, 29, 32)), false);
  assert.equal(forbidsNative(features(0, 5, 11, 12, 32)), false);
  assert.equal(forbidsNative(""), false);
});

test("doctor sees an XDP program that is attached, and says how to be rid of it", async (t) => {
  const names = makeNamespaces(t, "a");
  if (names === undefined) return;
  makeVeth({ namespace: names.a, name: "p0" }, { namespace: names.a, name: "p1" });
  assert.doesNotMatch(runIn(names.a, process.execPath, MAIN, "doctor"), /is attached/);
  const other = startIn(t, names.a, process.execPath, MAIN, "forward", "xdp:p0", "null:", "--one-way");
  await new Promise((resolve) => other.stderr?.once("data", resolve));
  const text = runIn(names.a, process.execPath, MAIN, "doctor");
  assert.match(
    text,
    /p0 +XDP program \d+ is attached \(native\): xdp:p0 cannot attach another\n.*ip link set dev p0 xdp off/,
  );
  assert.match(runIn(names.a, process.execPath, MAIN, "ports"), /program \d+ is attached \(native\)/);
});
