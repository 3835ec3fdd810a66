// The typed intermediate form: values (32-bit numbers computed from a packet) and conditions over them.
// Values are interned: the same computation is the same object, so that equality is identity.

export type BinaryOp = "add" | "sub" | "mul" | "div" | "mod" | "and" | "or" | "xor" | "shl" | "shr";
export type TestOp = "eq" | "gt" | "ge" | "set";
export type LoadSize = 1 | 2 | 4;

export type Value = {
  readonly id: number;
  /** Whether it is computed from a slot, and so may differ from one place of the program to another. */
  readonly varies: boolean;
} & (
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "length" }
  /** Big-endian bytes of the packet at `base` (0 when absent) + `offset`. Outside the packet: the filter rejects. */
  | {
      readonly kind: "load";
      readonly size: LoadSize;
      readonly base: Value | undefined;
      readonly offset: number;
    }
  /** Four times the low half of the byte at `offset`: the length of an IPv4 header. */
  | { readonly kind: "header"; readonly offset: number }
  | { readonly kind: "binary"; readonly op: BinaryOp; readonly left: Value; readonly right: Value }
  | { readonly kind: "negate"; readonly value: Value }
  /** What the last `assign` put into a slot on the way here. */
  | { readonly kind: "slot"; readonly slot: number }
);

export type Condition =
  | { readonly kind: "always"; readonly value: boolean }
  /** A comparison of numbers. Like `always`, but the tests before it are made, as libpcap makes them. */
  | { readonly kind: "folded"; readonly value: boolean }
  | { readonly kind: "test"; readonly op: TestOp; readonly left: Value; readonly right: Value }
  | { readonly kind: "and" | "or"; readonly left: Condition; readonly right: Condition }
  | { readonly kind: "not"; readonly condition: Condition }
  /** Puts a value into a slot; always holds. */
  | { readonly kind: "assign"; readonly slot: number; readonly value: Value };

/** All values of one compilation. */
export interface Values {
  readonly interned: Map<string, Value>;
}

export function createValues(): Values {
  return { interned: new Map() };
}

function intern(values: Values, key: string, make: (id: number) => Value): Value {
  let value = values.interned.get(key);
  if (value === undefined) {
    value = make(values.interned.size);
    values.interned.set(key, value);
  }
  return value;
}

export function constant(values: Values, value: number): Value {
  const u32 = value >>> 0;
  return intern(values, `c${u32}`, (id) => ({ id, varies: false, kind: "constant", value: u32 }));
}

export function packetLength(values: Values): Value {
  return intern(values, "len", (id) => ({ id, varies: false, kind: "length" }));
}

export function headerLength(values: Values, offset: number): Value {
  const at = offset >>> 0;
  return intern(values, `h${at}`, (id) => ({ id, varies: false, kind: "header", offset: at }));
}

export function slotValue(values: Values, slot: number): Value {
  return intern(values, `s${slot}`, (id) => ({ id, varies: true, kind: "slot", slot }));
}

export function load(values: Values, size: LoadSize, base: Value | undefined, offset: number): Value {
  if (base?.kind === "constant") return load(values, size, undefined, base.value + offset);
  const at = offset >>> 0;
  return intern(values, `l${size},${base?.id ?? ""},${at}`, (id) => ({
    id,
    varies: base?.varies ?? false,
    kind: "load",
    size,
    base,
    offset: at,
  }));
}

export function negate(values: Values, value: Value): Value {
  if (value.kind === "constant") return constant(values, -value.value);
  return intern(values, `n${value.id}`, (id) => ({ id, varies: value.varies, kind: "negate", value }));
}

/** What an operation gives on two numbers; undefined where it has no result. */
export function evaluate(op: BinaryOp, left: number, right: number): number | undefined {
  switch (op) {
    case "add":
      return (left + right) >>> 0;
    case "sub":
      return (left - right) >>> 0;
    case "mul":
      return Math.imul(left, right) >>> 0;
    case "div":
      return right === 0 ? undefined : Math.floor(left / right);
    case "mod":
      return right === 0 ? undefined : left % right;
    case "and":
      return (left & right) >>> 0;
    case "or":
      return (left | right) >>> 0;
    case "xor":
      return (left ^ right) >>> 0;
    case "shl":
      return right > 31 ? 0 : (left << right) >>> 0;
    case "shr":
      return right > 31 ? 0 : left >>> right;
  }
}

/** A value computed from two. Throws RangeError for a division by the number 0, and where a packet's value is shifted by more than 31. */
export function binary(values: Values, op: BinaryOp, left: Value, right: Value): Value {
  if (right.kind === "constant") {
    if ((op === "div" || op === "mod") && right.value === 0) throw new RangeError("division by zero");
    if (left.kind === "constant") return constant(values, evaluate(op, left.value, right.value) ?? 0);
    if ((op === "shl" || op === "shr") && right.value > 31)
      throw new RangeError("shift by more than 31 bits");
    if (right.value === 0) return op === "mul" || op === "and" ? right : left;
  }
  if (left.kind === "constant" && left.value === 0) {
    if (op === "add" || op === "or" || op === "xor") return right;
    if (op !== "sub") return left;
  }
  return intern(values, `${op}${left.id},${right.id}`, (id) => ({
    id,
    varies: left.varies || right.varies,
    kind: "binary",
    op,
    left,
    right,
  }));
}

export function always(value: boolean): Condition {
  return { kind: "always", value };
}

export function and(left: Condition, right: Condition): Condition {
  return { kind: "and", left, right };
}

export function or(left: Condition, right: Condition): Condition {
  return { kind: "or", left, right };
}

export function not(condition: Condition): Condition {
  return { kind: "not", condition };
}

/** Whether `op` holds for two numbers. */
export function holds(op: TestOp, left: number, right: number): boolean {
  switch (op) {
    case "eq":
      return left === right;
    case "gt":
      return left > right;
    case "ge":
      return left >= right;
    case "set":
      return (left & right) !== 0;
  }
}

export function test(op: TestOp, left: Value, right: Value): Condition {
  if (right.kind === "constant") {
    if (left.kind === "constant") return { kind: "folded", value: holds(op, left.value, right.value) };
    if (op === "set" && right.value === 0) return always(false);
    if (op === "eq" && right.value === 0 && left.kind === "binary" && left.op === "and")
      return not(test("set", left.left, left.right));
  }
  return { kind: "test", op, left, right };
}

export function equals(values: Values, left: Value, right: number): Condition {
  return test("eq", left, constant(values, right));
}

/** Whether the bits of `left` under a mask are those of `right`. */
export function equalsMasked(values: Values, left: Value, right: number, mask: number): Condition {
  if (mask === 0) return always(right === 0);
  const masked = mask >>> 0 === 0xffffffff ? left : binary(values, "and", left, constant(values, mask));
  return equals(values, masked, right);
}

/** A conjunction in the order given. */
export function all(first: Condition, ...more: readonly Condition[]): Condition {
  return more.reduce(and, first);
}

/** A disjunction in the order given. */
export function any(first: Condition, ...more: readonly Condition[]): Condition {
  return more.reduce(or, first);
}
