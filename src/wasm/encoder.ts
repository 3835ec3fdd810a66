// Makes WebAssembly modules at run time: functions over the arena's shared memory, imported as `env.memory`.
//
//   const module = createModule();
//   const f = addFunction(module, { name: "sum", parameters: [I32, I32], results: [I32] });
//   get(f, 0); get(f, 1); op(f, OP.i32_add); finish(f);
//   const { sum } = instantiate<{ sum(a: number, b: number): number }>(encode(module), memory);
import { WASM, type WasmMemory, type WasmModule } from "../kernels/webassembly.js";
import { pushSigned, pushSigned64, pushUnsigned } from "./leb128.js";
import * as codes from "./opcodes.js";
import { I32, type MemoryAccess, type Op, type ValueType } from "./opcodes.js";

/** A function under construction. */
export interface WasmFunction {
  readonly index: number;
  readonly name: string | undefined;
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly locals: ValueType[];
  readonly code: number[];
  /** How many blocks are open. */
  depth: number;
}

export interface WasmModuleDraft {
  readonly functions: WasmFunction[];
}

/** An open block, loop or if, as the target of branches: a loop's start, the end of the others. */
export type Label = number & { readonly label: true };

export function createModule(): WasmModuleDraft {
  return { functions: [] };
}

/** Starts a function; one with a name is exported. Parameters are the locals from 0 on. */
export function addFunction(
  module: WasmModuleDraft,
  signature: {
    readonly name?: string;
    readonly parameters: readonly ValueType[];
    readonly results: readonly ValueType[];
  },
): WasmFunction {
  const { name, parameters, results } = signature;
  const index = module.functions.length;
  const made: WasmFunction = { index, name, parameters, results, locals: [], code: [], depth: 0 };
  module.functions.push(made);
  return made;
}

/** Adds a local variable, zero at entry; returns its number. */
export function addLocal(f: WasmFunction, type: ValueType = I32): number {
  f.locals.push(type);
  return f.parameters.length + f.locals.length - 1;
}

/** Emits an instruction that has no immediate operand. */
export function op(f: WasmFunction, ...ops: readonly Op[]): void {
  f.code.push(...ops);
}

export function i32Const(f: WasmFunction, value: number): void {
  f.code.push(codes.CODE_I32_CONST);
  pushSigned(f.code, value);
}

export function i64Const(f: WasmFunction, value: bigint): void {
  f.code.push(codes.CODE_I64_CONST);
  pushSigned64(f.code, value);
}

export function get(f: WasmFunction, local: number): void {
  f.code.push(codes.CODE_LOCAL_GET);
  pushUnsigned(f.code, local);
}

export function set(f: WasmFunction, local: number): void {
  f.code.push(codes.CODE_LOCAL_SET);
  pushUnsigned(f.code, local);
}

export function tee(f: WasmFunction, local: number): void {
  f.code.push(codes.CODE_LOCAL_TEE);
  pushUnsigned(f.code, local);
}

/** Emits a load or a store `offset` bytes (0 to 2^32 - 1) past the address on the stack; no alignment is assumed. */
export function access(f: WasmFunction, kind: MemoryAccess, offset = 0): void {
  f.code.push(kind[0], 0);
  pushUnsigned(f.code, offset);
}

function open(f: WasmFunction, code: number, result: ValueType | undefined): Label {
  f.code.push(code, result ?? codes.BLOCK_EMPTY);
  return f.depth++ as Label;
}

/** Opens a block; a branch to its label goes behind its end. */
export function block(f: WasmFunction, result?: ValueType): Label {
  return open(f, codes.CODE_BLOCK, result);
}

/** Opens a loop; a branch to its label goes back to its start. */
export function loop(f: WasmFunction): Label {
  return open(f, codes.CODE_LOOP, undefined);
}

/** Opens the part that runs when the i32 on the stack is not 0. */
export function ifThen(f: WasmFunction, result?: ValueType): Label {
  return open(f, codes.CODE_IF, result);
}

export function otherwise(f: WasmFunction): void {
  f.code.push(codes.CODE_ELSE);
}

/** Closes the innermost open block, loop or if. */
export function end(f: WasmFunction): void {
  f.depth--;
  f.code.push(codes.CODE_END);
}

export function br(f: WasmFunction, label: Label): void {
  f.code.push(codes.CODE_BR);
  pushUnsigned(f.code, f.depth - 1 - label);
}

/** Branches when the i32 on the stack is not 0. */
export function brIf(f: WasmFunction, label: Label): void {
  f.code.push(codes.CODE_BR_IF);
  pushUnsigned(f.code, f.depth - 1 - label);
}

export function call(f: WasmFunction, target: WasmFunction): void {
  f.code.push(codes.CODE_CALL);
  pushUnsigned(f.code, target.index);
}

/** Ends a function; every block must be closed. */
export function finish(f: WasmFunction): void {
  if (f.depth !== 0) throw new RangeError(`function ${f.name ?? f.index} leaves ${f.depth} blocks open`);
  f.code.push(codes.CODE_END);
  f.depth = -1;
}

function pushName(bytes: number[], name: string): void {
  const utf8 = Buffer.from(name);
  pushUnsigned(bytes, utf8.length);
  bytes.push(...utf8);
}

/** Bytes that are put together only where the whole module is: a function may have millions. */
type Part = readonly number[];

function sizeOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

function section(id: number, count: number, entries: readonly Part[]): Part[] {
  const counted: number[] = [];
  pushUnsigned(counted, count);
  const head = [id];
  pushUnsigned(head, counted.length + sizeOf(entries));
  return [head, counted, ...entries];
}

function functionType(f: WasmFunction): number[] {
  return [0x60, f.parameters.length, ...f.parameters, f.results.length, ...f.results];
}

function functionBody(f: WasmFunction): Part[] {
  if (f.depth !== -1) throw new RangeError(`function ${f.name ?? f.index} is not finished`);
  const locals: number[] = [];
  pushUnsigned(locals, f.locals.length);
  for (const type of f.locals) locals.push(1, type);
  const size: number[] = [];
  pushUnsigned(size, locals.length + f.code.length);
  return [size, locals, f.code];
}

/** The module's bytes. It imports a shared `env.memory` of up to 65,536 pages. */
export function encode(module: WasmModuleDraft): Uint8Array<ArrayBuffer> {
  const { functions } = module;
  const memory: number[] = [];
  pushName(memory, "env");
  pushName(memory, "memory");
  memory.push(0x02, 0x03); // a memory, shared and with a maximum
  pushUnsigned(memory, 1);
  pushUnsigned(memory, 65_536);
  const numbered = functions.map(({ index }) => {
    const entry: number[] = [];
    pushUnsigned(entry, index);
    return entry;
  });
  const exported = functions.flatMap(({ name, index }) => {
    if (name === undefined) return [];
    const entry: number[] = [];
    pushName(entry, name);
    entry.push(0x00, ...numbered[index]);
    return [entry];
  });
  const parts: Part[] = [
    [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, functions.length, functions.map(functionType)),
    ...section(2, 1, [memory]),
    ...section(3, numbered.length, numbered),
    ...section(7, exported.length, exported),
    ...section(10, functions.length, functions.flatMap(functionBody)),
  ];
  const bytes = new Uint8Array(sizeOf(parts));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Compiles a module made by encode(); the result can be handed to workers. */
export function compileModule(bytes: Uint8Array): WasmModule {
  return new WASM.Module(bytes);
}

/** An instance of a module over a memory: its exported functions. */
export function instantiate<Exports>(module: WasmModule | Uint8Array, memory: WasmMemory): Exports {
  const compiled = module instanceof Uint8Array ? compileModule(module) : module;
  return new WASM.Instance(compiled, { env: { memory } }).exports as Exports;
}
