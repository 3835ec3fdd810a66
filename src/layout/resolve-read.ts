import { layoutError } from "./parse.js";
import {
  ALWAYS,
  type Condition,
  type Extent,
  largest,
  NEVER,
  type Ratio,
  type Read,
  trailingZeros,
} from "./plan.js";
import type { Items, Layout, Length, Match, Field as PublicField } from "./types.js";

export type Path = readonly PropertyKey[];

/** What a value is resolved in: the values of parameters, the list of items, and where the fields may count from. */
export interface Scope {
  readonly units: ReadonlyMap<string, number>;
  readonly items: Items | undefined;
  readonly wanted: Set<number>;
  /** The data's start is known: `from: "data"` may be used. */
  readonly data: boolean;
}

export function parameterValues(
  layout: Layout,
  given: Readonly<Record<string, number>>,
): Map<string, number> {
  const known = Object.entries(layout.parameters ?? {});
  const units = new Map<string, number>();
  for (const [name, about] of known) {
    const value = given[name] ?? (typeof about === "string" ? undefined : about.default);
    const description = typeof about === "string" ? about : about.description;
    if (value === undefined)
      throw layoutError(
        ["parameters", name],
        `layout ${layout.name} needs a value for ${name}: ${description}`,
      );
    if (!(value > 0 && value <= 2 ** 32))
      throw layoutError(
        ["parameters", name],
        `expected a number above 0 for ${name} (${description}), got ${value}`,
      );
    units.set(name, value);
  }
  for (const name of Object.keys(given))
    if (!units.has(name)) {
      const names = known.map(([word]) => word).join(", ");
      throw layoutError(
        ["parameters"],
        `layout ${layout.name} has no parameter ${name}${names === "" ? "" : `; it has ${names}`}`,
      );
    }
  return units;
}

/** The fields a condition looks at. */
export function readsOf(of: Condition): Read[] {
  if (of.kind === "is") return [of.field];
  if (of.kind === "not") return readsOf(of.of);
  return of.kind === "constant" ? [] : of.of.flatMap(readsOf);
}

/** A number of bytes, or the parameter of that name, as an exact fraction. */
export function ratio(unit: number | string, path: Path, scope: Scope): Ratio {
  const value = typeof unit === "number" ? unit : scope.units.get(unit);
  if (value === undefined) {
    const known = ['"datagram"', ...scope.units.keys()].join(", ");
    throw layoutError(path, `expected a number of bytes or one of ${known}, got ${JSON.stringify(unit)}`);
  }
  let over = 1;
  while (!Number.isInteger(value * over) && over < 4096) over *= 2;
  if (!Number.isInteger(value * over) || value * over > 2 ** 40)
    throw layoutError(path, `expected a number of bytes that is a binary fraction, as 2.5, got ${value}`);
  return { times: BigInt(value * over), over: BigInt(over) };
}

export function condition(match: Match, path: Path, scope: Scope): Condition {
  if (typeof match === "boolean") return match ? ALWAYS : NEVER;
  if ("not" in match) return { kind: "not", of: condition(match.not, [...path, "not"], scope) };
  if ("any" in match)
    return { kind: "any", of: match.any.map((one, i) => condition(one, [...path, "any", i], scope)) };
  if ("all" in match)
    return { kind: "all", of: match.all.map((one, i) => condition(one, [...path, "all", i], scope)) };
  const read = field(match.field, [...path, "field"], scope);
  const seen = read.kind === "fixed" ? read.value : read.mask;
  const values = [match.is].flat().map((value, index) => {
    const wanted = BigInt(value);
    if ((wanted & ~seen) !== 0n)
      throw layoutError(
        [...path, "is", ...(Array.isArray(match.is) ? [index] : [])],
        `expected bits that the field can have: 0x${seen.toString(16)} is all it sees, got ${JSON.stringify(value)}`,
      );
    return wanted;
  });
  return { kind: "is", field: read, values };
}

/** A field that is compared or counted as it stands: adjacent bits, no multiplication. */
export function plainField(one: PublicField, path: Path, scope: Scope): Read {
  const read = field(one, path, scope);
  if (read.kind === "bytes" && read.times !== 1n)
    throw layoutError([...path, "times"], "expected no times here");
  if (read.kind === "bytes" && !isRun(read.mask))
    throw layoutError([...path, "mask"], "expected a mask of adjacent bits");
  return read;
}

export function field(one: PublicField, path: Path, scope: Scope): Read {
  if ("value" in one) return { kind: "fixed", value: BigInt(one.value) };
  if ("item" in one) {
    if (scope.items === undefined)
      throw layoutError([...path, "item"], "expected a field { at, bytes }: there is no list of items here");
    scope.wanted.add(one.item);
    const mask = BigInt(scope.items.value);
    return {
      kind: "item",
      item: one.item,
      optional: one.optional ?? false,
      mask: mask >> trailingZeros(mask),
    };
  }
  const from = one.from ?? "start";
  const whole = (1n << BigInt(8 * one.bytes)) - 1n;
  const mask = one.mask === undefined ? whole : BigInt(one.mask);
  if (mask === 0n || mask > whole)
    throw layoutError(
      [...path, "mask"],
      `expected some of the bits 0x${whole.toString(16)}, got ${JSON.stringify(one.mask)}`,
    );
  if (from === "data" && !scope.data)
    throw layoutError(
      [...path, "from"],
      'expected "start" or "end": where the data starts is not known here',
    );
  const at = extent(one.at, [...path, "at"], scope);
  if (from === "end" && (at.terms.length > 0 || at.base < one.bytes || at.base > 8))
    throw layoutError([...path, "at"], `expected a distance of ${one.bytes} to 8 bytes from the end`);
  const shift = trailingZeros(mask);
  const times = BigInt(one.times ?? 1);
  if ((mask >> shift) * times >= 2n ** 63n && times !== 1n)
    throw layoutError([...path, "times"], "expected a product below 2^63; mask the field");
  return { kind: "bytes", at, from, bytes: one.bytes, little: one.order === "little", mask, shift, times };
}

export function extent(length: Length, path: Path, scope: Scope): Extent {
  if (typeof length === "number") return { base: length, terms: [] };
  const terms = length.add.map((term, index) => {
    const where = [...path, "add", index];
    const read = term.field === undefined ? undefined : field(term.field, [...where, "field"], scope);
    const when = term.when === undefined ? undefined : condition(term.when, [...where, "when"], scope);
    return {
      times: term.times ?? 1,
      plus: term.plus ?? 0,
      ...(read === undefined ? {} : { field: read }),
      ...(when === undefined ? {} : { when }),
    };
  });
  const most = terms.reduce(
    (sum, { field: read, times, plus }) =>
      sum + BigInt(plus) + (read === undefined ? 0n : largest(read) * BigInt(times)),
    BigInt(length.base),
  );
  if (most >= 2n ** 30n)
    throw layoutError(path, `expected a length that stays below 2^30, this can be ${most}; mask its fields`);
  return { base: length.base, terms };
}

export function isRun(mask: bigint): boolean {
  const run = mask >> trailingZeros(mask);
  return run !== 0n && (run & (run + 1n)) === 0n;
}
