import { MillraceError } from "../errors.js";
import type { ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";

/** The most instructions that millrace runs by itself; the kernel takes 4,096. */
export const MOST_OWN_INSTRUCTIONS = 1 << 20;

/**
 * Checks a program before it is run: every instruction is known, jumps go forward and stay inside, every path
 * ends in a return, no scratch word outside the sixteen is named nor one read that was not written, no
 * constant divides by zero or shifts by more than 31. So it ends, and touches nothing but the packet. Throws
 * ERR_FILTER that names the instruction.
 */
export function verify(program: ClassicProgram, most = MOST_OWN_INSTRUCTIONS): void {
  if (program.length === 0) throw badProgram("the program is empty");
  if (program.length > most)
    throw badProgram(
      `the program has ${program.length} instructions`,
      `at most ${most} can run here: split the filter`,
    );
  // Scratch words surely written on every way to an instruction; -1 (all of them): none leads there.
  const written = new Int32Array(program.length).fill(-1);
  written[0] = 0;
  const reached = new Uint8Array(program.length);
  reached[0] = 1;
  const flow = (to: number, words: number) => {
    written[to] &= words;
    reached[to] = 1;
  };
  for (let at = 0; at < program.length; at++) {
    const [code, , , k] = program[at];
    checkInstruction(program[at], at);
    const kind = bpf.classOf(code);
    let words = written[at];
    if (kind === bpf.ST || kind === bpf.STX) words |= 1 << k;
    if ((kind === bpf.LD || kind === bpf.LDX) && bpf.modeOf(code) === bpf.MEM && reached[at] === 1)
      if ((words & (1 << k)) === 0) throw badInstruction(at, `reads scratch word ${k}, which nothing wrote`);
    for (const to of bpf.targets(program, at)) {
      if (to >= program.length) throw leavesProgram(at, to);
      if (reached[at] === 1) flow(to, words);
    }
  }
}

function leavesProgram(at: number, to: number): MillraceError {
  if (to === at + 1) return badInstruction(at, "is the last and does not return");
  if (to - at - 1 <= 0x7fffffff) return badInstruction(at, "jumps outside the program");
  const hint = "loops, as in libpcap's protochain programs, are not run";
  return badInstruction(at, "jumps backwards", hint);
}

function badProgram(message: string, hint?: string): MillraceError {
  return new MillraceError("ERR_FILTER", `BPF program: ${message}`, hint === undefined ? {} : { hint });
}

function badInstruction(at: number, what: string, hint?: string): MillraceError {
  return new MillraceError("ERR_FILTER", `BPF program: instruction ${at} ${what}`, {
    at: { path: `$[${at}]` },
    ...(hint === undefined ? {} : { hint }),
  });
}

const LOADS: ReadonlySet<number> = new Set([
  bpf.LD | bpf.IMM,
  ...[bpf.W, bpf.H, bpf.B].flatMap((size) => [bpf.LD | bpf.ABS | size, bpf.LD | bpf.IND | size]),
  bpf.LD | bpf.MEM,
  bpf.LD | bpf.LEN,
  bpf.LDX | bpf.IMM,
  bpf.LDX | bpf.MEM,
  bpf.LDX | bpf.LEN,
  bpf.LDX | bpf.MSH | bpf.B,
]);
const JUMPS: ReadonlySet<number> = new Set([bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET]);

function checkInstruction([code, jt, jf, k]: bpf.ClassicInstruction, at: number): void {
  const byte = (value: number) => Number.isInteger(value) && value >= 0 && value <= 255;
  if (!Number.isInteger(code) || code < 0 || code > 0xffff || !byte(jt) || !byte(jf))
    throw badInstruction(at, "has fields that do not fit");
  if (!Number.isInteger(k) || k < 0 || k > 0xffffffff)
    throw badInstruction(at, "has a constant of more than 32 bits");
  const kind = bpf.classOf(code);
  const operation = bpf.operationOf(code);
  let known = false;
  switch (kind) {
    case bpf.LD:
    case bpf.LDX:
      known = LOADS.has(code);
      if (known && bpf.modeOf(code) === bpf.MEM) checkWord(k, at);
      break;
    case bpf.ST:
    case bpf.STX:
      known = code === kind;
      if (known) checkWord(k, at);
      break;
    case bpf.ALU: {
      const constant = (code & bpf.X) === 0;
      known = operation <= bpf.XOR && (code & ~0xff) === 0;
      if ((operation === bpf.DIV || operation === bpf.MOD) && constant && k === 0)
        throw badInstruction(at, "divides by zero");
      if ((operation === bpf.LSH || operation === bpf.RSH) && constant && k > 31)
        throw badInstruction(at, "shifts by more than 31 bits");
      break;
    }
    case bpf.JMP:
      known = code === (bpf.JMP | bpf.JA) || ((code & ~0xff) === 0 && JUMPS.has(operation));
      break;
    case bpf.RET:
      known = code === (bpf.RET | bpf.K) || code === (bpf.RET | bpf.A);
      break;
    default:
      known = code === (bpf.MISC | bpf.TAX) || code === (bpf.MISC | bpf.TXA);
  }
  if (!known) throw badInstruction(at, `has the unknown code 0x${code.toString(16)}`);
}

function checkWord(k: number, at: number): void {
  if (k >= bpf.MEMORY_WORDS) throw badInstruction(at, `names scratch word ${k}`, "there are 16, from 0 on");
}
