// From a layout to what a sender needs: header bytes, and which fields change from chunk to chunk and from
// datagram to datagram.
import { layoutError } from "./parse.js";
import { ALWAYS, type CasePlan, type Condition, type LayoutPlan, largest, type Read } from "./plan.js";
import type { PlannedSetting } from "./resolve-scatter.js";
import type { HeaderForm, Patch, Varying } from "./scatter-emit.js";
import { unwritable } from "./scatter-errors.js";
import { lcm, movedRead, type Packing, packRows, placePatches, reach, rowUnit } from "./scatter-place.js";
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
  readonly drafts: Drafts;
  /** The same with a slice header behind the first; undefined where there is none. */
  readonly continued: Drafts | undefined;
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

/** Header bytes of a chunk's datagrams, and of its last. */
export interface Drafts {
  readonly all: Draft;
  readonly last: Draft;
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
  const attempt = (end: boolean | undefined, more: boolean): Draft | undefined => {
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
    return solve(draft, goalsOf(plan, one, { end, more }, draft)) ? draft : undefined;
  };
  const attempts = (more: boolean): Drafts | undefined => {
    const all = attempt(false, more) ?? attempt(undefined, more);
    return all === undefined ? undefined : { all, last: attempt(true, more) ?? all };
  };
  const drafts = attempts(false);
  if (drafts === undefined) throw unwritable("no header meets all its conditions");
  const continued = one.slices === undefined ? undefined : attempts(true);
  return finishForm(one, drafts, continued, attempt(false, false) === undefined, settings, options);
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

function goalsOf(
  plan: LayoutPlan,
  one: CasePlan,
  { end, more }: { readonly end: boolean | undefined; readonly more: boolean },
  draft: Draft,
): Goal[] {
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
  return [...goals, { condition: moved(one.slices.more, at), want: more }];
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
  drafts: Drafts,
  continued: Drafts | undefined,
  single: boolean,
  settings: readonly PlannedSetting[],
  options: FormOptions,
): ScatterForm {
  const { all: draft } = drafts;
  const each = [...new Set([drafts, continued ?? drafts].flatMap(({ all, last }) => [all, last]))];
  const sliceAt = one.slices === undefined ? 0 : (extentOf(draft, one.slices.at) ?? 0);
  const shortest = one.slices === undefined ? extentOf(draft, one.header) : sliceAt + one.slices.bytes;
  if (shortest === undefined) throw unwritable("its header has no fixed length");
  const tailBytes = tailOf(one, each);
  const patches = placePatches(one, sliceAt);
  const length = one.slices === undefined ? one.length?.field : movedRead(one.slices.length, sliceAt);
  let granule = patches.reduce((all, { unit }) => (unit === undefined ? all : lcm(all, unit)), 1n);
  const beside = BigInt((one.length?.includesHeader ? shortest : 0) + tailBytes) - (one.length?.plus ?? 0n);
  if (length?.kind === "bytes") {
    if (beside % length.times !== 0n)
      throw unwritable(`its length counts ${length.times} bytes, but the header has ${shortest}`);
    granule = lcm(granule, length.times);
  }
  const rowBytes = one.slices === undefined ? 0 : Number(rowUnit(one));
  const sliceBytes = one.slices?.bytes ?? 0;
  const { most, dataBytes } = packData(options.datagramSize, shortest + tailBytes, {
    length,
    beside,
    granule,
    rowBytes,
    sliceBytes,
    most: continued === undefined || tailBytes > 0 ? 1 : (one.slices?.most ?? 1),
  });
  const headerBytes = shortest + (most - 1) * sliceBytes;
  const place = (read: Read, source: Varying, scale: Partial<Patch> = {}): Patch[] => {
    const spot = locate(draft, read);
    if (spot === undefined) throw unwritable(`its ${source} field stands where scatter cannot write`);
    claim(each, read, source);
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
  const placed = patches.flatMap(({ read, source, scale }) => place(read, source, scale));
  if (length !== undefined) placed.push(...place(length, "length", { plus: beside }));
  const made: Patch[] = one.slices === undefined ? placed : [];
  const chunkFields: ChunkField[] = [];
  const perChunk = (read: Read | undefined, to: ChunkField["to"], plus = 0n, over = 1n) => {
    if (read === undefined || read.kind === "fixed") return;
    claim(each, read, to);
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
    drafts,
    continued,
    headerBytes,
    tailBytes,
    bytes: headerBytes + tailBytes,
    dataBytes,
    rowBytes,
    most,
    sliceBytes,
    patches: made,
    slicePatches: one.slices === undefined ? [] : placed,
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
function claim(drafts: readonly Draft[], read: Read, what: string): void {
  for (const each of drafts) {
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
function tailOf(one: CasePlan, drafts: readonly Draft[]): number {
  const used = Math.max(...drafts.map(({ tailFixed }) => lengthFromEnd(tailFixed)), dynamicTail(one));
  if (one.trim === undefined || one.trim.when !== ALWAYS) {
    if (used > 0) throw unwritable("it has fields at the end, but trims nothing there");
    return 0;
  }
  const bytes = typeof one.trim.by === "number" ? one.trim.by : Math.max(used, 1);
  if (bytes < used) throw unwritable(`it has fields in the last ${used} bytes, but trims ${bytes}`);
  if (bytes > 8) throw unwritable(`it trims ${bytes} bytes, scatter writes at most 8`);
  if (typeof one.trim.by !== "number")
    for (const each of drafts)
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

interface Room {
  readonly length: Read | undefined;
  readonly beside: bigint;
  readonly granule: bigint;
  readonly rowBytes: number;
  readonly sliceBytes: number;
  readonly most: number;
}

/** Data of a full datagram: what the datagram and the length field have room for, in whole granules. */
function packData(datagramSize: number, around: number, room: Room): Packing {
  const { length, beside, rowBytes, sliceBytes, most } = room;
  const granule = Number(room.granule);
  const left = (slices: number) => {
    const bytes = BigInt(datagramSize - around - (slices - 1) * sliceBytes);
    const said = length === undefined ? bytes : largest(length) - beside;
    return Number(said < bytes ? said : bytes);
  };
  const packing =
    rowBytes > 0
      ? packRows(rowBytes, granule, most, left)
      : { most: 1, dataBytes: Math.floor(left(1) / granule) * granule };
  if (packing.dataBytes > 0) return packing;
  throw layoutError(
    [],
    `datagrams of ${datagramSize} bytes have no room for data beside ${around} of header and tail`,
  );
}
