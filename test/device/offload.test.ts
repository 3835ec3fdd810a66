import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { receive, send } from "../../src/device/e1000e/run.js";
import {
  CHECKSUM_BAD,
  CHECKSUM_GOOD,
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  META_FLAGS,
  META_SEGMENT,
  META_TAGGED,
  META_TCP_SEGMENTS,
  META_VLAN,
} from "../../src/kernels/structs.js";
import { encodePcap } from "../packet/captures.js";
import { drainBurst, metaAt, newBurst, openPair, putPacket } from "./cards.js";
import { type Flow, partialFrame, pattern, wholeFrame } from "./frames.js";

const TCP4: Flow = { family: 4, protocol: "tcp" };
const FLOWS: readonly Flow[] = [
  TCP4,
  { family: 4, protocol: "udp" },
  { family: 6, protocol: "tcp" },
  { family: 6, protocol: "udp" },
];

/** What tshark says of frames, a line each, with every checksum verified. */
function tshark(frames: readonly Uint8Array[], fields: readonly string[]): string[][] {
  const folder = mkdtempSync(join(tmpdir(), "millrace-e1000e-"));
  try {
    const file = join(folder, "wire.pcap");
    writeFileSync(file, encodePcap(1, frames));
    const checks = ["ip", "tcp", "udp"].flatMap((name) => ["-o", `${name}.check_checksum:TRUE`]);
    const run = spawnSync(
      "tshark",
      [
        "-r",
        file,
        ...checks,
        "-T",
        "fields",
        "-E",
        "occurrence=f",
        ...fields.flatMap((field) => ["-e", field]),
      ],
      { encoding: "utf8" },
    );
    assert.equal(run.status, 0, run.stderr);
    return run.stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split("\t"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function hasTshark(): boolean {
  return spawnSync("tshark", ["--version"]).status === 0;
}

const STATUS = ["ip.checksum.status", "tcp.checksum.status", "udp.checksum.status"];
const good = (flow: Flow) => [
  flow.family === 4 ? "1" : "",
  flow.protocol === "tcp" ? "1" : "",
  flow.protocol === "udp" ? "1" : "",
];

test("the card finishes partial checksums, wherever the packet's cuts fall; tshark finds them right", async (t) => {
  if (!hasTshark()) return t.skip("tshark is not installed");
  const pair = openPair();
  const { arena, a, b, settle, seen } = pair;
  const burst = newBurst(arena);
  const expected: string[][] = [];
  const cuts = [[1200], [14, 1186], [33, 1, 7, 1159], [60, 400, 740], [17, 18, 19, 20, 21, 22, 1083]];
  for (const flow of FLOWS)
    for (const lengths of cuts) {
      const bytes = 1200 - (flow.family === 4 ? 34 : 54) - (flow.protocol === "tcp" ? 20 : 8);
      const packet = putPacket(arena, burst, partialFrame(flow, pattern(bytes)), lengths, (i) => 3 * i + 1);
      arena.u16[(metaAt(arena, burst, packet) + META_FLAGS) >>> 1] = CHECKSUM_PARTIAL;
      expected.push(good(flow));
    }
  assert.equal(send(a.card, 0, burst, 0), expected.length);
  settle();
  assert.deepEqual(tshark(seen, STATUS), expected);
  const into = newBurst(arena);
  receive(b.card, 0, into, 64);
  for (const { meta } of drainBurst(arena, into))
    assert.equal(meta.getUint16(META_FLAGS, true) & CHECKSUM_MASK, CHECKSUM_GOOD);
  drainBurst(arena, burst);
  await pair.close();
});

test("a long TCP packet leaves as segments with right lengths, numbers, flags and checksums", async (t) => {
  if (!hasTshark()) return t.skip("tshark is not installed");
  for (const family of [4, 6] as const) {
    const pair = openPair({ a: { txRing: 64 } });
    const { arena, a, settle, seen } = pair;
    const burst = newBurst(arena);
    const flow: Flow = { family, protocol: "tcp" };
    const payload = pattern(20_000);
    const frame = partialFrame(flow, payload);
    const lengths = [40, 100, ...Array.from({ length: 4 }, () => 4000)];
    lengths.push(frame.length - lengths.reduce((sum, length) => sum + length));
    const packet = putPacket(arena, burst, frame, lengths, () => 0);
    const meta = metaAt(arena, burst, packet);
    arena.u16[(meta + META_FLAGS) >>> 1] = CHECKSUM_PARTIAL | META_TCP_SEGMENTS;
    arena.u16[(meta + META_SEGMENT) >>> 1] = 1400;
    assert.equal(send(a.card, 0, burst, 0), 1);
    settle();
    const lines = tshark(seen, [...STATUS, "tcp.len", "tcp.seq_raw", "tcp.flags.fin"]);
    assert.equal(lines.length, Math.ceil(20_000 / 1400));
    lines.forEach(([ip, tcp, , length, sequence, fin], i) => {
      assert.equal(ip, family === 4 ? "1" : "");
      assert.equal(tcp, "1");
      assert.equal(Number(length), Math.min(1400, 20_000 - 1400 * i));
      assert.equal(Number(sequence), (0xfffffc00 + 1400 * i) % 2 ** 32);
      assert.equal(/1|True/.test(fin), i === lines.length - 1);
    });
    const header = family === 4 ? 54 : 74;
    const joined = Buffer.concat(seen.map((segment) => segment.subarray(header)));
    assert.deepEqual(joined, Buffer.from(payload));
    drainBurst(arena, burst);
    await pair.close();
  }
});

test("a checksum that is wrong on the wire is told as wrong", async () => {
  const pair = openPair();
  const { arena, a, b, settle } = pair;
  const burst = newBurst(arena);
  const wrong = wholeFrame(TCP4, pattern(100));
  wrong[60] ^= 1;
  for (const frame of [wholeFrame(TCP4, pattern(100)), wrong]) putPacket(arena, burst, frame);
  send(a.card, 0, burst, 0);
  drainBurst(arena, burst);
  settle();
  receive(b.card, 0, burst, 64);
  const told = drainBurst(arena, burst).map(({ meta }) => meta.getUint16(META_FLAGS, true) & CHECKSUM_MASK);
  assert.deepEqual(told, [CHECKSUM_GOOD, CHECKSUM_BAD]);
  await pair.close();
});

test("VLAN tags are put on by the sender's card and taken off by the receiver's", async () => {
  const pair = openPair({ a: { vlan: true }, b: { vlan: true } });
  const { arena, a, b, settle, seen } = pair;
  const burst = newBurst(arena);
  const frame = wholeFrame(TCP4, pattern(50));
  const packet = putPacket(arena, burst, frame);
  const meta = metaAt(arena, burst, packet);
  arena.u16[(meta + META_FLAGS) >>> 1] = META_TAGGED;
  arena.u16[(meta + META_VLAN) >>> 1] = 0x6123;
  send(a.card, 0, burst, 0);
  drainBurst(arena, burst);
  settle();
  assert.equal(Buffer.from(seen[0]).readUInt32BE(12), 0x81006123, "on the wire it has its tag");
  receive(b.card, 0, burst, 64);
  const [got] = drainBurst(arena, burst);
  assert.deepEqual(got.bytes, Buffer.from(frame));
  assert.equal(got.meta.getUint16(META_VLAN, true), 0x6123);
  assert.equal(
    got.meta.getUint16(META_FLAGS, true) & (META_TAGGED | CHECKSUM_MASK),
    META_TAGGED | CHECKSUM_GOOD,
  );
  await pair.close();
});
