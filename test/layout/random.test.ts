import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MillraceError } from "../../src/errors.js";
import { CUT_BY_DATAGRAM, CUT_END, CUT_IS_DATA, CUT_WHAT } from "../../src/kernels/structs.js";
import { type CompiledLayout, compileLayout } from "../../src/layout/compile.js";
import { parseLayout } from "../../src/layout/parse.js";
import { compileScatter } from "../../src/layout/scatter.js";
import { shippedLayouts } from "../../src/layout/shipped/index.js";
import type { Layout } from "../../src/layout/types.js";
import { makeCutter } from "./cutter.js";
import { anyDatagram, anyLayout, writableLayout } from "./grammar.js";
import { makeSender } from "./pieces.js";
import { referenceCuts } from "./reference.js";

function compiledOrRefused(layout: Layout): CompiledLayout | undefined {
  try {
    return compileLayout(parseLayout(JSON.parse(JSON.stringify(layout))));
  } catch (error) {
    if (error instanceof MillraceError && error.code === "ERR_LAYOUT") return undefined;
    throw error;
  }
}

test("a random layout reads random datagrams as the plain interpreter does", () => {
  let read = 0;
  fc.assert(
    fc.property(anyLayout, fc.array(anyDatagram, { minLength: 1, maxLength: 12 }), (layout, datagrams) => {
      const compiled = compiledOrRefused(layout);
      if (compiled === undefined) return;
      read++;
      const cuts = makeCutter(compiled)(datagrams, Math.max(8, compiled.cutsPerDatagram));
      datagrams.forEach((datagram, index) => {
        assert.deepEqual(cuts[index], referenceCuts(compiled.plan, datagram));
      });
    }),
    { numRuns: 1000 },
  );
  assert.ok(read > 300, `only ${read} layouts were accepted`);
});

test("the shipped layouts read random datagrams as the plain interpreter does", () => {
  const parameters: Record<string, Record<string, number>> = { rfc4175: { stride: 4800, pixel: 2.5 } };
  const starts: Record<string, number[][]> = {
    rtp: [[0x80]],
    rfc4175: [[0x80]],
    spead: [
      [0x53, 4, 2, 6, 0, 0, 0],
      [0x53, 4, 3, 5, 0, 0, 0],
    ],
    // Status, block id, each format with and without extended ids.
    gvsp: Array.from({ length: 20 }, (_, i) => [i === 7 ? 0x80 : 0, 0, 0, 1, ((i % 2) << 7) | (i >> 1)]),
  };
  for (const layout of Object.values(shippedLayouts)) {
    const compiled = compileLayout(layout, parameters[layout.name]);
    const cutter = makeCutter(compiled);
    fc.assert(
      fc.property(anyDatagram, fc.constantFrom([], ...(starts[layout.name] ?? [])), (bytes, start) => {
        const datagram = Uint8Array.from([...start, ...bytes]);
        assert.deepEqual(cutter([datagram]), [referenceCuts(compiled.plan, datagram)]);
      }),
      { numRuns: 1000 },
    );
  }
});

test("what scatter makes of a random layout reads back as what it was", () => {
  let severalSlices = false;
  fc.assert(
    fc.property(writableLayout, fc.integer({ min: 1, max: 400 }), fc.nat(300), (layout, units, ordinal) => {
      const compiled = compileLayout(parseLayout(JSON.parse(JSON.stringify(layout))));
      const plan = compileScatter(layout, { datagramSize: 300, fields: { source: 0xabcdef } });
      const chunk = Uint8Array.from({ length: 20 * units }, (_, i) => (i * 7 + (i >> 8)) & 255);
      const { id, datagrams } = makeSender(plan)(chunk, ordinal);
      const cuts = makeCutter(compiled)(datagrams);
      const back = new Uint8Array(chunk.length);
      let at = 0;
      datagrams.forEach((datagram, index) => {
        assert.ok(datagram.length <= 300);
        assert.deepEqual(cuts[index], referenceCuts(compiled.plan, datagram));
        cuts[index].forEach((cut, slice) => {
          assert.equal(cut.flags & CUT_WHAT, CUT_IS_DATA);
          const last = index === datagrams.length - 1 && slice === cuts[index].length - 1;
          if (layout.end !== undefined) assert.equal((cut.flags & CUT_END) !== 0, last);
          assert.equal(cut.chunk, id);
          assert.equal(compiled.streamText(cut.stream, 0n), `source=${0xabcdef}`);
          const place =
            cut.flags & CUT_BY_DATAGRAM ? Number(cut.position) * plan.dataBytes : Number(cut.position);
          if (compiled.placement.by === "sequence") assert.equal(Number(cut.position), index);
          back.set(
            datagram.subarray(cut.data, cut.data + cut.length),
            compiled.placement.by === "offset" ? place : at,
          );
          at += cut.length;
        });
        severalSlices ||= cuts[index].length > 1;
      });
      assert.equal(at, chunk.length);
      assert.deepEqual(back, chunk);
    }),
    { numRuns: 500 },
  );
  assert.ok(severalSlices, "no datagram had several slices");
});
