import { randomFillSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import type { Command } from "commander";
import { createArena, memoryOf } from "../flow/arena.js";
import { imbalance } from "../flow/report.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion } from "../memory/region.js";
import { half, pair, type Result } from "./demo/pair.js";
import type { DemoTask } from "./demo/task.js";
import { printJson, table } from "./output.js";

const CHUNK = 2 ** 20;
const PAYLOAD = 1400;
/** Chunks under way at once, where nothing limits them. */
const AHEAD = 8;
/** Longer than a busy machine keeps a thread waiting for its turn. */
const PATIENCE_MS = 500;
const PORTS = { ours: 45_454, plain: 45_455 };

interface Row {
  readonly name: string;
  readonly gbits: number;
  readonly cpu?: number;
  readonly copies: string;
  readonly losses: string;
}

export function addDemoCommand(program: Command): void {
  program
    .command("demo")
    .description(
      "gather and verify gigabytes of shuffled, doubled and thinned datagrams; no root, no second machine",
    )
    .option("--json", "print the figures as one JSON array")
    .addHelpText("after", "\nExample:\n  millrace demo")
    .action(runDemo);
}

async function runDemo(flags: { readonly json?: boolean }): Promise<void> {
  const arena = memoryOf(createArena({ bytes: 512 * 2 ** 20 }));
  const source = arena.kernels.claimFrames(CHUNK / arena.frameSize) >>> 0;
  randomFillSync(arena.u8.subarray(source, source + CHUNK));
  const [cpu] = cpus();
  say(
    `millrace demo: ${cpus().length} × ${cpu?.model ?? "?"}, Node ${process.version}; chunks of 1 MiB in datagrams of ${PAYLOAD} bytes`,
  );
  const rows: Row[] = [];
  const task = (role: DemoTask["role"], locator: string, chunks: number): DemoTask => ({
    role,
    locator,
    chunkBytes: CHUNK,
    chunks,
    payload: PAYLOAD,
    source,
    verifyEvery: 1,
    progress: 0, // given by pair()
    ...{ ahead: AHEAD, patience: PATIENCE_MS },
  });
  // What is under way to a socket fits the buffer that everybody gets: else datagrams are lost on a busy machine.
  const buffer = Number(readFileSync("/proc/sys/net/core/rmem_max", "utf8"));
  const chunkBytes = Math.min(CHUNK, 2 ** Math.floor(Math.log2(buffer)));
  const toSocket = (role: DemoTask["role"], locator: string, chunks: number): DemoTask => ({
    ...task(role, locator, (chunks * CHUNK) / chunkBytes),
    ...{ chunkBytes, ahead: Math.min(AHEAD, Math.floor(buffer / chunkBytes)) },
  });
  say("1 of 5: two workers over a ring, nothing wrong with the datagrams …");
  rows.push(
    ours(
      "two workers over a ring",
      await pair(
        arena,
        task("send", "loop:demo?link=datagram", 4000),
        task("gather", "loop:demo?link=datagram", 4000),
      ),
    ),
  );
  say("2 of 5: the same, 2 % out of order, 0.5 % twice, 0.01 % lost …");
  const wrong = "loop:demo-impaired?link=datagram&reorder=2%&duplicate=0.5%&loss=0.01%";
  rows.push(
    ours(
      "  shuffled, doubled, thinned",
      await pair(arena, task("send", wrong, 1000), task("gather", wrong, 1000)),
    ),
  );
  const small = chunkBytes < CHUNK ? `, in chunks of ${chunkBytes / 1024} KiB` : "";
  say(`3 of 5: UDP on loopback, with GSO and GRO${small} …`);
  const udp = `udp://127.0.0.1:${PORTS.ours}`;
  rows.push(
    ours(
      "UDP on loopback (GSO/GRO)",
      await pair(arena, toSocket("send", udp, 2000), toSocket("gather", udp, 2000)),
    ),
  );
  say("4 of 5: from one modelled Intel 82574L to another, by the driver that runs a real one …");
  const cards = await half(arena, {
    ...task("both", "nic:e1000e@model?wire=demo", 250),
    header: "eth(dst=02:00:00:00:00:02)/ipv4(src=10.0.0.1,dst=10.0.0.2)/udp(dport=5004)",
    progress: allocateRegion(arena, 4),
  }).result;
  rows.push(ours("two network cards, modelled", { sent: { ...cards, chunks: 250, cpu: 0 }, got: cards }));
  say(`5 of 5: the same job with node:dgram and Buffer.concat${small} …`);
  rows.push(
    plain(
      await pair(
        arena,
        toSocket("send-plain", `${PORTS.plain}`, 150),
        toSocket("gather-plain", `${PORTS.plain}`, 150),
      ),
    ),
  );
  rows.push({ name: "memory.copy, one core", gbits: memoryCopy(arena), copies: "1.00", losses: "" });
  sayRows(rows);
  if (flags.json) await printJson(rows);
}

function ours(name: string, { sent, got }: { sent: Result; got: Result }): Row {
  const report = got.report;
  if (report === undefined) throw new Error(`${name}: no report`);
  if (got.wrong > 0) throw new Error(`${name}: ${got.wrong} chunks differ from what was sent`);
  if (imbalance(report) !== 0)
    throw new Error(`${name}: packets are unaccounted for: ${JSON.stringify(report)}`);
  const { dropped, gaps, chunks } = report;
  const told = [
    `${got.verified.toLocaleString("en-US")} of ${sent.chunks.toLocaleString("en-US")} chunks verified`,
    ...(gaps.datagrams > 0 ? [`${gaps.datagrams} datagrams lost in ${chunks.incomplete} chunks`] : []),
    ...Object.entries(dropped).map(([reason, count]) => `${count.toLocaleString("en-US")} ${reason}`),
    ...(report.reordered > 0 ? [`${report.reordered.toLocaleString("en-US")} out of order`] : []),
  ];
  const payload = got.datagrams * PAYLOAD;
  return {
    name,
    gbits: (payload * 8) / got.seconds / 1e9,
    cpu: ((sent.cpu + got.cpu) / payload) * 1e9,
    copies: report.copies.perByte.toFixed(2),
    losses: told.join(", "),
  };
}

function plain({ sent, got }: { sent: Result; got: Result }): Row {
  const payload = got.datagrams * PAYLOAD;
  return {
    name: "node:dgram + Buffer.concat",
    gbits: (payload * 8) / got.seconds / 1e9,
    cpu: ((sent.cpu + got.cpu) / payload) * 1e9,
    copies: "≥ 4", // into the kernel, out of it, out of libuv's buffer, into the chunk
    losses: `${got.verified} of ${sent.chunks} chunks verified, ${sent.datagrams - got.datagrams} datagrams lost`,
  };
}

/** Gbit/s that one core copies from one half of 64 MiB to the other. */
function memoryCopy(arena: ArenaMemory): number {
  const size = 32 * 2 ** 20;
  const frames = size / arena.frameSize;
  const from = arena.kernels.claimFrames(frames) >>> 0;
  const to = arena.kernels.claimFrames(frames) >>> 0;
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 8; round++) {
    const start = performance.now();
    for (let at = 0; at + PAYLOAD <= size; at += PAYLOAD)
      arena.kernels.copyBytes(to + at, from + at, PAYLOAD);
    best = Math.min(best, performance.now() - start);
  }
  arena.kernels.releaseFrames(from, frames);
  arena.kernels.releaseFrames(to, frames);
  return (size * 8) / (best / 1000) / 1e9;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function sayRows(rows: readonly Row[]): void {
  const [head, ...lines] = table([
    ["", "Gbit/s", "CPU s/GB", "copies/byte"],
    ...rows.map(({ name, gbits, cpu, copies }) => [name, gbits.toFixed(2), cpu?.toFixed(2) ?? "", copies]),
  ]).split("\n");
  say(head);
  for (const [index, line] of lines.entries()) say(`${line}  ${rows[index].losses}`.trimEnd());
  say("GSO and GRO on loopback, where nothing is cut on the way, are much of the difference to node:dgram.");
}
