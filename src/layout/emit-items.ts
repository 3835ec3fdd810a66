import * as w from "../wasm/encoder.js";
import { I32, I64, OP } from "../wasm/opcodes.js";
import { emitLoad, emitRead, itemOf } from "./emit-read.js";
import { addTo, type CutEmitter } from "./emit-table.js";
import type { CasePlan } from "./plan.js";

export function emitItems(e: CutEmitter, items: NonNullable<CasePlan["items"]>): void {
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
