// The walk over a burst that a filter's program is set into.
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SHIFT,
  DESC_SIZE,
  META_SHIFT,
  META_VERDICT,
  META_WIRE_LENGTH,
} from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { I32, MEM, OP } from "../wasm/opcodes.js";
import type { ClassicProgram } from "./classic.js";
import { emitProgram, usesWireLength } from "./wasm-program.js";

/** Adds a number to a local variable. */
export function add(f: w.WasmFunction, local: number, step: number): void {
  w.get(f, local);
  w.i32Const(f, step);
  w.op(f, OP.i32_add);
  w.set(f, local);
}

function emitField(f: w.WasmFunction, burst: number, offset: number, into: number): void {
  w.get(f, burst);
  w.access(f, MEM.i32_load, offset);
  w.set(f, into);
}

/** (burst, verdict, bitmap): bursts of packets of one piece each are run through here, all others given to `mixed`. */
export function addClassify(
  module: w.WasmModuleDraft,
  program: ClassicProgram,
  number: number,
  mixed: w.WasmFunction,
): void {
  const f = w.addFunction(module, { name: `classify${number}`, parameters: [I32, I32, I32], results: [I32] });
  const [burst, verdict, bitmap] = [0, 1, 2];
  const local = () => w.addLocal(f);
  const [left, desc, meta, address, length, wireLength, matched] = [
    ...[local(), local(), local(), local()],
    ...[local(), local(), local()],
  ];
  emitField(f, burst, BURST_PACKETS, left);
  w.get(f, left);
  w.get(f, burst);
  w.access(f, MEM.i32_load, BURST_COUNT);
  w.op(f, OP.i32_ne);
  w.get(f, bitmap);
  w.op(f, OP.i32_or);
  w.ifThen(f);
  for (const argument of [burst, verdict, bitmap]) w.get(f, argument);
  w.call(f, mixed);
  w.op(f, OP.return);
  w.end(f);
  emitField(f, burst, BURST_DESCS, desc);
  emitField(f, burst, BURST_METAS, meta);
  const done = w.block(f);
  w.get(f, left);
  w.op(f, OP.i32_eqz);
  w.brIf(f, done);
  const again = w.loop(f);
  const next = w.block(f);
  w.get(f, meta);
  w.access(f, MEM.i32_load8_u, META_VERDICT);
  w.brIf(f, next);
  const reject = w.block(f);
  const accept = w.block(f);
  w.get(f, desc);
  w.access(f, MEM.i32_load, DESC_ADDR);
  w.set(f, address);
  w.get(f, desc);
  w.access(f, MEM.i32_load, DESC_LEN);
  w.set(f, length);
  if (usesWireLength(program)) {
    emitField(f, meta, META_WIRE_LENGTH, wireLength);
    emitWireLength(f, wireLength, length);
  }
  emitProgram(f, program, { packet: address, length, wireLength, meta }, accept, reject);
  w.end(f);
  add(f, matched, 1);
  w.br(f, next);
  w.end(f);
  w.get(f, meta);
  w.get(f, verdict);
  w.access(f, MEM.i32_store8, META_VERDICT);
  w.end(f);
  add(f, desc, DESC_SIZE);
  add(f, meta, 1 << META_SHIFT);
  w.get(f, left);
  w.i32Const(f, 1);
  w.op(f, OP.i32_sub);
  w.tee(f, left);
  w.brIf(f, again);
  w.end(f);
  w.end(f);
  w.get(f, matched);
  w.finish(f);
}

/** (burst, verdict, bitmap): bursts of any packets. */
export function addMixed(
  module: w.WasmModuleDraft,
  linear: w.WasmFunction,
  scattered: w.WasmFunction,
): w.WasmFunction {
  const f = w.addFunction(module, { parameters: [I32, I32, I32], results: [I32] });
  const [burst, verdict, bitmap] = [0, 1, 2];
  const local = () => w.addLocal(f);
  const [packets, descs, lastDesc, meta, start] = [local(), local(), local(), local(), local()];
  const [index, desc, end, length, wireLength] = [local(), local(), local(), local(), local()];
  const [result, matched] = [local(), local()];
  emitField(f, burst, BURST_PACKETS, packets);
  emitField(f, burst, BURST_DESCS, descs);
  emitField(f, burst, BURST_METAS, meta);
  emitField(f, burst, BURST_STARTS, start);
  w.get(f, descs);
  w.get(f, burst);
  w.access(f, MEM.i32_load, BURST_COUNT);
  w.i32Const(f, DESC_SHIFT);
  w.op(f, OP.i32_shl, OP.i32_add);
  w.i32Const(f, DESC_SIZE);
  w.op(f, OP.i32_sub);
  w.set(f, lastDesc);

  const done = w.block(f);
  const again = w.loop(f);
  w.get(f, index);
  w.get(f, packets);
  w.op(f, OP.i32_ge_u);
  w.brIf(f, done);
  w.i32Const(f, 0);
  w.set(f, result);
  const skip = w.block(f);
  w.get(f, meta);
  w.access(f, MEM.i32_load8_u, META_VERDICT);
  w.brIf(f, skip);
  w.get(f, descs);
  w.get(f, start);
  w.access(f, MEM.i32_load);
  w.i32Const(f, DESC_SHIFT);
  w.op(f, OP.i32_shl, OP.i32_add);
  w.set(f, desc);
  emitField(f, desc, DESC_LEN, length);
  emitField(f, meta, META_WIRE_LENGTH, wireLength);
  emitContinued(f, desc);
  w.ifThen(f, I32);
  emitWholeLength(f, { desc, lastDesc, end, length });
  emitWireLength(f, wireLength, length);
  for (const argument of [desc, length, wireLength, meta]) w.get(f, argument);
  w.call(f, scattered);
  w.otherwise(f);
  emitWireLength(f, wireLength, length);
  w.get(f, desc);
  w.access(f, MEM.i32_load, DESC_ADDR);
  for (const argument of [length, wireLength, meta]) w.get(f, argument);
  w.call(f, linear);
  w.end(f);
  w.tee(f, result);
  w.ifThen(f);
  add(f, matched, 1);
  w.otherwise(f);
  w.get(f, meta);
  w.get(f, verdict);
  w.access(f, MEM.i32_store8, META_VERDICT);
  w.end(f);
  w.end(f); // skip
  emitBit(f, bitmap, index, result);
  add(f, index, 1);
  add(f, meta, 1 << META_SHIFT);
  add(f, start, 4);
  w.br(f, again);
  w.end(f);
  w.end(f);
  w.get(f, matched);
  w.finish(f);
  return f;
}

/** Whether the packet goes on behind a descriptor. */
function emitContinued(f: w.WasmFunction, desc: number): void {
  w.get(f, desc);
  w.access(f, MEM.i32_load, DESC_OPTIONS);
  w.i32Const(f, CONTINUED);
  w.op(f, OP.i32_and);
}

/** Adds up a packet's descriptors, up to the last of the burst. */
function emitWholeLength(
  f: w.WasmFunction,
  locals: {
    readonly desc: number;
    readonly lastDesc: number;
    readonly end: number;
    readonly length: number;
  },
): void {
  const { desc, lastDesc, end: at, length } = locals;
  w.get(f, desc);
  w.set(f, at);
  const done = w.block(f);
  const again = w.loop(f);
  emitContinued(f, at);
  w.op(f, OP.i32_eqz);
  w.brIf(f, done);
  w.get(f, at);
  w.get(f, lastDesc);
  w.op(f, OP.i32_ge_u);
  w.brIf(f, done);
  add(f, at, DESC_SIZE);
  w.get(f, length);
  w.get(f, at);
  w.access(f, MEM.i32_load, DESC_LEN);
  w.op(f, OP.i32_add);
  w.set(f, length);
  w.br(f, again);
  w.end(f);
  w.end(f);
}

/** Metadata without a length on the wire: the packet is whole. */
function emitWireLength(f: w.WasmFunction, wireLength: number, length: number): void {
  w.get(f, wireLength);
  w.get(f, length);
  w.get(f, wireLength);
  w.op(f, OP.select);
  w.set(f, wireLength);
}

/** Sets or clears the bit of a packet, where a bitmap is wanted. */
function emitBit(f: w.WasmFunction, bitmap: number, index: number, result: number): void {
  const place = () => {
    w.get(f, bitmap);
    w.get(f, index);
    w.i32Const(f, 3);
    w.op(f, OP.i32_shr_u, OP.i32_add);
  };
  const bit = () => {
    w.i32Const(f, 1);
    w.get(f, index);
    w.i32Const(f, 7);
    w.op(f, OP.i32_and, OP.i32_shl);
  };
  w.get(f, bitmap);
  w.ifThen(f);
  place();
  place();
  w.access(f, MEM.i32_load8_u);
  bit();
  w.i32Const(f, -1);
  w.op(f, OP.i32_xor, OP.i32_and);
  bit();
  w.i32Const(f, 0);
  w.get(f, result);
  w.op(f, OP.select, OP.i32_or);
  w.access(f, MEM.i32_store8);
  w.end(f);
}
