import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CUT_BY_DATAGRAM,
  CUT_END,
  CUT_IS_CONTROL,
  CUT_IS_DATA,
  CUT_WHAT,
} from "../../src/kernels/structs.js";
import { compileLayout } from "../../src/layout/compile.js";
import { findLayout } from "../../src/layout/find.js";
import { compileScatter } from "../../src/layout/scatter.js";
import { makeCutter } from "./cutter.js";
import { makeSender } from "./pieces.js";
import { referenceCuts } from "./reference.js";

const forms: { layout: string; variant?: string; parameters?: Record<string, number>; bytes: number }[] = [
  { layout: "raw", bytes: 10_000 },
  { layout: "rtp", bytes: 10_000 },
  { layout: "rfc4175", parameters: { stride: 4800, pixel: 2.5 }, bytes: 4800 * 5 },
  { layout: "rfc4175", parameters: { stride: 640, pixel: 2 }, bytes: 640 * 24 },
  { layout: "rfc4175", parameters: { stride: 130, pixel: 2.5 }, bytes: 130 * 24 },
  { layout: "gvsp", bytes: 10_000 },
  { layout: "gvsp", variant: "extended", bytes: 10_000 },
  { layout: "gvsp", variant: "multi-part", bytes: 10_000 },
  { layout: "gvsp", variant: "extended-multi-part", bytes: 10_000 },
  { layout: "gvsp", variant: "all-in", bytes: 1000 },
  { layout: "gvsp", variant: "extended-all-in", bytes: 1000 },
  { layout: "vdif", bytes: 10_000 },
  { layout: "vdif", variant: "legacy", bytes: 10_000 },
  { layout: "vtp", bytes: 10_000 },
  { layout: "spead", bytes: 10_000 },
  { layout: "spead", variant: "64-40", bytes: 10_000 },
];

for (const { layout: name, variant, parameters = {}, bytes } of forms)
  test(`what scatter makes of ${variant ?? name}${variant ? ` (${name})` : ""} reads back as what it was`, () => {
    const layout = findLayout(name);
    const compiled = compileLayout(layout, parameters);
    const plan = compileScatter(layout, variant === undefined ? { parameters } : { parameters, variant });
    const send = makeSender(plan);
    const cutter = makeCutter(compiled);
    for (let ordinal = 0; ordinal < 3; ordinal++) {
      const chunk = Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + (i >> 8) + ordinal) & 255);
      const { id, datagrams } = send(chunk, ordinal);
      const cuts = cutter(datagrams);
      const back = new Uint8Array(bytes);
      let at = 0;
      let ends = 0;
      datagrams.forEach((datagram, index) => {
        assert.deepEqual(cuts[index], referenceCuts(compiled.plan, datagram));
        assert.ok(datagram.length <= 1400);
        for (const cut of cuts[index]) {
          if (compiled.placement.by === "offset") assert.equal(cut.chunk, id);
          if (cut.flags & CUT_END) ends++;
          if ((cut.flags & CUT_WHAT) === CUT_IS_CONTROL) continue;
          assert.equal(cut.flags & CUT_WHAT, CUT_IS_DATA);
          const place =
            cut.flags & CUT_BY_DATAGRAM ? Number(cut.position) * plan.dataBytes : Number(cut.position);
          back.set(
            datagram.subarray(cut.data, cut.data + cut.length),
            compiled.placement.by === "offset" ? place : at,
          );
          at += cut.length;
        }
      });
      assert.equal(at, bytes);
      assert.deepEqual(back, chunk);
      assert.equal(ends, ["raw", "vdif", "vtp", "spead"].includes(name) ? 0 : 1);
    }
    for (const stop of send.stops()) assert.equal(cutter([stop])[0][0].flags & CUT_WHAT, CUT_IS_CONTROL);
  });

test("a leader tells the fields that the user gave", () => {
  const layout = findLayout("gvsp");
  const compiled = compileLayout(layout);
  const fields = { width: 100, height: 20, pixelFormat: 0x01080001, timestamp: 5n };
  const send = makeSender(compileScatter(layout, { fields }));
  const [leader] = send(new Uint8Array(2000), 0).datagrams;
  const [[cut]] = makeCutter(compiled)([leader]);
  assert.equal(cut.size, 2000n);
  assert.deepEqual(compiled.readFields(leader, cut.kind), {
    payloadType: 1n,
    timestamp: 5n,
    pixelFormat: 0x01080001n,
    width: 100n,
    height: 20n,
    offsetX: 0n,
    offsetY: 0n,
  });
});

test("block ids of GigE Vision go from 65535 to 1", () => {
  const send = makeSender(compileScatter(findLayout("gvsp")));
  assert.deepEqual(
    [65533, 65534, 65535].map((ordinal) => send(new Uint8Array(1), ordinal).id),
    [65534n, 65535n, 1n],
  );
});

interface Segment {
  readonly length: number;
  readonly row: number;
  readonly column: number;
}

/** The row headers of a datagram as RFC 4175, 4.3 has them, and where its data starts. */
function segmentsOf(datagram: Uint8Array): { segments: Segment[]; data: number } {
  const bytes = Buffer.from(datagram);
  const segments: Segment[] = [];
  for (let at = 14; ; at += 6) {
    const last = bytes.readUInt16BE(at + 4);
    segments.push({
      length: bytes.readUInt16BE(at),
      row: bytes.readUInt16BE(at + 2),
      column: last & 0x7fff,
    });
    if (last < 0x8000) return { segments, data: at + 6 };
  }
}

for (const { what, stride, pixel, most } of [
  { what: "644 pixels of 8 bit", stride: 1288, pixel: 2, most: 3 },
  { what: "648 pixels of 10 bit", stride: 1620, pixel: 2.5, most: 2 },
  { what: "1,920 pixels of 10 bit", stride: 4800, pixel: 2.5, most: 2 },
  { what: "64 pixels of 8 bit", stride: 128, pixel: 2, most: 3 },
  { what: "100 pixels of RGB", stride: 300, pixel: 3, most: 3 },
  { what: "644 pixels of 10 bit in rows that are filled up", stride: 1612, pixel: 2.5, most: 1 },
])
  test(`datagrams with rows of ${what} have up to ${most} segments, none across a row's end or a group of pixels`, () => {
    const rows = 40;
    const picture = Uint8Array.from({ length: stride * rows }, (_, i) => (i * 31 + (i >> 8)) & 255);
    const plan = compileScatter(findLayout("rfc4175"), { parameters: { stride, pixel } });
    const { datagrams } = makeSender(plan)(picture, 0);
    const back = new Uint8Array(picture.length);
    const counts = new Set<number>();
    let came = 0;
    for (const datagram of datagrams) {
      assert.ok(datagram.length <= 1400);
      const { segments, data } = segmentsOf(datagram);
      counts.add(segments.length);
      let at = data;
      for (const { length, row, column } of segments) {
        assert.equal(column % 4, 0);
        assert.ok(column * pixel + length <= stride);
        if (column * pixel + length < stride && came + length < picture.length)
          assert.equal(length % (4 * pixel), 0);
        back.set(datagram.subarray(at, at + length), row * stride + column * pixel);
        at += length;
        came += length;
      }
      assert.equal(at, datagram.length);
    }
    assert.equal(came, picture.length);
    assert.deepEqual(back, picture);
    assert.equal(Math.max(...counts), most);
  });

test("each segment of a second field says that it is", () => {
  const plan = compileScatter(findLayout("rfc4175"), {
    parameters: { stride: 128, pixel: 2 },
    fields: { secondField: 1 },
  });
  const { datagrams } = makeSender(plan)(new Uint8Array(128 * 9), 0);
  assert.deepEqual(
    datagrams.map((datagram) => segmentsOf(datagram).segments.map(({ row }) => row)),
    [0, 3, 6].map((first) => [first, first + 1, first + 2].map((row) => 0x8000 + row)),
  );
});
