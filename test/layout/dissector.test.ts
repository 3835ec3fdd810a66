// Wireshark's dissector reads what scatter sends of those forms of GVSP for which there is no receiver.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { findLayout } from "../../src/layout/find.js";
import { compileScatter, type ScatterLayoutOptions } from "../../src/layout/scatter.js";
import { encodePcap } from "../packet/captures.js";
import { makeSender } from "./pieces.js";

const CHUNK = 5000;
const CHUNKS = 3;

/** A capture file of UDP datagrams over IPv4 (link type 228). */
function captureOf(datagrams: readonly Uint8Array[]): Buffer {
  const packets = datagrams.map((datagram) => {
    const head = Buffer.alloc(28);
    head[0] = 0x45;
    head.writeUInt16BE(28 + datagram.length, 2);
    head[8] = 64;
    head[9] = 17;
    head.set([10, 0, 0, 1, 10, 0, 0, 2], 12);
    head.writeUInt16BE(5000, 20);
    head.writeUInt16BE(5000, 22);
    head.writeUInt16BE(8 + datagram.length, 24);
    return Buffer.concat([head, datagram]);
  });
  return encodePcap(228, packets);
}

/** Scatters chunks and returns each datagram's fields as tshark shows them. */
function dissected(
  t: TestContext,
  layout: string,
  options: ScatterLayoutOptions,
  ...fields: readonly string[]
): string[][] | undefined {
  if (spawnSync("sh", ["-c", "command -v tshark"]).status !== 0) {
    t.skip("tshark is not installed");
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), "millrace-dissector-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "sent.pcap");
  const send = makeSender(compileScatter(findLayout(layout), options));
  const chunk = Uint8Array.from({ length: CHUNK }, (_, i) => (i * 7) & 255);
  writeFileSync(file, captureOf(Array.from({ length: CHUNKS }, (_, k) => send(chunk, k).datagrams).flat()));
  const args = ["-r", file, "-d", `udp.port==5000,${layout}`, "-T", "fields", "-E", "separator=,"];
  const { status, stdout, stderr } = spawnSync(
    "tshark",
    [...args, ...fields.flatMap((field) => ["-e", field])],
    { encoding: "utf8", timeout: 120_000 },
  );
  assert.equal(status, 0, stderr);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.split(","));
}

const [LEADER, TRAILER, DATA, MULTI_PART] = [1, 2, 3, 6];

for (const [variant, chunkField, packetField, format, header] of [
  [undefined, "gvsp.blockid16", "gvsp.packetid24", DATA, 8],
  ["extended", "gvsp.blockid64", "gvsp.packetid32", DATA, 20],
  ["multi-part", "gvsp.blockid16", "gvsp.packetid24", MULTI_PART, 16],
  ["extended-multi-part", "gvsp.blockid64", "gvsp.packetid32", MULTI_PART, 28],
] as const)
  test(`Wireshark reads ${variant ?? "standard"} GVSP of scatter's: blocks, packets, places`, (t) => {
    const data = 1000;
    const read = dissected(
      t,
      "gvsp",
      { datagramSize: header + data, ...(variant === undefined ? {} : { variant }) },
      ...["gvsp.format", chunkField, packetField, "gvsp.addressoffset", "udp.length", "_ws.malformed"],
    );
    if (read === undefined) return;
    const numbers = read.map((line) => line.map(Number));
    const perChunk = CHUNK / data;
    const ei = variant?.startsWith("extended") ? 0x80 : 0; // Wireshark shows the byte with it
    const expected = Array.from({ length: CHUNKS }, (_, chunk) => [
      [ei + LEADER, chunk + 1, 0],
      ...Array.from({ length: perChunk }, (_, i) => [ei + format, chunk + 1, i + 1]),
      [ei + TRAILER, chunk + 1, perChunk + 1],
    ]).flat();
    assert.deepEqual(
      numbers.map((line) => line.slice(0, 3)),
      expected,
    );
    numbers.forEach(([kind, , packet, offset, length, malformed]) => {
      assert.equal(malformed, 0);
      if (kind === ei + format) assert.equal(length, 8 + header + data);
      if (kind === ei + MULTI_PART) assert.equal(offset, (packet - 1) * data);
    });
  });
