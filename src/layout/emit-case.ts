import {
  CUT_END,
  CUT_FIELDS,
  CUT_HAS_CHANGED,
  CUT_HAS_CHUNK,
  CUT_IS_CONTROL,
  CUT_IS_LOST,
  CUT_SIZED,
  CUT_START,
} from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { I64, OP } from "../wasm/opcodes.js";
import { emitItems } from "./emit-items.js";
import { emitBounds, emitFits, emitPosition } from "./emit-place.js";
import { emitCondition, emitExtent, emitPlace, emitRead, itemOf } from "./emit-read.js";
import { emitSlices } from "./emit-slices.js";
import { type CutEmitter, emitAtMost, setFlags } from "./emit-table.js";
import { type Facts, foldCase, foldCondition, foldRead } from "./fold.js";
import {
  type CasePlan,
  type Condition,
  fieldGroups,
  KIND_GROUP_SHIFT,
  KIND_GROUPS,
  LARGEST_POSITION,
  largest,
} from "./plan.js";

/** Emits one case: where its condition holds, and with it `facts`, its rules; else what comes behind. */
export function emitCase(e: CutEmitter, whole: CasePlan, facts: Facts): void {
  const { f } = e;
  const one = foldCase(whole, facts);
  const notThis = w.block(f);
  if (one.when.kind !== "constant" || !one.when.value) {
    emitCondition(e, one.when);
    w.op(f, OP.i32_eqz);
    w.brIf(f, notThis);
  }
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
  emitStop(e, one.stop);
  emitIds(e, one);
  emitWhat(e, one, facts);
  if (one.slices === undefined) w.br(f, e.written);
  e.known = known;
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

function emitFlagIf(e: CutEmitter, condition: Condition, flag: number): void {
  if (condition.kind === "constant" && !condition.value) return;
  emitCondition(e, condition);
  w.ifThen(e.f);
  setFlags(e, flag);
  w.end(e.f);
}

/** A datagram that stops the stream is control, of no chunk. */
function emitStop(e: CutEmitter, stop: Condition): void {
  if (stop.kind === "constant" && !stop.value) return;
  const known = e.known;
  emitCondition(e, stop);
  w.ifThen(e.f);
  setFlags(e, CUT_IS_CONTROL);
  w.br(e.f, e.written);
  w.end(e.f);
  e.known = known;
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
  emitFlagIf(e, one.start, CUT_START);
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

function emitSize(e: CutEmitter, size: NonNullable<CasePlan["size"]>): void {
  const { f, cut } = e;
  if (size.when.kind === "constant" && !size.when.value) return;
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
function emitWhat(e: CutEmitter, one: CasePlan, facts: Facts): void {
  const { f, cut } = e;
  w.get(f, e.header);
  w.set(f, cut.data);
  w.get(f, e.length);
  w.get(f, e.header);
  w.op(f, OP.i32_sub);
  w.set(f, cut.dataLength);
  emitShown(e, one, facts);
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

/** Tells which datagrams carry fields that the chunk shows, and of which groups, once these are known to lie inside. */
function emitShown(e: CutEmitter, one: CasePlan, facts: Facts): void {
  const { f, cut } = e;
  fieldGroups(one).forEach(({ when: whole, fields }, index) => {
    const when = whole === undefined ? undefined : foldCondition(whole, facts);
    if (when?.kind === "constant" && !when.value) return;
    const known = e.known;
    if (when !== undefined) {
      emitCondition(e, when);
      w.ifThen(f);
      if (index < KIND_GROUPS) {
        w.get(f, cut.kind);
        w.i32Const(f, 1 << (KIND_GROUP_SHIFT + index));
        w.op(f, OP.i32_or);
        w.set(f, cut.kind);
      }
    }
    setFlags(e, CUT_FIELDS);
    for (const field of fields) if (field.kind === "bytes") emitPlace(e, foldRead(field, facts));
    if (when !== undefined) {
      w.end(f);
      e.known = known;
    }
  });
}
