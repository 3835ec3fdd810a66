// What forwarding does to a packet before the port it leaves by. Most packets need little, and a port's sender does
// that as it goes over them anyway; what needs more, forwardEdge() looks at before.
import {
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  DESC_ADDR,
  DESC_LEN,
  EDGE_FINISHES,
  EDGE_MOST,
  EDGE_ORDER,
  EDGE_REWRITES,
  EDGE_SET,
  META_FLAGS,
  META_SEGMENT,
} from "../structs";
import { exclusive } from "./arena";
import { descriptorFault } from "./ring";

const ETHERNET_HEADER: u32 = 14;

/**
 * True for a packet of `pieces` descriptors from `desc` on that its port can take with no more done to it than
 * rewrite(): in one piece, neither too long nor too short, with nothing left to be finished and nobody else's header.
 */
export function ordinary(edge: u32, meta: u32, desc: u32, pieces: u32): bool {
  const length = load<u32>(desc, DESC_LEN);
  return (
    pieces == 1 &&
    length - ETHERNET_HEADER <= load<u32>(edge, EDGE_MOST) - ETHERNET_HEADER &&
    load<u16>(meta, META_SEGMENT) == 0 &&
    !(
      load<u32>(edge, EDGE_FINISHES) != 0 && (load<u16>(meta, META_FLAGS) & CHECKSUM_MASK) == CHECKSUM_PARTIAL
    ) &&
    descriptorFault(desc) == 0 &&
    (load<u32>(edge, EDGE_REWRITES) == 0 || exclusive(load<u32>(desc, DESC_ADDR)))
  );
}

/** Writes the hardware addresses of an Ethernet header, and no byte behind them. */
export function rewrite(edge: u32, head: u32): void {
  if (load<u32>(edge, EDGE_REWRITES) == 0) return;
  const bytes = v128.or(
    v128.swizzle(v128.load(head), v128.load(edge, EDGE_ORDER)),
    v128.load(edge, EDGE_SET),
  );
  store<u64>(head, i64x2.extract_lane(bytes, 0));
  store<u32>(head, i32x4.extract_lane(bytes, 2), 8);
}
