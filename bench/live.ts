// What a packet costs a live capture, beside tcpdump's and npm's packages, and how many get lost while the generator
// does what it can: `npm run bench -- live [PART…] [--runs N] [--json FILE]`.
// As root; it makes namespaces of its own. CPU time of all threads, from /proc, without starting up.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bench, startBench } from "./compare.js";
import { npmCaptures } from "./peers/npm-captures.js";
import { ended, MAIN, makeRow, type Row, sleep } from "./peers.js";

const WARM_UP = 200_000; // packets
const PACKETS = 600_000;
const DRAINED = 1300; // milliseconds after the last packet: tcpdump has it after a second, a capture earlier

function cpuOf(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]))
    .reduce((sum, nanoseconds) => sum + nanoseconds, 0);
}

function generate(row: Row, packets: number, rate: string | undefined, size: string): void {
  execFileSync(
    "ip",
    [
      ...["netns", "exec", row.left, "taskset", "-c", "1", process.execPath, MAIN, "generate", "packet:e0"],
      ...["--count", String(packets), ...(rate === undefined ? [] : ["--rate", rate]), "--size", size],
    ],
    { stdio: "pipe" },
  );
}

/** Waits until a pattern stands on standard error. */
async function told(child: ChildProcess, said: () => string, pattern: RegExp): Promise<void> {
  for (let tries = 0; !pattern.test(said()); tries++) {
    if (tries > 200 || child.exitCode !== null) throw new Error(`${child.spawnargs.join(" ")}: ${said()}`);
    await sleep(50);
  }
}

function alive({ exitCode, signalCode, spawnargs }: ChildProcess, said: string): void {
  if (exitCode !== null || signalCode !== null)
    throw new Error(`${spawnargs.join(" ")} died (${signalCode ?? exitCode}): ${said.trim()}`);
}

/** What a capture came to. */
interface Outcome {
  /** Nanoseconds a packet. */
  readonly cpu: number;
  readonly captured: number;
  readonly dropped: number;
}

/** A capture that is sent packets at a rate, or as fast as the generator goes. */
async function run(
  row: Row,
  rate: string | undefined,
  size: string,
  command: readonly string[],
): Promise<Outcome> {
  // `ip` and `taskset` become the program that they start.
  const child = spawn("ip", ["netns", "exec", row.middle, "taskset", "-c", "0", ...command], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let text = "";
  child.stderr.on("data", (data) => {
    text += data;
  });
  try {
    await told(child, () => text, /listening on/);
    generate(row, WARM_UP, rate, size);
    await sleep(DRAINED);
    alive(child, text);
    const before = cpuOf(child.pid ?? 0);
    generate(row, PACKETS, rate, size);
    await sleep(DRAINED);
    alive(child, text);
    const used = cpuOf(child.pid ?? 0) - before;
    child.kill("SIGINT");
    await told(child, () => text, /dropped by kernel/);
    const captured = Number(/(\d+) packets captured/.exec(text)?.[1]);
    const dropped = Number(/(\d+) packets dropped by kernel/.exec(text)?.[1]);
    if (captured + dropped < 0.9 * (WARM_UP + PACKETS)) throw new Error(`too few packets came: ${text}`);
    return { cpu: used / (captured - WARM_UP), captured, dropped };
  } finally {
    await ended(child, 3000);
  }
}

/** CPU nanoseconds a packet of a capture that is sent packets at a rate it keeps up with. */
async function capture(row: Row, rate: string, size: string, command: readonly string[]): Promise<number> {
  const { cpu, captured } = await run(row, rate, size, command);
  if (captured < 0.999 * (WARM_UP + PACKETS)) throw new Error(`only ${captured} packets were captured`);
  return cpu;
}

const ours = (row: Row, rate: string, size: string, file: string) =>
  capture(row, rate, size, [process.execPath, MAIN, "capture", "v0", "-w", file]);

const RATE = "200kpps";

/** Beside tcpdump. */
async function compareFiles(bench: Bench, row: Row): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "millrace-bench-"));
  const disk = (name: string) => join(folder, name);
  const compare = (size: string, where: string, file: (name: string) => string) =>
    bench.compare({
      name: `capture to ${where}, ${size} bytes at 200,000 packets a second`,
      unit: "ns CPU a packet",
      against: "tcpdump -w",
      goal: "≤ 0.7",
      ours: () => ours(row, RATE, size, file("ours.pcapng")),
      peer: () => capture(row, RATE, size, ["tcpdump", "-Z", "root", "-i", "v0", "-w", file("tcpdump.pcap")]),
    });
  try {
    await compare("60", "/dev/null", () => "/dev/null");
    await compare("1514", "/dev/null", () => "/dev/null");
    await compare("60", "disk", disk);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Measures again what lost packets because another process had the core: cap's ring holds a few milliseconds. */
async function whole(measure: () => Promise<number>): Promise<number> {
  for (let tries = 1; ; tries++) {
    try {
      return await measure();
    } catch (error) {
      if (tries === 5) throw error;
    }
  }
}

const COUNTING = new URL("./peers/count-packets.js", import.meta.url).pathname;

/** Beside npm's packages, each at a rate at which it still captures all: at the same job, and at the lighter one for them. */
async function comparePackages(bench: Bench, row: Row): Promise<void> {
  for (const { name, rate, told, goal } of [
    { name: "pcap", rate: "200kpps", told: "200,000", goal: "≤ 0.2" },
    { name: "pcap", rate: "1000kpps", told: "1,000,000", goal: "≤ 0.2" },
    { name: "cap", rate: "200kpps", told: "200,000", goal: "≤ 0.05" },
  ] as const) {
    const commands = npmCaptures(name, "/dev/null");
    if (commands === undefined) continue;
    const run = (command: readonly string[]) => whole(() => capture(row, rate, "60", command));
    const traffic = `60 bytes at ${told} packets a second`;
    const names = [
      `${traffic}: both write a capture file to /dev/null`,
      `${traffic}: both count packets and bytes in a program`,
      `${traffic}: millrace writes a file, npm ${name} only counts`,
    ];
    await bench.compareEach(names, {
      unit: "ns CPU a packet",
      against: `npm ${name}`,
      goals: [goal, undefined, undefined], // of a capture; a program's loop over packets is told beside it
      async ours() {
        const writing = await ours(row, rate, "60", "/dev/null");
        return [writing, await run([process.execPath, COUNTING]), writing];
      },
      async peer() {
        const writing = await run(commands.writing);
        const counting = await run(commands.counting);
        return [writing, counting, counting];
      },
    });
  }
}

/** Packets lost at the generator's maximum: with tcpdump's 2 MiB of buffer, and with as much as capture takes. */
async function tellLosses(bench: Bench, row: Row): Promise<void> {
  const theirs: readonly string[] = ["tcpdump", "-i", "v0", "-w", "/dev/null"];
  const captures: readonly (readonly [string, readonly string[]])[] = [
    ["millrace capture", [process.execPath, MAIN, "capture", "v0", "-w", "/dev/null"]],
    ["tcpdump", theirs],
    ["tcpdump -B 16384", [...theirs, "-B", "16384"]],
  ];
  for (const size of ["60", "1514"])
    for (const [name, command] of captures) {
      const { captured, dropped } = await run(row, undefined, size, command);
      bench.note(
        `lost at the generator's maximum, ${size} bytes, ${name}`,
        (100 * dropped) / (captured + dropped),
        "% of the packets",
      );
    }
}

const PARTS: Readonly<Record<string, (bench: Bench, row: Row) => Promise<void>>> = {
  tcpdump: compareFiles,
  packages: comparePackages,
  losses: tellLosses,
};

const bench = startBench("live");
const row = makeRow();
const chosen = Object.keys(PARTS).filter((part) => process.argv.slice(2).includes(part));
try {
  for (const part of chosen.length > 0 ? chosen : Object.keys(PARTS)) await PARTS[part](bench, row);
} finally {
  row.remove();
}
bench.finish();
