// Programs for packets with a header of LINKTYPE_LINUX_SLL2 at a socket that has yet to make that header: the kernel
// runs a filter there on the network header and what follows (packet(7), SOCK_DGRAM), and knows the rest itself.
import type { ClassicInstruction, ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";

/** Bytes of the header (https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html). */
const HEADER = 20;
/** What fields of the header are beside the packet, by size and offset: linux/filter.h, SKF_AD_*. */
const BESIDE: readonly (readonly [size: 1 | 2 | 4, at: number, which: number])[] = [
  [2, 0, 0], // protocol
  [4, 4, 8], // interface
  [1, 10, 4], // type of packet
];

/** The same program for such a socket; undefined: there is none, as the kernel does not know what it asks for. */
export function cookedProgram(program: ClassicProgram): ClassicProgram | undefined {
  const cooked = program.map(cookedInstruction);
  return cooked.some((instruction) => instruction === undefined)
    ? undefined
    : (cooked as readonly ClassicInstruction[]);
}

function cookedInstruction(instruction: ClassicInstruction): ClassicInstruction | undefined {
  const [code, jt, jf, k] = instruction;
  const kind = bpf.classOf(code);
  // What is kept counts from the header on.
  if (kind === bpf.RET) {
    if ((code & 0x18) !== bpf.K) return undefined;
    return k === 0 ? instruction : [code, jt, jf, Math.max(1, k - HEADER)];
  }
  if (kind !== bpf.LD && kind !== bpf.LDX) return instruction;
  switch (bpf.modeOf(code)) {
    case bpf.ABS: {
      if (k >= bpf.ANCILLARY) return instruction;
      if (k >= HEADER) return [code, jt, jf, k - HEADER];
      const field = BESIDE.find(([size, at]) => size === bpf.sizeOf(code) && at === k);
      return field === undefined ? undefined : [code, jt, jf, bpf.ANCILLARY + field[2]];
    }
    case bpf.IND:
    case bpf.MSH:
      return k < HEADER ? undefined : [code, jt, jf, k - HEADER];
    case bpf.LEN:
      return undefined; // the header's bytes are not among them
    default:
      return instruction;
  }
}
