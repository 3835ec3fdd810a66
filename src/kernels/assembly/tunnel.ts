// From a packet that was dissected to the one that it carries: IP in IP, GRE, VXLAN, Geneve, MPLS in UDP, Ethernet in IPv6.
import { base, dissectCarried, end, family, oversize, protocol, show, transport, u16At } from "./dissect";

/** What `dissectNext` returns when the packet carries no other, or none that can be read. */
const NOT_CARRIED: u32 = 254;

/**
 * Dissects the packet within the dissected one, which must be whole; returns LAYERS_IS_…, or NOT_CARRIED. What
 * `dissect` exports is then of the inner packet, its offsets still from the first byte of all.
 */
export function dissectNext(burst: u32, packet: u32, scratch: u32): u32 {
  if (oversize) return NOT_CARRIED; // still to be cut: its inner lengths and sums are not final
  if (protocol == 4 || protocol == 94) return dissectCarried(burst, packet, 0x0800, transport, end, scratch);
  if (protocol == 41) return dissectCarried(burst, packet, 0x86dd, transport, end, scratch);
  if (protocol == 143 && family == 6) return dissectCarried(burst, packet, 0x6558, transport, end, scratch);
  if (protocol == 47) return dissectGre(burst, packet, scratch);
  return protocol == 17 ? dissectUdp(burst, packet, scratch) : NOT_CARRIED;
}

/** Generic Routing Encapsulation (RFC 2784, 2890), without source routing and the enhanced one of PPTP. */
function dissectGre(burst: u32, packet: u32, scratch: u32): u32 {
  if (!show(burst, packet, transport, 4, scratch)) return NOT_CARRIED;
  const flags = u16At(transport);
  if ((flags & 0x4007) != 0) return NOT_CARRIED;
  const words = (flags >> 15) + ((flags >> 13) & 1) + ((flags >> 12) & 1);
  return dissectCarried(burst, packet, u16At(transport + 2), transport + 4 + (words << 2), end, scratch);
}

/** VXLAN (RFC 7348), Geneve (RFC 8926) and MPLS (RFC 7510) by their ports. */
function dissectUdp(burst: u32, packet: u32, scratch: u32): u32 {
  if (!show(burst, packet, transport, 16, scratch)) return NOT_CARRIED;
  const port = u16At(transport + 2);
  const length = u16At(transport + 4);
  const limit = length == 0 ? end : min(end, transport + length);
  const at = transport + 8;
  const first = <u32>load<u8>(base + at);
  if (port == 4789 || port == 8472)
    return first == 8 ? dissectCarried(burst, packet, 0x6558, at + 8, limit, scratch) : NOT_CARRIED;
  if (port == 6635) return dissectCarried(burst, packet, 0x8847, at, limit, scratch);
  if (port != 6081 || first >> 6 != 0) return NOT_CARRIED;
  return dissectCarried(burst, packet, u16At(at + 2), at + 8 + ((first & 63) << 2), limit, scratch);
}
