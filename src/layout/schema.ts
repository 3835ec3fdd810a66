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

const field = fieldWith({}, "a field: { at, bytes } or { item }").meta({ id: "Field" });

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
const place = z.union(
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

const rules = {
  scatter: scatter.nullish(),
  stream: z.array(fieldWith({ name: z.string().optional() }, "a field: { at, bytes } or { item }")).nullish(),
  header: length.optional(),
  length: fieldWith(
    { includes: z.literal("header").optional(), plus: small.optional() },
    "a field: { at, bytes } or { item }",
  ).nullish(),
  trim: trim.nullish(),
  items: items.nullish(),
  chunk: fieldWith(ids, 'a field with ids: "counter" or "opaque"').nullish(),
  place: place.nullish(),
  slices: slices.nullish(),
  size: size.nullish(),
  end: end.nullish(),
  control: match.nullish(),
  lost: match.nullish(),
  fields: z
    .record(z.string(), fieldWith({ when: match.optional() }, "a field: { at, bytes } or { item }"))
    .nullish(),
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
