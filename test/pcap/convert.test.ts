// Converting: what stood in a file stands in its copy, as tshark and editcap have it.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { convertCapture } from "../../src/ports/pcap/convert.js";
import {
  arena,
  block,
  captures,
  folder,
  has,
  heldFrames,
  interfaceHead,
  option,
  readAll,
  sectionHead,
  tsharkRows,
  words,
} from "./kit.js";

const MAIN = fileURLToPath(new URL("../../lib/millrace.js", import.meta.url));
const PCAPNG = captures("captures", "pcapng").filter((file) => file.endsWith(".pcapng"));

interface Block {
  readonly kind: number;
  readonly bytes: string;
}

/** The blocks of a pcapng file one by one, read without the code under test. */
function blocksOf(file: string): Block[] {
  const bytes = readFileSync(file);
  const blocks: Block[] = [];
  let little = true;
  const u32 = (at: number) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  for (let at = 0; at + 12 <= bytes.length; at += u32(at + 4)) {
    if (u32(at) === SECTION) little = bytes.readUInt32LE(at + 8) === 0x1a2b3c4d;
    blocks.push({ kind: u32(at), bytes: bytes.toString("hex", at, at + u32(at + 4)) });
  }
  return blocks;
}
const SECTION = 0x0a0d0d0a;
const NOT_TO_BE_COPIED = 0x40000bad;
const PACKETS = new Set([2, 3, 6]);
// Sections and interfaces are described anew, with nanoseconds; statistics have times.
const REWRITTEN = new Set([SECTION, 1, 5]);

test("every pcapng file: convert keeps its blocks in their order, and the copy of the copy is the copy", async (t) => {
  if (!has(t, "tshark")) return;
  const dir = folder(t);
  const [first, second] = [join(dir, "first.pcapng"), join(dir, "second.pcapng")];
  assert.ok(PCAPNG.length > 40);
  for (const file of PCAPNG) {
    await convertCapture(arena, file, first, { format: "pcapng" });
    await convertCapture(arena, first, second, { format: "pcapng" });
    assert.deepEqual(readFileSync(second), readFileSync(first), file);
    const before = blocksOf(file).filter(({ kind }) => kind !== NOT_TO_BE_COPIED);
    const after = blocksOf(first);
    const kinds = (blocks: readonly Block[]) =>
      blocks.map(({ kind }) => (PACKETS.has(kind) ? "packet" : kind));
    assert.deepEqual(kinds(after), kinds(before), file);
    const kept = ({ kind }: Block) => !PACKETS.has(kind) && !REWRITTEN.has(kind);
    assert.deepEqual(after.filter(kept), before.filter(kept), file);
    assert.deepEqual(tsharkRows(first), tsharkRows(file), file);
  }
  assert.equal(heldFrames(), 0);
});

for (const little of [true, false]) {
  const order = little ? "little" : "big";
  test(`names, secrets, statistics and unknown blocks are kept as they are, ${order} endian`, async (t) => {
    const dir = folder(t);
    const [file, copy] = [join(dir, "file.pcapng"), join(dir, "copy.pcapng")];
    const data = Buffer.from("0011223344550066778899aa0800cafe", "hex");
    const secrets = Buffer.from("CLIENT_RANDOM 00 11\n");
    const names = Buffer.alloc(20);
    names[little ? 0 : 1] = 1; // an IPv4 name record
    names[little ? 2 : 3] = 9;
    names.write("\n\0\0\x01host\0", 4, "latin1");
    const packet = block(little, 6, Buffer.concat([words(little, [0, 0, 7, 16, 60]), data]));
    const comment = option(little, 1, Buffer.from("two\nlines"));
    const noted = block(
      little,
      6,
      Buffer.concat([words(little, [0, 0, 8, 16, 16]), data, comment, words(little, [0])]),
    );
    const others = [
      block(little, 10, Buffer.concat([words(little, [0x544c534b, secrets.length]), secrets])),
      block(little, 4, names),
      block(little, 9, Buffer.from("__REALTIME_TIMESTAMP=1700000000000000\nMESSAGE=hi\n".padEnd(52, "\0"))),
      block(little, 0x0bad1dea, Buffer.alloc(40, 1)),
    ];
    const parts = [sectionHead(little), interfaceHead(little), others[0], packet, others[1], noted];
    writeFileSync(file, Buffer.concat([...parts, others[2], others[3], packet]));
    await convertCapture(arena, file, copy, { format: "pcapng" });
    const kept = (path: string) => blocksOf(path).filter(({ kind }) => !REWRITTEN.has(kind) && kind !== 6);
    assert.deepEqual(kept(copy), kept(file));
    assert.deepEqual(
      kept(copy).map(({ bytes }) => bytes),
      others.map((bytes) => bytes.toString("hex")),
    );
    const before = await readAll(file);
    const after = await readAll(copy);
    assert.deepEqual(after.packets, before.packets);
    if (has(t, "tshark")) {
      assert.deepEqual(tsharkRows(copy), tsharkRows(file));
      assert.equal(tsharkRows(copy)[1].at(-1), "two\\nlines");
    }
    const lost = await convertCapture(arena, file, join(dir, "copy.pcap"), { format: "pcap" });
    assert.deepEqual(lost, { packets: 3, optionsLost: 1, blocksLost: 4, clamped: 0 });
  });
}

test("sections of both byte orders in one file keep theirs", async (t) => {
  if (!has(t, "tshark")) return;
  const dir = folder(t);
  const [file, copy] = [join(dir, "file.pcapng"), join(dir, "copy.pcapng")];
  const section = (little: boolean, unit: number) => [
    sectionHead(little),
    interfaceHead(little, [option(little, 9, Uint8Array.of(unit))], 1, 0),
    interfaceHead(little, [option(little, 2, Buffer.from(`second ${unit}`))], 1, 60),
    block(little, 6, Buffer.concat([words(little, [0, 3, unit, 4, 60]), Buffer.from("abcd")])),
    block(little, 6, Buffer.concat([words(little, [1, 0, unit, 4, 4]), Buffer.from("efgh")])),
    block(little, 3, Buffer.concat([words(little, [4]), Buffer.from("ijkl")])),
  ];
  writeFileSync(file, Buffer.concat([...section(true, 6), ...section(false, 9), ...section(true, 3)]));
  await convertCapture(arena, file, copy, { format: "pcapng" });
  const [before, after] = [await readAll(file), await readAll(copy)];
  assert.equal(before.packets.length, 9);
  assert.deepEqual(
    before.packets.map(({ peer }) => peer),
    [0, 1, 0, 2, 3, 2, 4, 5, 4],
  );
  assert.deepEqual(after.packets, before.packets);
  assert.deepEqual(
    after.reader.sections.map(({ bigEndian }) => bigEndian),
    [false, true, false],
  );
  assert.deepEqual(tsharkRows(copy), tsharkRows(file));
  assert.equal(tsharkRows(file).length, 9);
});

test("--range keeps the packets that editcap keeps, --nano their nanoseconds, and info counts them", (t) => {
  if (!has(t, "editcap") || !has(t, "capinfos")) return;
  const dir = folder(t);
  const [ours, theirs] = [join(dir, "ours.pcap"), join(dir, "theirs.pcap")];
  for (const file of ["test/data/captures/ipv4_tcp_http_xml.pcap", "test/data/captures/vxlan.pcap"])
    for (const range of ["1", "2-3,5", "4-", "3-3,1-2", "1-10000"]) {
      const selected = range.split(",").map((one) => (one.endsWith("-") ? `${one}0` : one));
      execFileSync("editcap", ["-F", "nsecpcap", "-r", file, theirs, ...selected], { stdio: "pipe" });
      const args = ["convert", file, ours, "--range", range, "--nano"];
      const { stderr, status } = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
      assert.equal(status, 0, stderr);
      // The two may differ in the snap length that the head names.
      assert.deepEqual(
        readFileSync(ours).subarray(20),
        readFileSync(theirs).subarray(20),
        `${file} ${range}`,
      );
      const [packets] = /\d+/.exec(stderr) ?? [];
      const table = execFileSync("capinfos", ["-cTrm", theirs], { encoding: "utf8" });
      assert.equal(table.trim().split(",").at(-1), packets);
      const info = execFileSync(process.execPath, [MAIN, "info", "--json", ours], { encoding: "utf8" });
      assert.equal(String((JSON.parse(info) as { packets: number }).packets), packets);
    }
});

test("convert and info take compressed files and pipes on both sides", (t) => {
  const dir = folder(t);
  const file = "test/data/captures/vxlan.pcap";
  const compressed = join(dir, "vxlan.pcap.gz");
  writeFileSync(compressed, gzipSync(readFileSync(file)));
  const run = (args: readonly string[], input?: Buffer) => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [MAIN, ...args], { input });
    assert.equal(status, 0, String(stderr));
    return stdout;
  };
  const plain = run(["convert", file, "-", "--format", "pcap"]);
  assert.deepEqual(plain.subarray(24), readFileSync(file).subarray(24));
  assert.deepEqual(run(["convert", compressed, "-", "--format", "pcap"]), plain);
  assert.deepEqual(run(["convert", "-", "-", "--format", "pcap"], readFileSync(file)), plain);
  assert.deepEqual(run(["convert", "-", "-", "--format", "pcap"], readFileSync(compressed)), plain);
  const told = (bytes: Buffer) => {
    const {
      file: _,
      fileSize: __,
      compression: ___,
      ...rest
    } = JSON.parse(String(bytes)) as Record<string, unknown>;
    return rest;
  };
  const expected = told(run(["info", "--json", file]));
  assert.deepEqual(told(run(["info", "--json", compressed])), expected);
  assert.deepEqual(told(run(["info", "--json", "-"], readFileSync(file))), expected);
});
