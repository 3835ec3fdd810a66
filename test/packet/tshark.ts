// Which of tshark's fields a header's fields are to be compared with.
import {
  arp,
  ethernet,
  geneve,
  gre,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  ipv6Fragment,
  mpls,
  pppoe,
  sll,
  sll2,
  tcp,
  udp,
  vlan,
  vxlan,
} from "../../src/packet/headers/index.js";
import type { Header } from "../../src/packet/types.js";

export interface Compared {
  readonly type: Header<object>;
  /** tshark's name of the layer. */
  readonly layer: string;
  /** Our field's name and tshark's. */
  readonly fields: Readonly<Record<string, string>>;
}

function row<T extends object>(
  type: Header<T>,
  layer: string,
  fields: Partial<Record<keyof T & string, string>>,
): Compared {
  return { type: type as unknown as Header<object>, layer, fields: fields as Record<string, string> };
}

export const COMPARED: readonly Compared[] = [
  row(ethernet, "eth", { destination: "eth.dst", source: "eth.src", type: "eth.type" }),
  row(vlan, "vlan", {
    id: "vlan.id",
    priority: "vlan.priority",
    dropEligible: "vlan.dei",
    type: "vlan.etype",
  }),
  row(arp, "arp", {
    hardwareType: "arp.hw.type",
    protocolType: "arp.proto.type",
    operation: "arp.opcode",
    senderHardware: "arp.src.hw_mac",
    senderProtocol: "arp.src.proto_ipv4",
    targetHardware: "arp.dst.hw_mac",
    targetProtocol: "arp.dst.proto_ipv4",
  }),
  row(ipv4, "ip", {
    version: "ip.version",
    headerLength: "ip.hdr_len",
    dscp: "ip.dsfield.dscp",
    ecn: "ip.dsfield.ecn",
    totalLength: "ip.len",
    identification: "ip.id",
    dontFragment: "ip.flags.df",
    moreFragments: "ip.flags.mf",
    fragmentOffset: "ip.frag_offset",
    ttl: "ip.ttl",
    protocol: "ip.proto",
    checksum: "ip.checksum",
    source: "ip.src",
    destination: "ip.dst",
  }),
  row(ipv6, "ipv6", {
    version: "ipv6.version",
    dscp: "ipv6.tclass.dscp",
    ecn: "ipv6.tclass.ecn",
    flowLabel: "ipv6.flow",
    payloadLength: "ipv6.plen",
    nextHeader: "ipv6.nxt",
    hopLimit: "ipv6.hlim",
    source: "ipv6.src",
    destination: "ipv6.dst",
  }),
  row(ipv6Fragment, "ipv6", {
    nextHeader: "ipv6.fraghdr.nxt",
    moreFragments: "ipv6.fraghdr.more",
    identification: "ipv6.fraghdr.ident",
  }),
  row(icmp, "icmp", { type: "icmp.type", code: "icmp.code", checksum: "icmp.checksum" }),
  row(icmpv6, "icmpv6", { type: "icmpv6.type", code: "icmpv6.code", checksum: "icmpv6.checksum" }),
  row(udp, "udp", {
    source: "udp.srcport",
    destination: "udp.dstport",
    length: "udp.length",
    checksum: "udp.checksum",
  }),
  row(tcp, "tcp", {
    source: "tcp.srcport",
    destination: "tcp.dstport",
    sequence: "tcp.seq_raw",
    acknowledgement: "tcp.ack_raw",
    headerLength: "tcp.hdr_len",
    flags: "tcp.flags",
    window: "tcp.window_size_value",
    checksum: "tcp.checksum",
    urgent: "tcp.urgent_pointer",
  }),
  row(gre, "gre", { type: "gre.proto", key: "gre.key", sequence: "gre.sequence_number" }),
  row(vxlan, "vxlan", { vni: "vxlan.vni" }),
  row(geneve, "geneve", {
    version: "geneve.version",
    optionsLength: "geneve.options.length",
    type: "geneve.proto_type",
    vni: "geneve.vni",
  }),
  row(mpls, "mpls", {
    label: "mpls.label",
    trafficClass: "mpls.exp",
    bottom: "mpls.bottom",
    ttl: "mpls.ttl",
  }),
  row(pppoe, "pppoes", { code: "pppoe.code", session: "pppoe.session_id", length: "pppoe.payload_length" }),
  row(sll, "sll", {
    packetType: "sll.pkttype",
    hardwareType: "sll.hatype",
    addressLength: "sll.halen",
    protocol: "sll.etype",
  }),
  row(sll2, "sll", {
    packetType: "sll.pkttype",
    hardwareType: "sll.hatype",
    interfaceIndex: "sll.ifindex",
    protocol: "sll.etype",
  }),
];
