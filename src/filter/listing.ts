// Programs as text: what tcpdump's -d, -dd and -ddd print, and the reader of the last.
import { MillraceError } from "../errors.js";
import type { ClassicInstruction, ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";
import { MOST_OWN_INSTRUCTIONS, verify } from "./verify.js";

/** Decimal numbers: a count, then one instruction a line (tcpdump -ddd). */
export function formatNumbers(program: ClassicProgram): string {
  return [program.length, ...program.map((instruction) => instruction.join(" "))].join("\n");
}

/** Initializers of struct sock_filter (tcpdump -dd). */
export function formatC(program: ClassicProgram): string {
  return program
    .map(
      ([code, jt, jf, k]) =>
        `{ 0x${code.toString(16)}, ${jt}, ${jf}, 0x${k.toString(16).padStart(8, "0")} },`,
    )
    .join("\n");
}

/** Reads `-ddd` output; lines or commas between instructions. Throws ERR_FILTER for what cannot be run. */
export function readNumbers(text: string): ClassicProgram {
  const words = text.trim().split(/[\s,]+/);
  const numbers = words.map((word) => (/^\d{1,10}$/.test(word) ? Number(word) : Number.NaN));
  const bad = numbers.findIndex((number) => !(number <= 0xffffffff));
  if (bad >= 0)
    throw new MillraceError(
      "ERR_FILTER",
      `BPF program: "${words[bad].slice(0, 20)}" is no number of 32 bits`,
      {
        hint: "give the output of tcpdump -ddd",
      },
    );
  const [count, ...rest] = numbers;
  if (count > MOST_OWN_INSTRUCTIONS || rest.length !== 4 * count)
    throw new MillraceError(
      "ERR_FILTER",
      `BPF program: it says it has ${count} instructions, but ${rest.length} numbers follow`,
      { hint: "an instruction has four numbers: code, jt, jf, k" },
    );
  const program: ClassicInstruction[] = [];
  for (let i = 0; i < rest.length; i += 4) program.push([rest[i], rest[i + 1], rest[i + 2], rest[i + 3]]);
  verify(program);
  return program;
}

/** Assembly, one instruction a line (tcpdump -d). */
export function formatAssembly(program: ClassicProgram): string {
  return program.map((instruction, at) => formatLine(instruction, at)).join("\n");
}

const ALU_NAMES = ["add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor"];
const JUMP_NAMES = ["ja", "jeq", "jgt", "jge", "jset"];
const ANCILLARY_NAMES: Readonly<Record<number, string>> = {
  [bpf.ANCILLARY]: "proto",
  [bpf.ANCILLARY + 4]: "type",
  [bpf.ANCILLARY + 8]: "ifidx",
};

function formatLine([code, jt, jf, k]: ClassicInstruction, at: number): string {
  const [name, operand] = describe(code, k, at);
  const line = `(${String(at).padStart(3, "0")}) ${name.padEnd(8)} ${operand}`;
  if (bpf.classOf(code) !== bpf.JMP || bpf.operationOf(code) === bpf.JA) return line;
  return `${line.padEnd(31)} jt ${at + 1 + jt}\tjf ${at + 1 + jf}`;
}

function describe(code: number, k: number, at: number): readonly [name: string, operand: string] {
  const hex = `#0x${k.toString(16)}`;
  const byX = (code & bpf.X) !== 0;
  const operation = bpf.operationOf(code) >>> 4;
  switch (bpf.classOf(code)) {
    case bpf.LD:
      return describeLoad(code, k);
    case bpf.LDX:
      if (bpf.modeOf(code) === bpf.MSH) return ["ldxb", `4*([${k}]&0xf)`];
      return [
        "ldx",
        bpf.modeOf(code) === bpf.IMM ? hex : bpf.modeOf(code) === bpf.LEN ? "#pktlen" : `M[${k}]`,
      ];
    case bpf.ST:
      return ["st", `M[${k}]`];
    case bpf.STX:
      return ["stx", `M[${k}]`];
    case bpf.ALU: {
      const name = ALU_NAMES[operation];
      return [name, name === "neg" ? "" : byX ? "x" : name === "lsh" || name === "rsh" ? `#${k}` : hex];
    }
    case bpf.JMP:
      return [JUMP_NAMES[operation], operation === 0 ? String(at + 1 + k) : byX ? "x" : hex];
    case bpf.RET:
      return ["ret", (code & 0x18) === bpf.A ? "" : `#${k}`];
    default:
      return [code === (bpf.MISC | bpf.TAX) ? "tax" : "txa", ""];
  }
}

function describeLoad(code: number, k: number): readonly [name: string, operand: string] {
  const name = { 1: "ldb", 2: "ldh", 4: "ld" }[bpf.sizeOf(code)];
  switch (bpf.modeOf(code)) {
    case bpf.ABS:
      return [name, `[${ANCILLARY_NAMES[k] ?? k}]`];
    case bpf.IND:
      return [name, `[x + ${k}]`];
    case bpf.MEM:
      return ["ld", `M[${k}]`];
    case bpf.LEN:
      return ["ld", "#pktlen"];
    default:
      return ["ld", `#0x${k.toString(16)}`];
  }
}
