import { z } from "zod";

// The shape of a layout file. What a value means is said in types.ts and, for editors, in the descriptions
// here; what the shape cannot say (masks that fit, parameters that exist) is checked when a layout is resolved.

const hex = z
  .string()
  .regex(/^(0x[0-9a-fA-F]{1,16}|\d{1,20})$/, { error: 'expected a number or a string as "0x80"' });
const bits = z.union([z.int().min(0), hex], { error: 'expected a number or a string as "0x80"' });
const small = z.int().min(0).max(65535);
const parameterName = z.string().min(1);
const unit = z
  .union([z.number().positive(), parameterName], {
    error: 'expected a number of bytes, "datagram" or the name of a parameter',
  })
  .meta({ description: 'Bytes (also a fraction), "datagram", or the name of a parameter' });

const bytesField = {
  at: z.lazy(() => length),
  from: z.enum(["start", "data", "end"]).optional(),
  bytes: z.int().min(1).max(8),
  mask: bits
    .optional()
    .meta({ description: "The bits that count; the value is shifted down by the zeros below them" }),
  order: z.enum(["big", "little"]).optional(),
  times: z.int().min(1).optional(),
};
const fixedField = { value: z.int().min(0) };
const itemField = { item: z.int().min(0), optional: z.boolean().optional() };

/** A field with what a place may add to it. */
function fieldWith<Extra extends z.ZodRawShape>(extra: Extra, expected: string) {
  return z.union(
    [bytesField, itemField, fixedField].map((shape) => z.strictObject({ ...shape, ...extra })),
    { error: `expected ${expected}` },
  );
}

const field = fieldWith({}, "a field: { at, bytes }, { item } or { value }").meta({ id: "Field" });

const term = z.strictObject({
  field: field.optional(),
  times: small.min(1).optional(),
  plus: small.optional(),
  when: z.lazy(() => match).optional(),
});

const length: z.ZodType = z
  .union([small, z.strictObject({ base: small, add: z.array(term) })], {
    error: "expected a number of bytes, or { base, add }",
  })
  .meta({ id: "Length" });

const value = z.union([z.int().min(0), hex], { error: 'expected a number or a string as "0x80"' });
const match: z.ZodType = z
  .union(
    [
      z.boolean(),
      z.strictObject({
        field,
        is: z.union([z.int().min(0), hex, z.array(value).min(1)], {
          error: 'expected a number, a string as "0x80", or a list of them',
        }),
      }),
      z.strictObject({
        any: z.lazy(() => z.array(match)),
      }),
      z.strictObject({
        all: z.lazy(() => z.array(match)),
      }),
      z.strictObject({
        not: z.lazy(() => match),
      }),
    ],
    { error: "expected a condition: { field, is }, { any }, { all }, { not }, true or false" },
  )
  .meta({ id: "Match" });

const changed = z.strictObject({ changed: field });
const end = z.union(
  [
    changed,
    z.strictObject({
      any: z.array(
        z.union([changed, match], {
          error: "expected a condition or { changed }",
        }),
      ),
    }),
    match,
  ],
  {
    error: "expected a condition or { changed }",
  },
);

const ids = { ids: z.enum(["counter", "opaque"]), first: bits.optional(), last: bits.optional() };
const place = z.discriminatedUnion(
  "by",
  [
    z.strictObject({ by: z.literal("sequence"), field }),
    z.strictObject({ by: z.literal("offset"), field, base: z.int().min(0).optional(), unit }),
  ],
  { error: 'expected { by: "sequence", field } or { by: "offset", field, unit }' },
);
const slices = z.strictObject({
  at: length,
  bytes: z.int().min(1).max(256),
  more: match,
  length: field,
  place: z.array(z.strictObject({ field, unit })).min(1),
  most: z.int().min(1).max(64).optional(),
});
const items = z.strictObject({
  at: small,
  count: field,
  bytes: z.literal(8),
  when: hex,
  id: hex,
  value: hex,
});
const trim = z.strictObject({
  when: match.optional(),
  by: z.union([small, field], { error: "expected a number of bytes or a field" }),
});
const size = z.union(
  [
    field,
    z.strictObject({
      product: z.array(field).min(1),
      over: z.int().min(1).optional(),
      when: match.optional(),
    }),
  ],
  { error: "expected a field or { product, over, when }" },
);

const setting = z.strictObject({
  field,
  to: z.union([z.int().min(0), z.string()], { error: "expected a number or a word" }),
  plus: z.int().min(0).optional(),
  over: z.int().min(1).optional(),
});
const controlForm = z.strictObject({
  bytes: z.int().min(1).max(2048),
  set: z.array(setting),
  if: z.string().optional(),
  unless: z.string().optional(),
});
const scatter = z.strictObject({
  set: z.array(setting).optional(),
  before: z.array(controlForm).optional(),
  after: z.array(controlForm).optional(),
  stop: z.array(controlForm).optional(),
  step: z.int().min(1).optional(),
});

/** A definition of its own in the JSON Schema, with a line that editors show. */
function named<Schema extends z.ZodType>(id: string, description: string, schema: Schema): Schema {
  return schema.meta({ id, description });
}

const fieldWords = "a field: { at, bytes }, { item } or { value }";
const rules = {
  stream: z
    .array(
      named(
        "StreamField",
        "One of the fields that name the stream",
        fieldWith({ name: z.string().optional() }, fieldWords),
      ),
    )
    .nullish(),
  header: length.optional().meta({ description: "Bytes before the data" }),
  length: named(
    "DataLength",
    "Bytes of data; up to the datagram's end if absent",
    fieldWith({ includes: z.literal("header").optional(), plus: small.optional() }, fieldWords),
  ).nullish(),
  trim: named("Trim", "Bytes at the end that are not data", trim).nullish(),
  items: named("Items", "A list of items of 8 bytes, each an id and a value", items).nullish(),
  chunk: named(
    "Chunk",
    "The field that names the chunk; counter: a missing id is a missing chunk",
    fieldWith(ids, 'a field with ids: "counter" or "opaque"'),
  ).nullish(),
  place: named(
    "Place",
    "Where the data belongs: by a sequence number, or by an offset in the chunk",
    place,
  ).nullish(),
  slices: named("Slices", "Several slices of data in one datagram, each with a header", slices).nullish(),
  size: named("Size", "Bytes of the whole chunk", size).nullish(),
  start: match.nullish().meta({ description: "Which datagrams open their chunk" }),
  end: named("End", "Which datagrams are the last of their chunk", end).nullish(),
  control: match.nullish().meta({ description: "Which datagrams carry no data" }),
  stop: match.nullish().meta({ description: "Which datagrams say that the stream stops" }),
  lost: match.nullish().meta({ description: "Which datagrams say that their data is lost" }),
  fields: z
    .record(
      z.string(),
      named(
        "ShownField",
        "A field that a chunk shows to its user",
        fieldWith({ when: match.optional() }, fieldWords),
      ),
    )
    .nullish(),
  scatter: named("Scatter", "What scatter writes beyond what reading needs", scatter).nullish(),
};

/** The shape of a layout, for zod. */
export const layoutSchema = z
  .strictObject({
    $schema: z.string().optional(),
    name: z.string().regex(/^[a-z][a-z0-9-]*$/, { error: "expected a short lower-case word" }),
    description: z.string().optional(),
    parameters: z
      .record(
        z.string().regex(/^[a-z][A-Za-z0-9]*$/),
        z.union(
          [
            z.string(),
            z.strictObject({ description: z.string(), default: z.number().positive().optional() }),
          ],
          { error: "expected a line that describes the parameter, or { description, default }" },
        ),
      )
      .optional(),
    when: match.optional(),
    ...rules,
    cases: z
      .array(
        z.strictObject({
          name: z.string().optional(),
          when: match,
          ...rules,
        }),
      )
      .optional(),
  })
  .meta({ id: "Layout", title: "millrace layout", description: "How a protocol cuts chunks into datagrams" });

/** The JSON Schema (draft 2020-12) that ships as schema/layout.schema.json. */
export function layoutJsonSchema(): object {
  return z.toJSONSchema(layoutSchema, { target: "draft-2020-12", io: "input" });
}
