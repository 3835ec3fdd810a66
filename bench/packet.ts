// Packets: checksums beside the best JavaScript, a burst's headers beside libpcap's interpreter, a capture file beside
// tcpdump and npm's pcap-parser, and what a packet costs the JavaScript heap.
import { rmSync } from "node:fs";
import { compileFilter } from "../src/filter/compile.js";
import { BURST_DESCS, LAYERS_SIZE } from "../src/kernels/structs.js";
import { loadKoffi } from "../src/linux/libc.js";
import { createArenaMemory } from "../src/memory/arena.js";
import { appendPacket, createBurst } from "../src/memory/burst.js";
import { allocateRegion } from "../src/memory/region.js";
import { buildPacket } from "../src/packet/build.js";
import { createBurstView } from "../src/packet/burst.js";
import { tcp } from "../src/packet/headers/index.js";
import { parseTemplate } from "../src/packet/template.js";
import { startBench } from "./compare.js";
import * as readers from "./peers/captures.js";

const bench = startBench("packet");
const arena = createArenaMemory({ bytes: 128 * 2 ** 20 });
const { kernels, u8 } = arena;

/** Seconds of processor time that `work` takes: other programs on the machine disturb it less than the clock. */
function seconds(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

// ── Checksum

const ROUNDS = 200_000;
const LENGTH = 1500;
const from = kernels.takeFrame() >>> 0;
for (let i = 0; i < LENGTH; i++) u8[from + i] = i * 31;
const local = new Uint8Array(2048);
local.set(u8.subarray(from, from + LENGTH));
const halves = new Uint16Array(local.buffer);

/** The fastest JavaScript we know: 16-bit words of unshared memory, two sums, folded at the end. */
function sumInJavaScript(words: Uint16Array, count: number): number {
  let a = 0;
  let b = 0;
  for (let i = 0; i + 3 < count; i += 4) {
    a += words[i] + words[i + 1];
    b += words[i + 2] + words[i + 3];
  }
  for (let i = count & ~3; i < count; i++) a += words[i];
  let sum = a + b;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ((sum & 0xff) << 8) | (sum >>> 8);
}

let sink = 0;
const perSecond = (work: () => void) => (ROUNDS * LENGTH) / seconds(work) / 1e9;
await bench.compare({
  name: "internet checksum, 1,500 bytes",
  unit: "GB/s",
  against: "best JavaScript, unshared memory",
  goal: "≥ 20 GB/s",
  ours: () =>
    perSecond(() => {
      for (let i = 0; i < ROUNDS; i++) sink += kernels.checksum(from, LENGTH);
    }),
  peer: () =>
    perSecond(() => {
      for (let i = 0; i < ROUNDS; i++) sink += sumInJavaScript(halves, LENGTH / 2);
    }),
});
// Packets lie in frames that were used in turn, so neither side of a copy is in the first caches.
const FRAMES = 4096;
const frames = Array.from({ length: FRAMES }, () => kernels.takeFrame() >>> 0);
await bench.compare({
  name: "copy and sum, 1,500 bytes, over 16 MiB of frames",
  unit: "GB/s",
  against: "memory.copy alone",
  goal: "≥ 0.77",
  ours: () =>
    perSecond(() => {
      for (let i = 0; i < ROUNDS; i++)
        sink += kernels.checksumCopy(frames[(i + FRAMES / 2) % FRAMES], frames[i % FRAMES], LENGTH);
    }),
  peer: () =>
    perSecond(() => {
      for (let i = 0; i < ROUNDS; i++)
        kernels.copyBytes(frames[(i + FRAMES / 2) % FRAMES], frames[i % FRAMES], LENGTH);
    }),
});
for (const frame of frames) kernels.releaseFrame(frame);

// ── Headers of a burst: Ethernet to TCP ports

const packets = [1, 2, 3, 4].flatMap((port) => [
  buildPacket(parseTemplate(`eth/ipv4/tcp(sport=${port},dport=5000)`), new Uint8Array(6)),
  buildPacket(parseTemplate(`eth/vlan(id=7)/ipv4/tcp(sport=${port},dport=443)`), new Uint8Array(6)),
  buildPacket(parseTemplate(`eth/ipv6/tcp(sport=${port},dport=80)`), new Uint8Array(6)),
  buildPacket(parseTemplate(`eth/ipv4/udp(sport=${port},dport=53)`), new Uint8Array(18)),
]);
const burst = createBurst(arena, 64);
for (let i = 0; i < 64; i++) {
  const packet = packets[i % packets.length];
  const frame = kernels.takeFrame() >>> 0;
  const at = frame + 64 * (i & 15);
  u8.set(packet, at);
  appendPacket(arena, burst, [at, packet.length]);
}
const layers = allocateRegion(arena, 64 * LAYERS_SIZE);
const scratch = allocateRegion(arena, 4096);
/** libpcap's bpf_filter() over the burst's packets, or undefined where there is no libpcap. */
function interpreter(expression: string): (() => void) | undefined {
  try {
    const library = loadKoffi().load("libpcap.so.0.8");
    const filter = library.func("bpf_filter", "uint", ["void *", "uintptr_t", "uint", "uint"]) as (
      ...given: unknown[]
    ) => number;
    const { program } = compileFilter(expression);
    const instructions = new DataView(new ArrayBuffer(8 * program.length));
    program.forEach(([code, jt, jf, k], at) => {
      instructions.setUint16(8 * at, code, true);
      instructions.setUint8(8 * at + 2, jt);
      instructions.setUint8(8 * at + 3, jf);
      instructions.setUint32(8 * at + 4, k, true);
    });
    const bytes = new Uint8Array(instructions.buffer);
    const base = Number(loadKoffi().address(u8));
    const descs = arena.u32[(burst + BURST_DESCS) >>> 2] >>> 2;
    return () => {
      for (let i = descs; i < descs + 4 * 64; i += 4)
        sink += filter(bytes, base + arena.u32[i], arena.u32[i + 2], arena.u32[i + 2]);
    };
  } catch (error) {
    console.log(`libpcap cannot be asked: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

const question = interpreter("tcp dst port 9");
const call = interpreter("less 0");
const perPacket = (work: () => void, rounds: number) =>
  (seconds(() => repeat(work, rounds)) / (rounds * 64)) * 1e9;
const dissect = () => kernels.dissectBurst(burst, 1, layers, scratch);
if (question !== undefined && call !== undefined)
  await bench.compare({
    name: "Ethernet to TCP ports, a burst of 64",
    unit: "ns a packet",
    against: "libpcap's interpreter for `tcp dst port 9`, less the call for `less 0`",
    ours: () => perPacket(dissect, 200_000),
    peer: () => perPacket(question, 20_000) - perPacket(call, 20_000),
  });
else bench.note("Ethernet to TCP ports, a burst of 64", perPacket(dissect, 200_000), "ns a packet");

const view = createBurstView(arena, burst);
const header = tcp.view();
const fields = () => {
  for (const packet of view) if (header.moveTo(packet)) sink += header.destination;
};
const reads = () => {
  for (const packet of view) if (packet.u16(12) === 0x0800 && packet.u8(23) === 6) sink += packet.u16(36);
};
for (const [name, work] of [
  ["the same through the flyweight's u8 and u16", reads],
  ["the same through the TCP header's view", fields],
] as const) {
  for (let i = 0; i < 2000; i++) work();
  bench.note(name, perPacket(work, 5000), "ns a packet");
}

function repeat(work: () => void, times: number): void {
  for (let i = 0; i < times; i++) work();
}

// ── The heap: what stays behind of a packet that a loop has looked at

const collect = (globalThis as { gc?: () => void }).gc;
if (collect !== undefined) {
  repeat(reads, 1000);
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 20_000; i++)
    for (const packet of createBurstView(arena, burst)) sink += packet.u16(12) + packet.seconds;
  const grown = process.memoryUsage().heapUsed - before;
  bench.note(
    "heap growth in a loop, a view for each burst of 64, nothing collected by force",
    grown / (20_000 * 64),
    "bytes a packet",
  );
}

// ── A capture file from end to end

const folder = readers.makeFolder();
try {
  const file = readers.makeFile(folder, "large.pcap", "1514", 1514, 1e9);
  await bench.compare({
    name: "reading a capture of 1 GB",
    unit: "MB/s",
    against: "tcpdump -r … -w /dev/null",
    goal: "≥ 1.5",
    ours: () => readers.ours(file),
    peer: () => readers.tcpdump(file),
  });
  const peer = readers.installParser();
  await bench.compare({
    name: "the same, each packet handed to JavaScript by the peer",
    unit: "MB/s",
    against: "npm pcap-parser",
    ours: () => readers.ours(file),
    peer: () => readers.parser(peer, file),
  });
  bench.note("heap growth, reading it", await readers.heapGrowth(file), "bytes a packet");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (sink === -1) console.log(sink);
bench.finish();
