import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WASM } from "../../src/kernels/webassembly.js";
import * as w from "../../src/wasm/encoder.js";
import { I32, I64, MEM, OP } from "../../src/wasm/opcodes.js";

const memory = new WASM.Memory({ initial: 1, maximum: 1, shared: true });

test("a loop sums the words of a shared memory", () => {
  const module = w.createModule();
  const f = w.addFunction(module, { name: "sum", parameters: [I32, I32], results: [I64] });
  const total = w.addLocal(f, I64);
  const done = w.block(f);
  const again = w.loop(f);
  w.get(f, 1);
  w.op(f, OP.i32_eqz);
  w.brIf(f, done);
  w.get(f, total);
  w.get(f, 0);
  w.access(f, MEM.i64_load32_u, 8);
  w.op(f, OP.i64_add);
  w.set(f, total);
  w.get(f, 0);
  w.i32Const(f, 4);
  w.op(f, OP.i32_add);
  w.set(f, 0);
  w.get(f, 1);
  w.i32Const(f, 1);
  w.op(f, OP.i32_sub);
  w.set(f, 1);
  w.br(f, again);
  w.end(f);
  w.end(f);
  w.get(f, total);
  w.finish(f);
  const words = new Uint32Array(memory.buffer, 108, 3);
  words.set([1, 0xffffffff, 5]);
  const { sum } = w.instantiate<{ sum(address: number, count: number): bigint }>(w.encode(module), memory);
  assert.equal(sum(100, 3), 0x100000005n);
});

test("constants come back as they were written, whatever their size", () => {
  fc.assert(
    fc.property(fc.integer(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (small, large) => {
      const module = w.createModule();
      const a = w.addFunction(module, { name: "small", parameters: [], results: [I32] });
      w.i32Const(a, small);
      w.finish(a);
      const b = w.addFunction(module, { name: "large", parameters: [], results: [I64] });
      w.i64Const(b, large);
      w.finish(b);
      const made = w.instantiate<{ small(): number; large(): bigint }>(w.encode(module), memory);
      assert.equal(made.small(), small | 0);
      assert.equal(made.large(), large);
    }),
  );
});

test("branches, an if and a call find their targets", () => {
  const module = w.createModule();
  const twice = w.addFunction(module, { parameters: [I32], results: [I32] });
  w.get(twice, 0);
  w.i32Const(twice, 1);
  w.op(twice, OP.i32_shl);
  w.finish(twice);
  const f = w.addFunction(module, { name: "pick", parameters: [I32], results: [I32] });
  const others = w.block(f);
  const one = w.block(f);
  const zero = w.block(f);
  w.get(f, 0);
  w.op(f, OP.i32_eqz);
  w.brIf(f, zero);
  w.get(f, 0);
  w.i32Const(f, 1);
  w.op(f, OP.i32_eq);
  w.brIf(f, one);
  w.br(f, others);
  w.end(f);
  w.i32Const(f, 100);
  w.op(f, OP.return);
  w.end(f);
  w.i32Const(f, 101);
  w.call(f, twice);
  w.op(f, OP.return);
  w.end(f);
  w.get(f, 0);
  w.i32Const(f, 9);
  w.op(f, OP.i32_gt_u);
  w.ifThen(f, I32);
  w.i32Const(f, 1);
  w.otherwise(f);
  w.i32Const(f, 2);
  w.end(f);
  w.finish(f);
  const { pick } = w.instantiate<{ pick(n: number): number }>(w.encode(module), memory);
  assert.deepEqual([0, 1, 2, 10].map(pick), [100, 202, 2, 1]);
});

test("an unfinished function is refused by name", () => {
  const module = w.createModule();
  const f = w.addFunction(module, { name: "open", parameters: [], results: [] });
  w.block(f);
  assert.throws(() => w.finish(f), /function open leaves 1 blocks open/);
  assert.throws(() => w.encode(module), /function open is not finished/);
});
