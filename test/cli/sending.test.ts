// generate and replay: what they send, how much of it, and when, by the kernel's clock.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { MAIN, packetsAt } from "../kit/lan.js";
import { runIn, startIn } from "../kit/netns.js";
import { pair } from "../kit/pair.js";
import { until } from "../kit/until.js";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "millrace-sending-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function millrace(...args: readonly string[]) {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8", timeout: 120_000 });
}

/** Seconds, by turns, between the packets of `recording`. */
const GAPS = [0.01, 0.05, 0.1, 0.002];
const RECORDED = 21;

/** A capture of frames of 60 bytes that nobody's stack answers, with gaps of its own; returns when each came. */
function recording(file: string): number[] {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(65_535, 16);
  header.writeUInt32LE(1, 20);
  const times: number[] = [];
  const records = Array.from({ length: RECORDED }, (_, n) => {
    times.push(n === 0 ? 0 : times[n - 1] + GAPS[n % GAPS.length]);
    const record = Buffer.alloc(16 + 60);
    record.writeUInt32LE(1_000_000 + Math.floor(times[n]), 0);
    record.writeUInt32LE(Math.round((times[n] % 1) * 1e6), 4);
    record.writeUInt32LE(60, 8);
    record.writeUInt32LE(60, 12);
    record.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, n], 16);
    return record;
  });
  writeFileSync(file, Buffer.concat([header, ...records]));
  return times;
}

/** What tcpdump sees at the other end of a veth while a command sends: seconds and the number of each frame. */
async function observed(
  t: TestContext,
  names: { readonly one: string; readonly two: string },
  packets: number,
  ...command: readonly string[]
): Promise<readonly (readonly [seconds: number, number: number])[]> {
  const options = ["-i", "vb", "--immediate-mode", "-l", "-tt", "-nn", "-x", "-c", String(packets)];
  const peer = startIn(t, names.two, "tcpdump", ...options, "ether proto 0x88b5");
  let printed = "";
  let said = "";
  peer.stdout?.on("data", (data) => {
    printed += data;
  });
  const ended = once(peer, "close");
  await new Promise<void>((resolve, reject) => {
    peer.stderr?.on("data", (data) => {
      said += data;
      if (said.includes("listening on")) resolve();
    });
    peer.once("exit", () => reject(new Error(said)));
  });
  runIn(names.one, process.execPath, MAIN, ...command);
  await ended;
  return [...printed.matchAll(/^(\d+\.\d+) .*\n\t0x0000: +([0-9a-f]{2})/gm)].map(
    ([, seconds, number]) => [Number(seconds), Number.parseInt(number, 16)] as const,
  );
}

/** The kernel's clock beside ours, and a sender's bucket of two milliseconds. */
const EARLY = 0.005;
/** A machine that is busy lets a sender sleep longer; not so often in a row. */
const ATTEMPTS = 20;

test("replay keeps a recording's gaps, or makes them so many times smaller, or keeps a rate", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const file = join(folder(t), "gaps.pcap");
  const times = recording(file);
  for (const [due, ...options] of [
    [(n: number) => times[n]],
    [(n: number) => times[n] / 2, "--speed", "2"],
    [(n: number) => times[n] * 1.5, "--speed", "0.6667"],
    [(n: number) => n / 20, "--rate", "20pps"],
    [(n: number) => (n * 60 * 8) / 10_000, "--rate", "10kbit"],
  ] as const) {
    const whole = due(RECORDED - 1);
    const tries: number[] = [];
    do {
      const begun = Date.now() / 1000;
      const seen = await observed(t, names, RECORDED, "replay", file, "packet:va", ...options);
      assert.deepEqual(
        seen.map(([, number]) => number),
        times.map((_, n) => n),
      );
      for (const [n, [seconds]] of seen.entries())
        assert.ok(seconds - begun > due(n) - EARLY, `${options.join(" ")}: packet ${n} came early`);
      tries.push(seen[RECORDED - 1][0] - seen[0][0]);
      assert.ok(tries.length < ATTEMPTS, `${options.join(" ")}: ${tries} instead of ${whole} s`);
    } while (Math.abs((tries.at(-1) ?? 0) - whole) > whole / 5);
  }
});

test("replay sends a file as often as it is told", async (t) => {
  const names = pair(t);
  if (names === undefined) return;
  const file = join(folder(t), "gaps.pcap");
  recording(file);
  const seen = await observed(
    t,
    names,
    3 * RECORDED,
    "replay",
    file,
    "packet:va",
    "--loop",
    "3",
    "--topspeed",
  );
  assert.deepEqual(
    seen.map(([, number]) => number),
    Array.from({ length: 3 * RECORDED }, (_, n) => n % RECORDED),
  );
});

for (const [name, ...command] of [
  ["generate between two packets", "generate", "packet:va", "--rate", "0.001pps"],
  ["generate at a slow bit rate", "generate", "packet:va", "--rate", "0.001kbit"],
  ["replay in a pause of the recording", "replay", "FILE", "packet:va", "--speed", "0.000001"],
])
  test(`${name} ends at the signal, with a report that adds up`, async (t) => {
    const names = pair(t);
    if (names === undefined) return;
    const file = join(folder(t), "gaps.pcap");
    recording(file);
    const args = command.map((word) => (word === "FILE" ? file : word));
    const child = startIn(t, names.one, process.execPath, MAIN, ...args, "--json");
    let printed = "";
    child.stdout?.on("data", (data) => {
      printed += data;
    });
    const ended = once(child, "close");
    await until("the first packet has come", () => packetsAt(names.two, "vb").rx === 1);
    child.kill("SIGINT");
    const [status] = await ended;
    assert.equal(status, 0);
    const { created, transmitted, dropped, held } = JSON.parse(printed);
    const lost = Object.values<number>(dropped).reduce((sum, packets) => sum + packets, 0);
    assert.equal(transmitted.packets, 1);
    assert.equal(created, transmitted.packets + lost + held);
    assert.equal(packetsAt(names.two, "vb").rx, 1);
  });

test("generate sends no more than its rate allows, and ends after its duration", (t) => {
  const names = pair(t);
  if (names === undefined) return;
  for (const [rate, size, most] of [
    ["200pps", 60, 200],
    ["1.6mbit", 1000, 200],
    ["0.2kpps", 1500, 200],
  ] as const) {
    const before: number = packetsAt(names.two, "vb").rx;
    const limits = ["--rate", rate, "--size", String(size), "--duration", "1"];
    const report = JSON.parse(
      runIn(names.one, process.execPath, MAIN, "generate", "packet:va", ...limits, "--json"),
    );
    const { packets } = report.transmitted;
    assert.equal(packetsAt(names.two, "vb").rx - before, packets);
    assert.ok(packets > 0 && packets <= most * report.seconds + 2, `${packets} in ${report.seconds} s`);
  }
});

test("generate sends the packets of a capture as they are, again and again", (t) => {
  const dir = folder(t);
  const [file, out] = [join(dir, "template.pcap"), join(dir, "out.pcap")];
  recording(file);
  const made = millrace("generate", out, "--template", file, "--count", String(2 * RECORDED + 5), "--json");
  assert.equal(made.status, 0, made.stderr);
  const bytes = (name: string) =>
    execFileSync("tcpdump", ["-t", "-xx", "-r", name], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  const once = bytes(file);
  const rest = once
    .split(/^(?=\S)/m)
    .slice(0, 5)
    .join("");
  assert.equal(bytes(out), once + once + rest);
  for (const more of ["--size", "--flows"]) {
    const { status, stderr } = millrace("generate", out, "--template", file, more, "100");
    assert.equal(status, 2);
    assert.match(stderr, /--size and --flows are for packets that are made here/);
  }
});
