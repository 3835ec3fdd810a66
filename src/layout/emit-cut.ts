import {
  CUT_BY_DATAGRAM,
  CUT_BYTES,
  CUT_CHANGED,
  CUT_CHUNK,
  CUT_DATA,
  CUT_DATAGRAM,
  CUT_END,
  CUT_FIELDS,
  CUT_FLAGS,
  CUT_HAS_CHANGED,
  CUT_HAS_CHUNK,
  CUT_IS_CONTROL,
  CUT_IS_LOST,
  CUT_IS_MALFORMED,
  CUT_IS_OTHER,
  CUT_KIND,
  CUT_LENGTH,
  CUT_MORE,
  CUT_POSITION,
  CUT_SIZE,
  CUT_SIZED,
  CUT_STREAM_HIGH,
  CUT_STREAM_LOW,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_LENGTH,
  DATAGRAM_SIZE,
  DATAGRAM_TAIL,
} from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { I32, I64, MEM, OP } from "../wasm/opcodes.js";
import {
  type Emitter,
  emitCondition,
  emitExtent,
  emitLoad,
  emitPlace,
  emitRead,
  itemOf,
} from "./emit-read.js";
import {
  type CasePlan,
  type Condition,
  LARGEST_POSITION,
  type LayoutPlan,
  largest,
  type Placing,
  type Ratio,
} from "./plan.js";

/** The locals that become a cut. */
interface CutLocals {
  readonly flags: number;
  readonly streamLow: number;
  readonly streamHigh: number;
  readonly chunk: number;
  readonly position: number;
  readonly size: number;
  readonly data: number;
  readonly dataLength: number;
  readonly changed: number;
  readonly kind: number;
}

interface CutEmitter extends Emitter {
  readonly cut: CutLocals;
  /** Locals: number of the datagram, cuts written, where the next cut goes. */
  readonly datagram: number;
  readonly cuts: number;
  readonly out: number;
  readonly capacity: number;
  /** Behind it: the cut in the locals is written. */
  written: w.Label;
  /** Behind it: the datagram's cuts are already in the table. */
  advanced: w.Label;
  /** The table is full: this datagram is left for the next call. */
  full: w.Label;
}

/**
 * The cut program of a layout: `cut(datagrams, count, out, capacity)` reads the table of datagrams and writes
 * the table of cuts, for each datagram all of its cuts or none; returns how many cuts it wrote.
 */
export function emitCutProgram(plan: LayoutPlan): Uint8Array<ArrayBuffer> {
  const module = w.createModule();
  const f = w.addFunction(module, { name: "cut", parameters: [I32, I32, I32, I32], results: [I32] });
  const wanted = new Set(plan.cases.flatMap((one) => one.items?.wanted ?? []));
  const local = (type: typeof I32 | typeof I64) => w.addLocal(f, type);
  const entry = 0;
  const count = 1;
  const done = w.block(f);
  const next = w.loop(f);
  const advanced = w.block(f);
  const written = w.block(f);
  const malformed = w.block(f);
  const other = w.block(f);
  const e: CutEmitter = {
    f,
    head: local(I32),
    headLength: local(I32),
    length: local(I32),
    tail: local(I32),
    header: local(I32),
    items: new Map([...wanted].map((id) => [id, { found: local(I32), value: local(I64) }])),
    malformed,
    known: 0,
    cut: {
      flags: local(I32),
      streamLow: local(I64),
      streamHigh: local(I64),
      chunk: local(I64),
      position: local(I64),
      size: local(I64),
      data: local(I32),
      dataLength: local(I32),
      changed: local(I64),
      kind: local(I32),
    },
    datagram: local(I32),
    cuts: local(I32),
    out: 2,
    capacity: 3,
    written,
    advanced,
    full: done,
  };
  w.get(f, e.datagram);
  w.get(f, count);
  w.op(f, OP.i32_ge_u);
  w.brIf(f, done);
  w.get(f, e.cuts);
  w.get(f, e.capacity);
  w.op(f, OP.i32_ge_u);
  w.brIf(f, done);
  for (const [to, offset] of [
    [e.head, DATAGRAM_HEAD],
    [e.headLength, DATAGRAM_HEAD_LENGTH],
    [e.length, DATAGRAM_LENGTH],
    [e.tail, DATAGRAM_TAIL],
  ] as const) {
    w.get(f, entry);
    w.access(f, MEM.i32_load, offset);
    w.set(f, to);
  }
  emitClear(e);
  emitCondition(e, plan.when);
  w.op(f, OP.i32_eqz);
  w.brIf(f, other);
  for (const one of plan.cases) emitCase(e, one);
  w.end(f); // other
  w.i32Const(f, CUT_IS_OTHER);
  w.set(f, e.cut.flags);
  w.br(f, written);
  w.end(f); // malformed
  emitClear(e);
  w.i32Const(f, CUT_IS_MALFORMED);
  w.set(f, e.cut.flags);
  w.end(f); // written
  emitStore(e);
  w.end(f); // advanced
  addTo(f, e.datagram, 1);
  addTo(f, entry, DATAGRAM_SIZE);
  w.br(f, next);
  w.end(f);
  w.end(f);
  w.get(f, e.cuts);
  w.finish(f);
  return w.encode(module);
}

function addTo(f: w.WasmFunction, local: number, amount: number): void {
  w.get(f, local);
  w.i32Const(f, amount);
  w.op(f, OP.i32_add);
  w.set(f, local);
}

function emitClear(e: CutEmitter): void {
  const { f, cut } = e;
  for (const local of [cut.flags, cut.data, cut.dataLength, cut.kind]) {
    w.i32Const(f, 0);
    w.set(f, local);
  }
  for (const local of [cut.streamLow, cut.streamHigh, cut.chunk, cut.position, cut.size, cut.changed]) {
    w.i64Const(f, 0n);
    w.set(f, local);
  }
}

/** Writes the locals as the next cut and moves on by one. */
function emitStore(e: CutEmitter): void {
  const { f, cut } = e;
  const words = [
    [CUT_DATAGRAM, e.datagram],
    [CUT_FLAGS, cut.flags],
    [CUT_DATA, cut.data],
    [CUT_LENGTH, cut.dataLength],
    [CUT_KIND, cut.kind],
  ] as const;
  const longs = [
    [CUT_STREAM_LOW, cut.streamLow],
    [CUT_STREAM_HIGH, cut.streamHigh],
    [CUT_CHUNK, cut.chunk],
    [CUT_POSITION, cut.position],
    [CUT_SIZE, cut.size],
    [CUT_CHANGED, cut.changed],
  ] as const;
  for (const [offset, local] of words) {
    w.get(f, e.out);
    w.get(f, local);
    w.access(f, MEM.i32_store, offset);
  }
  for (const [offset, local] of longs) {
    w.get(f, e.out);
    w.get(f, local);
    w.access(f, MEM.i64_store, offset);
  }
  addTo(f, e.out, CUT_BYTES);
  addTo(f, e.cuts, 1);
}

function emitCase(e: CutEmitter, one: CasePlan): void {
  const { f } = e;
  const notThis = w.block(f);
  emitCondition(e, one.when);
  w.op(f, OP.i32_eqz);
  w.brIf(f, notThis);
  const known = e.known;
  w.i32Const(f, one.number);
  w.set(f, e.cut.kind);
  emitExtent(e, one.header);
  w.tee(f, e.header);
  w.get(f, e.length);
  w.op(f, OP.i32_gt_u);
  w.brIf(f, e.malformed);
  if (one.items !== undefined) emitItems(e, one.items);
  emitKey(e, one);
  emitIds(e, one);
  emitWhat(e, one);
  if (one.slices === undefined) w.br(f, e.written);
  e.known = known;
  w.end(f);
}

function emitItems(e: CutEmitter, items: NonNullable<CasePlan["items"]>): void {
  const { f } = e;
  for (const { found } of items.wanted.map((id) => itemOf(e, id))) {
    w.i32Const(f, 0);
    w.set(f, found);
  }
  const left = w.addLocal(f, I64);
  const at = w.addLocal(f, I32);
  const item = w.addLocal(f, I64);
  const id = w.addLocal(f, I64);
  emitRead(e, items.count);
  w.tee(f, left);
  w.i64Const(f, 1n << 28n);
  w.op(f, OP.i64_gt_u);
  w.brIf(f, e.malformed);
  w.get(f, left);
  w.op(f, OP.i32_wrap_i64);
  w.i32Const(f, 3);
  w.op(f, OP.i32_shl);
  w.i32Const(f, items.at);
  w.op(f, OP.i32_add);
  w.get(f, e.headLength);
  w.op(f, OP.i32_gt_u);
  w.brIf(f, e.malformed);
  w.get(f, e.head);
  w.set(f, at);
  const done = w.block(f);
  const next = w.loop(f);
  w.get(f, left);
  w.op(f, OP.i64_eqz);
  w.brIf(f, done);
  emitLoad(f, at, items.at, 8, false);
  w.set(f, item);
  addTo(f, at, 8);
  w.get(f, left);
  w.i64Const(f, 1n);
  w.op(f, OP.i64_sub);
  w.set(f, left);
  if (items.when !== 0n) {
    w.get(f, item);
    w.i64Const(f, BigInt.asIntN(64, items.when));
    w.op(f, OP.i64_and, OP.i64_eqz);
    w.brIf(f, next);
  }
  w.get(f, item);
  w.i64Const(f, BigInt.asIntN(64, items.id));
  w.op(f, OP.i64_and);
  w.set(f, id);
  for (const wanted of items.wanted) {
    const { found, value } = itemOf(e, wanted);
    w.get(f, id);
    w.i64Const(f, BigInt.asIntN(64, BigInt(wanted) << items.idShift));
    w.op(f, OP.i64_eq);
    w.ifThen(f);
    w.get(f, item);
    w.i64Const(f, BigInt.asIntN(64, items.value));
    w.op(f, OP.i64_and);
    w.i64Const(f, items.valueShift);
    w.op(f, OP.i64_shr_u);
    w.set(f, value);
    w.i32Const(f, 1);
    w.set(f, found);
    w.br(f, next);
    w.end(f);
  }
  w.br(f, next);
  w.end(f);
  w.end(f);
}

/** The stream's fields side by side, each in whole bytes, the first in the lowest. */
function emitKey(e: CutEmitter, one: CasePlan): void {
  const { f, cut } = e;
  let bit = 0;
  for (const { field, bits } of one.stream) {
    const value = w.addLocal(f, I64);
    const bytes = Math.ceil(bits / 8);
    emitRead(e, field);
    w.set(f, value);
    if (bit < 64) emitOr(f, cut.streamLow, value, OP.i64_shl, bit);
    if (bit >= 64) emitOr(f, cut.streamHigh, value, OP.i64_shl, bit - 64);
    else if (bit + 8 * bytes > 64) emitOr(f, cut.streamHigh, value, OP.i64_shr_u, 64 - bit);
    bit += 8 * bytes;
  }
}

function emitOr(
  f: w.WasmFunction,
  into: number,
  value: number,
  shift: typeof OP.i64_shl | typeof OP.i64_shr_u,
  by: number,
): void {
  w.get(f, into);
  w.get(f, value);
  if (by > 0) {
    w.i64Const(f, BigInt(by));
    w.op(f, shift);
  }
  w.op(f, OP.i64_or);
  w.set(f, into);
}

function setFlags(e: CutEmitter, flags: number): void {
  w.get(e.f, e.cut.flags);
  w.i32Const(e.f, flags);
  w.op(e.f, OP.i32_or);
  w.set(e.f, e.cut.flags);
}

function emitFlagIf(e: CutEmitter, condition: Condition, flag: number): void {
  if (condition.kind === "constant" && !condition.value) return;
  emitCondition(e, condition);
  w.ifThen(e.f);
  setFlags(e, flag);
  w.end(e.f);
}

function emitIds(e: CutEmitter, one: CasePlan): void {
  const { f, cut } = e;
  if (one.chunk !== undefined) {
    emitRead(e, one.chunk);
    w.set(f, cut.chunk);
    setFlags(e, CUT_HAS_CHUNK);
    if (one.ids.kind === "counter") emitWithin(e, cut.chunk, one.ids.first, one.ids.last, largest(one.chunk));
  }
  if (one.changed !== undefined) {
    emitRead(e, one.changed);
    w.set(f, cut.changed);
    setFlags(e, CUT_HAS_CHANGED);
  }
  emitFlagIf(e, one.end, CUT_END);
  if (one.size !== undefined) emitSize(e, one.size);
}

/** A counter's value outside its bounds is malformed. */
function emitWithin(e: CutEmitter, value: number, first: bigint, last: bigint, most: bigint): void {
  const { f } = e;
  if (first > 0n) {
    w.get(f, value);
    w.i64Const(f, BigInt.asIntN(64, first));
    w.op(f, OP.i64_lt_u);
    w.brIf(f, e.malformed);
  }
  if (last < most) emitAtMost(e, value, last);
}

function emitAtMost(e: CutEmitter, value: number, most: bigint): void {
  w.get(e.f, value);
  w.i64Const(e.f, BigInt.asIntN(64, most));
  w.op(e.f, OP.i64_gt_u);
  w.brIf(e.f, e.malformed);
}

function emitSize(e: CutEmitter, size: NonNullable<CasePlan["size"]>): void {
  const { f, cut } = e;
  const known = e.known;
  emitCondition(e, size.when);
  const [first] = size.product;
  if (first.kind === "item" && first.optional) {
    w.get(f, itemOf(e, first.item).found);
    w.op(f, OP.i32_and);
  }
  w.ifThen(f);
  size.product.forEach((factor, index) => {
    emitRead(e, factor);
    if (index > 0) w.op(f, OP.i64_mul);
  });
  if (size.over !== 1n) {
    w.i64Const(f, size.over);
    w.op(f, OP.i64_div_u);
  }
  w.set(f, cut.size);
  if (size.product.reduce((all, one) => all * largest(one), 1n) / size.over > LARGEST_POSITION)
    emitAtMost(e, cut.size, LARGEST_POSITION);
  setFlags(e, CUT_SIZED);
  w.end(f);
  e.known = known;
}

/** Control, lost or data, and with it where the data is and where it belongs. */
function emitWhat(e: CutEmitter, one: CasePlan): void {
  const { f, cut } = e;
  w.get(f, e.header);
  w.set(f, cut.data);
  w.get(f, e.length);
  w.get(f, e.header);
  w.op(f, OP.i32_sub);
  w.set(f, cut.dataLength);
  emitShown(e, one);
  if (one.control.kind !== "constant" || one.control.value) {
    emitCondition(e, one.control);
    const known = e.known;
    w.ifThen(f);
    setFlags(e, CUT_IS_CONTROL);
    emitPosition(e, one.place, true);
    w.br(f, e.written);
    w.end(f);
    e.known = known;
  }
  emitFlagIf(e, one.lost, CUT_IS_LOST);
  if (one.slices !== undefined) {
    emitSlices(e, one.slices);
    return;
  }
  emitPosition(e, one.place, false);
  emitBounds(e, one);
  if (one.place.by === "offset" && one.place.unit !== "datagram") emitFits(e);
}

/** Tells which datagrams carry fields shown under a condition, once these are known to lie inside. */
function emitShown(e: CutEmitter, one: CasePlan): void {
  const { f } = e;
  const groups = new Map<string, typeof one.fields>();
  for (const shown of one.fields) {
    const key = describe(shown.when);
    groups.set(key, [...(groups.get(key) ?? []), shown]);
  }
  for (const group of groups.values()) {
    const { when } = group[0];
    const known = e.known;
    if (when !== undefined) {
      emitCondition(e, when);
      w.ifThen(f);
      setFlags(e, CUT_FIELDS);
    }
    for (const { field } of group) if (field.kind === "bytes") emitPlace(e, field);
    if (when !== undefined) {
      w.end(f);
      e.known = known;
    }
  }
}

function describe(condition: Condition | undefined): string {
  return (
    JSON.stringify(condition, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value)) ?? ""
  );
}

function emitPosition(e: CutEmitter, place: Placing, control: boolean): void {
  const { f, cut } = e;
  if (place.by === "arrival") return;
  emitRead(e, place.field);
  w.set(f, cut.position);
  if (place.by === "sequence") return;
  if (place.base > 0n) {
    w.get(f, cut.position);
    w.i64Const(f, place.base);
    w.op(f, OP.i64_lt_u);
    if (control) {
      w.ifThen(f);
      w.i64Const(f, place.base);
      w.set(f, cut.position);
      w.end(f);
    } else w.brIf(f, e.malformed);
    w.get(f, cut.position);
    w.i64Const(f, place.base);
    w.op(f, OP.i64_sub);
    w.set(f, cut.position);
  }
  if (place.unit === "datagram") {
    setFlags(e, CUT_BY_DATAGRAM);
    if (largest(place.field) > LARGEST_POSITION) emitAtMost(e, cut.position, LARGEST_POSITION);
  } else emitScaled(e, cut.position, place.unit, largest(place.field));
}

/** Turns a count of units into bytes; what is not a whole number of bytes, or too many, is malformed. */
function emitScaled(e: CutEmitter, value: number, unit: Ratio, most: bigint): void {
  const { f } = e;
  const limit = LARGEST_POSITION / unit.times;
  if (most > limit) emitAtMost(e, value, limit);
  if (unit.times !== 1n) {
    w.get(f, value);
    w.i64Const(f, unit.times);
    w.op(f, OP.i64_mul);
    w.set(f, value);
  }
  if (unit.over === 1n) return;
  w.get(f, value);
  w.i64Const(f, unit.over - 1n);
  w.op(f, OP.i64_and, OP.i64_eqz, OP.i32_eqz);
  w.brIf(f, e.malformed);
  w.get(f, value);
  w.i64Const(f, unit.over);
  w.op(f, OP.i64_div_u);
  w.set(f, value);
}

/** Where the data ends: a length field must not lie beyond the datagram, nor a trim before the header. */
function emitBounds(e: CutEmitter, one: CasePlan): void {
  const { f, cut } = e;
  if (one.length !== undefined) {
    const value = w.addLocal(f, I64);
    emitRead(e, one.length.field);
    w.set(f, value);
    if (one.length.includesHeader) {
      w.get(f, value);
      w.get(f, e.header);
      w.op(f, OP.i64_extend_i32_u, OP.i64_lt_u);
      w.brIf(f, e.malformed);
      w.get(f, value);
      w.get(f, e.header);
      w.op(f, OP.i64_extend_i32_u, OP.i64_sub);
      w.set(f, value);
    }
    emitShorten(e, value, () => {
      w.get(f, value);
      w.op(f, OP.i32_wrap_i64);
    });
  }
  if (one.trim === undefined) return;
  const known = e.known;
  emitCondition(e, one.trim.when);
  w.ifThen(f);
  const by = w.addLocal(f, I64);
  if (typeof one.trim.by === "number") w.i64Const(f, BigInt(one.trim.by));
  else emitRead(e, one.trim.by);
  w.set(f, by);
  emitShorten(e, by, () => {
    w.get(f, cut.dataLength);
    w.get(f, by);
    w.op(f, OP.i32_wrap_i64, OP.i32_sub);
  });
  w.end(f);
  e.known = known;
}

/** Malformed if `value` is more than the bytes of data; else they become what `push` pushes. */
function emitShorten(e: CutEmitter, value: number, push: () => void): void {
  const { f, cut } = e;
  w.get(f, value);
  w.get(f, cut.dataLength);
  w.op(f, OP.i64_extend_i32_u, OP.i64_gt_u);
  w.brIf(f, e.malformed);
  push();
  w.set(f, cut.dataLength);
}

/** Data that ends behind the chunk's own size is malformed. */
function emitFits(e: CutEmitter): void {
  const { f, cut } = e;
  const last = w.addLocal(f, I64);
  w.get(f, cut.position);
  w.get(f, cut.dataLength);
  w.op(f, OP.i64_extend_i32_u, OP.i64_add);
  w.set(f, last);
  emitAtMost(e, last, LARGEST_POSITION);
  w.get(f, cut.flags);
  w.i32Const(f, CUT_SIZED);
  w.op(f, OP.i32_and);
  w.ifThen(f);
  w.get(f, last);
  w.get(f, cut.size);
  w.op(f, OP.i64_gt_u);
  w.brIf(f, e.malformed);
  w.end(f);
}

/** Walks the slice headers twice: first to find where the data starts, then to write a cut each. */
function emitSlices(e: CutEmitter, slices: NonNullable<CasePlan["slices"]>): void {
  const { f, cut } = e;
  const first = w.addLocal(f, I32);
  const at = w.addLocal(f, I32);
  const count = w.addLocal(f, I32);
  const data = w.addLocal(f, I32);
  const sum = w.addLocal(f, I64);
  const here = { address: at, offset: 0 };
  w.i32Const(f, 0);
  w.set(f, count);
  emitExtent(e, slices.at);
  w.tee(f, data);
  w.get(f, e.head);
  w.op(f, OP.i32_add);
  w.tee(f, first);
  w.set(f, at);
  const again = w.loop(f);
  addTo(f, data, slices.bytes);
  w.get(f, data);
  w.get(f, e.headLength);
  w.op(f, OP.i32_gt_u);
  w.brIf(f, e.malformed);
  addTo(f, count, 1);
  w.get(f, count);
  w.i32Const(f, slices.most);
  w.op(f, OP.i32_gt_u);
  w.brIf(f, e.malformed);
  emitCondition(e, slices.more, here);
  addTo(f, at, slices.bytes);
  w.brIf(f, again);
  w.end(f);
  w.get(f, e.cuts);
  w.get(f, count);
  w.op(f, OP.i32_add);
  w.get(f, e.capacity);
  w.op(f, OP.i32_gt_u);
  w.brIf(f, e.full);
  w.get(f, first);
  w.set(f, at);
  // The cuts of a datagram that proves malformed midway are taken back: `out` and `cuts` go back to where they were.
  const outer = e.malformed;
  const whole = w.block(f);
  e.malformed = w.block(f);
  const taken = w.addLocal(f, I32);
  w.i32Const(f, 0);
  w.set(f, taken);
  const next = w.loop(f);
  emitRead(e, slices.length, here);
  w.tee(f, sum);
  w.get(f, e.length);
  w.get(f, data);
  w.op(f, OP.i32_sub, OP.i64_extend_i32_u, OP.i64_gt_u);
  w.brIf(f, e.malformed);
  w.get(f, sum);
  w.op(f, OP.i32_wrap_i64);
  w.set(f, cut.dataLength);
  w.get(f, data);
  w.set(f, cut.data);
  w.i64Const(f, 0n);
  w.set(f, cut.position);
  for (const { field, unit } of slices.place) {
    emitRead(e, field, here);
    w.set(f, sum);
    emitScaled(e, sum, unit, largest(field));
    w.get(f, cut.position);
    w.get(f, sum);
    w.op(f, OP.i64_add);
    w.set(f, cut.position);
    emitAtMost(e, cut.position, LARGEST_POSITION);
  }
  emitFits(e);
  w.get(f, data);
  w.get(f, cut.dataLength);
  w.op(f, OP.i32_add);
  w.set(f, data);
  emitSliceStore(e, taken, count);
  addTo(f, at, slices.bytes);
  w.get(f, taken);
  w.get(f, count);
  w.op(f, OP.i32_lt_u);
  w.brIf(f, next);
  w.br(f, whole);
  w.end(f); // loop
  w.end(f); // malformed midway
  w.get(f, e.out);
  w.get(f, taken);
  w.i32Const(f, CUT_BYTES);
  w.op(f, OP.i32_mul, OP.i32_sub);
  w.set(f, e.out);
  w.get(f, e.cuts);
  w.get(f, taken);
  w.op(f, OP.i32_sub);
  w.set(f, e.cuts);
  w.br(f, outer);
  w.end(f); // whole
  w.br(f, e.advanced);
  e.malformed = outer;
}

/** One slice's cut: all but the last say that more follows, and only the last ends the chunk. */
function emitSliceStore(e: CutEmitter, taken: number, count: number): void {
  const { f, cut } = e;
  const whole = w.addLocal(f, I32);
  w.get(f, cut.flags);
  w.set(f, whole);
  addTo(f, taken, 1);
  w.get(f, taken);
  w.get(f, count);
  w.op(f, OP.i32_lt_u);
  w.ifThen(f);
  w.get(f, cut.flags);
  w.i32Const(f, ~CUT_END);
  w.op(f, OP.i32_and);
  w.i32Const(f, CUT_MORE);
  w.op(f, OP.i32_or);
  w.set(f, cut.flags);
  w.end(f);
  emitStore(e);
  w.get(f, whole);
  w.set(f, cut.flags);
}
