import {
  CUT_IS_MALFORMED,
  CUT_IS_OTHER,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_LENGTH,
  DATAGRAM_SIZE,
  DATAGRAM_TAIL,
} from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { I32, I64, MEM, OP } from "../wasm/opcodes.js";
import { emitCase } from "./emit-case.js";
import { emitCondition, NOTHING_KNOWN } from "./emit-read.js";
import { addTo, type CutEmitter, emitClear, emitStore } from "./emit-table.js";
import { foldCondition, learn, NO_FACTS } from "./fold.js";
import type { LayoutPlan } from "./plan.js";

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
    known: NOTHING_KNOWN,
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
  let facts = learn(NO_FACTS, plan.when, true);
  for (const one of plan.cases) {
    emitCase(e, { ...one, when: foldCondition(one.when, facts) }, learn(facts, one.when, true));
    facts = learn(facts, one.when, false);
  }
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
