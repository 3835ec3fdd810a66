// Classic BPF as eBPF over a packet in XDP (linux/bpf.h; Documentation/bpf/standardization/instruction-set.rst).
import { MillraceError } from "../errors.js";
import type { EbpfItem } from "../linux/ebpf.js";
import type { ClassicInstruction, ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";
import { verify } from "./verify.js";
import { basicBlocks } from "./wasm-flow.js";

/** How the filter is set into its program. */
export interface XdpPlace {
  /** Register with the context, struct xdp_md; one of 6 to 9. The filter uses all others and the stack. */
  readonly context: number;
  /** Label to which packets that do not match go; those that match fall through. */
  readonly unwanted: string;
}

const XDP_LOAD_BYTES = 189;
const XDP_GET_BUFF_LEN = 188;
const MD_DATA = 0;
const MD_DATA_END = 4;
const MD_INGRESS_IFINDEX = 12;
/** The verifier follows packet pointers up to 65,535 bytes. */
const NEAR = 0xf000;
const STACK_BYTES = -8;
const STACK_WORDS = -8 - 4 * bpf.MEMORY_WORDS;
const FRAME = 10;
const MATCHED = "filter matched";

interface Emitter {
  readonly items: EbpfItem[];
  readonly place: XdpPlace;
  readonly a: number;
  readonly x: number;
  readonly data: number;
  labels: number;
}

/**
 * The instructions of a filter. Packets of several buffers are read through a helper where they leave the
 * first. A packet too short for a load goes to `unwanted`. Throws ERR_FILTER for a program that must not be run
 * or asks for what XDP does not know.
 */
export function emitXdpFilter(program: ClassicProgram, place: XdpPlace): EbpfItem[] {
  verify(program, bpf.MOST_INSTRUCTIONS);
  const [a, x, data] = [6, 7, 8, 9].filter((register) => register !== place.context);
  const e: Emitter = { items: [], place, a, x, data, labels: 0 };
  const blocks = basicBlocks(program);
  if (blocks.length === 1 && acceptsAll(program)) return [];
  emit(e, 0xb4, a, 0, 0, 0); // w A = 0
  emit(e, 0xb4, x, 0, 0, 0);
  emit(e, 0x61, data, place.context, MD_DATA, 0);
  // Both ways out must be reachable for the verifier, whatever the program does.
  emit(e, 0x55, a, 0, 0, 0, place.unwanted);
  emit(e, 0x55, a, 0, 0, 0, MATCHED);
  blocks.forEach((block, i) => {
    e.items.push({ label: name(block.start) });
    for (let at = block.start; at < block.end; at++) emitInstruction(e, program, at, blocks[i + 1]?.start);
  });
  e.items.push({ label: MATCHED });
  return e.items;
}

function acceptsAll(program: ClassicProgram): boolean {
  const [code, , , k] = program[0];
  return code === (bpf.RET | bpf.K) && k !== 0;
}

function name(at: number): string {
  return `filter ${at}`;
}

function emit(
  e: Emitter,
  code: number,
  dst: number,
  src: number,
  off: number,
  imm: number,
  target?: string,
): void {
  e.items.push({ code, dst, src, off, imm: imm | 0, ...(target === undefined ? {} : { target }) });
}

function go(e: Emitter, target: string): void {
  emit(e, 0x05, 0, 0, 0, 0, target);
}

function emitInstruction(e: Emitter, program: ClassicProgram, at: number, next: number | undefined): void {
  const instruction = program[at];
  const [code, , , k] = instruction;
  const { a, x } = e;
  const word = STACK_WORDS + 4 * k;
  switch (bpf.classOf(code)) {
    case bpf.LD:
    case bpf.LDX:
      emitLoad(e, instruction);
      break;
    case bpf.ST:
    case bpf.STX:
      emit(e, 0x63, FRAME, bpf.classOf(code) === bpf.ST ? a : x, word, 0);
      break;
    case bpf.ALU:
      emitAlu(e, instruction);
      break;
    case bpf.MISC:
      if (code === (bpf.MISC | bpf.TXA)) emit(e, 0xbc, a, x, 0, 0);
      else emit(e, 0xbc, x, a, 0, 0);
      break;
    case bpf.RET:
      if ((code & 0x18) !== bpf.A) go(e, k === 0 ? e.place.unwanted : MATCHED);
      else {
        emit(e, 0x16, a, 0, 0, 0, e.place.unwanted);
        go(e, MATCHED);
      }
      return;
    default: {
      const [yes, no = yes] = bpf.targets(program, at);
      const operation = bpf.operationOf(code);
      // The codes of comparisons are those of classic BPF; 32 bits wide they have a class of their own.
      const byX = (code & bpf.X) !== 0;
      if (yes !== no) emit(e, 0x06 | operation | (code & bpf.X), a, byX ? x : 0, 0, byX ? 0 : k, name(yes));
      if (no !== next) go(e, name(no));
      return;
    }
  }
}

function emitAlu(e: Emitter, [code, , , k]: ClassicInstruction): void {
  const { a, x } = e;
  const operation = bpf.operationOf(code);
  const byX = (code & bpf.X) !== 0;
  if (operation === bpf.NEG) {
    emit(e, 0x84, a, 0, 0, 0);
    return;
  }
  if (byX && (operation === bpf.DIV || operation === bpf.MOD)) emit(e, 0x16, x, 0, 0, 0, e.place.unwanted);
  if (byX && (operation === bpf.LSH || operation === bpf.RSH)) {
    const short = freshLabel(e);
    const done = freshLabel(e);
    emit(e, 0xb6, x, 0, 0, 31, short); // if w X <= 31
    emit(e, 0xb4, a, 0, 0, 0);
    go(e, done);
    e.items.push({ label: short });
    emit(e, 0x04 | operation | bpf.X, a, x, 0, 0);
    e.items.push({ label: done });
    return;
  }
  if (byX) emit(e, 0x04 | operation | bpf.X, a, x, 0, 0);
  else emit(e, 0x04 | operation, a, 0, 0, k);
}

function freshLabel(e: Emitter): string {
  return `filter local ${e.labels++}`;
}

function emitLoad(e: Emitter, instruction: ClassicInstruction): void {
  const [code, , , k] = instruction;
  const register = bpf.classOf(code) === bpf.LD ? e.a : e.x;
  switch (bpf.modeOf(code)) {
    case bpf.IMM:
      emit(e, 0xb4, register, 0, 0, k);
      return;
    case bpf.MEM:
      emit(e, 0x61, register, FRAME, STACK_WORDS + 4 * k, 0);
      return;
    case bpf.LEN:
      emit(e, 0xbf, 1, e.place.context, 0, 0);
      emit(e, 0x85, 0, 0, 0, XDP_GET_BUFF_LEN);
      emit(e, 0xbc, register, 0, 0, 0);
      return;
    case bpf.MSH:
      emitPacketLoad(e, 1, k, false);
      emit(e, 0xbc, register, 0, 0, 0);
      emit(e, 0x54, register, 0, 0, 0x0f);
      emit(e, 0x64, register, 0, 0, 2);
      return;
    default: {
      const indirect = bpf.modeOf(code) === bpf.IND;
      if (!indirect && k >= bpf.ANCILLARY) {
        emitAncillary(e, k - bpf.ANCILLARY);
        return;
      }
      const size = bpf.sizeOf(code);
      emitPacketLoad(e, size, k, indirect);
      if (size !== 1) emit(e, 0xdc, 0, 0, 0, 8 * size); // r0 = be16 or be32
      emit(e, 0xbc, register, 0, 0, 0);
    }
  }
}

const LOAD_CODES = { 1: 0x71, 2: 0x69, 4: 0x61 } as const;

/** Puts bytes of the packet, in its order, into r0. */
function emitPacketLoad(e: Emitter, size: 1 | 2 | 4, offset: number, indirect: boolean): void {
  const slow = freshLabel(e);
  const done = freshLabel(e);
  const far = offset > NEAR;
  // r2: where in the packet.
  emit(e, 0xb4, 2, 0, 0, offset);
  if (indirect) emit(e, 0x0f, 2, e.x, 0, 0);
  if (!far) {
    if (indirect) emit(e, 0x25, 2, 0, 0, NEAR, slow);
    emit(e, 0x61, 4, e.place.context, MD_DATA_END, 0);
    emit(e, 0xbf, 1, e.data, 0, 0);
    emit(e, 0x0f, 1, 2, 0, 0);
    emit(e, 0xbf, 3, 1, 0, 0);
    emit(e, 0x07, 3, 0, 0, size);
    emit(e, 0x2d, 3, 4, 0, 0, slow); // if r3 > data_end
    emit(e, LOAD_CODES[size], 0, 1, 0, 0);
    go(e, done);
  }
  e.items.push({ label: slow });
  emit(e, 0x25, 2, 0, 0, 0xffff, e.place.unwanted);
  emit(e, 0xbf, 1, e.place.context, 0, 0);
  emit(e, 0xbf, 3, FRAME, 0, 0);
  emit(e, 0x07, 3, 0, 0, STACK_BYTES);
  emit(e, 0xb4, 4, 0, 0, size);
  emit(e, 0x85, 0, 0, 0, XDP_LOAD_BYTES);
  emit(e, 0x55, 0, 0, 0, 0, e.place.unwanted);
  emit(e, LOAD_CODES[size], 0, FRAME, STACK_BYTES, 0);
  e.items.push({ label: done });
}

/** What Linux knows beside the bytes, as far as XDP can tell: packets come in, their tags are in their bytes. */
function emitAncillary(e: Emitter, which: number): void {
  if (which === 8) emit(e, 0x61, e.a, e.place.context, MD_INGRESS_IFINDEX, 0);
  else if (which === 4 || which === 44 || which === 48) emit(e, 0xb4, e.a, 0, 0, 0);
  else
    throw new MillraceError(
      "ERR_FILTER",
      `BPF program: XDP does not know what a load at SKF_AD_OFF + ${which} asks for`,
    );
}

/** Assembly in the kernel's style, one instruction a line, with the labels that are jumped to. */
export function formatEbpf(items: readonly EbpfItem[]): string {
  const used = new Set(
    items.flatMap((item) => ("label" in item || item.target === undefined ? [] : [item.target])),
  );
  return items
    .flatMap((item) => {
      if ("label" in item) return used.has(item.label) ? [`${item.label.replaceAll(" ", "_")}:`] : [];
      return [`  ${formatItem(item)}`];
    })
    .join("\n");
}

const ALU_SIGNS = ["+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "="];
const JUMP_SIGNS = ["", "==", ">", ">=", "&", "!=", "", "", "", "", "<", "<="];

function formatItem(item: Exclude<EbpfItem, { readonly label: string }>): string {
  const { code, dst, src, off, imm } = item;
  const target = item.target?.replaceAll(" ", "_") ?? "";
  const sign = code >>> 4;
  const wide = (code & 7) === 7 || (code & 7) === 5;
  const d = `${wide ? "r" : "w"}${dst}`;
  const operand = (code & 8) !== 0 ? `${wide ? "r" : "w"}${src}` : String(wide ? imm : imm >>> 0);
  switch (code & 7) {
    case 1:
      return `r${dst} = *(u${{ 113: 8, 105: 16, 97: 32 }[code]} *)(r${src} ${off < 0 ? "-" : "+"} ${Math.abs(off)})`;
    case 3:
      return `*(u32 *)(r${dst} ${off < 0 ? "-" : "+"} ${Math.abs(off)}) = r${src}`;
    case 5:
    case 6:
      if (code === 0x85) return `call ${imm}`;
      return code === 0x05 ? `goto ${target}` : `if ${d} ${JUMP_SIGNS[sign]} ${operand} goto ${target}`;
    default:
      if (code === 0xdc) return `r${dst} = be${imm} r${dst}`;
      return code === 0x84 ? `${d} = -${d}` : `${d} ${ALU_SIGNS[sign]} ${operand}`;
  }
}
