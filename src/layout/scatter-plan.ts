// From a layout to what a sender needs: header bytes, and which fields change from chunk to chunk and from
// datagram to datagram.
import { layoutError } from "./parse.js";
import { ALWAYS, type CasePlan, type Condition, type LayoutPlan, largest, type Read } from "./plan.js";
import type { PlannedSetting } from "./resolve-scatter.js";
import type { HeaderForm, Patch, Varying } from "./scatter-emit.js";
import { unwritable } from "./scatter-errors.js";
import { lcm, movedRead, placePatches, reach, rowUnit } from "./scatter-place.js";
import { createDraft, type Draft, extentOf, type Goal, locate, setValue, solve } from "./scatter-solve.js";
import type { Setting } from "./types.js";

/** Written once a chunk into the header template. */
export interface ChunkField {
  readonly read: Read;
  readonly to: "id" | "step" | "bytes" | "datagrams";
  readonly plus: bigint;
  readonly over: bigint;
}

export interface ScatterForm extends HeaderForm {
  readonly one: CasePlan;
  readonly draft: Draft;
  readonly lastDraft: Draft;
  readonly headerBytes: number;
  readonly tailBytes: number;
  /** Every datagram ends its chunk: a chunk is one datagram. */
  readonly single: boolean;
  /** The most datagrams that the place field can count. */
  readonly mostDatagrams: bigint;
  readonly mostPosition: bigint;
  readonly chunkFields: readonly ChunkField[];
  /** The data of a datagram has a multiple of so many bytes. */
  readonly granule: bigint;
}

export interface FormOptions {
  /** Bytes of a full datagram: header, data and tail. */
  readonly datagramSize: number;
  readonly fields: ReadonlyMap<string, bigint>;
}

/** A field that scatter writes with what a word names; the rest of a `set` are constants. */
export function wordOf(setting: Setting): string | undefined {
  return typeof setting.to === "string" && !/^(0x[0-9a-f]+|\d+)$/i.test(setting.to) ? setting.to : undefined;
}

/** Plans the data datagrams of one case. Throws ERR_LAYOUT if no header bytes would be read as wanted. */
export function planForm(
  plan: LayoutPlan,
  one: CasePlan,
  settings: readonly PlannedSetting[],
  options: FormOptions,
): ScatterForm {
  const constant = settings.filter(
    ({ setting }) => wordOf(setting) === undefined || options.fields.has(wordOf(setting) as string),
  );
  const carried = carriedItems(one);
  const attempt = (end: boolean | undefined): Draft | undefined => {
    const draft = createDraft(one, carried);
    for (const [name, value] of options.fields) {
      const shown = one.fields.find((field) => field.name === name && field.when === undefined);
      const read = shown?.field ?? one.stream.find((field) => field.name === name)?.field;
      if (read !== undefined && !setValue(draft, read, value))
        throw unwritable(`field ${name} cannot be ${value}`);
    }
    for (const { setting, read } of constant) {
      const to = options.fields.get(String(setting.to)) ?? BigInt(setting.to);
      if (!setValue(draft, read, (to + BigInt(setting.plus ?? 0)) / BigInt(setting.over ?? 1)))
        return undefined;
    }
    return solve(draft, goalsOf(plan, one, end, draft)) ? draft : undefined;
  };
  const draft = attempt(false) ?? attempt(undefined);
  if (draft === undefined) throw unwritable("no header meets all its conditions");
  const lastDraft = attempt(true) ?? draft;
  return finishForm(one, draft, lastDraft, attempt(false) === undefined, settings, options);
}

function carriedItems(one: CasePlan): number[] {
  const reads = [
    one.chunk,
    one.changed,
    one.length?.field,
    one.place.by === "arrival" ? undefined : one.place.field,
    ...(one.size?.product ?? []),
    ...one.stream.map(({ field }) => field),
  ];
  return [...new Set(reads.flatMap((read) => (read?.kind === "item" ? [read.item] : [])))].sort(
    (a, b) => a - b,
  );
}

function goalsOf(plan: LayoutPlan, one: CasePlan, end: boolean | undefined, draft: Draft): Goal[] {
  const before = plan.cases.slice(0, plan.cases.indexOf(one));
  const goals: Goal[] = [
    ...(end === true ? [{ condition: one.end, want: true }] : []),
    { condition: one.when, want: true },
    { condition: plan.when, want: true },
    ...before.map(({ when }) => ({ condition: when, want: false })),
    { condition: one.control, want: false },
    { condition: one.lost, want: false },
    ...(end === false ? [{ condition: one.end, want: false }] : []),
  ];
  if (one.trim !== undefined && one.trim.when !== ALWAYS)
    goals.push({ condition: one.trim.when, want: false });
  if (one.size !== undefined && one.size.product.length > 1 && one.size.when !== ALWAYS)
    goals.push({ condition: one.size.when, want: false });
  if (one.slices === undefined) return goals;
  const at = extentOf(draft, one.slices.at) ?? 0;
  return [...goals, { condition: moved(one.slices.more, at), want: false }];
}

/** A condition on a slice header as one on the datagram. */
function moved(condition: Condition, by: number): Condition {
  if (condition.kind === "constant") return condition;
  if (condition.kind === "not") return { kind: "not", of: moved(condition.of, by) };
  if (condition.kind !== "is") return { ...condition, of: condition.of.map((one) => moved(one, by)) };
  return { ...condition, field: movedRead(condition.field, by) };
}

function finishForm(
  one: CasePlan,
  draft: Draft,
  lastDraft: Draft,
  single: boolean,
  settings: readonly PlannedSetting[],
  options: FormOptions,
): ScatterForm {
  const sliceAt = one.slices === undefined ? 0 : (extentOf(draft, one.slices.at) ?? 0);
  const headerBytes = one.slices === undefined ? extentOf(draft, one.header) : sliceAt + one.slices.bytes;
  if (headerBytes === undefined) throw unwritable("its header has no fixed length");
  const tailBytes = tailOf(one, draft, lastDraft);
  const patches = placePatches(one, sliceAt);
  const length = one.slices === undefined ? one.length?.field : movedRead(one.slices.length, sliceAt);
  let granule = patches.reduce((all, { unit }) => (unit === undefined ? all : lcm(all, unit)), 1n);
  const beside =
    BigInt((one.length?.includesHeader ? headerBytes : 0) + tailBytes) - (one.length?.plus ?? 0n);
  if (length?.kind === "bytes") {
    if (beside % length.times !== 0n)
      throw unwritable(`its length counts ${length.times} bytes, but the header has ${headerBytes}`);
    granule = lcm(granule, length.times);
  }
  const rowBytes = one.slices === undefined ? 0 : Number(rowUnit(one));
  const dataBytes = fullData(
    options.datagramSize,
    headerBytes + tailBytes,
    length,
    beside,
    granule,
    rowBytes,
  );
  const place = (read: Read, source: Varying, scale: Partial<Patch> = {}): Patch[] => {
    const spot = locate(draft, read);
    if (spot === undefined) throw unwritable(`its ${source} field stands where scatter cannot write`);
    claim(draft, lastDraft, read, source);
    const { bytes, little, mask, shift, times } = spot.read;
    const at = spot.inTail ? headerBytes + spot.at - (8 - tailBytes) : spot.at;
    return [
      {
        source,
        plus: 0n,
        times: 1n,
        over: 1n,
        base: 0n,
        ...scale,
        per: times,
        at,
        bytes,
        little,
        mask,
        shift,
      },
    ];
  };
  const made = patches.flatMap(({ read, source, scale }) => place(read, source, scale));
  if (length !== undefined) made.push(...place(length, "length", { plus: beside }));
  const chunkFields: ChunkField[] = [];
  const perChunk = (read: Read | undefined, to: ChunkField["to"], plus = 0n, over = 1n) => {
    if (read === undefined || read.kind === "fixed") return;
    claim(draft, lastDraft, read, to);
    chunkFields.push({ read, to, plus, over });
  };
  perChunk(one.chunk, "id");
  if (!sameSpot(one.changed, one.chunk)) perChunk(one.changed, "step");
  if (one.size?.product.length === 1) perChunk(one.size.product[0], "bytes");
  for (const { setting, read } of settings) {
    const word = wordOf(setting);
    if (word === undefined || options.fields.has(word)) continue;
    const plus = BigInt(setting.plus ?? 0);
    const over = BigInt(setting.over ?? 1);
    if (word === "sequence") made.push(...place(read, "sequence", { plus, over }));
    else if (word === "datagram") made.push(...place(read, "index", { plus, over }));
    else if (word === "chunk") perChunk(read, "id", plus, over);
    else if (word === "size") perChunk(read, "bytes", plus, over);
    else if (word === "datagrams") perChunk(read, "datagrams", plus, over);
  }
  return {
    one,
    draft,
    lastDraft,
    headerBytes,
    tailBytes,
    bytes: headerBytes + tailBytes,
    dataBytes,
    rowBytes,
    patches: made,
    single,
    granule,
    chunkFields,
    ...reach(one),
  };
}

function sameSpot(a: Read | undefined, b: Read | undefined): boolean {
  const text = (read: Read | undefined) =>
    JSON.stringify(read, (_, value) => (typeof value === "bigint" ? `${value}` : value));
  return a !== undefined && text(a) === text(b);
}

/** Insists that no condition has already decided a field that is to vary, and keeps the others off it. */
function claim(draft: Draft, lastDraft: Draft, read: Read, what: string): void {
  for (const each of new Set([draft, lastDraft])) {
    const spot = locate(each, read);
    if (spot === undefined) throw unwritable(`its ${what} field stands where scatter cannot write`);
    const fixed = spot.inTail ? each.tailFixed : each.headFixed;
    for (let k = 0; k < spot.read.bytes; k++) {
      const mask = Number((spot.read.mask >> BigInt(8 * k)) & 0xffn);
      const index = spot.at + (spot.read.little ? k : spot.read.bytes - 1 - k);
      if ((fixed[index] & mask) !== 0)
        throw unwritable(`its ${what} field shares bits with a condition or another field`);
      fixed[index] |= mask;
    }
  }
}

/** Bytes behind the data: what the layout trims. Fields that stand there must fit. */
function tailOf(one: CasePlan, draft: Draft, lastDraft: Draft): number {
  const used = Math.max(
    ...[draft, lastDraft].map(({ tailFixed }) => lengthFromEnd(tailFixed)),
    dynamicTail(one),
  );
  if (one.trim === undefined || one.trim.when !== ALWAYS) {
    if (used > 0) throw unwritable("it has fields at the end, but trims nothing there");
    return 0;
  }
  const bytes = typeof one.trim.by === "number" ? one.trim.by : Math.max(used, 1);
  if (bytes < used) throw unwritable(`it has fields in the last ${used} bytes, but trims ${bytes}`);
  if (bytes > 8) throw unwritable(`it trims ${bytes} bytes, scatter writes at most 8`);
  if (typeof one.trim.by !== "number")
    for (const each of new Set([draft, lastDraft]))
      if (!setValue(each, one.trim.by, BigInt(bytes))) throw unwritable("its trim field cannot be set");
  return bytes;
}

function lengthFromEnd(fixed: Uint8Array): number {
  const first = fixed.findIndex((mask) => mask !== 0);
  return first < 0 ? 0 : fixed.length - first;
}

function dynamicTail(one: CasePlan): number {
  const reads = [
    one.chunk,
    one.changed,
    one.length?.field,
    one.place.by === "arrival" ? undefined : one.place.field,
  ];
  const trim = one.trim?.when === ALWAYS && typeof one.trim.by === "object" ? [one.trim.by] : [];
  return Math.max(
    0,
    ...[...reads, ...(one.size?.product ?? []), ...trim].map((read) =>
      read?.kind === "bytes" && read.from === "end" ? read.at.base : 0,
    ),
  );
}

/** Data of a full datagram: what the datagram and the length field have room for, in whole granules. */
function fullData(
  datagramSize: number,
  around: number,
  length: Read | undefined,
  beside: bigint,
  granule: bigint,
  rowBytes: number,
): number {
  const room = BigInt(datagramSize - around);
  const said = length === undefined ? room : largest(length) - beside;
  const most = said < room ? said : room;
  if (rowBytes > 0 && most >= BigInt(rowBytes)) return rowBytes;
  const bytes = most < 0n ? 0n : (most / granule) * granule;
  if (bytes > 0n) return Number(bytes);
  throw layoutError(
    [],
    `datagrams of ${datagramSize} bytes have no room for data beside ${around} of header and tail`,
  );
}
