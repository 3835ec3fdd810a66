// Every header, one line a file. Importing this makes all of them known to the walk from header to header.
export { type Arp, arp } from "./arp.js";
export { type Ethernet, ethernet } from "./ethernet.js";
export { type Geneve, type GeneveOption, geneve, geneveOptions } from "./geneve.js";
export { type Gre, gre } from "./gre.js";
export { type Icmp, icmp, icmpv6 } from "./icmp.js";
export { type Ipv4, type Ipv4Option, ipv4, ipv4Options } from "./ipv4.js";
export {
  type Authentication,
  authentication,
  type Ipv6,
  type Ipv6Extension,
  type Ipv6Fragment,
  ipv6,
  ipv6Destination,
  ipv6Fragment,
  ipv6HopByHop,
  ipv6Other,
  ipv6Routing,
} from "./ipv6.js";
export { type Loopback, loopback } from "./loopback.js";
export { type Mpls, mpls } from "./mpls.js";
export { type Ppp, type Pppoe, ppp, pppoe } from "./pppoe.js";
export { type Raw, raw } from "./raw.js";
export { type Sll, type Sll2, sll, sll2 } from "./sll.js";
export * from "./tcp.js";
export { type Udp, udp } from "./udp.js";
export { type Vlan, vlan } from "./vlan.js";
export { type Vxlan, vxlan } from "./vxlan.js";
