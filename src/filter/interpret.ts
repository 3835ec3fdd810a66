import type { ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";
import { type BinaryOp, evaluate } from "./ir.js";

const OPERATIONS: Readonly<Record<number, BinaryOp>> = {
  [bpf.ADD]: "add",
  [bpf.SUB]: "sub",
  [bpf.MUL]: "mul",
  [bpf.DIV]: "div",
  [bpf.MOD]: "mod",
  [bpf.AND]: "and",
  [bpf.OR]: "or",
  [bpf.XOR]: "xor",
  [bpf.LSH]: "shl",
  [bpf.RSH]: "shr",
};

/**
 * Runs a program that verify() has passed over the bytes of one packet. `length` is the length it had on the
 * wire. Returns what the program returns: 0 rejects, and so does any access outside the packet. Slow, and kept
 * simple: the other back ends are held against it.
 */
export function interpret(program: ClassicProgram, packet: Uint8Array, length = packet.length): number {
  const memory = new Uint32Array(bpf.MEMORY_WORDS);
  let a = 0;
  let x = 0;
  const bytes = (at: number, size: number): number | undefined => {
    if (at + size > packet.length) return undefined;
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + packet[at + i];
    return value;
  };
  for (let at = 0; at < program.length; at++) {
    const [code, jt, jf, k] = program[at];
    switch (bpf.classOf(code)) {
      case bpf.LD:
      case bpf.LDX: {
        const value = loaded(code, k, x, length, memory, bytes);
        if (value === undefined) return 0;
        if (bpf.classOf(code) === bpf.LD) a = value;
        else x = value;
        break;
      }
      case bpf.ST:
        memory[k] = a;
        break;
      case bpf.STX:
        memory[k] = x;
        break;
      case bpf.ALU: {
        if (bpf.operationOf(code) === bpf.NEG) {
          a = -a >>> 0;
          break;
        }
        const result = evaluate(OPERATIONS[bpf.operationOf(code)], a, (code & bpf.X) !== 0 ? x : k);
        if (result === undefined) return 0;
        a = result;
        break;
      }
      case bpf.JMP:
        if (bpf.operationOf(code) === bpf.JA) at += k;
        else at += jumps(bpf.operationOf(code), a, (code & bpf.X) !== 0 ? x : k) ? jt : jf;
        break;
      case bpf.RET:
        return (code & 0x18) === bpf.A ? a : k;
      default:
        if (code === (bpf.MISC | bpf.TAX)) x = a;
        else a = x;
    }
  }
  return 0;
}

function loaded(
  code: number,
  k: number,
  x: number,
  length: number,
  memory: Uint32Array,
  bytes: (at: number, size: number) => number | undefined,
): number | undefined {
  switch (bpf.modeOf(code)) {
    case bpf.IMM:
      return k;
    case bpf.ABS:
      // A packet of bytes alone has no VLAN tag beside them.
      if (k === bpf.ANCILLARY + 44 || k === bpf.ANCILLARY + 48) return 0;
      return bytes(k, bpf.sizeOf(code));
    case bpf.IND:
      return bytes(x + k, bpf.sizeOf(code));
    case bpf.MEM:
      return memory[k];
    case bpf.LEN:
      return length;
    default: {
      const byte = bytes(k, 1);
      return byte === undefined ? undefined : (byte & 0x0f) << 2;
    }
  }
}

function jumps(operation: number, a: number, operand: number): boolean {
  switch (operation) {
    case bpf.JEQ:
      return a === operand;
    case bpf.JGT:
      return a > operand;
    case bpf.JGE:
      return a >= operand;
    default:
      return (a & operand) !== 0;
  }
}
