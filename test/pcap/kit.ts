import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { frameCensus } from "../../src/flow/arena.js";
import {
  BURST_METAS,
  META_FLAGS,
  META_NANOSECONDS,
  META_OUTGOING,
  META_PEER,
  META_QUEUE,
  META_SECONDS,
  META_SIZE,
  META_STAMPED,
  META_WIRE_LENGTH,
} from "../../src/kernels/structs.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../../src/memory/burst.js";
import { packetBytes } from "../../src/ports/pcap/convert.js";
import {
  type CaptureReader,
  captureReadable,
  closeReader,
  openReader,
  type ReaderOptions,
  readCapture,
} from "../../src/ports/pcap/reader.js";

export interface ReadPacket {
  readonly bytes: Uint8Array;
  readonly wire: number;
  /** `seconds.nanoseconds`; empty where the packet has no time. */
  readonly time: string;
  readonly peer: number;
  readonly outgoing: boolean;
  readonly queue: number;
}
export interface ReadCapture {
  readonly packets: ReadPacket[];
  readonly reader: CaptureReader;
  readonly error: unknown;
}

export const arena: ArenaMemory = createArenaMemory({ bytes: 64 * 2 ** 20 });

/** Reads a capture to its end, or to its fault, which is returned beside the packets before it. */
export async function readAll(
  file: string,
  options: ReaderOptions = {},
  memory: ArenaMemory = arena,
): Promise<ReadCapture> {
  return readAllOf(await openReader(memory, file, options), memory);
}

/** As readAll, of a reader that is open; closes it. */
export async function readAllOf(reader: CaptureReader, memory: ArenaMemory = arena): Promise<ReadCapture> {
  const burst = createBurst(memory, 256);
  const packets: ReadPacket[] = [];
  let error: unknown;
  try {
    for (;;) {
      const count = readCapture(reader, burst);
      for (let packet = 0; packet < count; packet++) packets.push(describe(memory, burst, packet));
      throwFault(memory, burst, memory.kernels.burstRelease(burst, 0));
      if (count > 0) continue;
      if (reader.ended) break;
      await captureReadable(reader);
    }
  } catch (thrown) {
    error = thrown;
  }
  await closeReader(reader);
  destroyBurst(memory, burst);
  return { packets, reader, error };
}

function describe(memory: ArenaMemory, burst: number, packet: number): ReadPacket {
  const meta = memory.u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
  const bytes = packetBytes(memory, burst, packet);
  const flags = memory.u16[(meta + META_FLAGS) >>> 1];
  const seconds = memory.f64[(meta + META_SECONDS) / 8];
  const nano = String(memory.u32[(meta + META_NANOSECONDS) >>> 2]).padStart(9, "0");
  return {
    bytes,
    wire: memory.u32[(meta + META_WIRE_LENGTH) >>> 2] || bytes.length,
    time: (flags & META_STAMPED) === 0 ? "" : `${seconds}.${nano}`,
    peer: memory.u32[(meta + META_PEER) >>> 2],
    outgoing: (flags & META_OUTGOING) !== 0,
    queue: memory.u8[meta + META_QUEUE],
  };
}

/** Frames that are not free: 0 once everything has been given back. */
export function heldFrames(memory: ArenaMemory = arena): number {
  let held = 0;
  for (const [owner, frames] of frameCensus(memory)) if (owner !== 0) held += frames;
  return held;
}

/** A folder of the test's own, removed after it. */
export function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "millrace-pcap-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Paths of the captures in test/data. */
export function captures(...folders: readonly string[]): string[] {
  return folders.flatMap((name) =>
    readdirSync(`test/data/${name}`)
      .sort()
      .map((file) => `test/data/${name}/${file}`),
  );
}

/** Whether a program to compare with is there. Missing ones skip a test, and on CI fail it. */
export function has(t: TestContext, tool: string): boolean {
  const missing = spawnSync(tool, ["--version"]).error !== undefined;
  if (missing && process.env.CI === "true") throw new Error(`${tool} is not installed`);
  if (missing) t.skip(`${tool} is not installed`);
  return !missing;
}

/** Rows of tshark: time, bytes kept, bytes on the wire, interface in its section, section, comments. */
export function tsharkRows(file: string): string[][] {
  const names = ["time_epoch", "cap_len", "len", "interface_id", "section_number", "comment"];
  const fields = names.flatMap((name) => ["-e", `frame.${name}`]);
  const text = execFileSync("tshark", ["-n", "-r", file, "-T", "fields", ...fields], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const rows = text.split("\n").filter((line) => line !== "");
  // Custom blocks come as frames without an interface; they are no packets.
  return rows.map((line) => line.split("\t")).filter((row) => row[3] !== "");
}

// ── Files made by hand, number by number

export function pcapFile(
  records: readonly Uint8Array[],
  head: {
    magic?: number;
    little?: boolean;
    version?: [number, number];
    snaplen?: number;
    linkType?: number;
  } = {},
): Buffer {
  const little = head.little !== false;
  const bytes = Buffer.alloc(24);
  const u32 = (at: number, value: number) =>
    little ? bytes.writeUInt32LE(value, at) : bytes.writeUInt32BE(value, at);
  const u16 = (at: number, value: number) =>
    little ? bytes.writeUInt16LE(value, at) : bytes.writeUInt16BE(value, at);
  const [major, minor] = head.version ?? [2, 4];
  u32(0, head.magic ?? 0xa1b2c3d4);
  u16(4, major);
  u16(6, minor);
  u32(16, head.snaplen ?? 65_535);
  u32(20, head.linkType ?? 1);
  return Buffer.concat([bytes, ...records]);
}

/** u32 numbers one behind the other, then bytes. */
export function words(
  little: boolean,
  numbers: readonly number[],
  data: Uint8Array = new Uint8Array(0),
): Buffer {
  const bytes = Buffer.alloc(4 * numbers.length);
  numbers.forEach((value, i) => {
    if (little) bytes.writeUInt32LE(value >>> 0, 4 * i);
    else bytes.writeUInt32BE(value >>> 0, 4 * i);
  });
  return Buffer.concat([bytes, data]);
}

/** A pcapng block around a body whose length is a multiple of four. */
export function block(little: boolean, kind: number, body: Uint8Array): Buffer {
  const length = body.length + 12;
  return Buffer.concat([words(little, [kind, length]), body, words(little, [length])]);
}

export function sectionHead(little: boolean): Buffer {
  const version = Buffer.alloc(4);
  if (little) version.writeUInt16LE(1);
  else version.writeUInt16BE(1);
  return block(
    little,
    0x0a0d0d0a,
    Buffer.concat([words(little, [0x1a2b3c4d]), version, words(little, [0xffffffff, 0xffffffff])]),
  );
}

export function option(little: boolean, code: number, value: Uint8Array): Buffer {
  const head = Buffer.alloc(4);
  if (little) {
    head.writeUInt16LE(code);
    head.writeUInt16LE(value.length, 2);
  } else {
    head.writeUInt16BE(code);
    head.writeUInt16BE(value.length, 2);
  }
  return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
}

export function interfaceHead(
  little: boolean,
  options: readonly Buffer[] = [],
  linkType = 1,
  snaplen = 0,
): Buffer {
  const type = Buffer.alloc(4);
  if (little) type.writeUInt16LE(linkType);
  else type.writeUInt16BE(linkType);
  return block(little, 1, Buffer.concat([type, words(little, [snaplen]), ...options]));
}
