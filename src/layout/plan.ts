// A layout made ready: parameters put in, defaults filled, masks as numbers, one complete set of rules a case.

export interface BytesRead {
  readonly kind: "bytes";
  readonly at: Extent;
  readonly from: "start" | "data" | "end";
  readonly bytes: number;
  readonly little: boolean;
  readonly mask: bigint;
  /** Zeros below the mask. */
  readonly shift: bigint;
  readonly times: bigint;
}

export interface ItemRead {
  readonly kind: "item";
  readonly item: number;
  readonly optional: boolean;
  readonly mask: bigint;
}

export interface FixedRead {
  readonly kind: "fixed";
  readonly value: bigint;
}

export type Read = BytesRead | ItemRead | FixedRead;

/** A length in bytes: `base` + Σ (plus + field × times). */
export interface Extent {
  readonly base: number;
  readonly terms: readonly {
    readonly field?: Read;
    readonly times: number;
    readonly plus: number;
    readonly when?: Condition;
  }[];
}

export type Condition =
  | { readonly kind: "constant"; readonly value: boolean }
  | { readonly kind: "is"; readonly field: Read; readonly values: readonly bigint[] }
  | { readonly kind: "any" | "all"; readonly of: readonly Condition[] }
  | { readonly kind: "not"; readonly of: Condition };

/** Bytes a unit as a fraction in lowest terms. */
export interface Ratio {
  readonly times: bigint;
  readonly over: bigint;
}

export type Placing =
  | { readonly by: "arrival" }
  | { readonly by: "sequence"; readonly field: Read; readonly bits: number }
  | { readonly by: "offset"; readonly field: Read; readonly base: bigint; readonly unit: Ratio | "datagram" };

export interface SlicePlan {
  readonly at: Extent;
  readonly bytes: number;
  readonly more: Condition;
  readonly length: Read;
  readonly place: readonly { readonly field: Read; readonly unit: Ratio }[];
  readonly most: number;
}

export interface ItemsPlan {
  readonly at: number;
  readonly count: Read;
  readonly when: bigint;
  readonly id: bigint;
  readonly idShift: bigint;
  readonly value: bigint;
  readonly valueShift: bigint;
  /** The ids that some rule asks for; the others are passed over. */
  readonly wanted: readonly number[];
}

export type ChunkIdKind =
  | { readonly kind: "none" }
  | { readonly kind: "opaque" }
  | { readonly kind: "counter"; readonly first: bigint; readonly last: bigint };

/** All that holds for one case. Case 0 is the layout itself, where no other case matches. */
export interface CasePlan {
  readonly number: number;
  readonly name?: string;
  readonly when: Condition;
  readonly stream: readonly { readonly name?: string; readonly field: Read; readonly bits: number }[];
  readonly header: Extent;
  readonly length?: { readonly field: Read; readonly plus: bigint; readonly includesHeader: boolean };
  readonly trim?: { readonly when: Condition; readonly by: number | Read };
  readonly items?: ItemsPlan;
  readonly chunk?: Read;
  readonly ids: ChunkIdKind;
  readonly place: Placing;
  readonly slices?: SlicePlan;
  readonly size?: { readonly when: Condition; readonly product: readonly Read[]; readonly over: bigint };
  readonly stop: Condition;
  readonly start: Condition;
  readonly end: Condition;
  readonly changed?: Read;
  readonly control: Condition;
  readonly lost: Condition;
  readonly fields: readonly { readonly name: string; readonly field: Read; readonly when?: Condition }[];
}

export interface LayoutPlan {
  readonly name: string;
  readonly when: Condition;
  /** In the order in which they are tried; the last is case 0, which always matches. */
  readonly cases: readonly CasePlan[];
}

/** Byte positions, lengths and sizes are numbers in JavaScript too; a datagram that says more is malformed. */
export const LARGEST_POSITION = 2n ** 53n - 1n;

export const ALWAYS: Condition = { kind: "constant", value: true };
export const NEVER: Condition = { kind: "constant", value: false };

/** The largest value a field can have. */
export function largest(read: Read): bigint {
  if (read.kind === "fixed") return read.value;
  return read.kind === "item" ? read.mask : (read.mask >> read.shift) * read.times;
}

export function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

export function trailingZeros(value: bigint): bigint {
  let zeros = 0n;
  for (let rest = value; rest !== 0n && (rest & 1n) === 0n; rest >>= 1n) zeros++;
  return zeros;
}

// CUT_KIND: the case's number in the low byte, above it a bit for each group of fields shown under one condition.
export const KIND_CASE = 0xff;
export const KIND_GROUP_SHIFT = 8;
export const KIND_GROUPS = 8;

/** The fields a case shows, by the condition under which it does. */
export function fieldGroups(
  one: CasePlan,
): { readonly when: Condition | undefined; readonly fields: readonly Read[] }[] {
  const text = (when: Condition | undefined) =>
    JSON.stringify(when, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value)) ?? "";
  const groups = new Map<string, { when: Condition | undefined; fields: Read[] }>();
  for (const { field, when } of one.fields) {
    const group = groups.get(text(when)) ?? { when, fields: [] };
    group.fields.push(field);
    groups.set(text(when), group);
  }
  return [...groups.values()];
}
