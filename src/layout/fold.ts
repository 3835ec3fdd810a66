// What the conditions that led to a place in a layout's program say of those met there: a case chosen by a
// field's value need not look at it again. Only what is decided anyhow is left out, and no field is left unread
// that decides whether the datagram is malformed.
import {
  ALWAYS,
  type CasePlan,
  type Condition,
  type Extent,
  NEVER,
  type Placing,
  type Read,
} from "./plan.js";

/** By field: the values that it can have, and those that it has not. */
export interface Facts {
  readonly is: ReadonlyMap<string, ReadonlySet<bigint>>;
  readonly not: ReadonlyMap<string, ReadonlySet<bigint>>;
}

export const NO_FACTS: Facts = { is: new Map(), not: new Map() };

/** Names a field at a fixed place; others are not remembered. */
function keyOf(read: Read): string | undefined {
  if (read.kind !== "bytes" || read.from !== "start" || read.at.terms.length > 0) return undefined;
  return `${read.at.base} ${read.bytes} ${read.little} ${read.mask}`;
}

function both(a: Facts, b: Facts): Facts {
  const is = new Map(a.is);
  for (const [key, values] of b.is) {
    const known = is.get(key);
    is.set(key, known === undefined ? values : new Set([...values].filter((value) => known.has(value))));
  }
  const not = new Map(a.not);
  for (const [key, values] of b.not) not.set(key, new Set([...(not.get(key) ?? []), ...values]));
  return { is, not };
}

/** What holds besides `facts` where a condition has been found to hold, or not to. */
export function learn(facts: Facts, condition: Condition, holds: boolean): Facts {
  return both(facts, factsOf(condition, holds));
}

function factsOf(condition: Condition, holds: boolean): Facts {
  if (condition.kind === "constant") return NO_FACTS;
  if (condition.kind === "not") return factsOf(condition.of, !holds);
  if (condition.kind === "is") {
    const key = keyOf(condition.field);
    if (key === undefined) return NO_FACTS;
    const values = new Map([[key, new Set(condition.values)]]);
    return holds ? { ...NO_FACTS, is: values } : { ...NO_FACTS, not: values };
  }
  const each = condition.of.map((one) => factsOf(one, holds));
  // All hold, or none does: then each of them says something. Else one of them does, who knows which.
  if ((condition.kind === "all") === holds) return each.reduce(both, NO_FACTS);
  const [first, ...rest] = each;
  const is = new Map<string, ReadonlySet<bigint>>();
  for (const [key, values] of first?.is ?? [])
    if (rest.every((one) => one.is.has(key)))
      is.set(key, new Set([...values, ...rest.flatMap((one) => [...(one.is.get(key) ?? [])])]));
  return { ...NO_FACTS, is };
}

export function foldCondition(condition: Condition, facts: Facts): Condition {
  if (condition.kind === "constant") return condition;
  if (condition.kind === "not") {
    const of = foldCondition(condition.of, facts);
    if (of.kind === "constant") return of.value ? NEVER : ALWAYS;
    return { kind: "not", of };
  }
  if (condition.kind === "is") return foldIs(condition, facts);
  return foldEach(condition, facts);
}

function foldIs(condition: Extract<Condition, { kind: "is" }>, facts: Facts): Condition {
  const key = keyOf(condition.field);
  const never = (key === undefined ? undefined : facts.not.get(key)) ?? new Set();
  const can = key === undefined ? undefined : facts.is.get(key);
  if (can !== undefined) {
    const possible = [...can].filter((value) => !never.has(value));
    if (possible.every((value) => condition.values.includes(value))) return ALWAYS;
    if (!possible.some((value) => condition.values.includes(value))) return NEVER;
  } else if (never.size > 0 && condition.values.every((value) => never.has(value))) return NEVER;
  return { ...condition, field: foldRead(condition.field, facts) };
}

function foldEach(condition: Extract<Condition, { kind: "any" | "all" }>, facts: Facts): Condition {
  const all = condition.kind === "all";
  const of: Condition[] = [];
  let here = facts;
  for (const one of condition.of) {
    const lean = foldCondition(one, here);
    here = learn(here, one, all);
    if (lean.kind === "constant" && lean.value === all) continue;
    of.push(lean);
    if (lean.kind === "constant") break; // decided, and what comes later is not read
  }
  if (of.length === 0) return all ? ALWAYS : NEVER;
  return of.length === 1 ? of[0] : { kind: condition.kind, of };
}

export function foldRead<Kind extends Read>(read: Kind, facts: Facts): Kind {
  return read.kind === "bytes" ? { ...read, at: foldExtent(read.at, facts) } : read;
}

function foldExtent(extent: Extent, facts: Facts): Extent {
  let { base } = extent;
  const terms: Extent["terms"][number][] = [];
  for (const { when, field, ...term } of extent.terms) {
    const lean = foldCondition(when ?? ALWAYS, facts);
    if (lean.kind === "constant" && !lean.value) continue;
    if (lean.kind === "constant" && field === undefined) base += term.plus;
    else
      terms.push({
        ...term,
        ...(field === undefined ? {} : { field: foldRead(field, facts) }),
        ...(lean.kind === "constant" ? {} : { when: lean }),
      });
  }
  return { base, terms };
}

/** A case's rules where `facts` hold; `fields` stay as they are, since their groups are numbered. */
export function foldCase(one: CasePlan, facts: Facts): CasePlan {
  const condition = (of: Condition) => foldCondition(of, facts);
  const read = <Kind extends Read>(of: Kind) => foldRead(of, facts);
  const { size, length, trim, slices, chunk, changed } = one;
  return {
    ...one,
    stream: one.stream.map((part) => ({ ...part, field: read(part.field) })),
    header: foldExtent(one.header, facts),
    place: foldPlace(one.place, facts),
    stop: condition(one.stop),
    start: condition(one.start),
    end: condition(one.end),
    control: condition(one.control),
    lost: condition(one.lost),
    ...(chunk === undefined ? {} : { chunk: read(chunk) }),
    ...(changed === undefined ? {} : { changed: read(changed) }),
    ...(length === undefined ? {} : { length: { ...length, field: read(length.field) } }),
    ...(size === undefined
      ? {}
      : { size: { ...size, when: condition(size.when), product: size.product.map(read) } }),
    ...(trim === undefined
      ? {}
      : { trim: { when: condition(trim.when), by: typeof trim.by === "number" ? trim.by : read(trim.by) } }),
    ...(slices === undefined ? {} : { slices: { ...slices, at: foldExtent(slices.at, facts) } }),
  };
}

function foldPlace(place: Placing, facts: Facts): Placing {
  return place.by === "arrival" ? place : { ...place, field: foldRead(place.field, facts) };
}
