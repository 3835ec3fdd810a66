import { BPF_FUNC_redirect_map } from "../../linux/bpf.js";
import {
  assemble,
  call,
  type EbpfItem,
  exit,
  label,
  load32,
  loadMap,
  move,
  moveImmediate,
} from "../../linux/ebpf.js";

const XDP_PASS = 2;
const MD_RX_QUEUE_INDEX = 16; // struct xdp_md

/** Where a filter's code jumps with a packet that is not wanted; one that is wanted falls through its end. */
export const UNWANTED = "unwanted";
/** The register in which a filter's code finds the context, struct xdp_md; r0 to r5, r7 to r9 and the stack are its own. */
export const CONTEXT_REGISTER = 6;

/**
 * The XDP program: what the filter wants goes to the socket of the packet's queue in the XSKMAP `map`; anything
 * else, and what comes on a queue without a socket, goes on to the kernel's stack.
 */
export function xdpProgram(map: number, filter: readonly EbpfItem[] = []): Buffer {
  return assemble([
    move(CONTEXT_REGISTER, 1),
    ...filter,
    load32(2, CONTEXT_REGISTER, MD_RX_QUEUE_INDEX),
    ...loadMap(1, map),
    moveImmediate(3, XDP_PASS), // what redirect_map returns for a queue without a socket
    call(BPF_FUNC_redirect_map),
    exit(),
    // The verifier refuses what cannot be reached.
    ...(filter.length === 0 ? [] : [label(UNWANTED), moveImmediate(0, XDP_PASS), exit()]),
  ]);
}
