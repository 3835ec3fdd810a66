// Filters: WebAssembly over bursts against libpcap's interpreter (pcap_offline_filter, called by a loop in machine
// code), over the same recorded packets, which fit into the cache. Each figure is the best of a few passes: other
// processes only ever add.
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ClassicProgram } from "../src/filter/classic.js";
import { compileProgram } from "../src/filter/program.js";
import { compileModule, instantiateClassifier } from "../src/filter/wasm.js";
import { BURST_METAS, BURST_PACKETS, META_SIZE, META_VERDICT, VERDICT_PASS } from "../src/kernels/structs.js";
import { type ArenaMemory, createArenaMemory } from "../src/memory/arena.js";
import { appendPacket, createBurst } from "../src/memory/burst.js";
import { startBench } from "./compare.js";
import { kernelNanoseconds } from "./peers/kernel-jit.js";
import { makeLargeCaptures, tcpdumpSeconds, wholeCommandSeconds } from "./peers/large-captures.js";
import { nativeLoop } from "./peers/native-loop.js";

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
const PACKETS = 4096;
const PASSES = 15;
const RTLD_NOW = 2;

/** Packets from Ethernet captures of the test data, over and over. */
function recorded(): Uint8Array[] {
  const folder = fileURLToPath(new URL("../../test/data/captures", import.meta.url));
  const found: Uint8Array[] = [];
  for (const name of readdirSync(folder)) {
    const bytes = readFileSync(join(folder, name));
    if (!name.endsWith(".pcap") || bytes.readUInt32LE(0) !== 0xa1b2c3d4 || bytes.readUInt32LE(20) !== 1)
      continue;
    for (let at = 24; at + 16 <= bytes.length; ) {
      const length = bytes.readUInt32LE(at + 8);
      if (at + 16 + length > bytes.length) break;
      found.push(bytes.subarray(at + 16, at + 16 + length));
      at += 16 + length;
    }
  }
  return Array.from({ length: PACKETS }, (_, i) => found[i % found.length]);
}

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

interface Libpcap {
  /** Nanoseconds that the interpreter takes for all packets, calls and all. */
  filter(program: ClassicProgram): number;
  compile(expression: string): ClassicProgram;
}

/** Packets and their headers (struct pcap_pkthdr, 24 bytes) where libpcap can see them. */
function openLibpcap(packets: readonly Uint8Array[]): Libpcap {
  const koffi = createRequire(import.meta.url)("koffi");
  const library = koffi.load("libpcap.so.0.8");
  koffi.struct("bpf_insn", { code: "uint16_t", jt: "uint8_t", jf: "uint8_t", k: "uint32_t" });
  koffi.struct("bpf_program", { length: "uint32_t", instructions: "bpf_insn *" });
  const openDead = library.func("void *pcap_open_dead(int, int)");
  const compileExpression = library.func(
    "int pcap_compile(void *, _Out_ bpf_program *, const char *, int, uint32_t)",
  );
  const libc = koffi.load("libc.so.6");
  const dlopen = libc.func("size_t dlopen(const char *, int)");
  const dlsym = libc.func("size_t dlsym(size_t, const char *)");
  const offlineFilter: number = dlsym(dlopen("libpcap.so.0.8", RTLD_NOW), "pcap_offline_filter");
  const loop = nativeLoop();
  const dead = openDead(1, 262_144);
  const bytes = Buffer.concat(
    packets.map((packet) => Buffer.concat([packet, Buffer.alloc(-packet.length & 63)])),
  );
  const headers = Buffer.alloc(24 * packets.length);
  packets.forEach(({ length }, i) => {
    headers.writeUInt32LE(length, 24 * i + 16);
    headers.writeUInt32LE(length, 24 * i + 20);
  });
  const addressOf = (buffer: Buffer) => Number(koffi.address(buffer));
  const headersAt = addressOf(headers);
  const places = Buffer.alloc(8 * packets.length);
  let next = addressOf(bytes);
  packets.forEach(({ length }, i) => {
    places.writeBigUInt64LE(BigInt(next), 8 * i);
    next += (length + 63) & ~63;
  });
  const kept: Buffer[] = []; // not to be collected while libpcap looks at them
  return {
    filter(program) {
      const code = Buffer.alloc(8 * program.length);
      program.forEach(([op, jt, jf, k], i) => {
        code.writeUInt16LE(op, 8 * i);
        code[8 * i + 2] = jt;
        code[8 * i + 3] = jf;
        code.writeUInt32LE(k, 8 * i + 4);
      });
      const head = Buffer.alloc(16);
      head.writeUInt32LE(program.length, 0);
      head.writeBigUInt64LE(BigInt(addressOf(code)), 8);
      const at = addressOf(head);
      const started = process.hrtime.bigint();
      loop(offlineFilter, at, headersAt, addressOf(places), packets.length);
      const took = Number(process.hrtime.bigint() - started);
      kept.length = 0;
      kept.push(bytes, headers, places, code, head);
      return took;
    },
    compile(expression) {
      const made = { length: 0, instructions: null };
      if (compileExpression(dead, made, expression, 1, 0) !== 0)
        throw new Error(`libpcap refuses ${expression}`);
      const list: { code: number; jt: number; jf: number; k: number }[] = koffi.decode(
        made.instructions,
        "bpf_insn",
        made.length,
      );
      return list.map(({ code, jt, jf, k }) => [code, jt, jf, k] as const);
    },
  };
}

/** The least of several measurements. */
function best(measure: () => number, passes = PASSES): number {
  return Math.min(...Array.from({ length: passes }, measure));
}

const bench = startBench("filter");
const packets = recorded();
const libpcap = openLibpcap(packets);
const loaded = load(packets);
const sample = packets.filter(({ length }) => length >= 14).slice(0, 60);
for (const [name, expression] of EXPRESSIONS) {
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
}
const timed = (work: () => void) => () => {
  const started = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - started) / 1e6;
};
const compile = timed(
  () => void compileModule([compileProgram(TWENTY, { linkType: "EN10MB", snaplen: 262_144 })]),
);
bench.note("twenty terms, compiled to WebAssembly", best(compile, 100), "ms");
bench.note("twenty terms, compiled by libpcap", best(timed(() => void libpcap.compile(TWENTY))), "ms");

// The whole command, from its start to its end, on files in the page cache.
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
bench.finish();
