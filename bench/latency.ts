// How long a packet that is forwarded is under way, beside the kernel's own bridge and DPDK's testpmd on the same
// veth, what waiting costs, and how late the event loop turns in a flood:
// `npm run bench -- latency [PART…] [--runs N] [--json FILE]`. As root; it makes namespaces of its own. ping(8) asks
// and takes the times, the far end's kernel answers. The bridge never leaves the kernel; testpmd looks for packets all
// the time, as --wait busy does, without a garbage collector or a compiler beside it.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bench, startBench } from "./compare.js";
import { ended, MAIN, makeRow, type Row, sleep, startForward, startTestpmd } from "./peers.js";

const PINGS = 20_000;
/** The first ones find addresses; then V8 compiles what forwards, on the core that it forwards on. */
const FIRST_PINGS = 10_000;
const SETTLED = 500; // milliseconds from the start until what is compiled has been compiled
const IDLE_SECONDS = 5;
const FLOOD_SECONDS = 3;
const TICKS_A_SECOND = 100; // USER_HZ, of which /proc/PID/stat counts CPU time

const WAITS = ["busy", "interrupt", "adaptive"] as const;
const PORTS = ["xdp", "packet"] as const;
const TESTPMD_PORTS: Readonly<Record<string, string>> = { xdp: "net_af_xdp", packet: "net_af_packet" };
const PERCENTILES = [
  ["p50", 0.5],
  ["p99", 0.99],
  ["p99.9", 0.999],
  ["max", 1],
] as const;

/** Round trips of a ping-pong from the left end to the right one, in microseconds: the percentiles. */
function roundTrips(row: Row): readonly number[] {
  pingRight(row, FIRST_PINGS);
  const times = pingRight(row, PINGS);
  return PERCENTILES.map(([, share]) => times[Math.ceil(share * times.length) - 1]);
}

function pingRight(row: Row, count: number): readonly number[] {
  const folder = mkdtempSync(join(tmpdir(), "millrace-latency-"));
  try {
    // Into a file: ping says each answer at once, and who read it from a pipe would take a core for a moment each time.
    const path = join(folder, "pings");
    const file = openSync(path, "w");
    execFileSync(
      "ip",
      [
        ...["netns", "exec", row.left, "taskset", "-c", "0"],
        ...["ping", "-n", "-A", "-W", "1", "-c", String(count), "10.7.0.2"], // -A: the next when the last is answered
      ],
      { stdio: ["ignore", file, "inherit"] },
    );
    closeSync(file);
    const text = readFileSync(path, "utf8");
    const times = [...text.matchAll(/time=([\d.]+) ms/g)].map((match) => 1000 * Number(match[1]));
    if (times.length < 0.999 * count) throw new Error(`of ${count} pings ${times.length} came back`);
    return times.sort((a, b) => a - b);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function throughUs(row: Row, kind: string, wait: string): Promise<readonly number[]> {
  // As with testpmd the thread that forwards has a core; what V8 compiles and collects beside it may take the other.
  const way = ["forward", `${kind}:v0`, `${kind}:v1`, "--wait", wait, "--cpus", "1"];
  const { child } = await startMillrace(row, [process.execPath, MAIN, ...way]);
  try {
    return roundTrips(row);
  } finally {
    await stop(child);
  }
}

async function throughBridge(row: Row): Promise<readonly number[]> {
  const ip = (...args: string[]) => execFileSync("ip", ["-n", row.middle, ...args], { stdio: "pipe" });
  ip("link", "add", "br0", "type", "bridge");
  for (const device of ["v0", "v1"]) ip("link", "set", device, "master", "br0");
  ip("link", "set", "br0", "up");
  try {
    return roundTrips(row);
  } finally {
    ip("link", "del", "br0");
  }
}

async function throughTestpmd(row: Row, kind: string): Promise<readonly number[]> {
  const devices = ["v0", "v1"].map((device, number) => `${TESTPMD_PORTS[kind]}${number},iface=${device}`);
  const pmd = await startTestpmd(devices, "io", row.middle);
  try {
    return roundTrips(row);
  } finally {
    await pmd.stop();
  }
}

const ON_ONE_CPU = ["taskset", "-c", "1", process.execPath];

/** Starts `millrace …` in the middle, and waits until it says that it is under way. */
async function startMillrace(row: Row, command: readonly string[]) {
  const child = spawn("ip", ["netns", "exec", row.middle, ...command], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (data) => {
    said += data;
  });
  for (let tries = 0; !/forwarding between|listening on/.test(said); tries++) {
    if (tries > 200 || child.exitCode !== null) throw new Error(`${command.join(" ")}: ${said}`);
    await sleep(50);
  }
  return { child, said: () => said };
}

async function stop(child: ChildProcess): Promise<void> {
  child.kill("SIGINT");
  await ended(child, 5000);
}

/** The share of a core, in percent, that a forward takes while nothing comes. */
async function idleCpu(row: Row, kind: string, wait: string): Promise<number> {
  const { child } = await startMillrace(row, [
    ...[...ON_ONE_CPU, MAIN, "forward", `${kind}:v0`, `${kind}:v1`],
    ...["--wait", wait],
  ]);
  try {
    await sleep(SETTLED);
    const before = ticksOf(child.pid ?? 0);
    await sleep(IDLE_SECONDS * 1000);
    return (100 * (ticksOf(child.pid ?? 0) - before)) / (TICKS_A_SECOND * IDLE_SECONDS);
  } finally {
    await stop(child);
  }
}

/** utime and stime of a process, all threads, in ticks (proc(5)). */
function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** How late the loop of a command turns, p99 in milliseconds, while all that one sender can do comes in. */
async function loopDelay(row: Row, ...command: readonly string[]): Promise<number> {
  const meter = new URL("./peers/loop-delay.js", import.meta.url).href;
  const { child, said } = await startMillrace(row, [...ON_ONE_CPU, "--import", meter, MAIN, ...command]);
  const flood = await startForward(row.left, 0, "null:", "xdp:e0", "--one-way", "--wait", "busy");
  try {
    await sleep(SETTLED);
    child.kill("SIGUSR2"); // from here on it counts
    await sleep(FLOOD_SECONDS * 1000);
    await stop(child); // flooded still
  } finally {
    await flood.stop();
    await ended(child, 0);
  }
  const told = /loop delay p99 ([\d.]+) ms/.exec(said());
  if (told === null) throw new Error(`the meter said nothing: ${said()}`);
  return Number(told[1]);
}

const PARTS: Readonly<Record<string, (bench: Bench, row: Row) => Promise<void>>> = {
  async roundtrip(bench, row) {
    for (const kind of PORTS)
      for (const wait of WAITS)
        await bench.compareEach(
          PERCENTILES.map(([name]) => `round trip through ${kind}:, --wait ${wait}, ${name}`),
          {
            unit: "µs",
            against: "the kernel's bridge",
            ours: () => throughUs(row, kind, wait),
            peer: () => throughBridge(row),
          },
        );
  },
  async testpmd(bench, row) {
    for (const kind of PORTS)
      await bench.compareEach(
        PERCENTILES.map(([name]) => `round trip through ${kind}:, --wait busy, ${name}`),
        {
          unit: "µs",
          against: `testpmd on ${TESTPMD_PORTS[kind]}`,
          ours: () => throughUs(row, kind, "busy"),
          peer: () => throughTestpmd(row, kind),
        },
      );
  },
  async idle(bench, row) {
    for (const kind of PORTS)
      for (const wait of ["interrupt", "adaptive"])
        bench.note(
          `idle CPU of forward between two ${kind}: ports, --wait ${wait} (goal ≤ 2)`,
          await idleCpu(row, kind, wait),
          "% of a core",
        );
  },
  async flood(bench, row) {
    for (const command of [
      ["forward", "xdp:v0", "xdp:v1"],
      ["forward", "packet:v0", "packet:v1"],
      ["forward", "packet:v0", "xdp:v1", "--wait", "busy"],
      ["capture", "v0", "-w", "/dev/null"],
    ])
      bench.note(
        `event loop delay in a flood, p99, ${command.join(" ")} (goal < 20)`,
        await loopDelay(row, ...command),
        "ms",
      );
  },
};

/** Puts this session before what else the machine does, which is not to be measured (sched(7)); undoes it. */
function goFirst(): () => void {
  const autogroup = "/proc/self/autogroup";
  if (!existsSync(autogroup)) return () => {};
  const before = /nice (-?\d+)/.exec(readFileSync(autogroup, "utf8"))?.[1] ?? "0";
  writeFileSync(autogroup, "-10");
  return () => writeFileSync(autogroup, before);
}

const chosen = Object.keys(PARTS).filter((part) => process.argv.slice(2).includes(part));
const row = makeRow();
const standBack = goFirst();
try {
  execFileSync("ip", ["-n", row.left, "address", "add", "10.7.0.1/24", "dev", "e0"]);
  execFileSync("ip", ["-n", row.right, "address", "add", "10.7.0.2/24", "dev", "e0"]);
  const bench = startBench("latency");
  for (const part of chosen.length > 0 ? chosen : Object.keys(PARTS)) await PARTS[part](bench, row);
  bench.finish();
} finally {
  standBack();
  row.remove();
}
