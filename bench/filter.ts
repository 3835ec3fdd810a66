// Filters: WebAssembly over bursts against libpcap's interpreter (pcap_offline_filter, called by a loop in machine
// code) and the kernel's JIT, over the same recorded packets, which fit into the cache; compiling; whole commands:
// `npm run bench -- filter [programs] [compilation] [commands] [--runs N] [--json FILE]`, as root. Each figure is the
// best of a few passes: other processes only ever add.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { compileProgram } from "../src/filter/program.js";
import { compileModule, instantiateClassifier } from "../src/filter/wasm.js";
import { BURST_METAS, BURST_PACKETS, META_SIZE, META_VERDICT, VERDICT_PASS } from "../src/kernels/structs.js";
import { type ArenaMemory, createArenaMemory } from "../src/memory/arena.js";
import { appendPacket, createBurst } from "../src/memory/burst.js";
import { startBench } from "./compare.js";
import { kernelNanoseconds, makeSocketJit, type SocketJit } from "./peers/kernel-jit.js";
import {
  bareNodeSeconds,
  makeLargeCaptures,
  tcpdumpSeconds,
  wholeCommandSeconds,
} from "./peers/large-captures.js";
import { openLibpcap } from "./peers/libpcap.js";
import { recordedPackets } from "./peers/recorded.js";

const TWENTY = Array.from(
  { length: 20 },
  (_, i) => `(udp dst port ${5000 + i} and dst host 239.1.1.${i + 1})`,
).join(" or ");
const EXPRESSIONS: readonly (readonly [name: string, expression: string])[] = [
  ["one term", "ip"],
  ["a port", "port 53"],
  ["host and port", "host 192.168.1.1 and tcp port 80"],
  ["flags", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0"],
  ["five terms", "net 10.0.0.0/8 or net 192.168.0.0/16 or port 443 or icmp or arp"],
  ["IPv6 nets", "ip6 net fe80::/10 or ip6 net 2001:db8::/32 or host ::1"],
  ["twenty terms", TWENTY],
];
/** Of which the kernel's own cost at a socket is measured too: it takes seconds. */
const AT_SOCKETS: ReadonlySet<string> = new Set(["one term", "a port", "twenty terms"]);
/** 100,000 characters: as long a program as so many make, and a short one. */
const LONG: readonly (readonly [name: string, expression: string])[] = [
  ["a list of ports", `port ${Array.from({ length: 12_400 }, (_, i) => i).join(" or ")}`],
  ["UDP ports", Array.from({ length: 4800 }, (_, i) => `udp dst port ${i}`).join(" or ")],
];
const FIRST_COMPILE = fileURLToPath(new URL("./peers/first-compile.js", import.meta.url));
const PACKETS = 4096;
const PASSES = 15;

interface Loaded {
  readonly arena: ArenaMemory;
  readonly bursts: readonly number[];
}

const BURST = 256;

/** The packets in an arena, in bursts as a port fills them. */
function load(packets: readonly Uint8Array[]): Loaded {
  const bytes = packets.reduce((sum, packet) => sum + packet.length + 64, 0);
  const arena = createArenaMemory({ bytes: 64 * 2 ** 20 + 2 * bytes });
  const bursts: number[] = [];
  let at = arena.frameSize;
  for (let first = 0; first < packets.length; first += BURST) {
    const burst = createBurst(arena, BURST);
    for (const packet of packets.slice(first, first + BURST)) {
      arena.u8.set(packet, at);
      appendPacket(arena, burst, [at, packet.length]);
      at += (packet.length + 63) & ~63;
    }
    bursts.push(burst);
  }
  return { arena, bursts };
}

function clearVerdicts({ arena, bursts }: Loaded): void {
  for (const burst of bursts) {
    const metas = arena.u32[(burst + BURST_METAS) >>> 2];
    const count = arena.u32[(burst + BURST_PACKETS) >>> 2];
    for (let i = 0; i < count; i++) arena.u8[metas + i * META_SIZE + META_VERDICT] = VERDICT_PASS;
  }
}

/** The least of several measurements. */
function best(measure: () => number, passes = PASSES): number {
  return Math.min(...Array.from({ length: passes }, measure));
}

const bench = startBench("filter");
const packets = recordedPackets(PACKETS);
const libpcap = openLibpcap(packets);
const loaded = load(packets);
const sample = packets.filter(({ length }) => length >= 14).slice(0, 60);

/** WebAssembly over bursts beside the interpreter and the kernel's JIT. */
async function programs(): Promise<void> {
  const sockets = makeSocketJit();
  try {
    for (const [name, expression] of EXPRESSIONS) await besideOthers(name, expression, sockets);
  } finally {
    sockets.remove();
  }
}

async function besideOthers(name: string, expression: string, sockets: SocketJit): Promise<void> {
  const program = compileProgram(expression, { linkType: "EN10MB", snaplen: 262_144 });
  const classifier = instantiateClassifier(compileModule([program]), loaded.arena.memory);
  const theirs = libpcap.compile(expression);
  const ours = () => {
    clearVerdicts(loaded);
    const started = process.hrtime.bigint();
    for (const burst of loaded.bursts) classifier.classify(0, burst, 1, 0);
    return Number(process.hrtime.bigint() - started);
  };
  for (let i = 0; i < 200; i++) ours(); // V8's optimizing tier
  await bench.compare({
    name,
    unit: "Mpackets/s",
    against: "libpcap's interpreter",
    goal: "≥ 5",
    ours: () => (1e3 * packets.length) / best(ours),
    peer: () => (1e3 * packets.length) / best(() => libpcap.filter(theirs)),
  });
  await bench.compare({
    name: `${name}, beside the kernel`,
    unit: "Mpackets/s",
    against: "the kernel's JIT, in test runs",
    ours: () => (1e3 * packets.length) / best(ours),
    peer: () => 1e3 / kernelNanoseconds(program, sample),
  });
  if (AT_SOCKETS.has(name))
    await bench.compare({
      name: `${name}, beside a packet socket`,
      unit: "ns a packet",
      against: "the kernel's JIT at the socket",
      ours: () => best(ours) / packets.length,
      peer: () => sockets.nanoseconds(program),
    });
}

const timed = (work: () => void) => () => {
  const started = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - started) / 1e6;
};

/** What compiling takes, in one process and as the first thing in it. */
function compilation(): void {
  const compile = timed(
    () => void compileModule([compileProgram(TWENTY, { linkType: "EN10MB", snaplen: 262_144 })]),
  );
  bench.note("twenty terms, compiled to WebAssembly", best(compile, 100), "ms");
  bench.note(
    "twenty terms, compiled to WebAssembly as the first filter of a process",
    best(() => Number(execFileSync(process.execPath, [FIRST_COMPILE, TWENTY])), 7),
    "ms",
  );
  for (const [name, expression] of LONG)
    bench.note(
      `100,000 characters, ${name}, compiled to WebAssembly`,
      best(
        timed(
          () => void compileModule([compileProgram(expression, { linkType: "EN10MB", snaplen: 262_144 })]),
        ),
        5,
      ),
      "ms",
    );
  bench.note("twenty terms, compiled by libpcap", best(timed(() => void libpcap.compile(TWENTY))), "ms");
}

/** The whole command, from its start to its end, on files in the page cache. */
async function commands(): Promise<void> {
  bench.note("node /dev/null, of which the whole command consists too", 1e3 * best(bareNodeSeconds), "ms");
  const captures = makeLargeCaptures(packets);
  try {
    for (const { name, file } of captures.list)
      for (const expression of ["udp port 53", TWENTY])
        await bench.compare({
          name: `millrace capture -w /dev/null, 1 GB of ${name}, ${expression === TWENTY ? "twenty terms" : expression}`,
          unit: "s",
          against: "tcpdump -r -w /dev/null",
          goal: "≤ 0.67",
          ours: () => wholeCommandSeconds(file, expression),
          peer: () => tcpdumpSeconds(file, expression),
        });
  } finally {
    captures.remove();
  }
}

const PARTS: Readonly<Record<string, () => void | Promise<void>>> = { programs, compilation, commands };
const chosen = Object.keys(PARTS).filter((part) => process.argv.slice(2).includes(part));
for (const part of chosen.length > 0 ? chosen : Object.keys(PARTS)) await PARTS[part]();
bench.finish();
