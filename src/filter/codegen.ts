// Classic BPF from a graph of decisions: values into A and X, kept there for the tests that follow.

import type { ClassicInstruction } from "./classic.js";
import * as bpf from "./classic.js";
import { type Block, ordered, successors } from "./graph.js";
import type { BinaryOp, TestOp, Value } from "./ir.js";
import { dependsOnSlots } from "./optimize.js";

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
export function generate(root: Block, accepted: number): ClassicInstruction[] {
  const order = ordered(root);
  const entries = new Map<Block, Registers>([[root, { a: undefined, x: undefined }]]);
  const bodies = order.map((block) => {
    const emitter: Emitter = { ...(entries.get(block) as Registers), code: [], scratch: 0 };
    emitBody(emitter, block);
    for (const next of successors(block)) meet(entries, next, emitter);
    return emitter.code;
  });
  return assemble(order, bodies, accepted);
}

/** Keeps of what is known at the entry of a block only what also holds on this way to it. */
function meet(entries: Map<Block, Registers>, block: Block, from: Registers): void {
  const entry = entries.get(block);
  if (entry === undefined) entries.set(block, { a: from.a, x: from.x });
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
    if (emitter.a !== undefined && dependsOnSlots(emitter.a)) emitter.a = undefined;
    if (emitter.x !== undefined && dependsOnSlots(emitter.x)) emitter.x = undefined;
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
  switch (value.kind) {
    case "load":
      return value.base !== undefined;
    case "header":
      return true;
    case "binary":
      return value.right.kind !== "constant" || changesX(value.left);
    case "negate":
      return changesX(value.value);
    default:
      return false;
  }
}

function toA(emitter: Emitter, value: Value): void {
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
        if (value.right.kind === "constant") {
          toA(emitter, value.left);
          code.push([bpf.ALU | ALU_CODES[value.op] | bpf.K, value.right.value]);
        } else {
          operands(emitter, value.left, value.right);
          code.push([bpf.ALU | ALU_CODES[value.op] | bpf.X, 0]);
        }
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
  if (directToX(right)) {
    toA(emitter, left);
    toX(emitter, right);
  } else if (!changesX(left)) {
    toX(emitter, right);
    toA(emitter, left);
  } else {
    toA(emitter, left);
    const word = bpf.MEMORY_WORDS - 1 - emitter.scratch++;
    emitter.code.push([bpf.ST, word]);
    toA(emitter, right);
    emitter.code.push([bpf.MISC | bpf.TAX, 0], [bpf.LD | bpf.MEM, word]);
    emitter.x = right;
    emitter.a = left;
    emitter.scratch--;
  }
}

const NEAR = 255;

/** Lays the blocks out from the last to the first, so that each jump's distance is known when it is written. */
function assemble(
  order: readonly Block[],
  bodies: readonly [number, number][][],
  accepted: number,
): ClassicInstruction[] {
  const reversed: ClassicInstruction[] = [];
  /** How many instructions there are from the start of a block to the end of the program. */
  const starts = new Map<Block, number>();
  const distance = (block: Block) => reversed.length - (starts.get(block) as number);
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
    starts.set(block, reversed.length);
  }
  return reversed.reverse();
}
