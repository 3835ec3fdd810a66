// The words of the template language: each header's name, fields, and what is computed in it.
import {
  arp,
  ethernet,
  geneve,
  gre,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  mpls,
  ppp,
  pppoe,
  sll,
  tcp,
  udp,
  vlan,
  vxlan,
} from "./headers/index.js";
import type { Header, LinkType } from "./types.js";

export interface FieldWord {
  /** The field's name in the header's plain object. */
  readonly name: string;
  readonly kind: "number" | "flag" | "mac" | "ipv4" | "ipv6" | "hex";
  readonly most: number;
}

export interface HeaderWord {
  readonly fields: Readonly<Record<string, FieldWord>>;
  encode(values: Record<string, unknown>): Uint8Array;
  readonly linkType?: LinkType;
  /** By which number it is found in a header before it, by space of numbers. */
  readonly found: {
    readonly ether?: number;
    readonly ip?: number;
    readonly ppp?: number;
    readonly tunnel?: number;
  };
  /** Which field says what comes next, and in which space. */
  readonly next?: { readonly field: string; readonly space: "ether" | "ip" | "ppp" | "tunnel" };
  /** A 16-bit length at `at`, of all that follows `from`. */
  readonly length?: { readonly at: number; readonly from: number };
  readonly headerChecksum?: boolean;
  readonly addresses?: { readonly from: number; readonly to: number };
  readonly checksum?: { readonly at: number; readonly protocol: number; readonly pseudo: boolean };
  /** Fields that the port fills where they are left out. */
  readonly port?: { readonly mac?: string; readonly ipv4?: string; readonly ipv6?: string };
  adjust?(values: Record<string, unknown>, next: HeaderWord | undefined): void;
}

const number = (name: string, bits: number): FieldWord => ({ name, kind: "number", most: 2 ** bits - 1 });
const word = (name: string, kind: FieldWord["kind"]): FieldWord => ({ name, kind, most: 0 });

function encoder<T extends object>(type: Header<T>): (values: Record<string, unknown>) => Uint8Array {
  return (values) => type.encode(values as Partial<T>);
}

const ipv4Word: HeaderWord = {
  fields: {
    src: word("source", "ipv4"),
    dst: word("destination", "ipv4"),
    ttl: number("ttl", 8),
    dscp: number("dscp", 6),
    ecn: number("ecn", 2),
    id: number("identification", 16),
    df: word("dontFragment", "flag"),
    proto: number("protocol", 8),
  },
  encode: encoder(ipv4),
  found: { ether: 0x0800, ip: 4, ppp: 0x0021 },
  linkType: "RAW",
  next: { field: "protocol", space: "ip" },
  length: { at: 2, from: 0 },
  headerChecksum: true,
  addresses: { from: 12, to: 20 },
  port: { ipv4: "source" },
};

const ipv6Word: HeaderWord = {
  fields: {
    src: word("source", "ipv6"),
    dst: word("destination", "ipv6"),
    hlim: number("hopLimit", 8),
    dscp: number("dscp", 6),
    ecn: number("ecn", 2),
    flow: number("flowLabel", 20),
    next: number("nextHeader", 8),
  },
  encode: encoder(ipv6),
  found: { ether: 0x86dd, ip: 41, ppp: 0x0057 },
  linkType: "RAW",
  next: { field: "nextHeader", space: "ip" },
  length: { at: 4, from: 40 },
  addresses: { from: 8, to: 40 },
  port: { ipv6: "source" },
};

const echo = {
  type: number("type", 8),
  code: number("code", 8),
  id: number("identifier", 16),
  seq: number("sequence", 16),
};

const ethernetWord: HeaderWord = {
  fields: { dst: word("destination", "mac"), src: word("source", "mac"), type: number("type", 16) },
  encode: encoder(ethernet),
  found: { ether: 0x6558 },
  linkType: "EN10MB",
  next: { field: "type", space: "ether" },
  port: { mac: "source" },
};

export const HEADER_WORDS: Readonly<Record<string, HeaderWord>> = {
  eth: ethernetWord,
  vlan: {
    fields: {
      id: number("id", 12),
      pcp: number("priority", 3),
      dei: word("dropEligible", "flag"),
      type: number("type", 16),
    },
    encode: encoder(vlan),
    found: { ether: 0x8100 },
    next: { field: "type", space: "ether" },
  },
  qinq: {
    fields: { id: number("id", 12), pcp: number("priority", 3), dei: word("dropEligible", "flag") },
    encode: encoder(vlan),
    found: { ether: 0x88a8 },
    next: { field: "type", space: "ether" },
  },
  mpls: {
    fields: {
      label: number("label", 20),
      tc: number("trafficClass", 3),
      ttl: number("ttl", 8),
      bottom: word("bottom", "flag"),
    },
    encode: encoder(mpls),
    found: { ether: 0x8847, ppp: 0x0281 },
    adjust(values, next) {
      values.bottom ??= next?.found.ether !== 0x8847;
    },
  },
  pppoe: {
    fields: { session: number("session", 16), code: number("code", 8) },
    encode: encoder(pppoe),
    found: { ether: 0x8864 },
    length: { at: 4, from: 6 },
  },
  ppp: {
    fields: { proto: number("protocol", 16) },
    encode: encoder(ppp),
    found: {},
    linkType: 9,
    next: { field: "protocol", space: "ppp" },
  },
  sll: {
    fields: { type: number("packetType", 16), proto: number("protocol", 16) },
    encode: encoder(sll),
    found: {},
    linkType: "LINUX_SLL",
    next: { field: "protocol", space: "ether" },
  },
  arp: {
    fields: {
      op: number("operation", 16),
      sha: word("senderHardware", "mac"),
      spa: word("senderProtocol", "ipv4"),
      tha: word("targetHardware", "mac"),
      tpa: word("targetProtocol", "ipv4"),
    },
    encode: encoder(arp),
    found: { ether: 0x0806 },
    port: { mac: "senderHardware", ipv4: "senderProtocol" },
  },
  ipv4: ipv4Word,
  ip: ipv4Word,
  ipv6: ipv6Word,
  ip6: ipv6Word,
  udp: {
    fields: { sport: number("source", 16), dport: number("destination", 16) },
    encode: encoder(udp),
    found: { ip: 17 },
    length: { at: 4, from: 0 },
    checksum: { at: 6, protocol: 17, pseudo: true },
    next: { field: "destination", space: "tunnel" },
  },
  tcp: {
    fields: {
      sport: number("source", 16),
      dport: number("destination", 16),
      seq: number("sequence", 32),
      ack: number("acknowledgement", 32),
      flags: number("flags", 12),
      window: number("window", 16),
    },
    encode: encoder(tcp),
    found: { ip: 6 },
    checksum: { at: 16, protocol: 6, pseudo: true },
  },
  icmp: {
    fields: echo,
    encode: encoder(icmp),
    found: { ip: 1 },
    checksum: { at: 2, protocol: 1, pseudo: false },
  },
  icmpv6: {
    fields: echo,
    encode: encoder(icmpv6),
    found: { ip: 58 },
    checksum: { at: 2, protocol: 58, pseudo: true },
  },
  gre: {
    fields: { key: number("key", 32), seq: number("sequence", 32), proto: number("type", 16) },
    encode: encoder(gre),
    found: { ip: 47 },
    next: { field: "type", space: "ether" },
    adjust(values) {
      values.keyPresent = values.key !== undefined;
      values.sequencePresent = values.sequence !== undefined;
    },
  },
  vxlan: {
    fields: { vni: number("vni", 24), flags: number("flags", 8) },
    encode: encoder(vxlan),
    found: { tunnel: 4789 },
  },
  geneve: {
    fields: { vni: number("vni", 24), type: number("type", 16) },
    encode: encoder(geneve),
    found: { tunnel: 6081 },
    next: { field: "type", space: "ether" },
  },
  hex: {
    fields: { data: word("data", "hex") },
    encode: (values) => (values.data as Uint8Array | undefined) ?? new Uint8Array(0),
    found: { ether: 0x88b5, ip: 253, ppp: 0xc021 }, // local experiments (RFC 9542, RFC 3692)
  },
};
