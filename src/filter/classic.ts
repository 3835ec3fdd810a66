// Classic BPF (McCanne and Jacobson 1993; linux/filter.h): instruction codes and what a program may contain.

/** One instruction: struct sock_filter. */
export type ClassicInstruction = readonly [code: number, jt: number, jf: number, k: number];
export type ClassicProgram = readonly ClassicInstruction[];

export const LD = 0x00;
export const LDX = 0x01;
export const ST = 0x02;
export const STX = 0x03;
export const ALU = 0x04;
export const JMP = 0x05;
export const RET = 0x06;
export const MISC = 0x07;

export const W = 0x00;
export const H = 0x08;
export const B = 0x10;

export const IMM = 0x00;
export const ABS = 0x20;
export const IND = 0x40;
export const MEM = 0x60;
export const LEN = 0x80;
export const MSH = 0xa0;

export const ADD = 0x00;
export const SUB = 0x10;
export const MUL = 0x20;
export const DIV = 0x30;
export const OR = 0x40;
export const AND = 0x50;
export const LSH = 0x60;
export const RSH = 0x70;
export const NEG = 0x80;
export const MOD = 0x90;
export const XOR = 0xa0;

export const JA = 0x00;
export const JEQ = 0x10;
export const JGT = 0x20;
export const JGE = 0x30;
export const JSET = 0x40;

export const K = 0x00;
export const X = 0x08;
export const A = 0x10;

export const TAX = 0x00;
export const TXA = 0x80;

/** Words of scratch memory. */
export const MEMORY_WORDS = 16;
/** The most instructions that the kernel takes (BPF_MAXINSNS). */
export const MOST_INSTRUCTIONS = 4096;
/** From here up a load asks for what Linux knows of a packet beside its bytes (SKF_AD_OFF). */
export const ANCILLARY = 0xfffff000;

export function classOf(code: number): number {
  return code & 0x07;
}

export function sizeOf(code: number): 1 | 2 | 4 {
  const size = code & 0x18;
  return size === B ? 1 : size === H ? 2 : 4;
}

export function modeOf(code: number): number {
  return code & 0xe0;
}

export function operationOf(code: number): number {
  return code & 0xf0;
}

/** The numbers of the instructions that the one at `at` may lead to; none for a return. */
export function targets(program: ClassicProgram, at: number): readonly number[] {
  const [code, jt, jf, k] = program[at];
  if (classOf(code) === RET) return [];
  if (classOf(code) !== JMP) return [at + 1];
  return operationOf(code) === JA ? [at + 1 + k] : [at + 1 + jt, at + 1 + jf];
}
