// Filters as WebAssembly made at run time, over single packets and over bursts in an arena.
import { DESC_ADDR, DESC_LEN, DESC_SIZE } from "../kernels/structs.js";
import type { WasmMemory } from "../kernels/webassembly.js";
import * as w from "../wasm/encoder.js";
import { I32, MEM, OP } from "../wasm/opcodes.js";
import type { ClassicProgram } from "./classic.js";
import { verify } from "./verify.js";
import { add, addClassify, addMixed } from "./wasm-burst.js";
import { emitProgram } from "./wasm-program.js";

/** Filters of one module over one memory, by their number. */
export interface Classifier {
  /** Each program as a WebAssembly function over (address, length, length on the wire, 0), for a kernel's table. */
  readonly matchers: readonly unknown[];
  /** Whether program `filter` accepts the bytes at `address`; `wireLength` is the length before a snap length cut them. */
  match(filter: number, address: number, length: number, wireLength: number): boolean;
  /**
   * Runs program `filter` over the packets of a burst whose verdict is PASS. Those that do not match get
   * `verdict`. Where `bitmap` is not 0, bit n % 8 of byte n / 8 there says whether packet n matched. Returns
   * how many matched.
   */
  classify(filter: number, burst: number, verdict: number, bitmap: number): number;
}

/** Compiles classic BPF programs to one WebAssembly module. Throws ERR_FILTER for a program that must not be run. */
export function compileModule(programs: readonly ClassicProgram[]): Uint8Array<ArrayBuffer> {
  const module = w.createModule();
  const fetch = { 1: addFetch(module, 1), 2: addFetch(module, 2), 4: addFetch(module, 4) } as const;
  programs.forEach((program, number) => {
    verify(program);
    const linear = addMatch(module, program, `match${number}`, undefined);
    const scattered = addMatch(module, program, undefined, fetch);
    const mixed = addMixed(module, linear, scattered);
    addClassify(module, program, number, mixed);
  });
  return w.encode(module);
}

/** The filters of a module over a memory. */
export function instantiateClassifier(module: Uint8Array, memory: WasmMemory): Classifier {
  type Exported = Readonly<Record<string, (...values: readonly number[]) => number>>;
  const exported = w.instantiate<Exported>(module, memory);
  const matchers = Object.keys(exported)
    .filter((name) => name.startsWith("match"))
    .map((_, filter) => exported[`match${filter}`]);
  return {
    matchers,
    match: (filter, address, length, wireLength) =>
      exported[`match${filter}`](address, length, wireLength, 0) !== 0,
    classify: (filter, burst, verdict, bitmap) => exported[`classify${filter}`](burst, verdict, bitmap),
  };
}

type Fetch = Readonly<Record<1 | 2 | 4, w.WasmFunction>>;

/** A program over one packet: (bytes, length, length on the wire, metadata); in fragments, its first descriptor. */
function addMatch(
  module: w.WasmModuleDraft,
  program: ClassicProgram,
  name: string | undefined,
  fetch: Fetch | undefined,
): w.WasmFunction {
  const f = w.addFunction(module, {
    ...(name === undefined ? {} : { name }),
    parameters: [I32, I32, I32, I32],
    results: [I32],
  });
  const reject = w.block(f);
  const accept = w.block(f);
  const where = { packet: 0, length: 1, wireLength: 2, meta: 3 };
  emitProgram(f, program, fetch === undefined ? where : { ...where, fetch }, accept, reject);
  w.end(f);
  w.i32Const(f, 1);
  w.op(f, OP.return);
  w.end(f);
  w.i32Const(f, 0);
  w.finish(f);
  return f;
}

/** (descriptor, offset): `size` bytes of a packet that is long enough, across descriptors, as a number. */
function addFetch(module: w.WasmModuleDraft, size: 1 | 2 | 4): w.WasmFunction {
  const f = w.addFunction(module, { parameters: [I32, I32], results: [I32] });
  const [desc, offset, value] = [0, 1, w.addLocal(f)];
  for (let i = 0; i < size; i++) {
    const found = w.block(f);
    const again = w.loop(f);
    w.get(f, offset);
    w.get(f, desc);
    w.access(f, MEM.i32_load, DESC_LEN);
    w.op(f, OP.i32_lt_u);
    w.brIf(f, found);
    w.get(f, offset);
    w.get(f, desc);
    w.access(f, MEM.i32_load, DESC_LEN);
    w.op(f, OP.i32_sub);
    w.set(f, offset);
    add(f, desc, DESC_SIZE);
    w.br(f, again);
    w.end(f);
    w.end(f);
    w.get(f, value);
    w.i32Const(f, 8);
    w.op(f, OP.i32_shl);
    w.get(f, desc);
    w.access(f, MEM.i32_load, DESC_ADDR);
    w.get(f, offset);
    w.op(f, OP.i32_add);
    w.access(f, MEM.i32_load8_u);
    w.op(f, OP.i32_or);
    w.set(f, value);
    add(f, offset, 1);
  }
  w.get(f, value);
  w.finish(f);
  return f;
}
