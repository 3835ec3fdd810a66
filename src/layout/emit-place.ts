import { CUT_BY_DATAGRAM, CUT_SIZED } from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { I64, OP } from "../wasm/opcodes.js";
import { emitCondition, emitRead } from "./emit-read.js";
import { type CutEmitter, emitAtMost, setFlags } from "./emit-table.js";
import { type CasePlan, LARGEST_POSITION, largest, type Placing, type Ratio } from "./plan.js";

export function emitPosition(e: CutEmitter, place: Placing, control: boolean): void {
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
export function emitScaled(e: CutEmitter, value: number, unit: Ratio, most: bigint): void {
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
export function emitBounds(e: CutEmitter, one: CasePlan): void {
  const { f, cut } = e;
  if (one.length !== undefined) {
    const value = w.addLocal(f, I64);
    emitRead(e, one.length.field);
    w.set(f, value);
    if (one.length.plus > 0n) {
      if (largest(one.length.field) > LARGEST_POSITION) emitAtMost(e, value, LARGEST_POSITION);
      w.get(f, value);
      w.i64Const(f, one.length.plus);
      w.op(f, OP.i64_add);
      w.set(f, value);
    }
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
export function emitFits(e: CutEmitter): void {
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
