// Classic BPF from a graph of decisions: values into A and X, kept there for the tests that follow.

import type { ClassicInstruction } from "./classic.js";
import * as bpf from "./classic.js";
import { type Block, blockTable, type Graph, ordered, type Table } from "./graph.js";
import type { BinaryOp, TestOp, Value } from "./ir.js";

/** What the registers hold at some point, as far as it is known. */
interface Registers {
  a: Value | undefined;
  x: Value | undefined;
}

interface Emitter extends Registers {
  readonly code: [code: number, k: number][];
  /** Scratch words in use for intermediate results, from the top down. */
  scratch: number;
}

const ALU_CODES: Readonly<Record<BinaryOp, number>> = {
  add: bpf.ADD,
  sub: bpf.SUB,
  mul: bpf.MUL,
  div: bpf.DIV,
  mod: bpf.MOD,
  and: bpf.AND,
  or: bpf.OR,
  xor: bpf.XOR,
  shl: bpf.LSH,
  shr: bpf.RSH,
};
const JUMP_CODES: Readonly<Record<TestOp, number>> = { eq: bpf.JEQ, gt: bpf.JGT, ge: bpf.JGE, set: bpf.JSET };
const SIZES = { 1: bpf.B, 2: bpf.H, 4: bpf.W } as const;

/** The program of a graph; it returns `accepted` for what matches and 0 for the rest. */
export function generate(graph: Graph, root: Block, accepted: number): ClassicInstruction[] {
  const order = ordered(graph, root);
  const entries = blockTable<Registers>(graph);
  entries[root.id] = { a: undefined, x: undefined };
  const bodies = order.map((block) => {
    const { a, x } = entries[block.id]!;
    const emitter: Emitter = { a, x, code: [], scratch: 0 };
    emitBody(emitter, block);
    if (block.kind === "test") {
      meet(entries, block.yes, emitter);
      meet(entries, block.no, emitter);
    } else if (block.kind !== "verdict") meet(entries, block.next, emitter);
    return emitter.code;
  });
  return assemble(graph, order, bodies, accepted);
}

/** Keeps of what is known at the entry of a block only what also holds on this way to it. */
function meet(entries: Table<Registers>, block: Block, from: Registers): void {
  const entry = entries[block.id];
  if (entry === undefined) entries[block.id] = { a: from.a, x: from.x };
  else {
    if (entry.a !== from.a) entry.a = undefined;
    if (entry.x !== from.x) entry.x = undefined;
  }
}

function emitBody(emitter: Emitter, block: Block): void {
  if (block.kind === "test") {
    if (block.right.kind === "constant") toA(emitter, block.left);
    else operands(emitter, block.left, block.right);
  } else if (block.kind === "assign") {
    if (block.value.kind === "header") {
      toX(emitter, block.value);
      emitter.code.push([bpf.STX, block.slot]);
    } else {
      toA(emitter, block.value);
      emitter.code.push([bpf.ST, block.slot]);
    }
    if (emitter.a?.varies) emitter.a = undefined;
    if (emitter.x?.varies) emitter.x = undefined;
  }
}

/** Whether X can take a value without A. */
function directToX(value: Value): boolean {
  return (
    value.kind === "constant" || value.kind === "length" || value.kind === "header" || value.kind === "slot"
  );
}

/** Whether computing a value into A changes X. */
function changesX(value: Value): boolean {
  for (let part = value; ; )
    switch (part.kind) {
      case "load":
        return part.base !== undefined;
      case "header":
        return true;
      case "binary":
        if (part.right.kind !== "constant") return true;
        part = part.left;
        break;
      case "negate":
        part = part.value;
        break;
      default:
        return false;
    }
}

/** Computes a value into A. A sum may have thousands of terms: what its left ends are made of is not computed by recursion. */
function toA(emitter: Emitter, value: Value): void {
  const { code } = emitter;
  const onTop: (Value & { readonly kind: "binary" })[] = [];
  let first = value;
  while (first.kind === "binary" && emitter.a !== first && emitter.x !== first && leftFirst(first)) {
    onTop.push(first);
    first = first.left;
  }
  leafToA(emitter, first);
  for (const whole of onTop.reverse()) {
    const { op, left, right } = whole;
    if (right.kind === "constant") code.push([bpf.ALU | ALU_CODES[op] | bpf.K, right.value]);
    else {
      beside(emitter, left, right);
      code.push([bpf.ALU | ALU_CODES[op] | bpf.X, 0]);
    }
    emitter.a = whole;
  }
}

/** Whether an operation begins with its left operand; else with the right one, in X, which the left leaves alone. */
function leftFirst({ left, right }: Value & { readonly kind: "binary" }): boolean {
  return right.kind === "constant" || directToX(right) || changesX(left);
}

function leafToA(emitter: Emitter, value: Value): void {
  if (emitter.a === value) return;
  const { code } = emitter;
  if (emitter.x === value) code.push([bpf.MISC | bpf.TXA, 0]);
  else
    switch (value.kind) {
      case "constant":
        code.push([bpf.LD | bpf.IMM, value.value]);
        break;
      case "length":
        code.push([bpf.LD | bpf.LEN, 0]);
        break;
      case "slot":
        code.push([bpf.LD | bpf.MEM, value.slot]);
        break;
      case "load":
        if (value.base !== undefined) toX(emitter, value.base);
        code.push([
          bpf.LD | (value.base === undefined ? bpf.ABS : bpf.IND) | SIZES[value.size],
          value.offset,
        ]);
        break;
      case "header":
        toX(emitter, value);
        code.push([bpf.MISC | bpf.TXA, 0]);
        break;
      case "negate":
        toA(emitter, value.value);
        code.push([bpf.ALU | bpf.NEG, 0]);
        break;
      case "binary":
        toX(emitter, value.right);
        toA(emitter, value.left);
        code.push([bpf.ALU | ALU_CODES[value.op] | bpf.X, 0]);
        break;
    }
  emitter.a = value;
}

function toX(emitter: Emitter, value: Value): void {
  if (emitter.x === value) return;
  const { code } = emitter;
  switch (value.kind) {
    case "constant":
      code.push([bpf.LDX | bpf.IMM, value.value]);
      break;
    case "length":
      code.push([bpf.LDX | bpf.LEN, 0]);
      break;
    case "slot":
      code.push([bpf.LDX | bpf.MEM, value.slot]);
      break;
    case "header":
      code.push([bpf.LDX | bpf.MSH | bpf.B, value.offset]);
      break;
    default:
      toA(emitter, value);
      code.push([bpf.MISC | bpf.TAX, 0]);
  }
  emitter.x = value;
}

/** Puts `left` into A and `right` into X. */
function operands(emitter: Emitter, left: Value, right: Value): void {
  if (directToX(right) || changesX(left)) {
    toA(emitter, left);
    beside(emitter, left, right);
  } else {
    toX(emitter, right);
    toA(emitter, left);
  }
}

/** Puts `right` into X, and leaves `left` in A, where it is. */
function beside(emitter: Emitter, left: Value, right: Value): void {
  if (directToX(right)) {
    toX(emitter, right);
    return;
  }
  const word = bpf.MEMORY_WORDS - 1 - emitter.scratch++;
  emitter.code.push([bpf.ST, word]);
  toA(emitter, right);
  emitter.code.push([bpf.MISC | bpf.TAX, 0], [bpf.LD | bpf.MEM, word]);
  emitter.x = right;
  emitter.a = left;
  emitter.scratch--;
}

const NEAR = 255;

/** Lays the blocks out from the last to the first, so that each jump's distance is known when it is written. */
function assemble(
  graph: Graph,
  order: readonly Block[],
  bodies: readonly [number, number][][],
  accepted: number,
): ClassicInstruction[] {
  const reversed: ClassicInstruction[] = [];
  /** How many instructions there are from the start of a block to the end of the program. */
  const starts = blockTable<number>(graph);
  const distance = (block: Block) => reversed.length - starts[block.id]!;
  const far = (block: Block) => reversed.push([bpf.JMP | bpf.JA, 0, 0, distance(block)]);
  for (let i = order.length - 1; i >= 0; i--) {
    const block = order[i];
    if (block.kind === "verdict") reversed.push([bpf.RET | bpf.K, 0, 0, block.accept ? accepted : 0]);
    else if (block.kind !== "test" || block.yes === block.no) {
      const next = block.kind === "test" ? block.yes : block.next;
      if (distance(next) !== 0) far(next);
    } else {
      const farNo = distance(block.no) > NEAR - 1;
      if (farNo) far(block.no);
      const farYes = distance(block.yes) > NEAR;
      if (farYes) far(block.yes);
      const jt = farYes ? 0 : distance(block.yes);
      const jf = farNo ? (farYes ? 1 : 0) : distance(block.no);
      const byX = block.right.kind !== "constant";
      const k = block.right.kind === "constant" ? block.right.value : 0;
      reversed.push([bpf.JMP | JUMP_CODES[block.op] | (byX ? bpf.X : bpf.K), jt, jf, k]);
    }
    for (let j = bodies[i].length - 1; j >= 0; j--) reversed.push([bodies[i][j][0], 0, 0, bodies[i][j][1]]);
    starts[block.id] = reversed.length;
  }
  return reversed.reverse();
}
