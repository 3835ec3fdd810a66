// Whether the kernel runs a program at a socket as it is run everywhere else.
import type { ClassicInstruction, ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";

const MOST = 0xffffffff;
/** The kernel reads offsets as signed numbers; those below zero name places of its own (linux/filter.h, SKF_*_OFF). */
const MOST_OFFSET = 0x7fffffff;
/** What Linux keeps beside a packet's bytes, as far as programs compiled here ask for it: its type, its interface, its VLAN tag. */
const KNOWN_ANCILLARY: ReadonlySet<number> = new Set([4, 8, 44, 48].map((which) => bpf.ANCILLARY + which));

/** The largest numbers that the registers and scratch words can hold on any way to an instruction. */
export interface Bounds {
  a: number;
  x: number;
  readonly words: Float64Array;
}

/**
 * Whether a program that verify() has passed gives a socket the verdict that it gives elsewhere. Too long a one the
 * kernel refuses; where X and an offset add up to more than 31 bits it starts again from the packet's front, or looks
 * at places of its own, and it shifts by more than 31 bits as the processor does.
 */
export function runsInSocket(program: ClassicProgram): boolean {
  return program.length <= bpf.MOST_INSTRUCTIONS && holdsThroughout(program, isAlike);
}

/** Whether something holds of each instruction that can be reached, with the numbers that may be there before it. */
export function holdsThroughout(
  program: ClassicProgram,
  holds: (instruction: ClassicInstruction, bounds: Readonly<Bounds>) => boolean,
): boolean {
  const entries = new Map<number, Bounds>([[0, startBounds()]]);
  for (let at = 0; at < program.length; at++) {
    const bounds = entries.get(at);
    if (bounds === undefined) continue; // nothing leads here
    entries.delete(at);
    if (!holds(program[at], bounds)) return false;
    step(program[at], bounds);
    for (const target of bpf.targets(program, at)) join(entries, target, bounds);
  }
  return true;
}

function startBounds(): Bounds {
  return { a: 0, x: 0, words: new Float64Array(bpf.MEMORY_WORDS) };
}

function join(entries: Map<number, Bounds>, at: number, from: Bounds): void {
  const entry = entries.get(at);
  if (entry === undefined) entries.set(at, { a: from.a, x: from.x, words: from.words.slice() });
  else {
    entry.a = Math.max(entry.a, from.a);
    entry.x = Math.max(entry.x, from.x);
    from.words.forEach((most, word) => {
      entry.words[word] = Math.max(entry.words[word], most);
    });
  }
}

function isAlike([code, , , k]: ClassicInstruction, bounds: Readonly<Bounds>): boolean {
  switch (bpf.classOf(code)) {
    case bpf.LD:
    case bpf.LDX:
      if (bpf.modeOf(code) === bpf.IND) return bounds.x + k <= MOST_OFFSET;
      if (bpf.modeOf(code) === bpf.ABS) return k <= MOST_OFFSET || KNOWN_ANCILLARY.has(k);
      return bpf.modeOf(code) !== bpf.MSH || k <= MOST_OFFSET;
    case bpf.ALU: {
      const operation = bpf.operationOf(code);
      const shifts = operation === bpf.LSH || operation === bpf.RSH;
      return !shifts || (code & bpf.X) === 0 || bounds.x <= 31;
    }
    default:
      return true;
  }
}

function step([code, , , k]: ClassicInstruction, bounds: Bounds): void {
  switch (bpf.classOf(code)) {
    case bpf.LD:
      bounds.a = loaded(code, k, bounds);
      break;
    case bpf.LDX:
      bounds.x = loaded(code, k, bounds);
      break;
    case bpf.ST:
      bounds.words[k] = bounds.a;
      break;
    case bpf.STX:
      bounds.words[k] = bounds.x;
      break;
    case bpf.ALU:
      bounds.a = computed(bpf.operationOf(code), bounds.a, k, (code & bpf.X) !== 0 ? bounds.x : undefined);
      break;
    case bpf.MISC:
      if (code === (bpf.MISC | bpf.TAX)) bounds.x = bounds.a;
      else bounds.a = bounds.x;
  }
}

function loaded(code: number, k: number, { words }: Bounds): number {
  switch (bpf.modeOf(code)) {
    case bpf.IMM:
      return k;
    case bpf.MEM:
      return words[k];
    case bpf.MSH:
      return 60;
    case bpf.LEN:
      return MOST;
    default:
      return 2 ** (8 * bpf.sizeOf(code)) - 1;
  }
}

/** The most that an operation gives on numbers up to `a` and the constant `k`, or numbers up to `x`. */
function computed(operation: number, a: number, k: number, x: number | undefined): number {
  const other = x ?? k;
  const within = (most: number) => Math.min(most, MOST);
  switch (operation) {
    case bpf.ADD:
      return within(a + other);
    case bpf.MUL:
      return within(a * other);
    case bpf.DIV:
      return x === undefined ? Math.floor(a / k) : a;
    case bpf.MOD:
      return Math.min(a, Math.max(0, other - 1));
    case bpf.AND:
      return Math.min(a, other);
    case bpf.OR:
    case bpf.XOR:
      return ones(Math.max(a, other));
    case bpf.LSH:
      return x === undefined ? within(a * 2 ** k) : MOST;
    case bpf.RSH:
      return x === undefined ? Math.floor(a / 2 ** k) : a;
    default:
      return MOST;
  }
}

/** The largest number with as many bits as `value`. */
function ones(value: number): number {
  return 2 ** (32 - Math.clz32(value)) - 1;
}
