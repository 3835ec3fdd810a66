import {
  SEND_DATA,
  SEND_DATA_LENGTH,
  SEND_HEADER,
  SEND_HEADER_LENGTH,
  SEND_SIZE,
} from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { I32, I64, MEM, OP, type Op } from "../wasm/opcodes.js";

// What the header program finds in its region of the arena.
// A template is header and tail, one behind the other; one for each number of slices, templateStride() apart.
export const STATE_TEMPLATE = 0; // u32, address of the templates of all datagrams but the last
export const STATE_LAST_TEMPLATE = 4; // u32, the same for the last
export const STATE_LAST = 8; // u32, number of the last datagram
export const STATE_SEQUENCE = 16; // u64, sequence number of the first
export const STATE_BYTES = 24; // u64, bytes of the chunk
export const STATE_SIZE = 64;

/** What differs from datagram to datagram. */
export type Varying = "index" | "sequence" | "position" | "length";

/** Writes (((source mod `modulo` + `plus`) × `times` ÷ `over` + `base`) ÷ `per`) << `shift` into a field's bytes. */
export interface Patch {
  readonly source: Varying;
  readonly modulo?: bigint;
  readonly plus: bigint;
  readonly times: bigint;
  readonly over: bigint;
  readonly base: bigint;
  readonly per: bigint;
  readonly shift: bigint;
  readonly mask: bigint;
  /** Offset of the field in header and tail, one behind the other. */
  readonly at: number;
  readonly bytes: number;
  readonly little: boolean;
}

export interface HeaderForm {
  /** Bytes of the longest header. */
  readonly headerBytes: number;
  /** Bytes of the longest header and the tail together. */
  readonly bytes: number;
  /** Data of a full datagram. */
  readonly dataBytes: number;
  /** No slice crosses a multiple of this; 0: it may. */
  readonly rowBytes: number;
  /** The most slices in a datagram. With one, no datagram's data crosses a row's end. */
  readonly most: number;
  /** Bytes of a slice's header; 0: there are no such headers. */
  readonly sliceBytes: number;
  readonly patches: readonly Patch[];
  /** Of the first slice's header; `position` and `length` are the slice's. */
  readonly slicePatches: readonly Patch[];
}

/** Bytes from one template to that with one slice more. */
export function templateStride({ bytes }: Pick<HeaderForm, "bytes">): number {
  return Math.ceil(bytes / 8) * 8;
}

/**
 * `headers(table, first, count, state)`: writes the headers of the datagrams from number `first` on where the
 * table's SEND_HEADER says, a tail right behind, and fills in the rest of the table (SEND_SIZE an entry).
 */
export function emitHeaderProgram(form: HeaderForm): Uint8Array<ArrayBuffer> {
  const module = w.createModule();
  const f = w.addFunction(module, { name: "headers", parameters: [I32, I32, I32, I32], results: [] });
  const [entry, index, left, state] = [0, 1, 2, 3];
  const address = w.addLocal(f, I32);
  const template = w.addLocal(f, I32);
  const position = w.addLocal(f, I64);
  const length = w.addLocal(f, I64);
  const value = w.addLocal(f, I64);
  const done = w.block(f);
  const next = w.loop(f);
  w.get(f, left);
  w.op(f, OP.i32_eqz);
  w.brIf(f, done);
  w.get(f, entry);
  w.access(f, MEM.i32_load, SEND_HEADER);
  w.set(f, address);
  w.get(f, state);
  w.access(f, MEM.i32_load, STATE_TEMPLATE);
  w.get(f, state);
  w.access(f, MEM.i32_load, STATE_LAST_TEMPLATE);
  w.get(f, index);
  w.get(f, state);
  w.access(f, MEM.i32_load, STATE_LAST);
  w.op(f, OP.i32_ne, OP.select);
  w.set(f, template);
  emitSpan(f, form, { index, state, position, length });
  const further = form.most > 1 ? emitFurther(f, form, position, length) : undefined;
  if (further !== undefined) {
    w.get(f, template);
    w.get(f, further);
    w.i32Const(f, templateStride(form));
    w.op(f, OP.i32_mul, OP.i32_add);
    w.set(f, template);
  }
  emitCopy(f, address, template, form.bytes);
  for (const patch of form.patches) {
    emitSource(f, patch.source, { index, state, position, length });
    emitPatch(f, patch, address, value);
  }
  emitSlices(f, form, { index, state, position, length }, (patch) => emitPatch(f, patch, address, value));
  for (const [offset, from] of [
    [SEND_DATA, position],
    [SEND_DATA_LENGTH, length],
  ]) {
    w.get(f, entry);
    w.get(f, from);
    w.access(f, MEM.i64_store32, offset);
  }
  w.get(f, entry);
  w.i32Const(f, form.headerBytes - (form.most - 1) * form.sliceBytes);
  if (further !== undefined) {
    w.get(f, further);
    w.i32Const(f, form.sliceBytes);
    w.op(f, OP.i32_mul, OP.i32_add);
  }
  w.access(f, MEM.i32_store, SEND_HEADER_LENGTH);
  for (const [local, amount] of [
    [entry, SEND_SIZE],
    [index, 1],
    [left, -1],
  ]) {
    w.get(f, local);
    w.i32Const(f, amount);
    w.op(f, OP.i32_add);
    w.set(f, local);
  }
  w.br(f, next);
  w.end(f);
  w.end(f);
  w.finish(f);
  return w.encode(module);
}

function emitCopy(f: w.WasmFunction, to: number, from: number, bytes: number): void {
  let at = 0;
  for (const [size, load, store] of [
    [8, MEM.i64_load, MEM.i64_store],
    [4, MEM.i32_load, MEM.i32_store],
    [2, MEM.i32_load16_u, MEM.i32_store16],
    [1, MEM.i32_load8_u, MEM.i32_store8],
  ] as const)
    for (; bytes - at >= size; at += size) {
      w.get(f, to);
      w.get(f, from);
      w.access(f, load, at);
      w.access(f, store, at);
    }
}

interface Locals {
  readonly index: number;
  readonly state: number;
  readonly position: number;
  readonly length: number;
}

/** Where the datagram's data starts in the chunk, and how many bytes it has. */
function emitSpan(f: w.WasmFunction, form: HeaderForm, { index, state, position, length }: Locals): void {
  const { dataBytes, rowBytes, most } = form;
  w.i64Const(f, BigInt(dataBytes));
  w.set(f, length);
  if (rowBytes === 0 || most > 1) {
    w.get(f, index);
    w.op(f, OP.i64_extend_i32_u);
    w.i64Const(f, BigInt(dataBytes));
    w.op(f, OP.i64_mul);
    w.set(f, position);
  } else {
    const pieces = Math.ceil(rowBytes / dataBytes);
    const inRow = w.addLocal(f, I64);
    w.get(f, index);
    w.i32Const(f, pieces);
    w.op(f, OP.i32_rem_u, OP.i64_extend_i32_u);
    w.i64Const(f, BigInt(dataBytes));
    w.op(f, OP.i64_mul);
    w.set(f, inRow);
    w.get(f, index);
    w.i32Const(f, pieces);
    w.op(f, OP.i32_div_u, OP.i64_extend_i32_u);
    w.i64Const(f, BigInt(rowBytes));
    w.op(f, OP.i64_mul);
    w.get(f, inRow);
    w.op(f, OP.i64_add);
    w.set(f, position);
    emitAtMost(f, length, () => {
      w.i64Const(f, BigInt(rowBytes));
      w.get(f, inRow);
      w.op(f, OP.i64_sub);
    });
  }
  emitAtMost(f, length, () => {
    w.get(f, state);
    w.access(f, MEM.i64_load, STATE_BYTES);
    w.get(f, position);
    w.op(f, OP.i64_sub);
  });
}

/** How many slices follow the first: one for each row's end within the data. */
function emitFurther(f: w.WasmFunction, { rowBytes }: HeaderForm, position: number, length: number): number {
  const further = w.addLocal(f, I32);
  w.get(f, position);
  w.i64Const(f, BigInt(rowBytes));
  w.op(f, OP.i64_rem_u);
  w.get(f, length);
  w.op(f, OP.i64_add);
  w.get(f, length);
  w.op(f, OP.i64_eqz, OP.i32_eqz, OP.i64_extend_i32_u, OP.i64_sub);
  w.i64Const(f, BigInt(rowBytes));
  w.op(f, OP.i64_div_u, OP.i32_wrap_i64);
  w.set(f, further);
  return further;
}

/** Patches the header of each slice: the data, cut where rows end. */
function emitSlices(
  f: w.WasmFunction,
  { slicePatches, sliceBytes, rowBytes, most }: HeaderForm,
  locals: Locals,
  patchIn: (patch: Patch) => void,
): void {
  const patchSlice = (number: number, slice: Locals) => {
    for (const patch of slicePatches) {
      emitSource(f, patch.source, slice);
      patchIn({ ...patch, at: patch.at + number * sliceBytes });
    }
  };
  if (most === 1) {
    patchSlice(0, locals);
    return;
  }
  const [position, left, length] = [w.addLocal(f, I64), w.addLocal(f, I64), w.addLocal(f, I64)];
  w.get(f, locals.position);
  w.set(f, position);
  w.get(f, locals.length);
  w.set(f, left);
  const done = w.block(f);
  for (let number = 0; number < most; number++) {
    w.i64Const(f, BigInt(rowBytes));
    w.get(f, position);
    w.i64Const(f, BigInt(rowBytes));
    w.op(f, OP.i64_rem_u, OP.i64_sub);
    w.set(f, length);
    emitAtMost(f, length, () => w.get(f, left));
    patchSlice(number, { ...locals, position, length });
    w.get(f, left);
    w.get(f, length);
    w.op(f, OP.i64_sub);
    w.set(f, left);
    w.get(f, left);
    w.op(f, OP.i64_eqz);
    w.brIf(f, done);
    w.get(f, position);
    w.get(f, length);
    w.op(f, OP.i64_add);
    w.set(f, position);
  }
  w.end(f);
}

/** Lowers a local to what `push` pushes, if that is less. */
function emitAtMost(f: w.WasmFunction, local: number, push: () => void): void {
  push();
  w.get(f, local);
  push();
  w.get(f, local);
  w.op(f, OP.i64_lt_u, OP.select);
  w.set(f, local);
}

function emitSource(f: w.WasmFunction, source: Varying, { index, state, position, length }: Locals): void {
  if (source === "position" || source === "length") {
    w.get(f, source === "position" ? position : length);
    return;
  }
  w.get(f, index);
  w.op(f, OP.i64_extend_i32_u);
  if (source === "index") return;
  w.get(f, state);
  w.access(f, MEM.i64_load, STATE_SEQUENCE);
  w.op(f, OP.i64_add);
}

/** Scales the i64 on the stack and stores it byte by byte; bits outside the mask stay as they are. */
function emitPatch(f: w.WasmFunction, patch: Patch, address: number, value: number): void {
  const apply = (operation: Op, by: bigint) => {
    w.i64Const(f, BigInt.asIntN(64, by));
    w.op(f, operation);
  };
  const step = (operation: Op, by: bigint, neutral: bigint) => {
    if (by !== neutral) apply(operation, by);
  };
  if (patch.modulo !== undefined) step(OP.i64_rem_u, patch.modulo, 0n);
  step(OP.i64_add, patch.plus, 0n);
  step(OP.i64_mul, patch.times, 1n);
  step(OP.i64_div_u, patch.over, 1n);
  step(OP.i64_add, patch.base, 0n);
  step(OP.i64_div_u, patch.per, 1n);
  step(OP.i64_shl, patch.shift, 0n);
  w.set(f, value);
  for (let k = 0; k < patch.bytes; k++) {
    const mask = Number((patch.mask >> BigInt(8 * k)) & 0xffn);
    if (mask === 0) continue;
    const at = patch.at + (patch.little ? k : patch.bytes - 1 - k);
    w.get(f, address);
    w.get(f, value);
    if (k > 0) apply(OP.i64_shr_u, BigInt(8 * k));
    w.op(f, OP.i32_wrap_i64);
    if (mask !== 0xff) {
      w.i32Const(f, mask);
      w.op(f, OP.i32_and);
      w.get(f, address);
      w.access(f, MEM.i32_load8_u, at);
      w.i32Const(f, 0xff & ~mask);
      w.op(f, OP.i32_and, OP.i32_or);
    }
    w.access(f, MEM.i32_store8, at);
  }
}
