// Capture files and who reads them: millrace, tcpdump, npm's pcap-parser. Files are written first and then read from
// the page cache. All figures are MB a second.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createArenaMemory } from "../../src/memory/arena.js";
import { createBurst, throwFault } from "../../src/memory/burst.js";
import { captureReadable, closeReader, openReader, readCapture } from "../../src/ports/pcap/reader.js";

const MAIN = new URL("../../lib/millrace.js", import.meta.url).pathname;
const arena = createArenaMemory();
const burst = createBurst(arena, 2048);

export interface CaptureFile {
  readonly path: string;
  readonly bytes: number;
  readonly packets: number;
}

/** A folder for captures, in memory where there is such a place. The caller removes it. */
export function makeFolder(): string {
  return mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "millrace-bench-"));
}

/** Writes a capture of about `bytes` bytes; `size` is what `millrace generate --size` takes, `mean` its mean. */
export function makeFile(
  folder: string,
  name: string,
  size: string,
  mean: number,
  bytes: number,
): CaptureFile {
  const path = join(folder, name);
  const packets = Math.round(bytes / (mean + 16));
  execFileSync(process.execPath, [MAIN, "generate", path, "--size", size, "--count", String(packets)], {
    stdio: "ignore",
  });
  return { path, bytes: statSync(path).size, packets };
}

/** Reads all packets and gives them back. */
export async function ours({ path, bytes, packets }: CaptureFile): Promise<number> {
  const started = performance.now();
  const reader = await openReader(arena, path);
  let read = 0;
  for (;;) {
    const count = readCapture(reader, burst);
    read += count;
    if (count > 0) throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
    else if (reader.ended) break;
    else await captureReadable(reader);
  }
  await closeReader(reader);
  if (read !== packets) throw new Error(`${path}: ${read} packets of ${packets}`);
  return bytes / 1e3 / (performance.now() - started);
}

export function tcpdump({ path, bytes }: CaptureFile): number {
  const started = performance.now();
  const { status, stderr } = spawnSync("tcpdump", ["-r", path, "-w", "/dev/null"], { encoding: "utf8" });
  if (status !== 0) throw new Error(`tcpdump: ${stderr}`);
  return bytes / 1e3 / (performance.now() - started);
}

export interface PcapParser {
  parse(path: string): { on(event: "packet" | "end" | "error", listener: () => void): void };
}

/** Installs the npm package where it does not disturb ours. */
export function installParser(): PcapParser {
  const folder = join(process.cwd(), ".cache/peers");
  mkdirSync(folder, { recursive: true });
  if (!existsSync(join(folder, "node_modules/pcap-parser")))
    execFileSync(
      "npm",
      ["install", "--no-save", "--no-audit", "--no-fund", "--prefix", folder, "pcap-parser@0.2.1"],
      {
        stdio: "ignore",
      },
    );
  return createRequire(join(folder, "peers.cjs"))("pcap-parser") as PcapParser;
}

export async function parser(peer: PcapParser, { path, bytes, packets }: CaptureFile): Promise<number> {
  const started = performance.now();
  let read = 0;
  await new Promise<void>((resolve, reject) => {
    const parsing = peer.parse(path);
    parsing.on("packet", () => {
      read++;
    });
    parsing.on("end", resolve);
    parsing.on("error", () => reject(new Error("pcap-parser failed")));
  });
  if (read !== packets) throw new Error(`pcap-parser: ${read} packets of ${packets}`);
  return bytes / 1e3 / (performance.now() - started);
}

/** Bytes of heap a packet that a second reading of the file adds. */
export async function heapGrowth(file: CaptureFile): Promise<number> {
  const collect = () => {
    (globalThis as { gc?: () => void }).gc?.();
    return process.memoryUsage().heapUsed;
  };
  await ours(file);
  const before = collect();
  await ours(file);
  return Math.max(0, collect() - before) / file.packets;
}
