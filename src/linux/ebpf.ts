// eBPF instructions (linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst) and their assembly.
// Pure: nothing here talks to the kernel.
import { MillraceError } from "../errors.js";

/** One instruction, struct bpf_insn. `target` names a label instead of giving `off` as a number. */
export interface EbpfInstruction {
  readonly code: number;
  readonly dst: number;
  readonly src: number;
  readonly off: number;
  readonly imm: number;
  readonly target?: string;
}
/** A place that jumps name. */
export interface EbpfLabel {
  readonly label: string;
}
export type EbpfItem = EbpfInstruction | EbpfLabel;

const LD_IMM64 = 0x18;
const PSEUDO_MAP_FD = 1;

const op = (code: number, dst: number, src: number, off: number, imm: number): EbpfInstruction => ({
  code,
  dst,
  src,
  off,
  imm,
});

/** dst = *(u32 *)(src + off) */
export const load32 = (dst: number, src: number, off: number) => op(0x61, dst, src, off, 0);
/** dst = src, 64 bits */
export const move = (dst: number, src: number) => op(0xbf, dst, src, 0, 0);
/** dst = imm, sign-extended to 64 bits */
export const moveImmediate = (dst: number, imm: number) => op(0xb7, dst, 0, 0, imm);
/** dst = the map behind descriptor `fd`; takes two slots */
export const loadMap = (dst: number, fd: number): EbpfInstruction[] => [
  op(LD_IMM64, dst, PSEUDO_MAP_FD, 0, fd),
  op(0, 0, 0, 0, 0),
];
/** Calls helper function number `helper` (r1 to r5 in, r0 out). */
export const call = (helper: number) => op(0x85, 0, 0, 0, helper);
export const exit = () => op(0x95, 0, 0, 0, 0);
export const label = (name: string): EbpfLabel => ({ label: name });

/** The bytes of a program, its labels resolved. Throws ERR_FILTER when a jump has no target or is too far. */
export function assemble(items: readonly EbpfItem[]): Buffer {
  const places = new Map<string, number>();
  const instructions: EbpfInstruction[] = [];
  for (const item of items) {
    if ("label" in item) places.set(item.label, instructions.length);
    else instructions.push(item);
  }
  const bytes = Buffer.alloc(8 * instructions.length);
  for (const [index, instruction] of instructions.entries()) {
    const at = 8 * index;
    bytes[at] = instruction.code;
    bytes[at + 1] = instruction.dst | (instruction.src << 4);
    bytes.writeInt16LE(offsetOf(instruction, index, places), at + 2);
    bytes.writeInt32LE(instruction.imm | 0, at + 4);
  }
  return bytes;
}

function offsetOf(instruction: EbpfInstruction, index: number, places: ReadonlyMap<string, number>): number {
  if (instruction.target === undefined) return instruction.off;
  const place = places.get(instruction.target);
  const offset = place === undefined ? Number.NaN : place - index - 1;
  if (!(offset >= -32768 && offset <= 32767))
    throw new MillraceError(
      "ERR_FILTER",
      `instruction ${index} cannot jump to "${instruction.target}": ${
        place === undefined ? "there is no such label" : `${offset} instructions are too far`
      }`,
    );
  return offset;
}
