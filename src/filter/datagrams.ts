// Programs over IP packets, for the kernel to run at a UDP socket.
import type { ClassicInstruction, ClassicProgram } from "./classic.js";
import * as bpf from "./classic.js";
import { type Bounds, holdsThroughout, runsInSocket } from "./socket.js";

/** SKF_NET_OFF (linux/filter.h): offsets from here up count from the IP header, wherever the packet begins for the socket. */
const NETWORK = 0xfff00000;
const IPV6_HEADER = 40;
const LONGEST_IPV4_HEADER = 60;
const UDP_HEADER = 8;
const ALL = 0xffffffff;

/** A program for a UDP socket. */
export interface DatagramProgram {
  readonly program: ClassicProgram;
  /** True when all datagrams that the kernel may have joined to a run (UDP GRO) get the verdict of the first. */
  readonly alike: boolean;
}

/**
 * Makes a program over packets of link type RAW one for a UDP socket, to which packets begin with their UDP header.
 * Undefined for one that looks at more than the headers, which alone are sure to lie where the kernel lets a program
 * look, or at the length of packets. What the program takes it takes whole.
 */
export function forDatagrams(program: ClassicProgram): DatagramProgram | undefined {
  if (!runsInSocket(program) || !holdsThroughout(program, staysInHeaders)) return undefined;
  return { program: program.map(moved), alike: holdsThroughout(program, isAlikeInRuns) };
}

function isLoad(code: number): boolean {
  return bpf.classOf(code) === bpf.LD || bpf.classOf(code) === bpf.LDX;
}

function staysInHeaders([code, , , k]: ClassicInstruction, { x }: Readonly<Bounds>): boolean {
  if (bpf.classOf(code) === bpf.RET) return (code & bpf.A) === 0;
  if (!isLoad(code)) return true;
  switch (bpf.modeOf(code)) {
    case bpf.LEN:
      return false;
    case bpf.ABS:
      return k >= bpf.ANCILLARY || k + bpf.sizeOf(code) <= IPV6_HEADER + UDP_HEADER;
    case bpf.IND: // behind the IPv4 header
      return x <= LONGEST_IPV4_HEADER && k + bpf.sizeOf(code) <= UDP_HEADER;
    default:
      return true;
  }
}

/** False for a look at lengths, at IPv4's identification, or at checksums: in a run each datagram had its own. */
function isAlikeInRuns([code, , , k]: ClassicInstruction): boolean {
  if (!isLoad(code)) return true;
  const end = k + bpf.sizeOf(code);
  if (bpf.modeOf(code) === bpf.IND) return end <= 4;
  if (bpf.modeOf(code) !== bpf.ABS || k >= bpf.ANCILLARY) return true;
  const lengths = k < 6 && end > 2;
  const checksum = k === 10 && end === 12; // else it is part of an IPv6 address
  return !lengths && !checksum && end <= IPV6_HEADER + 4;
}

function moved([code, jt, jf, k]: ClassicInstruction): ClassicInstruction {
  if (bpf.classOf(code) === bpf.RET) return [code, jt, jf, k === 0 ? 0 : ALL];
  const mode = bpf.modeOf(code);
  const reads = isLoad(code) && (mode === bpf.ABS || mode === bpf.IND || mode === bpf.MSH);
  return reads && k < bpf.ANCILLARY ? [code, jt, jf, NETWORK + k] : [code, jt, jf, k];
}
