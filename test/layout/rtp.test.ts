import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CUT_END,
  CUT_IS_CONTROL,
  CUT_IS_DATA,
  CUT_IS_MALFORMED,
  CUT_IS_OTHER,
  CUT_WHAT,
} from "../../src/kernels/structs.js";
import { compileLayout } from "../../src/layout/compile.js";
import { findLayout } from "../../src/layout/find.js";
import { readDatagrams } from "./capture.js";
import { makeCutter } from "./cutter.js";
import { referenceCuts } from "./reference.js";

const compiled = compileLayout(findLayout("rtp"));
const cutter = makeCutter(compiled);
const what = (flags: number) => flags & CUT_WHAT;

test("a transport stream that ffmpeg sent as RTP comes back packet after packet", () => {
  const file = new URL("../../../test/data/gather/rtp-mp2t-ffmpeg.pcap", import.meta.url);
  const sent = readDatagrams(file);
  const port = 41010;
  const [[report]] = cutter(
    sent.filter(({ destination }) => destination === port + 1).map(({ payload }) => payload),
  );
  assert.equal(what(report.flags), CUT_IS_CONTROL, "the sender's report goes to the next port");
  const datagrams = sent.filter(({ destination }) => destination === port).map(({ payload }) => payload);
  const cuts = cutter(datagrams);
  assert.equal(cuts.length, 287);
  let expected: bigint | undefined;
  for (const [index, [cut]] of cuts.entries()) {
    assert.equal(what(cut.flags), CUT_IS_DATA);
    assert.equal(cut.flags & CUT_END, 0, "ffmpeg sets no marker");
    assert.equal(cut.length, 1316);
    for (let at = cut.data; at < cut.data + cut.length; at += 188) assert.equal(datagrams[index][at], 0x47);
    if (expected !== undefined) assert.equal(cut.position, expected);
    expected = (cut.position + 1n) & 0xffffn;
    assert.deepEqual(cuts[index], referenceCuts(compiled.plan, datagrams[index]));
  }
});

const header = (first: number, second: number) => [
  first,
  second,
  0x12,
  0x34,
  0,
  0,
  0,
  9,
  0xca,
  0xfe,
  0xba,
  0xbe,
];

test("contributing sources and an extension come before the data, padding behind it", () => {
  const datagram = Uint8Array.from([
    ...header(0xb2, 0xe0), // version 2, padding, extension, two sources; marker, type 96
    ...[1, 1, 1, 1, 2, 2, 2, 2],
    ...[0xbe, 0xde, 0, 1, 5, 5, 5, 5],
    ...[0x64, 0x61, 0x74, 0x61],
    ...[0, 0, 3],
  ]);
  const [[cut]] = cutter([datagram]);
  assert.equal(what(cut.flags), CUT_IS_DATA);
  assert.equal(Buffer.from(datagram.subarray(cut.data, cut.data + cut.length)).toString(), "data");
  assert.notEqual(cut.flags & CUT_END, 0);
  assert.equal(cut.position, 0x1234n);
  assert.equal(cut.changed, 9n);
  assert.equal(compiled.streamText(cut.stream, 0n), `ssrc=${0xcafebabe}`);
  assert.deepEqual(compiled.readFields(datagram, cut.kind), {
    timestamp: 9n,
    payloadType: 96n,
  });
});

test("RTCP on the same port is control, another version something else, a lying header malformed", () => {
  const rtcp = Uint8Array.from([0x80, 200, 0, 1, 0xca, 0xfe, 0xba, 0xbe]);
  const stun = Uint8Array.from([0x00, 0x01, 0, 0]);
  const padding = Uint8Array.from([...header(0xa0, 0x60), 1, 2, 200]);
  const extension = Uint8Array.from([...header(0x90, 0x60), 0xbe, 0xde, 0xff, 0xff]);
  const short = Uint8Array.from([0x80, 0x60, 0]);
  const empty = new Uint8Array(0);
  const cuts = cutter([rtcp, stun, padding, extension, short, empty]);
  assert.deepEqual(
    cuts.map(([cut]) => what(cut.flags)),
    [CUT_IS_CONTROL, CUT_IS_OTHER, CUT_IS_MALFORMED, CUT_IS_MALFORMED, CUT_IS_MALFORMED, CUT_IS_MALFORMED],
  );
  assert.equal(compiled.streamText(cuts[0][0].stream, 0n), `ssrc=${0xcafebabe}`);
});

test("raw takes a datagram as it is, an empty one too", () => {
  const raw = compileLayout(findLayout("raw"));
  const [[some], [none]] = makeCutter(raw)([Uint8Array.of(1, 2, 3), new Uint8Array(0)]);
  assert.deepEqual([some.flags, some.data, some.length], [CUT_IS_DATA, 0, 3]);
  assert.deepEqual([none.flags, none.data, none.length], [CUT_IS_DATA, 0, 0]);
  assert.deepEqual(raw.placement, { by: "arrival" });
});
