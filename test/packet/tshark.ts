// Which of tshark's fields a header's fields are to be compared with, and the comparing.
import assert from "node:assert/strict";
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
import type { Header, Packet } from "../../src/packet/types.js";
import { find, first, type Node, type Tree } from "./captures.js";

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
    optionsLength: "geneve.option.length",
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

/** tshark could not read the packet to its end. */
export function isBroken(tree: Tree): boolean {
  return "_ws.malformed" in tree || "_ws.short" in tree;
}

/** Compares every header that either side sees. Returns the names of those both saw. */
export function compare(packet: Packet, tree: Tree, where: string): string[] {
  const both: string[] = [];
  const cooked = packet.linkType === "LINUX_SLL2" || packet.linkType === 276 ? "sll" : "sll2";
  const broken = isBroken(tree);
  for (const { type, layer, fields } of COMPARED) {
    if (type.name === cooked) continue;
    const ours = packet.header(type) as Readonly<Record<string, unknown>> | undefined;
    // tshark gives the service tag of 802.1ad a layer of its own.
    let theirs = first(type.name === "vlan" ? (tree.ieee8021ad ?? tree[layer]) : tree[layer]);
    if (type.name === "ipv6-fragment" && find(theirs, "ipv6.fraghdr.nxt") === undefined) theirs = undefined;
    if (typeof theirs === "string") theirs = undefined; // nothing of it could be read
    if (ours === undefined || theirs === undefined) {
      assert.ok(broken || ours === theirs, `${where}: ${type.name} is seen by one side only`);
      continue;
    }
    for (const [field, name] of Object.entries(fields)) {
      const value: string | undefined =
        find(theirs, name) ?? find(theirs, name.replace("vlan", "ieee8021ad"));
      if (value === undefined) continue;
      const own: unknown = ours[field];
      // tshark's is the field as it stands, in eights.
      if (field === "fragmentOffset" && Number(value) * 8 === own) continue;
      if (typeof own === "string") assert.equal(own, value.toLowerCase(), `${where}: ${type.name}.${field}`);
      else assert.equal(Number(own), Number(value), `${where}: ${type.name}.${field}`);
    }
    both.push(type.name);
  }
  return both;
}

/** What tshark makes of a packet's checksums, of those in tunnels too. Undefined: there are none that it verified. */
export function expectedChecksum(tree: Tree): string | undefined {
  const statuses = ["ip", "tcp", "udp", "icmp", "icmpv6", "gre"].flatMap((layer) => {
    const trees = tree[layer] ?? [];
    return (Array.isArray(trees) ? trees : [trees]).map((one: Node) => ({
      layer,
      status: find(one, `${layer}.checksum.status`),
    }));
  });
  if (statuses.some(({ status }) => status === "0")) return "bad";
  return statuses.some(({ layer, status }) => layer !== "ip" && status === "1") ? "good" : undefined;
}
