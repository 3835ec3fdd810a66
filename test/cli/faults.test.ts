// What becomes of a command when something under it breaks: it recovers, or ends with one clear error, and every
// packet is accounted for.
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { imbalance, type Report } from "../../src/flow/report.js";
import { type Lan, MAIN, makeLan, packetsAt, startForward, startMillrace } from "../kit/lan.js";
import { ip, outputOf, removeNamespace, runIn, startIn } from "../kit/netns.js";
import { until } from "../kit/until.js";

const KINDS = ["xdp", "packet"] as const;

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "millrace-faults-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

/** True when one ping is answered. */
function answers(namespace: string, ...options: readonly string[]): boolean {
  const ping = ["ping", "-n", "-c", "1", "-W", "1", ...options, "10.7.0.2"];
  return spawnSync("ip", ["netns", "exec", namespace, ...ping]).status === 0;
}

/** Sends so many packets out of e0 of the client: how many left. */
function blast(lan: Lan, packets: number): number {
  const text = runIn(
    ...[lan.client, process.execPath, MAIN, "generate", "packet:e0", "--size", "100"],
    ...["--count", String(packets), "--rate", "50kpps", "--json"],
  );
  return JSON.parse(text).transmitted.packets;
}

function balanced(report: Report): Report {
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  return report;
}

/** One line that names what is at fault, and no trace of where in the program it was. */
function assertOneError(said: string, pattern: RegExp): void {
  assert.match(said, pattern);
  assert.doesNotMatch(said, /\n {4}at /);
}

for (const kind of KINDS)
  test(`${kind}: interfaces that go down and come up again are waited for`, async (t) => {
    const lan = makeLan(t);
    if (lan === undefined) return;
    const forward = await startForward(t, lan, `${kind}:v0`, `${kind}:v1`);
    await until("pings are answered", () => answers(lan.client));
    for (const name of ["v0", "v1"]) {
      ip("-n", lan.middle, "link", "set", name, "down");
      assert.ok(!answers(lan.client));
      ip("-n", lan.middle, "link", "set", name, "up");
      await until("pings are answered", () => answers(lan.client));
    }
    balanced(await forward.report());
  });

for (const kind of KINDS)
  test(`${kind}: an MTU that changes is followed, and what is too long for it is counted`, async (t) => {
    const lan = makeLan(t, { mtu: 3000, silent: true });
    if (lan === undefined) return;
    const setMtu = (mtu: string) => {
      for (const name of ["v0", "v1"]) ip("-n", lan.middle, "link", "set", name, "mtu", mtu);
    };
    setMtu("1500");
    const forward = await startForward(t, lan, `${kind}:v0`, `${kind}:v1`);
    const large = ["-s", "2900", "-M", "dont"];
    await until("pings are answered", () => answers(lan.client));
    assert.ok(!answers(lan.client, ...large));
    setMtu("3000");
    await until("large pings are answered", () => answers(lan.client, ...large));
    setMtu("1500");
    // A veth takes what is too long for its own end, if the other end has room for it.
    await until("nothing large comes through", () => {
      const before = packetsAt(lan.server, "e0").rx;
      assert.ok(!answers(lan.client, ...large));
      return packetsAt(lan.server, "e0").rx === before;
    });
    assert.ok(answers(lan.client));
    const { dropped } = balanced(await forward.report());
    assert.ok(dropped.mtu > 0, JSON.stringify(dropped));
  });

for (const kind of KINDS)
  for (const workers of ["1", "2"])
    test(`${kind}: an interface that vanishes with its namespace ends ${workers} worker(s) in one clear error, and in a report`, async (t) => {
      const lan = makeLan(t, { queues: 2 });
      if (lan === undefined) return;
      const forward = await startForward(t, lan, `${kind}:v0`, `${kind}:v1`, "--workers", workers);
      await until("pings are answered", () => answers(lan.client));
      removeNamespace(lan.client); // and e0 in it, and with that v0
      assert.equal(await forward.ended, 1);
      assertOneError(forward.said(), new RegExp(`millrace: .*${kind}:v0.*the interface is gone`));
      assert.doesNotMatch(ip("-n", lan.middle, "-d", "link"), /xdp/);
      const { transmitted } = balanced(JSON.parse(forward.printed()));
      assert.ok(transmitted.packets >= 2, "the ping and its answer");
    });

for (const kind of KINDS)
  test(`${kind}: what sends to an interface that vanishes ends in one clear error, and in a report`, async (t) => {
    const lan = makeLan(t, { silent: true });
    if (lan === undefined) return;
    const generate = startIn(t, lan.middle, process.execPath, MAIN, "generate", `${kind}:v1`, "--json");
    const output = outputOf(generate);
    output.catch(() => {}); // looked at below
    await until("packets come", () => packetsAt(lan.server, "e0").rx > 1000);
    removeNamespace(lan.server); // and e0 in it, and with that v1
    const said = await output.then(String, ({ message }: Error) => message);
    assertOneError(said, new RegExp(`ended with 1: [^]*millrace: .*${kind}:v1.*the interface is gone`));
    const report = JSON.parse(/\{"created".*\}/.exec(said)?.[0] ?? "{}");
    const dropped: number[] = Object.values(report.dropped);
    const sum = dropped.reduce((total, packets) => total + packets, 0);
    assert.equal(report.created, report.transmitted.packets + sum + report.held, said);
  });

test("a capture whose interface vanishes closes its file and says why", async (t) => {
  const lan = makeLan(t, { silent: true });
  if (lan === undefined) return;
  const file = join(folder(t), "out.pcapng");
  const capture = await startMillrace(t, lan.middle, /listening/, "capture", "v0", "-w", file, "ip");
  const sent = blast(lan, 100);
  const read = () =>
    spawnSync("tshark", ["-r", file, "-T", "fields", "-e", "frame.len"], { encoding: "utf8" });
  await until(`${sent} packets are in the file`, () => read().stdout.split("\n").length === sent + 1);
  removeNamespace(lan.client); // and e0 in it, and with that v0
  assert.equal(await capture.ended, 1);
  assertOneError(capture.said(), /millrace: packet:v0: the interface is gone/);
  assert.match(
    capture.said(),
    /100 packets captured\n100 packets received by filter\n0 packets dropped by kernel\n/,
  );
  assert.equal(read().stderr.includes("cut short"), false);
});

for (const more of [[], ["-U"], ["-C", "1"], ["udp"]])
  test(`a capture ${more.join(" ")} whose disk is full says so, and what it has counted`, async (t) => {
    const lan = makeLan(t, { silent: true });
    if (lan === undefined) return;
    const command = ["capture", "v0", "-w", "/dev/full", ...more];
    const capture = startIn(t, lan.middle, process.execPath, MAIN, ...command);
    const output = outputOf(capture);
    startIn(t, lan.client, process.execPath, MAIN, "generate", "packet:e0", "--rate", "10kpps");
    const said = await output.then(String, ({ message }: Error) => message);
    assertOneError(
      said,
      /ended with 1: [\s\S]*millrace: "\/dev\/full" cannot be written: the disk is full\n/,
    );
    assert.match(
      said,
      /^\d+ packets captured\n\d+ packets received by filter\n\d+ packets dropped by kernel$/m,
    );
  });

test("a namespace that is deleted under a forward lives on until the forward ends", async (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  const forward = await startForward(t, lan, "xdp:v0", "packet:v1");
  removeNamespace(lan.middle);
  await until("pings are answered", () => answers(lan.client));
  balanced(await forward.report());
  await until("pings stay unanswered", () => !answers(lan.client)); // and its interfaces went with it
});

test("two processes cannot have one queue: the second says who has it, the first goes on", async (t) => {
  const lan = makeLan(t, { queues: 2 });
  if (lan === undefined) return;
  const forward = await startForward(t, lan, "xdp:v0", "xdp:v1");
  const others = [
    ["forward", "xdp:v0", "null:", "--one-way"],
    ["forward", "xdp:v0", "null:", "--one-way", "--workers", "2"],
    ["capture", "xdp:v1?mode=generic"],
  ];
  for (const args of others) {
    const command: string[] = ["netns", "exec", lan.middle, process.execPath, MAIN, ...args];
    const second: SpawnSyncReturns<string> = spawnSync("ip", command, { encoding: "utf8", timeout: 60_000 });
    assert.equal(second.status, 1, second.stderr);
    assertOneError(second.stderr, /v[01]: XDP program \d+ \(native\) is attached already/);
  }
  await until("pings are answered", () => answers(lan.client));
  balanced(await forward.report());
});

for (const [kind, block, unblock] of [
  ["xdp", ["ip", "link", "set", "v1", "down"], ["ip", "link", "set", "v1", "up"]],
  [
    "packet",
    [
      "tc",
      "qdisc",
      "add",
      "dev",
      "v1",
      "root",
      "tbf",
      "rate",
      "8bit",
      "burst",
      "2000",
      "limit",
      "1000000000",
    ],
    ["tc", "qdisc", "del", "dev", "v1", "root"],
  ],
] as const)
  for (const recovers of [true, false])
    test(`${kind}: a transmit side that stays full ${recovers ? "is waited for" : "keeps nobody from ending"}`, async (t) => {
      const lan = makeLan(t, { silent: true });
      if (lan === undefined) return;
      const [first, ...rest] = block;
      const small = kind === "xdp" ? "?ring=64" : "?buffer=64";
      const ports = [`${kind}:v0${small}`, `${kind}:v1${kind === "xdp" ? small : ""}`];
      const forward = await startForward(t, lan, ...ports, "--one-way");
      runIn(lan.middle, first, ...rest);
      let sent = blast(lan, 20_000);
      if (recovers) {
        const [again, ...arguments_] = unblock;
        runIn(lan.middle, again, ...arguments_);
        await until("packets come through again", () => {
          const before = packetsAt(lan.server, "e0").rx;
          sent += blast(lan, 10);
          return packetsAt(lan.server, "e0").rx > before;
        });
      }
      const report = balanced(await forward.report());
      assert.equal(report.received.packets, sent);
      const kernel = Object.entries(report.dropped).filter(([reason]) => reason.startsWith("kernel"));
      assert.ok(
        kernel.some(([, packets]) => packets > 0),
        JSON.stringify(report.dropped),
      );
    });

for (const ports of [
  ["xdp:v0", "xdp:v1"],
  ["packet:v0", "packet:v1"],
])
  test(`in a flood forward ${ports.join(" ")} still hears the clock and the signal`, async (t) => {
    const lan = makeLan(t);
    if (lan === undefined) return;
    const flood = ["forward", "null:", "xdp:e0", "--one-way", "--wait", "busy"];
    await startMillrace(t, lan.client, /forwarding between/, ...flood);
    const timed = await startForward(t, lan, ...ports, "--one-way", "--duration", "0.5");
    assert.equal(await timed.ended, 0, timed.said());
    const report = balanced(JSON.parse(timed.printed()));
    assert.ok(report.transmitted.packets > 0);
    balanced(await (await startForward(t, lan, ...ports, "--one-way")).report());
  });

test("in a flood capture still tells its counts and ends at the signal", async (t) => {
  const lan = makeLan(t);
  if (lan === undefined) return;
  await startMillrace(
    ...[t, lan.client, /forwarding between/, "forward", "null:", "xdp:e0"],
    ...["--one-way", "--wait", "busy"],
  );
  for (const more of [[], ["-U"], ["udp"]]) {
    const capture = await startMillrace(
      t,
      lan.middle,
      /listening/,
      "capture",
      "v0",
      "-w",
      "/dev/null",
      ...more,
    );
    capture.child.kill("SIGUSR1");
    await capture.says(/dropped by kernel/);
    capture.child.kill("SIGINT");
    assert.equal(await capture.ended, 0, capture.said());
  }
});

test("a worker that dies ends the forward: the others in good order, with an error that says so", async (t) => {
  const lan = makeLan(t, { queues: 2 });
  if (lan === undefined) return;
  const module = join(folder(t), "stage.mjs");
  // In a worker thread this ends the thread, as running out of memory would.
  writeFileSync(
    module,
    `export function stage(burst) {
      for (const packet of burst) if (packet.u16(12) === 0x0800 && packet.length > 1000) process.exit(7);
    }`,
  );
  const ports = ["xdp:v0", "xdp:v1"];
  const forward = await startForward(t, lan, ...ports, "--workers", "2", "--transform", module);
  await until("pings are answered", () => answers(lan.client));
  answers(lan.client, "-s", "1200");
  assert.equal(await forward.ended, 1, forward.said());
  assertOneError(
    forward.said(),
    /worker \d \(xdp:v0\?queue=\d to xdp:v1\?queue=\d\): it ended with status 7/,
  );
  const report = JSON.parse(forward.printed()) as Report & {
    readonly workers: readonly { readonly report: Report; readonly failure?: string }[];
  };
  balanced(report);
  assert.equal(report.workers.length, 2);
  for (const worker of report.workers) balanced(worker.report);
  assert.equal(report.workers.filter(({ failure }) => failure !== undefined).length, 1);
  const [dead] = report.workers.filter(({ failure }) => failure !== undefined);
  assert.ok(dead.report.dropped.stopped >= 1, "the packet it died of was under way");
  assert.doesNotMatch(ip("-n", lan.middle, "-d", "link"), /xdp/);
  balanced(await (await startForward(t, lan, ...ports)).report()); // nothing of it is left in the way
});

for (const ports of [
  ["xdp:v0", "xdp:v1"],
  ["packet:v0", "tap:mr0"],
])
  test(`a killed forward ${ports.join(" ")} leaves no program, no TAP and no promiscuity behind`, async (t) => {
    const lan = makeLan(t);
    if (lan === undefined) return;
    const links = () => ip("-n", lan.middle, "-d", "link");
    const before = links();
    const { child } = await startForward(t, lan, ...ports);
    const meanwhile = /prog\/xdp|mr0/;
    assert.match(links(), meanwhile);
    assert.match(links(), /promiscuity [1-9]/);
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    await until("nothing is left", () => !meanwhile.test(links()) && !/promiscuity [1-9]/.test(links()));
    assert.equal(links(), before);
  });
