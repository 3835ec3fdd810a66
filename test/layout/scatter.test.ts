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
        const [cut] = cuts[index];
        if (compiled.placement.by === "offset") assert.equal(cut.chunk, id);
        if (cut.flags & CUT_END) ends++;
        if ((cut.flags & CUT_WHAT) === CUT_IS_CONTROL) return;
        assert.equal(cut.flags & CUT_WHAT, CUT_IS_DATA);
        assert.ok(datagram.length <= 1400);
        const place =
          cut.flags & CUT_BY_DATAGRAM ? Number(cut.position) * plan.dataBytes : Number(cut.position);
        back.set(
          datagram.subarray(cut.data, cut.data + cut.length),
          compiled.placement.by === "offset" ? place : at,
        );
        at += cut.length;
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
