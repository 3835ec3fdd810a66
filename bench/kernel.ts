// The engine alone and on kernel ports, beside DPDK's testpmd (Debian's dpdk-dev) on the same veth:
// `npm run bench -- kernel [PART…] [--runs N] [--json FILE]`. As root; it makes namespaces of its own.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createForwarding } from "../src/flow/forward.js";
import { runWorkers } from "../src/flow/forward-workers.js";
import { openPort } from "../src/flow/port.js";
import { threadCpus } from "../src/linux/thread.js";
import { type Comparison, startBench } from "./compare.js";
import {
  freeHugeMegabytes,
  makeRow,
  type Row,
  receivedAt,
  sleep,
  startForward,
  startLiveFrames,
  startMillrace,
  startTestpmd,
} from "./peers.js";

const RECEIVER = fileURLToPath(new URL("./peers/receiver.js", import.meta.url));
const SECONDS = 1.5;
const WARM_UP = 700;

/** 64-byte packets a CPU second through our engine between two null ports, hardware addresses swapped. */
async function engine(): Promise<number> {
  const a = await openPort("null:", { wait: "busy" });
  const b = await openPort("null:", { wait: "busy" });
  const stop = new AbortController();
  const forwarding = createForwarding(a, b, {
    ...{ oneWay: false, wait: "busy", rewrite: { swap: true }, until: stop.signal },
  });
  const done = forwarding.run();
  await sleep(WARM_UP);
  const packets = forwarding.sums().transmitted.packets;
  const cpu = process.cpuUsage();
  await sleep(SECONDS * 1000);
  const { user, system } = process.cpuUsage(cpu);
  const moved = forwarding.sums().transmitted.packets - packets;
  stop.abort();
  await done;
  forwarding.close();
  await a.close();
  await b.close();
  return moved / (user + system);
}

/** The same through testpmd on two net_null devices. */
async function engineOfTestpmd(memory: readonly string[]): Promise<number> {
  const devices = ["net_null0,size=64", "net_null1,size=64"];
  const pmd = await startTestpmd(devices, "macswap", undefined, memory);
  await sleep(WARM_UP);
  const before = await pmd.counts();
  const cpu = pmd.cpu();
  await sleep(SECONDS * 1000);
  const used = pmd.cpu() - cpu;
  const after = await pmd.counts();
  await pmd.stop();
  return (after.tx - before.tx) / (used / 1000);
}

/** Million packets a second through null ports in so many workers. */
async function engineOf(workers: number): Promise<number> {
  const rewrite = { swap: true };
  const cpus = threadCpus().slice(0, workers);
  const ways = {
    oneWay: false,
    wait: "busy",
    rewrite,
    module: undefined,
    dropPrivileges: false,
    cpus,
  } as const;
  const until = new AbortController();
  const { report } = await runWorkers({ from: "null:", to: "null:", ...ways }, workers, until.signal, () => {
    setTimeout(() => until.abort(), SECONDS * 1000);
  });
  return report.transmitted.packets / report.seconds / 1e6;
}

/** Million packets a second that arrive at an interface of the row while something runs. */
async function rateAt(namespace: string, device: string): Promise<number> {
  await sleep(WARM_UP);
  const start = performance.now();
  const before = receivedAt(namespace, device);
  await sleep(SECONDS * 1000);
  const packets = receivedAt(namespace, device) - before;
  return packets / (performance.now() - start) / 1000;
}

/** Starts what sends to v0 from the other end, on the core that no forwarder has. */
type Sender = (row: Row) => Promise<{ stop(): Promise<void> }>;

/** As much as one core sends with a socket buffer for each packet: every forwarder here keeps up with it on XDP ports. */
const blast: Sender = (row) => startForward(row.left, 0, "null:", "xdp:e0", "--one-way", "--wait", "busy");

/** Several times as much as a forwarder on the other core takes. */
const flood: Sender = (row) => startLiveFrames(row, 0);

async function forwardRate(row: Row, sender: Sender, ...locators: [string, string]): Promise<number> {
  const forward = await startForward(row.middle, 1, ...locators, "--one-way", "--wait", "busy");
  return forwardedRate(row, sender, forward);
}

async function testpmdRate(row: Row, sender: Sender, devices: readonly string[]): Promise<number> {
  return forwardedRate(row, sender, await startTestpmd(devices, "io", row.middle));
}

/** What a forwarder that runs brings to the far end. Ends it. */
async function forwardedRate(
  row: Row,
  sender: Sender,
  forwarder: { stop(): Promise<void> },
): Promise<number> {
  try {
    const sending = await sender(row);
    try {
      return await rateAt(row.right, "e0");
    } finally {
      await sending.stop();
    }
  } finally {
    await forwarder.stop();
  }
}

/** What one sender with a null source brings to the far end of its veth. */
async function sendRate(row: Row, locator: string): Promise<number> {
  const sending = await startForward(row.middle, 1, "null:", locator, "--one-way", "--wait", "busy");
  try {
    return await rateAt(row.left, "e0");
  } finally {
    await sending.stop();
  }
}

/** What our generator brings to the far end, with packets as testpmd's txonly makes them. */
async function generateRate(row: Row, locator: string): Promise<number> {
  const template = "eth(dst=02:00:00:00:00:00)/ipv4(src=198.18.0.1,dst=198.18.0.2)/udp(sport=9,dport=9)";
  const args = ["--size", "64", "--template", template];
  const generator = startMillrace(row.middle, 1, "generate", locator, ...args);
  try {
    const before = receivedAt(row.left, "e0");
    while (receivedAt(row.left, "e0") < before + 10_000) {
      generator.said();
      await sleep(50);
    }
    return await rateAt(row.left, "e0");
  } finally {
    await generator.stop();
  }
}

async function testpmdSendRate(row: Row, device: string): Promise<number> {
  const pmd = await startTestpmd([device], "txonly", row.middle);
  try {
    return await rateAt(row.left, "e0");
  } finally {
    await pmd.stop();
  }
}

/** What a receiver that throws everything away takes in, while a sender at the other end does what it can. */
async function receiveRate(row: Row, locator: string): Promise<number> {
  const sending = await blast(row);
  try {
    const command = ["netns", "exec", row.middle, "taskset", "-c", "1", process.execPath, RECEIVER];
    const measured = [locator, String(WARM_UP), String(SECONDS)];
    return Number(
      execFileSync("ip", [...command, ...measured], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "inherit"],
      }),
    );
  } finally {
    await sending.stop();
  }
}

async function testpmdReceiveRate(row: Row, device: string): Promise<number> {
  const sending = await blast(row);
  const pmd = await startTestpmd([device], "rxonly", row.middle);
  try {
    await sleep(WARM_UP);
    const start = performance.now();
    const before = await pmd.counts();
    await sleep(SECONDS * 1000);
    const after = await pmd.counts();
    return (after.rx - before.rx) / (performance.now() - start) / 1000;
  } finally {
    await sending.stop();
    await pmd.stop();
  }
}

const PARTS: Readonly<Record<string, (row: Row) => Comparison>> = {
  engine: () => ({
    name: "engine alone, MAC swap, 64 B",
    unit: "packets/µs of CPU",
    against: "testpmd on net_null, --no-huge",
    ours: engine,
    peer: () => engineOfTestpmd(["--no-huge"]),
    goal: "≥ 5",
  }),
  "engine-huge": () => ({
    name: "engine alone, MAC swap, 64 B",
    unit: "packets/µs of CPU",
    against: "testpmd on net_null, huge pages",
    ours: engine,
    peer: () => engineOfTestpmd(["--in-memory"]),
  }),
  workers: () => ({
    name: "engine, two workers, MAC swap, 64 B",
    unit: "Mpps",
    against: "one worker",
    ours: () => engineOf(2),
    peer: () => engineOf(1),
    goal: "≥ 1.8",
  }),
  "xdp-forward": (row) => ({
    name: "AF_XDP forward, 64 B",
    unit: "Mpps",
    against: "testpmd on net_af_xdp",
    ours: () => forwardRate(row, flood, "xdp:v0", "xdp:v1"),
    peer: () => testpmdRate(row, flood, ["net_af_xdp0,iface=v0", "net_af_xdp1,iface=v1"]),
    goal: "≥ 1",
  }),
  "xdp-transmit": (row) => ({
    name: "AF_XDP transmit, 64 B",
    unit: "Mpps",
    against: "testpmd on net_af_xdp",
    ours: () => generateRate(row, "xdp:v0"),
    peer: () => testpmdSendRate(row, "net_af_xdp0,iface=v0"),
    goal: "≥ 1",
  }),
  "xdp-receive": (row) => ({
    name: "AF_XDP receive, 64 B",
    unit: "Mpps",
    against: "testpmd on net_af_xdp",
    ours: () => receiveRate(row, "xdp:v0"),
    peer: () => testpmdReceiveRate(row, "net_af_xdp0,iface=v0"),
    goal: "≥ 1",
  }),
  "packet-receive": (row) => ({
    // As large a ring as testpmd's, 512 slots: ours has 4096 by default, which are no longer in the caches.
    name: "AF_PACKET receive, 64 B, rings of 1 MiB",
    unit: "Mpps",
    against: "testpmd on net_af_packet",
    ours: () => receiveRate(row, "packet:v0?buffer=1024"),
    peer: () => testpmdReceiveRate(row, "net_af_packet0,iface=v0"),
    goal: "≥ 1",
  }),
  "packet-transmit": (row) => ({
    name: "AF_PACKET transmit, 64 B",
    unit: "Mpps",
    against: "testpmd on net_af_packet",
    ours: () => sendRate(row, "packet:v0"),
    peer: () => testpmdSendRate(row, "net_af_packet0,iface=v0"),
    goal: "≥ 1",
  }),
  "packet-forward": (row) => ({
    name: "AF_PACKET forward, 64 B",
    unit: "Mpps",
    against: "testpmd on net_af_packet",
    ours: () => forwardRate(row, blast, "packet:v0", "packet:v1"),
    peer: () => testpmdRate(row, blast, ["net_af_packet0,iface=v0", "net_af_packet1,iface=v1"]),
    goal: "≥ 1",
  }),
};

function installPeers(): void {
  try {
    execFileSync("dpdk-testpmd", ["--version"], { stdio: "ignore" });
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") return; // it is there, and says so its own way
    execFileSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "dpdk-dev"], {
      stdio: "inherit",
    });
  }
}

const HUGE_MEGABYTES = 1024;

/** Parts that can be measured here: DPDK is made for huge pages, and few machines have any set aside. */
function possible(part: string): boolean {
  if (part !== "engine-huge" || freeHugeMegabytes() >= HUGE_MEGABYTES) return true;
  console.log("engine-huge: not measured; `sysctl vm.nr_hugepages=600` sets pages aside, 0 gives them back");
  return false;
}

const asked = Object.keys(PARTS).filter((part) => process.argv.slice(2).includes(part));
const chosen = (asked.length > 0 ? asked : Object.keys(PARTS)).filter(possible);
installPeers();
const row = makeRow();
try {
  const bench = startBench("kernel ports");
  for (const part of chosen) await bench.compare(PARTS[part](row));
  bench.finish();
} finally {
  row.remove();
}
