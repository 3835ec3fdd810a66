import * as w from "../wasm/encoder.js";
import { I32, I64, MEM, OP } from "../wasm/opcodes.js";
import type { BytesRead, Condition, Extent, Read } from "./plan.js";

/** A cut program under construction, within the part that reads one datagram. */
export interface Emitter {
  readonly f: w.WasmFunction;
  /** Locals: address of the first bytes, how many are readable there, bytes of the datagram, address past its last. */
  readonly head: number;
  readonly headLength: number;
  readonly length: number;
  readonly tail: number;
  /** Local: bytes before the data. */
  readonly header: number;
  /** Locals of the items that are wanted: whether found, and the value. */
  readonly items: Map<number, { readonly found: number; readonly value: number }>;
  /** Where to go when a read would leave the datagram. */
  malformed: w.Label;
  known: Known;
}

/** What holds at a place of the program. It is replaced, never changed, so that a branch's end can take it back. */
interface Known {
  /** So many bytes from the start are readable. */
  readonly bytes: number;
  /** Locals that hold what was loaded or computed before, by what it is. */
  readonly values: ReadonlyMap<string, number>;
}

export const NOTHING_KNOWN: Known = { bytes: 0, values: new Map() };

function remember(e: Emitter, what: string, local: number): void {
  e.known = { ...e.known, values: new Map([...e.known.values, [what, local]]) };
}

interface Place {
  readonly address: number;
  readonly offset: number;
}

/** Emits the checks that a field lies inside the datagram; says where it is. */
export function emitPlace(e: Emitter, read: BytesRead, base?: Place): Place {
  const { f } = e;
  if (base !== undefined) return { address: base.address, offset: base.offset + read.at.base };
  if (read.from === "end") {
    w.get(f, e.length);
    w.i32Const(f, read.at.base);
    w.op(f, OP.i32_lt_u);
    w.brIf(f, e.malformed);
    const address = w.addLocal(f, I32);
    w.get(f, e.tail);
    w.i32Const(f, read.at.base);
    w.op(f, OP.i32_sub);
    w.set(f, address);
    return { address, offset: 0 };
  }
  if (read.at.terms.length === 0 && read.from === "start") {
    requireHead(e, read.at.base + read.bytes);
    return { address: e.head, offset: read.at.base };
  }
  const address = w.addLocal(f, I32);
  emitExtent(e, read.at);
  if (read.from === "data") {
    w.get(f, e.header);
    w.op(f, OP.i32_add);
  }
  w.tee(f, address);
  w.i32Const(f, read.bytes);
  w.op(f, OP.i32_add);
  w.get(f, e.headLength);
  w.op(f, OP.i32_gt_u);
  w.brIf(f, e.malformed);
  w.get(f, address);
  w.get(f, e.head);
  w.op(f, OP.i32_add);
  w.set(f, address);
  return { address, offset: 0 };
}

function requireHead(e: Emitter, bytes: number): void {
  if (bytes <= e.known.bytes) return;
  w.get(e.f, e.headLength);
  w.i32Const(e.f, bytes);
  w.op(e.f, OP.i32_lt_u);
  w.brIf(e.f, e.malformed);
  e.known = { ...e.known, bytes };
}

/** Pushes a length in bytes as an i32. */
export function emitExtent(e: Emitter, extent: Extent): void {
  const { f } = e;
  w.i32Const(f, extent.base);
  if (extent.terms.length === 0) return;
  const what = JSON.stringify(extent.terms, (_, value) => (typeof value === "bigint" ? `${value}` : value));
  let sum = e.known.values.get(what);
  if (sum === undefined) {
    sum = w.addLocal(f, I32);
    emitTerms(e, extent);
    w.set(f, sum);
    remember(e, what, sum);
  }
  w.get(f, sum);
  w.op(f, OP.i32_add);
}

function emitTerms(e: Emitter, extent: Extent): void {
  const { f } = e;
  w.i32Const(f, 0);
  for (const term of extent.terms) {
    if (term.when !== undefined) {
      emitCondition(e, term.when);
      w.ifThen(f, I32);
    }
    const known = e.known;
    w.i32Const(f, term.plus);
    if (term.field !== undefined) {
      emitRead(e, term.field);
      w.op(f, OP.i32_wrap_i64);
      if (term.times !== 1) {
        w.i32Const(f, term.times);
        w.op(f, OP.i32_mul);
      }
      w.op(f, OP.i32_add);
    }
    if (term.when !== undefined) {
      w.otherwise(f);
      w.i32Const(f, 0);
      w.end(f);
      e.known = known;
    }
    w.op(f, OP.i32_add);
  }
}

/** Pushes a field's value as an i64; `base` is where a slice header starts. */
export function emitRead(e: Emitter, read: Read, base?: Place): void {
  const { f } = e;
  if (read.kind === "fixed") {
    w.i64Const(f, read.value);
    return;
  }
  if (read.kind === "item") {
    const item = itemOf(e, read.item);
    w.get(f, item.found);
    w.op(f, OP.i32_eqz);
    w.brIf(f, e.malformed);
    w.get(f, item.value);
    return;
  }
  const shift = read.shift - emitMasked(e, read, base);
  if (shift > 0n) {
    w.i64Const(f, shift);
    w.op(f, OP.i64_shr_u);
  }
  if (read.times !== 1n) {
    w.i64Const(f, read.times);
    w.op(f, OP.i64_mul);
  }
}

export function itemOf(e: Emitter, id: number): { readonly found: number; readonly value: number } {
  const item = e.items.get(id);
  if (item === undefined) throw new RangeError(`item ${id} was not prepared`);
  return item;
}

/** Pushes the bytes under the mask, without the `result` bits (whole bytes) below it. */
function emitMasked(e: Emitter, read: BytesRead, base?: Place): bigint {
  const place = emitPlace(e, read, base);
  const lowest = Math.floor(Number(read.shift) / 8);
  const highest = Math.floor((read.mask.toString(2).length - 1) / 8);
  const bytes = highest - lowest + 1;
  const offset = place.offset + (read.little ? lowest : read.bytes - 1 - highest);
  const what = `${offset} ${bytes} ${read.little}`;
  const before = place.address === e.head ? e.known.values.get(what) : undefined;
  if (before !== undefined) w.get(e.f, before);
  else emitLoad(e.f, place.address, offset, bytes, read.little);
  if (before === undefined && place.address === e.head) {
    const loaded = w.addLocal(e.f, I64);
    w.tee(e.f, loaded);
    remember(e, what, loaded);
  }
  const mask = read.mask >> BigInt(8 * lowest);
  if (mask !== (1n << BigInt(8 * bytes)) - 1n) {
    w.i64Const(e.f, BigInt.asIntN(64, mask));
    w.op(e.f, OP.i64_and);
  }
  return BigInt(8 * lowest);
}

/** Pushes 1 to 8 bytes as an i64, out of loads of 4, 2 and 1. */
export function emitLoad(
  f: w.WasmFunction,
  address: number,
  offset: number,
  bytes: number,
  little: boolean,
): void {
  if (bytes === 8) {
    w.get(f, address);
    w.access(f, MEM.i64_load, offset);
    if (!little) emitSwap64(f);
    return;
  }
  let done = 0;
  for (const part of [4, 2, 1].filter((size) => (bytes & size) !== 0)) {
    if (done > 0 && !little) {
      w.i64Const(f, BigInt(8 * part));
      w.op(f, OP.i64_shl);
    }
    w.get(f, address);
    emitPart(f, offset + done, part, little);
    if (done > 0) {
      if (little) {
        w.i64Const(f, BigInt(8 * done));
        w.op(f, OP.i64_shl);
      }
      w.op(f, OP.i64_or);
    }
    done += part;
  }
}

function emitPart(f: w.WasmFunction, offset: number, bytes: number, little: boolean): void {
  if (bytes === 1) w.access(f, MEM.i64_load8_u, offset);
  else if (little) w.access(f, bytes === 2 ? MEM.i64_load16_u : MEM.i64_load32_u, offset);
  else {
    w.access(f, bytes === 2 ? MEM.i32_load16_u : MEM.i32_load, offset);
    if (bytes === 2) emitSwap16(f);
    else emitSwap32(f);
    w.op(f, OP.i64_extend_i32_u);
  }
}

/** Reverses the bytes of the i32 on the stack: two halves, each rotated into place. */
function emitSwap32(f: w.WasmFunction): void {
  const value = w.addLocal(f, I32);
  w.tee(f, value);
  w.i32Const(f, 8);
  w.op(f, OP.i32_rotl);
  w.i32Const(f, 0x00ff00ff);
  w.op(f, OP.i32_and);
  w.get(f, value);
  w.i32Const(f, 8);
  w.op(f, OP.i32_rotr);
  w.i32Const(f, 0xff00ff00 | 0);
  w.op(f, OP.i32_and, OP.i32_or);
}

/** Exchanges the two low bytes of the i32 on the stack, whose others are 0. */
function emitSwap16(f: w.WasmFunction): void {
  const value = w.addLocal(f, I32);
  w.tee(f, value);
  w.i32Const(f, 8);
  w.op(f, OP.i32_shr_u);
  w.get(f, value);
  w.i32Const(f, 0xff);
  w.op(f, OP.i32_and);
  w.i32Const(f, 8);
  w.op(f, OP.i32_shl, OP.i32_or);
}

function emitSwap64(f: w.WasmFunction): void {
  const value = w.addLocal(f, I64);
  w.set(f, value);
  w.get(f, value);
  w.op(f, OP.i32_wrap_i64);
  emitSwap32(f);
  w.op(f, OP.i64_extend_i32_u);
  w.i64Const(f, 32n);
  w.op(f, OP.i64_shl);
  w.get(f, value);
  w.i64Const(f, 32n);
  w.op(f, OP.i64_shr_u, OP.i32_wrap_i64);
  emitSwap32(f);
  w.op(f, OP.i64_extend_i32_u, OP.i64_or);
}

/** Pushes 1 or 0; what decides already is not read past. */
export function emitCondition(e: Emitter, condition: Condition, base?: Place): void {
  const { f } = e;
  if (condition.kind === "constant") w.i32Const(f, condition.value ? 1 : 0);
  else if (condition.kind === "not") {
    emitCondition(e, condition.of, base);
    w.op(f, OP.i32_eqz);
  } else if (condition.kind === "is") emitIs(e, condition.field, condition.values, base);
  else emitEach(e, condition.of, condition.kind === "all", base);
}

function emitEach(e: Emitter, conditions: readonly Condition[], all: boolean, base?: Place): void {
  const { f } = e;
  const [first, ...rest] = conditions;
  if (first === undefined) {
    w.i32Const(f, all ? 1 : 0);
    return;
  }
  emitCondition(e, first, base);
  if (rest.length === 0) return;
  const known = e.known;
  w.ifThen(f, I32);
  if (all) emitEach(e, rest, all, base);
  else w.i32Const(f, 1);
  w.otherwise(f);
  if (all) w.i32Const(f, 0);
  else emitEach(e, rest, all, base);
  w.end(f);
  e.known = known;
}

function emitIs(e: Emitter, read: Read, values: readonly bigint[], base?: Place): void {
  const { f } = e;
  if (read.kind === "fixed") {
    w.i32Const(f, values.includes(read.value) ? 1 : 0);
    return;
  }
  const value = w.addLocal(f, I64);
  const compare = (below: bigint) => {
    runsOf(values.map((wanted) => wanted >> below)).forEach(([first, last], index) => {
      w.get(f, value);
      w.i64Const(f, BigInt.asIntN(64, first));
      if (first === last) w.op(f, OP.i64_eq);
      else {
        w.op(f, OP.i64_sub);
        w.i64Const(f, last - first);
        w.op(f, OP.i64_le_u);
      }
      if (index > 0) w.op(f, OP.i32_or);
    });
  };
  if (read.kind === "bytes") {
    const below = emitMasked(e, read, base);
    w.set(f, value);
    compare(below);
    return;
  }
  const item = itemOf(e, read.item);
  w.get(f, item.found);
  if (!read.optional) {
    w.op(f, OP.i32_eqz);
    w.brIf(f, e.malformed);
    w.get(f, item.value);
    w.set(f, value);
    compare(0n);
    return;
  }
  w.ifThen(f, I32);
  w.get(f, item.value);
  w.set(f, value);
  compare(0n);
  w.otherwise(f);
  w.i32Const(f, 0);
  w.end(f);
}

/** Values as runs of neighbours, each of which takes one comparison. */
function runsOf(values: readonly bigint[]): [first: bigint, last: bigint][] {
  const runs: [first: bigint, last: bigint][] = [];
  for (const value of [...values].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))) {
    const run = runs.at(-1);
    if (run !== undefined && value <= run[1] + 1n) run[1] = value;
    else runs.push([value, value]);
  }
  return runs;
}
