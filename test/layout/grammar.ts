// Random layouts, straight from the language's grammar.
import fc from "fast-check";
import type {
  BytesField,
  Field,
  Layout,
  LayoutCase,
  Length,
  Match,
  Place,
  Slices,
} from "../../src/layout/types.js";

const sizes = fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 8);
const order = fc.constantFrom<"big" | "little">("big", "little");

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** A mask of adjacent bits within so many bytes. */
function run(bytes: number): fc.Arbitrary<string> {
  return fc
    .tuple(fc.integer({ min: 0, max: 8 * bytes - 1 }), fc.integer({ min: 1, max: 8 * bytes }))
    .map(([low, width]) => {
      const whole = (1n << BigInt(8 * bytes)) - 1n;
      return hex((((1n << BigInt(width)) - 1n) << BigInt(low)) & whole);
    });
}

const bytesField: fc.Arbitrary<BytesField> = sizes.chain((bytes) =>
  fc
    .record(
      {
        at: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 24 }) }, computed),
        bytes: fc.constant(bytes as BytesField["bytes"]),
        mask: run(bytes),
        order,
        from: fc.constantFrom<"start" | "data" | "end">("start", "start", "start", "data", "end"),
      },
      { requiredKeys: ["at", "bytes"] },
    )
    .map((field) => (field.from === "end" ? { ...field, at: Math.max(bytes, 1) } : field)),
);

/** A length that a byte of the datagram decides. */
const computed: fc.Arbitrary<Length> = fc
  .tuple(
    fc.integer({ min: 0, max: 12 }),
    fc.integer({ min: 0, max: 8 }),
    fc.integer({ min: 1, max: 4 }),
    fc.boolean(),
  )
  .map(([base, at, times, conditional]) => {
    const field = { at, bytes: 1, mask: "0x7" } as const;
    const term = { field, times };
    if (!conditional) return { base, add: [term] };
    return {
      base,
      add: [{ ...term, plus: 2, when: { field: { at, bytes: 1, mask: "0x80" } as const, is: "0x80" } }],
    };
  });

/** Few fields, so that several conditions of a layout look at the same one. */
const tag: fc.Arbitrary<BytesField> = fc.constantFrom(
  { at: 0, bytes: 1, mask: "0x3" },
  { at: 0, bytes: 1, mask: "0x80" },
  { at: 1, bytes: 1 },
);

const { match } = fc.letrec<{ match: Match }>((tie) => ({
  match: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.oneof(bytesField, tag).chain((field) =>
      fc
        .array(fc.oneof(fc.bigInt({ min: 0n, max: 3n }), fc.bigInt({ min: 0n, max: 255n })), {
          minLength: 1,
          maxLength: 3,
        })
        .map((values) => {
          const whole = (1n << BigInt(8 * field.bytes)) - 1n;
          const mask = field.mask === undefined ? whole : BigInt(field.mask);
          const low = mask & -mask;
          return { field, is: values.map((value) => hex((value * low) & mask)) };
        }),
    ),
    fc.boolean(),
    fc.array(tie("match"), { maxLength: 3 }).map((any) => ({ any })),
    fc.array(tie("match"), { maxLength: 3 }).map((all) => ({ all })),
    tie("match").map((not) => ({ not })),
  ),
}));

const counted = fc.record({ ids: fc.constant("opaque" as const) });
const place: fc.Arbitrary<Place> = fc.oneof(
  bytesField.map((field) => ({ by: "sequence" as const, field })),
  fc.record({
    by: fc.constant("offset" as const),
    field: bytesField as fc.Arbitrary<Field>,
    base: fc.constantFrom(0, 1, 7),
    unit: fc.constantFrom<number | string>(1, 2.5, 640, "datagram"),
  }),
);
const slices: fc.Arbitrary<Slices> = fc.record({
  at: fc.oneof(fc.integer({ min: 0, max: 12 }), computed),
  bytes: fc.constant(4),
  more: fc.constant<Match>({ field: { at: 3, bytes: 1, mask: "0x80" }, is: "0x80" }),
  length: fc.constant<Field>({ at: 0, bytes: 1, mask: "0x1f" }),
  place: fc.constantFrom<Slices["place"]>(
    [{ field: { at: 1, bytes: 2 }, unit: 1 }],
    [
      { field: { at: 1, bytes: 1 }, unit: 64 },
      { field: { at: 2, bytes: 2, mask: "0x7fff" }, unit: 2.5 },
    ],
  ),
  most: fc.integer({ min: 1, max: 4 }),
});

const rules = {
  stream: fc.array(bytesField, { maxLength: 2 }),
  header: fc.oneof(fc.integer({ min: 0, max: 24 }), computed),
  length: bytesField.map((field) => ({ ...field, includes: "header" as const })),
  trim: fc.record({ when: match, by: fc.oneof(fc.integer({ min: 0, max: 4 }), bytesField) }),
  chunk: fc.tuple(bytesField, counted).map(([field, ids]) => ({ ...field, ...ids })),
  size: bytesField,
  end: match,
  control: match,
  lost: match,
  fields: fc.dictionary(
    fc.constantFrom("a", "b"),
    fc.tuple(bytesField, match).map(([field, when]) => ({ ...field, when })),
  ),
};

/** Any layout of the grammar; some are refused when they are resolved. */
export const anyLayout: fc.Arbitrary<Layout> = fc
  .tuple(
    fc.record({ ...rules, when: match, place, slices }, { requiredKeys: ["chunk", "header"] }),
    fc.array(
      fc
        .record({ ...rules, when: match }, { requiredKeys: ["when"] })
        .map(({ stream: _, ...one }): LayoutCase => one),
      { maxLength: 2 },
    ),
  )
  .map(([base, cases]) => {
    const { place: placed, slices: sliced, ...rest } = base;
    const where = sliced === undefined ? (placed === undefined ? {} : { place: placed }) : { slices: sliced };
    return { name: "random", ...rest, ...where, ...(cases.length > 0 ? { cases } : {}) };
  });

/** Bytes as hostile senders make them: small numbers, extremes, noise. */
export const anyDatagram: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 80 }),
  fc
    .array(fc.constantFrom(0, 1, 2, 3, 8, 0x7f, 0x80, 0xff), { maxLength: 80 })
    .map((bytes) => Uint8Array.from(bytes)),
);

const places = ["sequence", "datagram", "bytes", "half", "slices", "rows"] as const;
const SOURCE_BYTES = 3;

/** What a writable layout is made of: its fields stand side by side, in a random order, with gaps. */
const choices = fc.record({
  gaps: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 8, maxLength: 8 }),
  order,
  bytes: fc.record({ chunk: fc.integer({ min: 1, max: 8 }), place: fc.integer({ min: 3, max: 8 }) }),
  shuffle: fc.array(fc.nat(), { minLength: 7, maxLength: 7 }),
  magic: fc.integer({ min: 0, max: 255 }),
  place: fc.constantFrom(...places),
  length: fc.constantFrom("none", "data", "all"),
  tail: fc.integer({ min: 0, max: 8 }),
  /** The tail's last byte says how long it is. */
  tailTold: fc.boolean(),
  chunkInTail: fc.boolean(),
  chunkMasked: fc.boolean(),
  sized: fc.boolean(),
  ids: fc.constantFrom<"counter" | "opaque">("counter", "opaque"),
  base: fc.integer({ min: 0, max: 5 }),
  /** Bytes from row to row, also those that do not hold whole columns; bytes of a column. */
  row: fc.constantFrom(40, 60, 120, 333, 360, 420, 660, 1000, 2400),
  column: fc.constantFrom(1, 2, 2.5, 3, 3.75),
  most: fc.integer({ min: 1, max: 5 }),
  optionalPart: fc.boolean(),
  otherCase: fc.boolean(),
});
type Choice = typeof choices extends fc.Arbitrary<infer T> ? T : never;

/** Fields by name, side by side; and where the last ends. */
function layOut(choice: Choice): { of: (name: string) => BytesField; end: number } {
  const wanted: [name: string, bytes: number][] = [
    ["magic", 1],
    ["flags", 1],
    ["chunk", choice.bytes.chunk],
    ["place", choice.bytes.place],
    ["length", 2],
    ["stream", SOURCE_BYTES],
    ["size", 4],
  ];
  const shuffled = wanted
    .map((one, index) => ({ one, key: choice.shuffle[index] }))
    .sort((a, b) => a.key - b.key)
    .map(({ one }) => one);
  let at = 0;
  const fields = new Map<string, BytesField>();
  shuffled.forEach(([name, bytes], index) => {
    at += choice.gaps[index];
    fields.set(name, { at, bytes: bytes as BytesField["bytes"], order: choice.order });
    at += bytes;
  });
  return { of: (name) => fields.get(name) as BytesField, end: at };
}

function placeOf(choice: Choice, field: Field, at: number): Pick<Layout, "place" | "slices"> {
  if (choice.place === "rows")
    return {
      slices: {
        at,
        bytes: 7,
        more: { field: { at: 4, bytes: 1, mask: "0x80" }, is: "0x80" },
        length: { at: 0, bytes: 2 },
        place: [
          { field: { at: 2, bytes: 2 }, unit: choice.row },
          { field: { at: 4, bytes: 2, mask: "0x7fff" }, unit: choice.column },
        ],
        most: choice.most,
      },
    };
  if (choice.place === "slices")
    return {
      slices: {
        at,
        bytes: 5,
        more: { field: { at: 4, bytes: 1, mask: "0x80" }, is: "0x80" },
        length: { at: 0, bytes: 2 },
        place: [{ field: { at: 2, bytes: 2 }, unit: 4 }],
      },
    };
  if (choice.place === "sequence") return { place: { by: "sequence", field } };
  const unit = choice.place === "datagram" ? "datagram" : choice.place === "bytes" ? 1 : 2.5;
  return { place: { by: "offset", field, base: choice.base, unit } };
}

/** A layout of fields at fixed places, from the start or from the end, with a case of another header. */
const byPlace: fc.Arbitrary<Layout> = choices.map((choice) => {
  const { of, end: at } = layOut(choice);
  const flag = (mask: string): Match => ({ field: { ...of("flags"), mask }, is: mask });
  const sliced = choice.place === "slices" || choice.place === "rows";
  const header = (more: number): Length => {
    if (sliced || !choice.optionalPart) return at + more;
    return { base: at + more, add: [{ plus: 4, when: flag("0x10") }] };
  };
  const chunkBytes = choice.bytes.chunk;
  const inTail = choice.chunkInTail && !sliced && choice.tail - Number(choice.tailTold) >= chunkBytes;
  const chunk: BytesField = inTail ? { ...of("chunk"), at: choice.tail, from: "end" } : of("chunk");
  const whole = (1n << BigInt(8 * chunkBytes)) - 1n;
  // Two bits below and three above are not the chunk's.
  const masked = choice.chunkMasked && chunkBytes > 1 ? { mask: hex((whole >> 3n) & ~3n) } : {};
  const includes = choice.length === "all" ? { includes: "header" as const } : {};
  const told: BytesField = { from: "end", at: 1, bytes: 1 };
  return {
    name: "random",
    when: { field: of("magic"), is: choice.magic },
    stream: [{ name: "source", ...of("stream") }],
    header: header(0),
    chunk: { ...chunk, ...masked, ids: choice.ids },
    ...placeOf(choice, of("place"), at),
    ...(choice.length === "none" || sliced ? {} : { length: { ...of("length"), ...includes } }),
    ...(choice.tail > 0 && !sliced ? { trim: { by: choice.tailTold && !inTail ? told : choice.tail } } : {}),
    ...(choice.sized && choice.place !== "sequence" ? { size: of("size") } : {}),
    end: flag("0x01"),
    control: flag("0x02"),
    lost: flag("0x04"),
    ...(choice.otherCase && !sliced
      ? { cases: [{ name: "other", when: flag("0x20"), header: header(3) }] }
      : {}),
  };
});

/** A layout whose fields are items of a list, found by their ids. */
const byItems: fc.Arbitrary<Layout> = fc
  .record({
    ids: fc.uniqueArray(fc.integer({ min: 1, max: 100 }), { minLength: 5, maxLength: 5 }),
    idBits: fc.integer({ min: 7, max: 23 }),
    at: fc.integer({ min: 3, max: 12 }),
    kind: fc.constantFrom<"counter" | "opaque">("counter", "opaque"),
    unit: fc.constantFrom<number | string>(1, 4, "datagram"),
  })
  .map(({ ids, idBits, at, kind, unit }) => {
    const valueBits = BigInt(63 - idBits);
    const [chunk, size, place, length, source] = ids;
    const countAt = at - 2;
    return {
      name: "random",
      header: { base: at, add: [{ field: { at: countAt, bytes: 2 }, times: 8 }] },
      items: {
        at,
        count: { at: countAt, bytes: 2 },
        bytes: 8,
        when: "0x8000000000000000",
        id: hex(((1n << BigInt(idBits)) - 1n) << valueBits),
        value: hex((1n << valueBits) - 1n),
      },
      stream: [{ name: "source", item: source }],
      chunk: { item: chunk, ids: kind },
      size: { item: size, optional: true },
      place: { by: "offset", field: { item: place }, unit },
      length: { item: length },
      lost: { field: { at: 0, bytes: 1, mask: "0x04" }, is: "0x04" },
    };
  });

/** A layout that scatter can write. Where it has a case, `other`, that can be written too. */
export const writableLayout: fc.Arbitrary<Layout> = fc.oneof(
  { weight: 4, arbitrary: byPlace },
  { weight: 1, arbitrary: byItems },
);

/** A datagram that says that its data is lost, as writable layouts have it. */
export function markLost(layout: Layout, datagram: Uint8Array): Uint8Array {
  const { lost } = layout;
  if (typeof lost !== "object" || lost === null || !("field" in lost) || !("at" in lost.field))
    throw new RangeError("this layout has no mark for lost data");
  const marked = datagram.slice();
  marked[lost.field.at as number] |= 0x04;
  return marked;
}
