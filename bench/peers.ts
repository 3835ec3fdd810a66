// The peers of bench/kernel: DPDK's testpmd told what to do over its prompt, and a row of namespaces with veth.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

export const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** CPU time of a thread so far, in nanoseconds. */
function cpuOf(pid: number, thread: string): number {
  return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
}

export interface Testpmd {
  /** Received, sent packets of all ports since the start. */
  counts(): Promise<{ readonly rx: number; readonly tx: number }>;
  /** CPU time of its forwarding thread, in nanoseconds. */
  cpu(): number;
  stop(): Promise<void>;
}

/** Megabytes in huge pages of 2 MiB that nobody has. */
export function freeHugeMegabytes(): number {
  const [, pages = "0"] = /^HugePages_Free:\s+(\d+)$/m.exec(readFileSync("/proc/meminfo", "utf8")) ?? [];
  return 2 * Number(pages);
}

/** Debian's testpmd on virtual devices, one forwarding core, forwarding in `mode`. */
export async function startTestpmd(
  devices: readonly string[],
  mode: string,
  namespace?: string,
  memory: readonly string[] = ["--no-huge"],
): Promise<Testpmd> {
  const args = [
    ...["-l", "0,1", "--main-lcore=0", ...memory, "-m", "1024", "--no-pci", "--no-telemetry"],
    ...[`--file-prefix=millrace-bench-${process.pid}`, ...devices.map((device) => `--vdev=${device}`)],
    ...["--", "-i", "--nb-cores=1", "--no-mlockall", "--total-num-mbufs=65536", `--forward-mode=${mode}`],
  ];
  // Its output would wait in a buffer until the end.
  const command = ["stdbuf", "-oL", "dpdk-testpmd", ...args];
  const [program, ...rest] =
    namespace === undefined ? command : ["ip", "netns", "exec", namespace, ...command];
  const child = spawn(program, rest, { stdio: ["pipe", "pipe", "pipe"] });
  let said = "";
  child.stdout.on("data", (data) => {
    said += data;
  });
  child.stderr.on("data", (data) => {
    said += data;
  });
  const hears = async (pattern: RegExp) => {
    for (let tries = 0; tries < 200; tries++) {
      if (pattern.test(said)) return;
      if (child.exitCode !== null) break;
      await sleep(50);
    }
    throw new Error(`testpmd did not say ${pattern}: ${said.slice(-600)}`);
  };
  await hears(/testpmd>/);
  child.stdin.write("start\n");
  await hears(/packet forwarding - ports=/);
  const pid = child.pid ?? 0;
  const thread = readdirSync(`/proc/${pid}/task`).find((id) =>
    /^(rte|lcore)-worker/.test(readFileSync(`/proc/${pid}/task/${id}/comm`, "utf8")),
  );
  return {
    async counts() {
      said = "";
      child.stdin.write(`show port stats all\n`);
      for (let tries = 0; tries < 100; tries++) {
        const rx = [...said.matchAll(/RX-packets: (\d+)/g)];
        const tx = [...said.matchAll(/TX-packets: (\d+)/g)];
        const sum = (found: RegExpMatchArray[]) =>
          found.reduce((total, match) => total + Number(match[1]), 0);
        if (tx.length === devices.length) return { rx: sum(rx), tx: sum(tx) };
        await sleep(2);
      }
      throw new Error("testpmd shows no statistics");
    },
    cpu: () => cpuOf(pid, thread ?? String(pid)),
    async stop() {
      child.stdin.write("quit\n");
      await ended(child, 3000);
    },
  };
}

/** Waits for the end of a process, and ends it when it does not come by itself. */
export async function ended(child: ChildProcess, milliseconds: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), milliseconds);
  await new Promise((resolve) => child.once("exit", resolve));
  clearTimeout(timer);
}

/** The command line, built. */
export const MAIN = new URL("../lib/millrace.js", import.meta.url).pathname;
const LIVE_FRAMES = new URL("./peers/live-frames.js", import.meta.url).pathname;

/** `millrace forward` in a namespace, on one CPU, until stopped. */
export async function startForward(
  namespace: string,
  cpu: number,
  ...args: readonly string[]
): Promise<{ stop(): Promise<void> }> {
  const { said, stop } = startMillrace(namespace, cpu, "forward", ...args);
  for (let tries = 0; !said().includes("forwarding between"); tries++) {
    if (tries > 200) throw new Error(`millrace forward: ${said()}`);
    await sleep(50);
  }
  return { stop };
}

/** A program in a namespace, on one CPU, until stopped. */
export interface Running {
  /** What it has said on stderr. Throws when it has ended by itself. */
  said(): string;
  stop(): Promise<void>;
}

/** `millrace` in a namespace, on one CPU. */
export function startMillrace(namespace: string, cpu: number, ...args: readonly string[]): Running {
  return startScript(namespace, cpu, MAIN, args);
}

function startScript(namespace: string, cpu: number, script: string, args: readonly string[]): Running {
  const pinned = ["netns", "exec", namespace, "taskset", "-c", String(cpu), process.execPath, script];
  const child = spawn("ip", [...pinned, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => {
    said += data;
  });
  return {
    said() {
      if (child.exitCode !== null) throw new Error(`${script} ${args.join(" ")}: ${said}`);
      return said;
    },
    async stop() {
      child.kill("SIGINT");
      await ended(child, 5000);
    },
  };
}

/** Frames without socket buffers out of the left end of a row (see peers/live-frames.ts), arriving at v0. */
export async function startLiveFrames(row: Row, cpu: number): Promise<{ stop(): Promise<void> }> {
  const before = receivedAt(row.middle, "v0");
  const { said, stop } = startScript(row.left, cpu, LIVE_FRAMES, ["e0"]);
  for (let tries = 0; receivedAt(row.middle, "v0") < before + 10_000; tries++) {
    if (tries > 200) throw new Error("v0 takes no frames: its XDP program is not a native one");
    said();
    await sleep(50);
  }
  return { stop };
}

export interface Row {
  /** Left end, the middle with v0 and v1, the right end. */
  readonly left: string;
  readonly middle: string;
  readonly right: string;
  remove(): void;
}

/** left e0 ── v0 middle v1 ── e0 right. */
export function makeRow(): Row {
  const name = (part: string) => `mrbench${process.pid}-${part}`;
  const row = { left: name("l"), middle: name("m"), right: name("r") };
  const ip = (...args: string[]) => execFileSync("ip", args, { stdio: "pipe" });
  for (const namespace of Object.values(row)) ip("netns", "add", namespace);
  for (const [device, end] of [
    ["v0", row.left],
    ["v1", row.right],
  ]) {
    ip("-n", row.middle, "link", "add", device, "type", "veth", "peer", "name", "e0", "netns", end);
    ip("-n", row.middle, "link", "set", device, "up");
    ip("-n", end, "link", "set", "e0", "up");
  }
  return {
    ...row,
    remove() {
      for (const namespace of Object.values(row)) ip("netns", "del", namespace);
    },
  };
}

/** What the kernel has counted as received on an interface. */
export function receivedAt(namespace: string, device: string): number {
  const text = execFileSync("ip", ["-n", namespace, "-s", "-j", "link", "show", device], {
    encoding: "utf8",
  });
  return JSON.parse(text)[0].stats64.rx.packets;
}
