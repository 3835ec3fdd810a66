import {
  CUT_BYTES,
  CUT_CHANGED,
  CUT_CHUNK,
  CUT_DATA,
  CUT_DATAGRAM,
  CUT_FLAGS,
  CUT_KIND,
  CUT_LENGTH,
  CUT_POSITION,
  CUT_SIZE,
  CUT_STREAM_HIGH,
  CUT_STREAM_LOW,
} from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { MEM, OP } from "../wasm/opcodes.js";
import type { Emitter } from "./emit-read.js";

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

export interface CutEmitter extends Emitter {
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

export function addTo(f: w.WasmFunction, local: number, amount: number): void {
  w.get(f, local);
  w.i32Const(f, amount);
  w.op(f, OP.i32_add);
  w.set(f, local);
}

export function emitClear(e: CutEmitter): void {
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
export function emitStore(e: CutEmitter): void {
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

export function setFlags(e: CutEmitter, flags: number): void {
  w.get(e.f, e.cut.flags);
  w.i32Const(e.f, flags);
  w.op(e.f, OP.i32_or);
  w.set(e.f, e.cut.flags);
}

export function emitAtMost(e: CutEmitter, value: number, most: bigint): void {
  w.get(e.f, value);
  w.i64Const(e.f, BigInt.asIntN(64, most));
  w.op(e.f, OP.i64_gt_u);
  w.brIf(e.f, e.malformed);
}
