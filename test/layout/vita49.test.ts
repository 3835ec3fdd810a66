// The worked example of docs/layouts.md, as it stands there.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  CUT_IS_CONTROL,
  CUT_IS_DATA,
  CUT_IS_MALFORMED,
  CUT_IS_OTHER,
  CUT_WHAT,
} from "../../src/kernels/structs.js";
import { compileLayout } from "../../src/layout/compile.js";
import { parseLayout } from "../../src/layout/parse.js";
import { compileScatter } from "../../src/layout/scatter.js";
import { makeCutter } from "./cutter.js";
import { makeSender } from "./pieces.js";

const text = readFileSync(new URL("../../../docs/layouts.md", import.meta.url), "utf8");
const [, json] = /```json\n(.*?)```/s.exec(text) ?? [];
const layout = parseLayout(JSON.parse(json), "docs/layouts.md");
const compiled = compileLayout(layout);
const cutter = makeCutter(compiled);
const what = (flags: number) => flags & CUT_WHAT;

/** A VRT packet (VITA 49.0, 6.1) of words. */
function packet(
  first: number,
  second: number,
  words: readonly number[],
  size = words.length + 1,
): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * words.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, first);
  view.setUint8(1, second);
  view.setUint16(2, size);
  words.forEach((word, index) => {
    view.setUint32(4 + 4 * index, word);
  });
  return bytes;
}

test("data starts behind whatever the header has and ends before the trailer", () => {
  const plain = packet(0x10, 0x03, [7, 0xaaaaaaaa]);
  const full = packet(0x1c, 0xd4, [7, 1, 2, 1000, 3, 4, 0xaaaaaaaa, 0xbbbbbbbb, 0xffffffff]);
  const [[a], [b]] = cutter([plain, full]);
  assert.deepEqual([what(a.flags), a.data, a.length, a.position], [CUT_IS_DATA, 8, 4, 3n]);
  assert.deepEqual([what(b.flags), b.data, b.length, b.position], [CUT_IS_DATA, 28, 8, 4n]);
  assert.equal(compiled.streamText(b.stream, 0n), "stream=7");
  assert.deepEqual(compiled.readFields(full, b.kind), { seconds: 1000n });
});

test("context is control, other types are other, a lying size is malformed", () => {
  const cuts = cutter([packet(0x40, 0, [7, 0]), packet(0x00, 0, [0]), packet(0x10, 0, [7, 0], 99)]);
  assert.deepEqual(
    cuts.map(([cut]) => what(cut.flags)),
    [CUT_IS_CONTROL, CUT_IS_OTHER, CUT_IS_MALFORMED],
  );
});

test("what scatter makes of it, tshark dissects as VITA 49", (t: TestContext) => {
  if (spawnSync("sh", ["-c", "command -v tshark text2pcap"]).status !== 0) {
    t.skip("tshark is not installed");
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "millrace-vita49-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const send = makeSender(compileScatter(layout, { datagramSize: 208, fields: { stream: 0x1234 } }));
  const { datagrams } = send(new Uint8Array(200 * 20), 0);
  const lines = datagrams.map((datagram) => {
    const hex = [...datagram].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    return `000000 ${hex}\n`;
  });
  writeFileSync(join(folder, "hex"), lines.join("\n"));
  execFileSync("text2pcap", ["-q", "-u", "4000,4991", join(folder, "hex"), join(folder, "pcap")], {
    stdio: "pipe",
  });
  const fields = ["-e", "vrt.type", "-e", "vrt.seq", "-e", "vrt.len", "-e", "vrt.sid"];
  const read = execFileSync(
    ...([
      "tshark",
      ["-r", join(folder, "pcap"), "-d", "udp.port==4991,vrt", "-T", "fields", ...fields],
    ] as const),
    { encoding: "utf8", stdio: "pipe" },
  );
  const rows = read.trim().split("\n");
  assert.equal(rows.length, 20);
  rows.forEach((row, index) => {
    const [type, sequence, length, stream] = row.split("\t").map(Number);
    assert.deepEqual([type, sequence, length, stream], [1, index % 16, 52, 0x1234]);
  });
});
