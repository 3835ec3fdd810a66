import { CUT_BYTES, CUT_END, CUT_MORE } from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { I32, I64, OP } from "../wasm/opcodes.js";
import { emitFits, emitScaled } from "./emit-place.js";
import { emitCondition, emitExtent, emitRead } from "./emit-read.js";
import { addTo, type CutEmitter, emitAtMost, emitStore } from "./emit-table.js";
import { type CasePlan, LARGEST_POSITION, largest } from "./plan.js";

/** Walks the slice headers twice: first to find where the data starts, then to write a cut each. */
export function emitSlices(e: CutEmitter, slices: NonNullable<CasePlan["slices"]>): void {
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
