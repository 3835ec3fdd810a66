import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { MillraceError } from "../../src/errors.js";
import { compileLayout } from "../../src/layout/compile.js";
import { findLayout } from "../../src/layout/find.js";
import { parseLayout } from "../../src/layout/parse.js";
import { layoutJsonSchema } from "../../src/layout/schema.js";
import { shippedLayouts } from "../../src/layout/shipped/index.js";

const byte = { at: 0, bytes: 1 };
const chunk = { at: 0, bytes: 2, ids: "counter" };

/** A wrong layout, the JSON path of the fault, and what the message says was expected there. */
const wrong: [what: string, layout: object, path: string, expected: RegExp][] = [
  ["no name", { header: 8 }, "$.name", /expected a string, got nothing/],
  ["a word that is none of the language", { name: "x", heder: 8 }, "$.heder", /expected no such property/],
  [
    "a field without bytes",
    { name: "x", stream: [{ at: 3 }] },
    "$.stream[0].bytes",
    /expected a number, got nothing/,
  ],
  [
    "nine bytes",
    { name: "x", stream: [{ at: 3, bytes: 9 }] },
    "$.stream[0].bytes",
    /expected at most 8, got 9/,
  ],
  [
    "a negative offset",
    { name: "x", length: { at: -1, bytes: 1 } },
    "$.length.at",
    /at least 0|number of bytes/,
  ],
  ["neither field nor item", { name: "x", length: { att: 1, bytes: 1 } }, "$.length", /expected a field/],
  [
    "a wrong kind of place",
    { name: "x", place: { by: "magic", field: byte } },
    "$.place.by",
    /"sequence" or "offset"|by: "sequence"/,
  ],
  [
    "an offset without a unit",
    { name: "x", chunk, place: { by: "offset", field: byte } },
    "$.place.unit",
    /expected a number of bytes/,
  ],
  ["a condition that is none", { name: "x", when: { field: byte } }, "$.when.is", /expected a number/],
  [
    "one deep inside",
    { name: "x", when: { all: [true, { any: [{ not: { field: { at: 0 }, is: 1 } }] }] } },
    "$.when.all[1].any[0].not.field.bytes",
    /expected a number/,
  ],
  [
    "ids of no kind",
    { name: "x", chunk: { at: 0, bytes: 2, ids: "odd" } },
    "$.chunk.ids",
    /"counter" or "opaque"/,
  ],
  [
    "a mask beyond the field",
    { name: "x", length: { at: 0, bytes: 1, mask: "0x100" } },
    "$.length.mask",
    /expected some of the bits 0xff/,
  ],
  [
    "a value the mask hides",
    { name: "x", when: { field: { at: 0, bytes: 1, mask: "0xc0" }, is: 2 } },
    "$.when.is",
    /0xc0 is all it sees/,
  ],
  [
    "one of several values",
    { name: "x", when: { field: byte, is: [1, 256] } },
    "$.when.is[1]",
    /0xff is all it sees/,
  ],
  [
    "a mask with a hole in a sequence",
    { name: "x", place: { by: "sequence", field: { at: 0, bytes: 1, mask: "0x81" } } },
    "$.place.field.mask",
    /adjacent bits/,
  ],
  [
    "a parameter that is not declared",
    { name: "x", chunk, place: { by: "offset", field: byte, unit: "stride" } },
    "$.place.unit",
    /expected a number of bytes or one of "datagram"/,
  ],
  ["an item without a list", { name: "x", length: { item: 4 } }, "$.length.item", /no list of items/],
  [
    "data placed in no chunk",
    { name: "x", place: { by: "offset", field: byte, unit: 1 } },
    "$.chunk",
    /names the chunk/,
  ],
  [
    "a stream of 17 bytes",
    {
      name: "x",
      stream: [
        { at: 0, bytes: 8 },
        { at: 8, bytes: 8 },
        { at: 16, bytes: 1 },
      ],
    },
    "$.stream",
    /at most 16 bytes/,
  ],
  [
    "a counter that ends before it starts",
    { name: "x", chunk: { ...chunk, first: 9, last: 3 } },
    "$.chunk.first",
    /less than the last/,
  ],
  [
    "a counter beyond its field",
    { name: "x", chunk: { ...chunk, last: 65536 } },
    "$.chunk.last",
    /at most 65535/,
  ],
  [
    "a header without bound",
    { name: "x", header: { base: 0, add: [{ field: { at: 0, bytes: 4 } }] } },
    "$.header",
    /stays below 2\^30/,
  ],
  [
    "a field far from the end",
    { name: "x", length: { at: 9, from: "end", bytes: 1 } },
    "$.length.at",
    /distance of 1 to 8/,
  ],
  [
    "data found before the header",
    { name: "x", header: { base: 1, add: [{ field: { at: 0, from: "data", bytes: 1 } }] } },
    "$.header.add[0].field.from",
    /not known here/,
  ],
  [
    "a fault in a case",
    { name: "x", cases: [{ when: { field: byte, is: 1 }, header: -4 }] },
    "$.cases[0].header",
    /at least 0|number of bytes/,
  ],
  [
    "a case that counts otherwise",
    {
      name: "x",
      place: { by: "sequence", field: { at: 0, bytes: 2 } },
      cases: [{ when: { field: byte, is: 1 }, place: { by: "sequence", field: { at: 0, bytes: 4 } } }],
    },
    "$.cases[0].place",
    /same kind of place/,
  ],
  [
    "a case whose ids mean something else",
    {
      name: "x",
      chunk,
      cases: [{ when: { field: byte, is: 1 }, chunk: { ...chunk, ids: "opaque" } }],
    },
    "$.cases[0].chunk.ids",
    /expected "counter" as in the layout itself, got "opaque"/,
  ],
  [
    "a slice field outside its header",
    {
      name: "x",
      chunk,
      slices: {
        at: 0,
        bytes: 4,
        more: false,
        length: { at: 3, bytes: 2 },
        place: [{ field: byte, unit: 1 }],
      },
    },
    "$.slices.length",
    /within the 4 bytes/,
  ],
];

for (const [what, layout, path, expected] of wrong)
  test(`a layout with ${what} is refused with the place and what was expected`, () => {
    assert.throws(
      () => compileLayout(parseLayout(layout)),
      (error) => {
        assert.ok(error instanceof MillraceError);
        assert.equal(error.code, "ERR_LAYOUT");
        assert.equal(error.at?.path, path, error.message);
        assert.match(error.message, expected);
        assert.ok(error.message.includes(path));
        return true;
      },
    );
  });

test("parameters are asked for by name", () => {
  const layout = findLayout("rfc4175");
  assert.throws(() => compileLayout(layout), /needs a value for stride: bytes from one row/);
  assert.throws(() => compileLayout(layout, { stride: 640, pixel: -1 }), /number above 0 for pixel/);
  assert.throws(
    () => compileLayout(layout, { stride: 640, pixel: 2, heigth: 4 }),
    /no parameter heigth; it has stride, pixel/,
  );
  assert.throws(() => compileLayout(layout, { stride: 640, pixel: 0.1 }), /binary fraction/);
});

test("a file that is not there, not JSON or wrong is named", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-layouts-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const write = (name: string, text: string) => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  assert.throws(() => findLayout("no-such"), /no layout is named no-such/);
  assert.throws(() => findLayout(join(folder, "absent.json")), /absent.json cannot be read/);
  assert.throws(() => findLayout(write("broken.json", "{ name: 1 }")), /broken.json: expected JSON/);
  assert.throws(
    () => findLayout(write("wrong.json", '{ "name": "x", "header": "8" }')),
    /wrong.json: \$.header: expected/,
  );
  assert.equal(findLayout(write("mine.json", '{ "name": "mine", "header": 4 }')).name, "mine");
});

test("the shipped layouts are themselves in order, and the JSON Schema is that of the language", () => {
  for (const layout of Object.values(shippedLayouts))
    assert.deepEqual(parseLayout(JSON.parse(JSON.stringify(layout))), layout);
  const file = new URL("../../../schema/layout.schema.json", import.meta.url);
  assert.deepEqual(
    JSON.parse(readFileSync(file, "utf8")),
    JSON.parse(JSON.stringify(layoutJsonSchema())),
    "npm run schema",
  );
});
