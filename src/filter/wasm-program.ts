// One classic BPF program as WebAssembly: basic blocks in order, each behind the end of a block that its jumps leave.
import { META_FLAGS, META_OUTGOING, META_TAGGED, META_VLAN } from "../kernels/structs.js";
import * as w from "../wasm/encoder.js";
import { MEM, OP, type Op } from "../wasm/opcodes.js";
import type { ClassicInstruction, ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";
import { type BasicBlock, basicBlocks, reach } from "./wasm-flow.js";

/** Where a program finds its packet. */
export interface PacketLocals {
  /** Local with the address of the packet's bytes; for packets in fragments that of the first descriptor. */
  readonly packet: number;
  readonly length: number;
  readonly wireLength: number;
  /** Local with the address of the metadata; it holds 0 where there is none. */
  readonly meta: number;
  /** For packets in fragments: fetches 1, 2 or 4 bytes as a big-endian number. */
  readonly fetch?: Readonly<Record<1 | 2 | 4, w.WasmFunction>>;
}

interface Frame {
  readonly f: w.WasmFunction;
  readonly where: PacketLocals;
  readonly a: number;
  readonly x: number;
  readonly raw: number;
  readonly memory: ReadonlyMap<number, number>;
  readonly accept: w.Label;
  readonly reject: w.Label;
}

/** Whether a program asks for a packet's length on the wire. */
export function usesWireLength(program: ClassicProgram): boolean {
  return program.some(([code]) => code === (bpf.LD | bpf.LEN) || code === (bpf.LDX | bpf.LEN));
}

/** Emits a verified program; it branches to one of two labels, and control never comes behind it. */
export function emitProgram(
  f: w.WasmFunction,
  program: ClassicProgram,
  where: PacketLocals,
  accept: w.Label,
  reject: w.Label,
): void {
  const blocks = basicBlocks(program);
  const words = new Set(program.filter(usesWord).map(([, , , k]) => k));
  const memory = new Map([...words].map((word) => [word, w.addLocal(f)]));
  const [a, x, raw] = [w.addLocal(f), w.addLocal(f), w.addLocal(f)];
  for (const local of [a, x]) {
    w.i32Const(f, 0);
    w.set(f, local);
  }
  const frame: Frame = { f, where, a, x, raw, memory, accept, reject };
  const labels = new Map<number, w.Label>();
  for (const block of blocks.slice(1).reverse()) labels.set(block.start, w.block(f));
  blocks.forEach((block, i) => {
    if (i > 0) w.end(f);
    emitBlock(frame, program, block, blocks[i + 1]?.start, labels);
  });
}

function usesWord([code]: ClassicInstruction): boolean {
  const kind = bpf.classOf(code);
  if (kind === bpf.ST || kind === bpf.STX) return true;
  return (kind === bpf.LD || kind === bpf.LDX) && bpf.modeOf(code) === bpf.MEM;
}

function emitBlock(
  frame: Frame,
  program: ClassicProgram,
  block: BasicBlock,
  next: number | undefined,
  labels: ReadonlyMap<number, w.Label>,
): void {
  const { f, a } = frame;
  let known = block.known;
  let raw = frame.where.fetch === undefined ? block.raw : 0;
  for (let at = block.start; at < block.end; at++) {
    const instruction = program[at];
    const [code, , , k] = instruction;
    switch (bpf.classOf(code)) {
      case bpf.LD:
      case bpf.LDX: {
        const size = emitLoad(frame, instruction, known);
        if (bpf.classOf(code) === bpf.LD) raw = size;
        known = Math.max(known, reach(instruction));
        break;
      }
      case bpf.ALU:
        emitAlu(frame, instruction);
        raw = 0;
        break;
      case bpf.ST:
      case bpf.STX:
        w.get(f, bpf.classOf(code) === bpf.ST ? a : frame.x);
        w.set(f, frame.memory.get(k) as number);
        break;
      case bpf.MISC:
        if (code === (bpf.MISC | bpf.TXA)) raw = 0;
        w.get(f, code === (bpf.MISC | bpf.TXA) ? frame.x : a);
        w.set(f, code === (bpf.MISC | bpf.TXA) ? a : frame.x);
        break;
      case bpf.RET:
        if ((code & 0x18) !== bpf.A) w.br(f, k === 0 ? frame.reject : frame.accept);
        else {
          w.get(f, a);
          w.brIf(f, frame.accept);
          w.br(f, frame.reject);
        }
        return;
      case bpf.JMP: {
        const [yes, no = yes] = bpf.targets(program, at);
        emitJump(frame, instruction, raw, yes, no, next, labels);
        return;
      }
    }
  }
}

function emitJump(
  frame: Frame,
  instruction: ClassicInstruction,
  raw: 0 | 2 | 4,
  yes: number,
  no: number,
  next: number | undefined,
  labels: ReadonlyMap<number, w.Label>,
): void {
  const { f } = frame;
  const label = (target: number) => labels.get(target) as w.Label;
  if (yes !== no) {
    emitCondition(frame, instruction, raw, yes === next);
    w.brIf(f, label(yes === next ? no : yes));
    if (yes === next || no === next) return;
  } else if (yes === next) return;
  w.br(f, label(no));
}

function swapped(value: number, size: 2 | 4): number | undefined {
  if (size === 2) return value > 0xffff ? undefined : ((value & 0xff) << 8) | (value >>> 8);
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}

const COMPARISONS: Readonly<Record<number, readonly [holds: Op, fails: Op]>> = {
  [bpf.JEQ]: [OP.i32_eq, OP.i32_ne],
  [bpf.JGT]: [OP.i32_gt_u, OP.i32_le_u],
  [bpf.JGE]: [OP.i32_ge_u, OP.i32_lt_u],
};

/** Leaves on the stack whether a jump's condition holds, or fails. Equality and bits are told without swapping bytes. */
function emitCondition(
  frame: Frame,
  [code, , , k]: ClassicInstruction,
  raw: 0 | 2 | 4,
  negated: boolean,
): void {
  const { f } = frame;
  const operation = bpf.operationOf(code);
  const byX = (code & bpf.X) !== 0;
  const orderless = operation === bpf.JEQ || operation === bpf.JSET;
  const unswapped = raw !== 0 && orderless && !byX ? swapped(k, raw) : undefined;
  w.get(f, unswapped === undefined ? frame.a : frame.raw);
  if (byX) w.get(f, frame.x);
  else w.i32Const(f, unswapped ?? k);
  if (operation === bpf.JSET) {
    w.op(f, OP.i32_and);
    if (negated) w.op(f, OP.i32_eqz);
  } else w.op(f, COMPARISONS[operation][negated ? 1 : 0]);
}

const ALU_OPS: Readonly<Record<number, Op>> = {
  [bpf.ADD]: OP.i32_add,
  [bpf.SUB]: OP.i32_sub,
  [bpf.MUL]: OP.i32_mul,
  [bpf.DIV]: OP.i32_div_u,
  [bpf.MOD]: OP.i32_rem_u,
  [bpf.AND]: OP.i32_and,
  [bpf.OR]: OP.i32_or,
  [bpf.XOR]: OP.i32_xor,
  [bpf.LSH]: OP.i32_shl,
  [bpf.RSH]: OP.i32_shr_u,
};

function emitAlu(frame: Frame, [code, , , k]: ClassicInstruction): void {
  const { f, a, x, reject } = frame;
  const operation = bpf.operationOf(code);
  const byX = (code & bpf.X) !== 0;
  if (operation === bpf.NEG) {
    w.i32Const(f, 0);
    w.get(f, a);
    w.op(f, OP.i32_sub);
    w.set(f, a);
    return;
  }
  if (byX && (operation === bpf.DIV || operation === bpf.MOD)) {
    w.get(f, x);
    w.op(f, OP.i32_eqz);
    w.brIf(f, reject);
  }
  w.get(f, a);
  if (byX) w.get(f, x);
  else w.i32Const(f, k);
  w.op(f, ALU_OPS[operation]);
  if (byX && (operation === bpf.LSH || operation === bpf.RSH)) {
    w.i32Const(f, 0);
    w.get(f, x);
    w.i32Const(f, 32);
    w.op(f, OP.i32_lt_u, OP.select);
  }
  w.set(f, a);
}

/** Emits a load; returns the bytes of what now stands unswapped beside A, or 0. */
function emitLoad(frame: Frame, instruction: ClassicInstruction, known: number): 0 | 2 | 4 {
  const { f, where } = frame;
  const [code, , , k] = instruction;
  const register = bpf.classOf(code) === bpf.LD ? frame.a : frame.x;
  switch (bpf.modeOf(code)) {
    case bpf.IMM:
      w.i32Const(f, k);
      break;
    case bpf.LEN:
      w.get(f, where.wireLength);
      break;
    case bpf.MEM:
      w.get(f, frame.memory.get(k) as number);
      break;
    case bpf.MSH:
      emitBound(frame, k + 1, known, false);
      emitBytes(frame, 1, k, false);
      w.i32Const(f, 0x0f);
      w.op(f, OP.i32_and);
      w.i32Const(f, 2);
      w.op(f, OP.i32_shl);
      break;
    default: {
      const indirect = bpf.modeOf(code) === bpf.IND;
      const size = bpf.sizeOf(code);
      if (!indirect && k >= bpf.ANCILLARY) {
        emitAncillary(frame, k - bpf.ANCILLARY);
        break;
      }
      emitBound(frame, k + size, known, indirect);
      emitBytes(frame, size, k, indirect);
      if (where.fetch === undefined && size !== 1) {
        emitSwap(frame, size);
        w.set(f, register);
        return size;
      }
    }
  }
  w.set(f, register);
  return 0;
}

/** Rejects packets shorter than `bytes`, or with `indirect` than X + `bytes`. */
function emitBound({ f, where, x, reject }: Frame, bytes: number, known: number, indirect: boolean): void {
  if (bytes > 0xffffffff) {
    w.br(f, reject);
    return;
  }
  if (known < bytes) {
    w.get(f, where.length);
    w.i32Const(f, bytes);
    w.op(f, OP.i32_lt_u);
    w.brIf(f, reject);
  }
  if (!indirect) return;
  w.get(f, x);
  w.get(f, where.length);
  w.i32Const(f, bytes);
  w.op(f, OP.i32_sub, OP.i32_gt_u);
  w.brIf(f, reject);
}

/** Leaves bytes on the stack: in the packet's order where they are read in place, as a number where fetched. */
function emitBytes({ f, where, x }: Frame, size: 1 | 2 | 4, offset: number, indirect: boolean): void {
  w.get(f, where.packet);
  if (where.fetch !== undefined) {
    w.i32Const(f, offset);
    if (indirect) {
      w.get(f, x);
      w.op(f, OP.i32_add);
    }
    w.call(f, where.fetch[size]);
    return;
  }
  if (indirect) {
    w.get(f, x);
    w.op(f, OP.i32_add);
  }
  w.access(f, size === 1 ? MEM.i32_load8_u : size === 2 ? MEM.i32_load16_u : MEM.i32_load, offset);
}

/** Keeps the bytes on the stack as they are, and puts the number they make in their place. */
function emitSwap({ f, raw }: Frame, size: 2 | 4): void {
  const part = (mask: number, rotation: number) => {
    w.get(f, raw);
    w.i32Const(f, mask);
    w.op(f, OP.i32_and);
    w.i32Const(f, rotation);
    w.op(f, OP.i32_rotl);
  };
  w.set(f, raw);
  if (size === 4) {
    part(0x00ff00ff, 24);
    part(0xff00ff00, 8);
  } else {
    part(0x00ff, 8);
    part(0xff00, 24);
  }
  w.op(f, OP.i32_or);
}

const PACKET_OUTGOING_SHIFT = 3; // META_OUTGOING (32) as PACKET_OUTGOING (4)

/**
 * What Linux keeps beside a packet's bytes, from the metadata that has it too: SKF_AD_PKTTYPE (4), _VLAN_TAG (44)
 * and _VLAN_TAG_PRESENT (48). A packet without metadata has no tag, and no direction.
 */
function emitAncillary({ f, where, reject }: Frame, which: number): void {
  if (which === 4) {
    w.get(f, where.meta);
    w.op(f, OP.i32_eqz);
    w.brIf(f, reject);
  } else if (which !== 44 && which !== 48) {
    w.br(f, reject);
    w.i32Const(f, 0);
    return;
  }
  w.get(f, where.meta);
  w.access(f, MEM.i32_load16_u, which === 44 ? META_VLAN : META_FLAGS);
  if (which !== 44) {
    w.i32Const(f, which === 4 ? META_OUTGOING : META_TAGGED);
    w.op(f, OP.i32_and);
  }
  if (which === 4) {
    w.i32Const(f, PACKET_OUTGOING_SHIFT);
    w.op(f, OP.i32_shr_u);
    return;
  }
  if (which === 48) {
    w.i32Const(f, 0);
    w.op(f, OP.i32_ne);
  }
  w.i32Const(f, 0);
  w.get(f, where.meta);
  w.op(f, OP.select);
}
