import { layoutError } from "./parse.js";
import {
  ALWAYS,
  bitLength,
  type CasePlan,
  type ChunkIdKind,
  type Condition,
  type ItemsPlan,
  type LayoutPlan,
  largest,
  NEVER,
  type Placing,
  type Read,
  type SlicePlan,
  trailingZeros,
} from "./plan.js";
import {
  condition,
  extent,
  field,
  isRun,
  type Path,
  parameterValues,
  plainField,
  ratio,
  readsOf,
  type Scope,
} from "./resolve-read.js";
import type { Items, Layout, LayoutRules, Trim } from "./types.js";

/** Puts the parameters in and checks what the shape cannot say. Throws ERR_LAYOUT naming the JSON path. */
export function resolveLayout(layout: Layout, parameters: Readonly<Record<string, number>> = {}): LayoutPlan {
  const units = parameterValues(layout, parameters);
  const cases = (layout.cases ?? []).map((one, index) => {
    const { when, name, ...changes } = one;
    const merged: LayoutRules = { ...layout, ...changes };
    const path: Path = ["cases", index];
    const plan = resolveCase(merged, index + 1, units, (key) => (key in one ? [...path, key] : [key]));
    const scope: Scope = { units, items: merged.items ?? undefined, wanted: new Set(), data: false };
    return {
      ...plan,
      when: condition(when, [...path, "when"], scope),
      ...(name === undefined ? {} : { name }),
    };
  });
  const base = resolveCase(layout, 0, units, (key) => [key]);
  const scope: Scope = { units, items: undefined, wanted: new Set(), data: false };
  const plan = {
    name: layout.name,
    when: condition(layout.when ?? true, ["when"], scope),
    cases: [...cases, base],
  };
  checkAgreement(plan);
  return plan;
}

function resolveCase(
  rules: LayoutRules,
  number: number,
  units: ReadonlyMap<string, number>,
  at: (key: keyof LayoutRules) => Path,
): CasePlan {
  const wanted = new Set<number>();
  const early: Scope = { units, items: rules.items ?? undefined, wanted, data: false };
  const scope: Scope = { ...early, data: true };
  const { end, changed } = splitEnd(rules.end ?? false, at("end"), scope);
  const stream = (rules.stream ?? []).map(({ name, ...one }, index) => {
    const read = plainField(one, [...at("stream"), index], scope);
    return { field: read, bits: bitLength(largest(read)), ...(name === undefined ? {} : { name }) };
  });
  const keyBytes = stream.reduce((sum, { bits }) => sum + Math.ceil(bits / 8), 0);
  if (keyBytes > 16)
    throw layoutError(at("stream"), `expected at most 16 bytes of fields together, got ${keyBytes}`);
  const header = extent(rules.header ?? 0, at("header"), { ...early, items: undefined });
  const chunk = rules.chunk ?? undefined;
  const chunkRead = chunk === undefined ? undefined : plainField(chunk, at("chunk"), scope);
  const place = placing(rules, at("place"), scope);
  if ((place.by === "offset" || rules.slices) && chunkRead === undefined)
    throw layoutError(at("chunk"), "expected the field that names the chunk, since data is placed by offset");
  const size = rules.size ?? undefined;
  const plan: CasePlan = {
    number,
    when: ALWAYS,
    stream,
    header,
    place,
    stop: condition(rules.stop ?? false, at("stop"), scope),
    start: condition(rules.start ?? false, at("start"), scope),
    end,
    ids:
      chunk === undefined || chunkRead === undefined
        ? { kind: "none" }
        : chunkIds(chunk, chunkRead, at("chunk")),
    control: condition(rules.control ?? false, at("control"), scope),
    lost: condition(rules.lost ?? false, at("lost"), scope),
    fields: Object.entries(rules.fields ?? {}).map(([name, { when, ...one }]) => {
      const path = [...at("fields"), name];
      const read = field(one, path, scope);
      if (read.kind === "bytes" && read.from === "end")
        throw layoutError(
          [...path, "from"],
          'expected "start" or "data": a chunk keeps the first bytes of its datagrams',
        );
      return when === undefined
        ? { name, field: read }
        : { name, field: read, when: condition(when, [...path, "when"], scope) };
    }),
    ...(changed === undefined ? {} : { changed }),
    ...(chunkRead === undefined ? {} : { chunk: chunkRead }),
    ...(rules.length ? { length: dataLength(rules.length, at("length"), scope) } : {}),
    ...(rules.trim ? { trim: trimming(rules.trim, at("trim"), scope) } : {}),
    ...(rules.slices ? { slices: slicing(rules, at("slices"), scope) } : {}),
    ...(size === undefined ? {} : { size: sizing(size, at("size"), scope) }),
  };
  return rules.items ? { ...plan, items: itemList(rules.items, at("items"), early, [...wanted]) } : plan;
}

function dataLength(
  length: NonNullable<LayoutRules["length"]>,
  path: Path,
  scope: Scope,
): NonNullable<CasePlan["length"]> {
  const { includes, plus, ...one } = length;
  return {
    field: field(one, path, scope),
    plus: BigInt(plus ?? 0),
    includesHeader: includes === "header",
  };
}

function trimming(trim: Trim, path: Path, scope: Scope): NonNullable<CasePlan["trim"]> {
  const by = typeof trim.by === "number" ? trim.by : field(trim.by, [...path, "by"], scope);
  return { when: condition(trim.when ?? true, [...path, "when"], scope), by };
}

function sizing(
  size: NonNullable<LayoutRules["size"]>,
  path: Path,
  scope: Scope,
): NonNullable<CasePlan["size"]> {
  if (!("product" in size)) return { when: ALWAYS, product: [field(size, path, scope)], over: 1n };
  const product = size.product.map((one, index) => field(one, [...path, "product", index], scope));
  const most = product.reduce((all, one) => all * largest(one), 1n);
  if (product.length > 1 && most >= 2n ** 63n)
    throw layoutError([...path, "product"], "expected fields whose product stays below 2^63; mask them");
  return {
    when: condition(size.when ?? true, [...path, "when"], scope),
    product,
    over: BigInt(size.over ?? 1),
  };
}

function placing(rules: LayoutRules, path: Path, scope: Scope): Placing {
  const place = rules.place ?? undefined;
  if (place === undefined) return { by: "arrival" };
  if (rules.slices) throw layoutError(path, "expected either place or slices, not both");
  if (place.by === "sequence") {
    const read = plainField(place.field, [...path, "field"], scope);
    return { by: "sequence", field: read, bits: bitLength(largest(read)) };
  }
  const read = field(place.field, [...path, "field"], scope);
  const unit = place.unit === "datagram" ? "datagram" : ratio(place.unit, [...path, "unit"], scope);
  return { by: "offset", field: read, base: BigInt(place.base ?? 0), unit };
}

function slicing(rules: LayoutRules, path: Path, scope: Scope): SlicePlan {
  const slices = rules.slices as NonNullable<LayoutRules["slices"]>;
  const inside: Scope = { ...scope, items: undefined, data: false };
  const check = (read: Read, where: Path) => {
    if (
      read.kind === "bytes" &&
      (read.at.terms.length > 0 || read.from !== "start" || read.at.base + read.bytes > slices.bytes)
    )
      throw layoutError(where, `expected a field within the ${slices.bytes} bytes of a slice header`);
    return read;
  };
  const more = condition(slices.more, [...path, "more"], inside);
  for (const read of readsOf(more)) check(read, [...path, "more"]);
  return {
    at: extent(slices.at, [...path, "at"], { ...scope, data: false }),
    bytes: slices.bytes,
    more,
    length: check(field(slices.length, [...path, "length"], inside), [...path, "length"]),
    place: slices.place.map((one, index) => {
      const where = [...path, "place", index];
      return {
        field: check(field(one.field, [...where, "field"], inside), [...where, "field"]),
        unit: ratio(one.unit, [...where, "unit"], scope),
      };
    }),
    most: slices.most ?? 8,
  };
}

function chunkIds(
  ids: { ids: string; first?: number | string; last?: number | string },
  read: Read,
  path: Path,
): ChunkIdKind {
  if (ids.ids === "opaque") {
    if (ids.first !== undefined || ids.last !== undefined)
      throw layoutError(
        [...path, ids.first === undefined ? "last" : "first"],
        "expected no bound on an opaque id",
      );
    return { kind: "opaque" };
  }
  const first = ids.first === undefined ? 0n : BigInt(ids.first);
  const last = ids.last === undefined ? largest(read) : BigInt(ids.last);
  if (last > largest(read))
    throw layoutError([...path, "last"], `expected at most ${largest(read)}, what the field can hold`);
  if (first >= last) throw layoutError([...path, "first"], `expected less than the last id, ${last}`);
  return { kind: "counter", first, last };
}

function itemList(items: Items, path: Path, scope: Scope, wanted: readonly number[]): ItemsPlan {
  const id = BigInt(items.id);
  const value = BigInt(items.value);
  for (const [key, mask] of [
    ["id", id],
    ["value", value],
  ] as const)
    if (!isRun(mask)) throw layoutError([...path, key], "expected a mask of adjacent bits");
  for (const item of wanted)
    if (BigInt(item) > id >> trailingZeros(id))
      throw layoutError([...path, "id"], `expected room for item ${item}`);
  return {
    at: items.at,
    count: field(items.count, [...path, "count"], { ...scope, items: undefined }),
    when: BigInt(items.when),
    id,
    idShift: trailingZeros(id),
    value,
    valueShift: trailingZeros(value),
    wanted,
  };
}

function splitEnd(
  end: NonNullable<LayoutRules["end"]>,
  path: Path,
  scope: Scope,
): { end: Condition; changed?: Read } {
  if (typeof end !== "object") return { end: condition(end, path, scope) };
  if ("changed" in end) return { end: NEVER, changed: plainField(end.changed, [...path, "changed"], scope) };
  if (!("any" in end)) return { end: condition(end, path, scope) };
  const matches: Condition[] = [];
  let changed: Read | undefined;
  end.any.forEach((one, index) => {
    const where = [...path, "any", index];
    if (typeof one !== "object" || !("changed" in one)) matches.push(condition(one, where, scope));
    else if (changed === undefined) changed = plainField(one.changed, [...where, "changed"], scope);
    else throw layoutError(where, "expected one field whose change ends the chunk, not two");
  });
  const any: Condition = { kind: "any", of: matches };
  return changed === undefined ? { end: any } : { end: any, changed };
}

/** What a stream's data, ids and key are made of must be the same in every case, since one stream can meet them all. */
function checkAgreement(plan: LayoutPlan): void {
  const placed = plan.cases.filter((one) => one.place.by !== "arrival" || one.slices !== undefined);
  const kinds = new Set(placed.map(placedBy));
  if (kinds.size > 1) {
    const odd = placed.find((one) => placedBy(one) !== placedBy(placed[placed.length - 1])) as CasePlan;
    throw layoutError(
      ["cases", odd.number - 1, "place"],
      "expected the same kind of place, of as many bits, in every case",
    );
  }
  const named = plan.cases.filter(({ ids }) => ids.kind !== "none");
  const odd = named.find(({ ids }) => ids.kind !== named[named.length - 1].ids.kind);
  if (odd !== undefined)
    throw layoutError(
      ["cases", odd.number - 1, "chunk", "ids"],
      `expected "${named[named.length - 1].ids.kind}" as in the layout itself, got "${odd.ids.kind}"`,
    );
  const widths = (one: CasePlan) => one.stream.map(({ bits }) => bits).join();
  const base = plan.cases[plan.cases.length - 1];
  for (const one of plan.cases)
    if (widths(one) !== widths(base))
      throw layoutError(
        ["cases", one.number - 1, "stream"],
        "expected as many fields, of as many bits, as in the layout itself",
      );
}

function placedBy(one: CasePlan): string {
  return one.place.by === "sequence" ? `sequence of ${one.place.bits} bits` : "offset";
}
