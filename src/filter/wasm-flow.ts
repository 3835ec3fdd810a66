// What is known at each basic block of a program, for the WebAssembly back end.

import type { ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";

/** A run of instructions that is entered at its start and left at its end only. */
export interface BasicBlock {
  readonly start: number;
  /** Number of the instruction behind the last. */
  readonly end: number;
  /** Bytes that every way here has found the packet to have. */
  known: number;
  /** Bytes of the load whose unswapped result stands beside A on every way here; 0: there is none. */
  raw: 0 | 2 | 4;
}

/** How many bytes of the packet an instruction looks at for certain; 0 for none, and for what lies beside it. */
export function reach([code, , , k]: bpf.ClassicInstruction): number {
  const kind = bpf.classOf(code);
  const mode = bpf.modeOf(code);
  if (kind === bpf.LDX) return mode === bpf.MSH ? k + 1 : 0;
  if (kind !== bpf.LD || (mode !== bpf.ABS && mode !== bpf.IND)) return 0;
  return mode === bpf.ABS && k >= bpf.ANCILLARY ? 0 : k + bpf.sizeOf(code);
}

/** Whether A still is what the last load brought after an instruction. */
function rawAfter(instruction: bpf.ClassicInstruction, raw: 0 | 2 | 4): 0 | 2 | 4 {
  const [code] = instruction;
  const kind = bpf.classOf(code);
  if (kind === bpf.LD) {
    const size = bpf.sizeOf(code);
    return reach(instruction) > 0 && size !== 1 ? size : 0;
  }
  return kind === bpf.ALU || code === (bpf.MISC | bpf.TXA) ? 0 : raw;
}

/** The basic blocks of a verified program, in order, with what is known at their entries. */
export function basicBlocks(program: ClassicProgram): BasicBlock[] {
  const leads = new Uint8Array(program.length + 1);
  leads[0] = leads[program.length] = 1;
  for (let at = 0; at < program.length; at++) {
    const kind = bpf.classOf(program[at][0]);
    if (kind === bpf.JMP || kind === bpf.RET) leads[at + 1] = 1;
    if (kind === bpf.JMP) for (const target of bpf.targets(program, at)) leads[target] = 1;
  }
  const reached: BasicBlock[] = [];
  /** What is known of blocks that a block before them leads to, by their start. */
  const entries = new Array<BasicBlock | undefined>(program.length);
  entries[0] = { start: 0, end: 0, known: 0, raw: 0 };
  for (let start = 0, end = 1; start < program.length; start = end++) {
    while (leads[end] === 0) end++;
    const entry = entries[start];
    if (entry === undefined) continue;
    const block = { ...entry, end };
    reached.push(block);
    let { known, raw } = block;
    for (let at = start; at < end; at++) {
      known = Math.max(known, reach(program[at]));
      raw = rawAfter(program[at], raw);
    }
    for (const target of bpf.targets(program, end - 1)) {
      const before = entries[target];
      if (before === undefined) entries[target] = { start: target, end: 0, known, raw };
      else {
        before.known = Math.min(before.known, known);
        if (before.raw !== raw) before.raw = 0;
      }
    }
  }
  return reached;
}
