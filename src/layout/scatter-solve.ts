// Finds header bytes that a layout reads as wanted: reading turned round. The bits that a rule looks at are
// fixed one by one; where a condition can be met in several ways they are tried in order.
import type { BytesRead, CasePlan, Condition, Extent, ItemsPlan, Read } from "./plan.js";

const HEAD_CAPACITY = 2048;
const TAIL_CAPACITY = 8;

/** Bytes under construction, and which of their bits are decided. */
export interface Draft {
  readonly head: Uint8Array;
  readonly headFixed: Uint8Array;
  readonly tail: Uint8Array;
  readonly tailFixed: Uint8Array;
  /** Where the items that the datagram carries stand in the head. */
  readonly items: ReadonlyMap<number, number>;
  readonly itemsPlan: ItemsPlan | undefined;
}

/** A condition and whether it shall hold. */
export interface Goal {
  readonly condition: Condition;
  readonly want: boolean;
}

export function createDraft(one: CasePlan, carried: readonly number[]): Draft {
  const plan = one.items;
  const draft: Draft = {
    head: new Uint8Array(HEAD_CAPACITY),
    headFixed: new Uint8Array(HEAD_CAPACITY),
    tail: new Uint8Array(TAIL_CAPACITY),
    tailFixed: new Uint8Array(TAIL_CAPACITY),
    items: new Map(plan === undefined ? [] : carried.map((id, index) => [id, plan.at + 8 * index])),
    itemsPlan: plan,
  };
  if (plan === undefined) return draft;
  setValue(draft, plan.count, BigInt(carried.length));
  for (const [id, at] of draft.items)
    setBits(draft, wordAt(at, plan.when | plan.id), plan.when | (BigInt(id) << plan.idShift));
  return draft;
}

function wordAt(at: number, mask: bigint): BytesRead {
  return {
    kind: "bytes",
    at: { base: at, terms: [] },
    from: "start",
    bytes: 8,
    little: false,
    mask,
    shift: 0n,
    times: 1n,
  };
}

/** The field of an item, as bytes. */
function asBytes(draft: Draft, read: Read): BytesRead | undefined {
  if (read.kind !== "item") return read.kind === "bytes" ? read : undefined;
  const at = draft.items.get(read.item);
  if (at === undefined || draft.itemsPlan === undefined) return undefined;
  return { ...wordAt(at, draft.itemsPlan.value), shift: draft.itemsPlan.valueShift };
}

/** Where a field stands: in the head counted from the start, or in the tail counted from the datagram's end. */
export interface Spot {
  readonly inTail: boolean;
  /** Offset of the first byte in the head, or in the tail of 8 bytes. */
  readonly at: number;
  readonly read: BytesRead;
}

/** A field's place, once the fields that decide it are fixed; undefined where scatter cannot write. */
export function locate(draft: Draft, read: Read): Spot | undefined {
  const bytes = asBytes(draft, read);
  if (bytes === undefined || bytes.from === "data") return undefined;
  if (bytes.from === "end") return { inTail: true, at: TAIL_CAPACITY - bytes.at.base, read: bytes };
  const at = extentOf(draft, bytes.at);
  return at === undefined || at + bytes.bytes > HEAD_CAPACITY
    ? undefined
    : { inTail: false, at, read: bytes };
}

/** A length as the draft has it now; the bits that decide it are fixed from then on. */
export function extentOf(draft: Draft, extent: Extent): number | undefined {
  let bytes = extent.base;
  for (const { field, times, plus, when } of extent.terms) {
    if (when !== undefined && !freeze(draft, when)) continue;
    bytes += plus;
    if (field === undefined) continue;
    const value = currentValue(draft, field, true);
    if (value === undefined) return undefined;
    bytes += Number(value) * times;
  }
  return bytes;
}

/** Whether a condition holds as the draft is now; all bits it looks at are fixed. */
function freeze(draft: Draft, condition: Condition): boolean {
  if (condition.kind === "constant") return condition.value;
  if (condition.kind === "not") return !freeze(draft, condition.of);
  if (condition.kind !== "is") {
    const each = condition.of.map((one) => freeze(draft, one));
    return condition.kind === "any" ? each.includes(true) : !each.includes(false);
  }
  const bits = currentBits(draft, condition.field, true);
  return bits !== undefined && condition.values.includes(bits);
}

function bytesOf(draft: Draft, spot: Spot): { data: Uint8Array; fixed: Uint8Array } {
  const end = spot.at + spot.read.bytes;
  return spot.inTail
    ? { data: draft.tail.subarray(spot.at, end), fixed: draft.tailFixed.subarray(spot.at, end) }
    : { data: draft.head.subarray(spot.at, end), fixed: draft.headFixed.subarray(spot.at, end) };
}

/** The k-th byte of the value, from its lowest, is this byte of the field. */
function byteIndex(read: BytesRead, k: number): number {
  return read.little ? k : read.bytes - 1 - k;
}

function currentBits(draft: Draft, read: Read, fix: boolean): bigint | undefined {
  if (read.kind === "fixed") return read.value;
  const spot = locate(draft, read);
  if (spot === undefined) return undefined;
  const { data, fixed } = bytesOf(draft, spot);
  let bits = 0n;
  for (let k = 0; k < spot.read.bytes; k++) {
    const index = byteIndex(spot.read, k);
    bits |= BigInt(data[index]) << BigInt(8 * k);
    if (fix) fixed[index] |= Number((spot.read.mask >> BigInt(8 * k)) & 0xffn);
  }
  const masked = bits & spot.read.mask;
  return read.kind === "item" ? masked >> spot.read.shift : masked;
}

function currentValue(draft: Draft, read: Read, fix: boolean): bigint | undefined {
  const bits = currentBits(draft, read, fix);
  if (bits === undefined || read.kind !== "bytes") return bits;
  return (bits >> read.shift) * read.times;
}

/** Fixes a field's bits, given where they stand under the mask. False if some are fixed otherwise. */
function setBits(draft: Draft, read: Read, bits: bigint): boolean {
  if (read.kind === "fixed") return read.value === bits;
  const spot = locate(draft, read);
  if (spot === undefined) return false;
  const { mask, shift } = spot.read;
  const wanted = read.kind === "item" ? bits << shift : bits;
  const { data, fixed } = bytesOf(draft, spot);
  const parts = Array.from({ length: spot.read.bytes }, (_, k) => ({
    index: byteIndex(spot.read, k),
    mask: Number((mask >> BigInt(8 * k)) & 0xffn),
    value: Number((wanted >> BigInt(8 * k)) & 0xffn),
  }));
  if (parts.some((part) => ((data[part.index] ^ part.value) & fixed[part.index] & part.mask) !== 0))
    return false;
  for (const part of parts) {
    data[part.index] = (data[part.index] & ~part.mask) | (part.value & part.mask);
    fixed[part.index] |= part.mask;
  }
  return true;
}

/** Fixes a field's value as readers see it. False if it cannot have that value. */
export function setValue(draft: Draft, read: Read, value: bigint): boolean {
  if (read.kind !== "bytes") return setBits(draft, read, value);
  if (value % read.times !== 0n) return false;
  const bits = (value / read.times) << read.shift;
  return (bits & ~read.mask) === 0n && setBits(draft, read, bits);
}

/** Meets all goals, or leaves the draft as it was and returns false. */
export function solve(draft: Draft, goals: readonly Goal[]): boolean {
  const [goal, ...rest] = goals;
  if (goal === undefined) return true;
  const { condition, want } = goal;
  if (condition.kind === "constant") return condition.value === want && solve(draft, rest);
  if (condition.kind === "not") return solve(draft, [{ condition: condition.of, want: !want }, ...rest]);
  if (condition.kind !== "is") {
    const each = condition.of.map((one) => ({ condition: one, want }));
    // `all` that shall hold, or `any` that shall not: each part must go that way; else one of them is enough.
    if ((condition.kind === "all") === want) return solve(draft, [...each, ...rest]);
    return each.some((one) => solve(draft, [one, ...rest]));
  }
  const saved = save(draft);
  for (const bits of choices(draft, condition.field, condition.values, want)) {
    if (setBits(draft, condition.field, bits) && solve(draft, rest)) return true;
    restore(draft, saved);
  }
  restore(draft, saved);
  // An item that the datagram does not carry makes a condition on it false.
  return (
    !want && condition.field.kind === "item" && !draft.items.has(condition.field.item) && solve(draft, rest)
  );
}

/** What a field can be made to hold so that the condition goes the way it shall, what it holds now first. */
function choices(draft: Draft, read: Read, values: readonly bigint[], want: boolean): bigint[] {
  const now = currentBits(draft, read, false);
  if (now === undefined) return [];
  if (want) return [...values].sort((a, b) => Number(b === now) - Number(a === now));
  const step = read.kind === "bytes" ? 1n << read.shift : 1n;
  const mask = read.kind === "bytes" ? read.mask : read.kind === "item" ? read.mask : 0n;
  const others = Array.from({ length: values.length + 8 }, (_, k) => (now + BigInt(k + 1) * step) & mask);
  return [now, ...others].filter((bits) => !values.includes(bits));
}

type Saved = readonly Uint8Array[];

function save({ head, headFixed, tail, tailFixed }: Draft): Saved {
  return [head, headFixed, tail, tailFixed].map((bytes) => bytes.slice());
}

function restore(draft: Draft, saved: Saved): void {
  [draft.head, draft.headFixed, draft.tail, draft.tailFixed].forEach((bytes, index) => {
    bytes.set(saved[index]);
  });
}
