import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { imbalance, type Report } from "../../src/flow/report.js";
import { type Lan, MAIN, makeLan, packetsAt, startForward } from "../kit/lan.js";
import { ip, runIn, startIperf } from "../kit/netns.js";
import { until } from "../kit/until.js";

/** Datagrams that found a full socket buffer in a namespace. */
function socketDrops(namespace: string): number {
  const v4 = runIn(namespace, "cat", "/proc/net/snmp").match(/^Udp: \d+ \d+ \d+ \d+ (\d+)/m);
  const v6 = runIn(namespace, "cat", "/proc/net/snmp6").match(/^Udp6RcvbufErrors\s+(\d+)/m);
  return Number(v4?.[1]) + Number(v6?.[1]);
}

/** TCP segments and datagrams whose checksum a namespace's kernel found to be wrong. */
function checksumErrors(namespace: string): number {
  const counters = runIn(
    namespace,
    "nstat",
    "-asz",
    "TcpInCsumErrors",
    "UdpInCsumErrors",
    "Udp6InCsumErrors",
  );
  return [...counters.matchAll(/CsumErrors\s+(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Where packets begin and end: an interface of a host's own. */
interface End {
  readonly namespace: string;
  readonly name: string;
}

/** What the kernel says these sent and received. */
function countedAt(ends: readonly End[]): { readonly rx: number; readonly tx: number } {
  const counts = ends.map(({ namespace, name }) => packetsAt(namespace, name));
  return {
    rx: counts.reduce((sum, { rx }) => sum + rx, 0),
    tx: counts.reduce((sum, { tx }) => sum + tx, 0),
  };
}

/** Waits until these have sent nothing for a second: nothing is under way any more. */
async function silence(ends: readonly End[]): Promise<void> {
  let sent = -1;
  let same = 0;
  await until("the hosts fall silent", () => {
    const { tx } = countedAt(ends);
    same = tx === sent ? same + 1 : 0;
    sent = tx;
    return same >= 50;
  });
}

/** Packets that a veth was given when its other end was down already. */
function refusedAt({ namespace, name }: End): number {
  return JSON.parse(ip("-n", namespace, "-s", "-j", "link", "show", "dev", name))[0].stats64.tx.dropped;
}

/** What the kernel wanted to hand over on a TAP and nobody read in time: it is received, and dropped. */
function tapDrops(ends: readonly End[]): number {
  return ends.filter(({ name }) => name === "mr0").reduce((sum, end) => sum + refusedAt(end), 0);
}

/** Lets a host's kernel say what it has to of its own accord at once, when the link comes up, and nothing later. */
function quieten({ namespace, name }: End): void {
  const settings = [
    ...[`ipv6.conf.${name}.keep_addr_on_down=1`, `ipv6.conf.${name}.accept_dad=0`],
    ...[`ipv6.conf.${name}.router_solicitations=0`, `ipv6.conf.${name}.mldv2_unsolicited_report_interval=1`],
    ...["ipv4", "ipv6"].map((family) => `${family}.neigh.${name}.delay_first_probe_time=3600`),
  ];
  runIn(namespace, "sysctl", "-qw", ...settings.map((setting) => `net.${setting}`));
}

/**
 * The hosts that `from` and `to` of a forward lead to, down: e0 behind a veth, or a TAP of the middle's. Nothing else
 * sends a packet on the way: the middle's kernel holds its tongue on the veths.
 */
function makeEnds(lan: Lan, to: string, mtu: number): readonly End[] {
  const { middle } = lan;
  for (const name of ["v0", "v1"])
    runIn(
      ...[middle, "sysctl", "-qw", `net.ipv6.conf.${name}.disable_ipv6=1`],
      ...[`net.ipv4.conf.${name}.arp_ignore=8`],
    );
  for (const namespace of [lan.client, lan.server]) {
    quieten({ namespace, name: "e0" });
    ip("-n", namespace, "link", "set", "e0", "down");
  }
  const client = { namespace: lan.client, name: "e0" };
  if (!to.startsWith("tap:")) return [client, { namespace: lan.server, name: "e0" }];
  ip("-n", middle, "tuntap", "add", "dev", "mr0", "mode", "tap"); // so that its counters outlive the forward
  quieten({ namespace: middle, name: "mr0" });
  ip("-n", middle, "link", "set", "mr0", "mtu", String(mtu));
  for (const address of ["10.7.0.4/24", "fd07::4/64"])
    ip("-n", middle, "address", "add", address, "dev", "mr0", ...(address.includes(":") ? ["nodad"] : []));
  return [client, { namespace: middle, name: "mr0" }];
}

// The ports, and the MTU all the way. Where the second is a TAP, this machine's own stack is the server.
const CASES: readonly [mtu: number, from: string, to: string, ...more: string[]][] = [
  [1500, "xdp:v0", "xdp:v1"],
  [1500, "xdp:v0", "xdp:v1", "--wait", "interrupt"],
  [1500, "xdp:v0?mode=generic", "xdp:v1?mode=native", "--wait", "busy"],
  [1500, "xdp:v0?mode=generic", "xdp:v1?mode=generic"],
  [1500, "xdp:v0?mode=generic", "tap:mr0"],
  [1500, "packet:v0", "packet:v1"],
  [1500, "packet:v0", "xdp:v1"],
  [1500, "xdp:v0", "tap:mr0"],
  [1500, "packet:v0", "tap:mr0"],
  [9000, "xdp:v0", "xdp:v1"],
  [9000, "xdp:v0?mode=generic", "xdp:v1?mode=generic"],
  [9000, "packet:v0", "packet:v1"],
  [9000, "packet:v0", "xdp:v1"],
  [9000, "packet:v0", "xdp:v1?mode=generic"],
  [9000, "xdp:v0", "tap:mr0?mtu=9000"],
  [9000, "packet:v0", "tap:mr0?mtu=9000"],
];

for (const [mtu, ...args] of CASES)
  test(`TCP and UDP run across millrace forward ${args.join(" ")}, MTU ${mtu}`, async (t) => {
    const lan = makeLan(t, { mtu });
    if (lan === undefined) return;
    const ends = makeEnds(lan, args[1], mtu);
    const before = countedAt(ends);
    const unreadBefore = tapDrops(ends);
    const forward = await startForward(t, lan, ...args);
    let lost = 0;
    let arrived = 0;
    const server = ends[1].namespace;
    const host = server === lan.middle ? 4 : 2;
    const targets = [`10.7.0.${host}`, `fd07::${host}`];
    for (const { namespace, name } of ends) ip("-n", namespace, "link", "set", name, "up");
    for (const target of targets) {
      const size = String(mtu - 100);
      runIn(lan.client, "ping", "-c", "3", "-i", "0.1", "-W", "2", "-s", size, target);
      for (const more of [["--bidir"], ["-u", "-b", "100M", "-l", String(mtu - 100)]]) {
        await startIperf(t, server);
        const result = JSON.parse(runIn(lan.client, "iperf3", "-J", "-c", target, "-n", "5M", ...more));
        assert.equal(result.error, undefined);
        assert.ok(result.end.sum_received.bytes > 0);
        arrived += result.end.sum_received.bytes + (result.end.sum_received_bidir_reverse?.bytes ?? 0);
        if (more[0] === "-u") lost += result.end.sum.lost_packets;
      }
    }
    await silence(ends);
    const after = countedAt(ends);
    const unread = tapDrops(ends) - unreadBefore;
    const report = await forward.report();
    assert.equal(imbalance(report), 0, JSON.stringify(report));
    // Every packet that a host sent was received, and every one that was transmitted came to a host, or to one whose
    // interface was not up yet: xdp: hears of that, packet: does not.
    const { device = 0 } = report.dropped;
    const refused = ["v0", "v1"].reduce((sum, name) => sum + refusedAt({ namespace: lan.middle, name }), 0);
    assert.equal(report.received.packets, after.tx - before.tx + unread, JSON.stringify(report));
    assert.equal(report.transmitted.packets + device, after.rx - before.rx + refused, JSON.stringify(report));
    // iperf3's word for it: how much it sends before it has enough, and how much of that UDP loses, depends on the machine.
    assert.ok(report.transmitted.bytes > arrived, `${arrived} bytes arrived: ${JSON.stringify(report)}`);
    assert.equal(checksumErrors(lan.client) + checksumErrors(server), 0);
    // What a UDP receiver misses was dropped here under a reason, or by the receiver's own socket.
    const dropped = Object.values(report.dropped).reduce((total, packets) => total + packets, 0);
    assert.ok(lost <= dropped + socketDrops(server), `${lost} lost, ${JSON.stringify(report.dropped)}`);
    assert.doesNotMatch(ip("-n", lan.middle, "-d", "link"), /xdp/);
  });

test("super-frames that a sender left uncut are cut before a port that cannot", async (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  for (const end of [lan.client, lan.server]) runIn(end, "ethtool", "-K", "e0", "tx", "on", "gro", "on");
  // Packets come with their sizes and unfinished checksums from packet:, and leave whole on xdp:.
  const forward = await startForward(t, lan, "packet:v0", "xdp:v1?mode=generic");
  runIn(lan.server, "ethtool", "-K", "e0", "tx", "off", "gro", "off");
  await startIperf(t, lan.server);
  const result = JSON.parse(runIn(lan.client, "iperf3", "-J", "-c", "10.7.0.2", "-n", "10M"));
  assert.equal(result.error, undefined);
  const report = await forward.report();
  assert.ok(report.created.segment > 0, JSON.stringify(report));
  assert.equal(imbalance(report), 0, JSON.stringify(report));
});

for (const workers of ["1", "2"])
  test(`null ports need no privilege; every packet of ${workers} worker(s) is accounted for`, () => {
    const args = [
      "forward",
      "null:",
      "null:?size=1500",
      "--swap-mac",
      "--workers",
      workers,
      "--duration",
      "0.3",
    ];
    const result = spawnSync(process.execPath, [MAIN, ...args, "--json"], {
      encoding: "utf8",
      timeout: 30_000,
    });
    assert.equal(result.status, 0, result.stderr);
    const report = JSON.parse(result.stdout) as Report;
    assert.ok(report.transmitted.packets > 0);
    assert.equal(imbalance(report), 0, result.stdout);
  });

for (const [from, to, mtu, workers] of [
  ["xdp:v0", "xdp:v1", 1500, 2],
  ["packet:v0", "packet:v1", 9000, 2],
  ["packet:v0?delay=1", "packet:v1", 1500, 8],
] as const)
  test(`${workers} workers forward between queues of ${from} and ${to}, MTU ${mtu}`, async (t) => {
    const lan = makeLan(t, { queues: 2, mtu });
    if (lan === undefined) return;
    const forward = await startForward(t, lan, from, to, "--workers", String(workers));
    await startIperf(t, lan.server);
    const result = JSON.parse(runIn(lan.client, "iperf3", "-J", "-c", "10.7.0.2", "-n", "10M", "-P", "8"));
    assert.equal(result.error, undefined);
    const report = await forward.report();
    assert.equal(imbalance(report), 0, JSON.stringify(report));
    assert.equal(report.mode.length, 2 * workers, "two ports of each worker");
  });

test("a module drops and rewrites on the way, and what it drops is counted under its reason", async (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  const folder = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const module = join(folder, "stage.mjs");
  writeFileSync(
    module,
    `export function stage(burst) {
      for (const packet of burst)
        if (packet.u16(12) === 0x0800 && packet.u8(23) === 1 && packet.length > 500) packet.drop("large-ping");
    }`,
  );
  const forward = await startForward(t, lan, "xdp:v0", "xdp:v1", "--transform", module);
  runIn(lan.client, "ping", "-c", "2", "-i", "0.1", "-W", "2", "10.7.0.2");
  assert.throws(() => runIn(lan.client, "ping", "-c", "3", "-i", "0.1", "-W", "1", "-s", "1000", "10.7.0.2"));
  const report = await forward.report();
  assert.equal(report.dropped["large-ping"], 3);
  assert.equal(imbalance(report), 0);
});

test("without a capability the error names it, and wrong usage ends with status 2", (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  const run = (...args: string[]) =>
    spawnSync("ip", ["netns", "exec", lan.middle, ...args], { encoding: "utf8", timeout: 20_000 });
  const nobody = run(
    ...["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--reuid", "65534", "--clear-groups"],
    ...[process.execPath, MAIN, "forward", "xdp:v0", "xdp:v1", "--duration", "1"],
  );
  assert.equal(nobody.status, 1, nobody.stderr);
  assert.match(nobody.stderr, /CAP_(BPF|NET_RAW|NET_ADMIN)/);
  const same = run(process.execPath, MAIN, "forward", "xdp:v0", "xdp:nosuch", "--duration", "1");
  assert.equal(same.status, 1);
  assert.match(same.stderr, /there is no interface "nosuch"/);
  const wrong = run(process.execPath, MAIN, "forward", "xdp:v0?mode=fast", "xdp:v1");
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /mode=fast is not one of native, generic/);
});
