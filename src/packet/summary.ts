// One line a packet, in the form tcpdump prints with `-nn -t`: endpoints, protocol, what matters of it, length.
import { formatAddress } from "./address.js";
import { readBytes } from "./fields.js";
import { type Layer, layersOf } from "./header.js";
import { arp, icmp, icmpv6, mpls, tcp, tcpOptions, udp, vlan } from "./headers/index.js";
import { optionList } from "./headers/ipv4.js";
import type { Packet } from "./types.js";

/** The headers of a packet in one line, without its timestamp. A packet that cannot be read says so. */
export function summarize(packet: Packet): string {
  const { headers, payload, end, broken } = layersOf(packet, packet.linkType);
  const out: string[] = [];
  headers.forEach((layer, i) => {
    const text = describe(packet, layer, headers, i, end, broken !== undefined);
    if (text !== "") out.push(text);
  });
  if (broken !== undefined) out.push(`[|${broken}]`);
  else if (fragmentAlone(packet, headers)) return out.join("").trimEnd();
  else if (out.length === 0 || out.at(-1)?.endsWith(" ") === true || tail(headers) === "unknown")
    out.push(unknown(packet, headers, payload, end));
  return out.join("").trimEnd();
}

/** A later fragment of IPv6, in which there is no header to tell of. */
function fragmentAlone(packet: Packet, headers: readonly Layer[]): boolean {
  const last = headers.at(-1);
  return last?.type.name === "ipv6-fragment" && (packet.u16(last.at + 2) & 0xfff8) !== 0;
}

/** Whether the innermost header says what it carries. */
function tail(headers: readonly Layer[]): "known" | "unknown" {
  const last = headers.at(-1)?.type.name ?? "";
  return ["ethernet", "vlan", "sll", "sll2", "raw", "loopback", "mpls", "pppoe", "ppp"].includes(last)
    ? "unknown"
    : "known";
}

function unknown(packet: Packet, headers: readonly Layer[], payload: number, end: number): string {
  const last = headers.at(-1);
  const name = last?.type.name;
  const length = `length ${end - payload}`;
  if (last === undefined) return `link type ${packet.linkType}, ${length}`;
  if (name === "ethernet" || name === "vlan") {
    const type = packet.u16(last.at + (name === "vlan" ? 2 : 12));
    return type < 1536 ? `802.3, ${length}` : `ethertype Unknown (0x${hex(type, 4)}), ${length}`;
  }
  return length;
}

function describe(
  packet: Packet,
  layer: Layer,
  all: readonly Layer[],
  index: number,
  end: number,
  cut: boolean,
): string {
  const { at, size, type } = layer;
  switch (type.name) {
    case "vlan": {
      const tag = vlan.parseAt(packet, at);
      return tag === undefined ? "" : `vlan ${tag.id}, p ${tag.priority}${tag.dropEligible ? ", DEI" : ""}, `;
    }
    case "arp":
      return describeArp(packet, at);
    case "ipv4":
    case "ipv6":
      return describeIp(packet, layer, all, index, end, cut);
    case "udp":
      return describeUdp(packet, layer, all[index + 1], end);
    case "tcp":
      return describeTcp(packet, layer, end);
    case "icmp":
    case "icmpv6":
      return describeIcmp(packet, layer, end);
    case "mpls": {
      const entry = mpls.parseAt(packet, at);
      if (entry === undefined) return "";
      const { label, trafficClass, bottom, ttl } = entry;
      return `${index > 0 && all[index - 1].type.name === "mpls" ? "" : "MPLS "}(label ${label}, tc ${trafficClass}, ${bottom ? "[S], " : ""}ttl ${ttl}) `;
    }
    case "pppoe":
      return `PPPoE  [ses 0x${packet.u16(at + 2).toString(16)}] `;
    case "gre":
      return `GREv${packet.u16(at) & 7}, length ${end - at}${all.length > index + 1 ? ": " : ""}`;
    case "vxlan":
      return `VXLAN, flags [${(packet.u8(at) & 8) === 0 ? "." : "I"}] (0x${hex(packet.u8(at), 2)}), vni ${packet.u32(at + 4) >>> 8}: `;
    case "geneve":
      return `Geneve, Flags [${packet.u8(at + 1) & 0x80 ? "O" : "none"}], vni 0x${(packet.u32(at + 4) >>> 8).toString(16)}${size > 8 ? `, options ${size - 8} bytes` : ""}: `;
    case "ipv6-hop-by-hop":
      return "HBH ";
    case "ipv6-routing":
      return `RT6 (len=${packet.u8(at + 1)}, type=${packet.u8(at + 2)}, segleft=${packet.u8(at + 3)}) `;
    case "ipv6-destination":
      return "DSTOPT ";
    case "ipv6-fragment": {
      const word = packet.u16(at + 2);
      return `frag (${word & 0xfff8}|${end - at - 8}) `;
    }
    case "ah":
      return `AH(spi=0x${hex(packet.u32(at + 4), 8)},seq=0x${packet.u32(at + 8).toString(16)}): `;
    default:
      return "";
  }
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");

function describeArp(packet: Packet, at: number): string {
  const value = arp.parseAt(packet, at);
  if (value === undefined) return "ARP ";
  const length = `length ${packet.length - at}`;
  const { operation, senderHardware, senderProtocol, targetProtocol } = value;
  if (operation === 1) return `ARP, Request who-has ${targetProtocol} tell ${senderProtocol}, ${length}`;
  if (operation === 2) return `ARP, Reply ${senderProtocol} is-at ${senderHardware}, ${length}`;
  return `ARP, op ${operation} ${senderProtocol} > ${targetProtocol}, ${length}`;
}

const EXTENSIONS = new Set([
  "ipv6-hop-by-hop",
  "ipv6-routing",
  "ipv6-destination",
  "ipv6-extension",
  "ah",
  "ipv6-fragment",
]);
const PROTOCOLS: Readonly<Record<number, string>> = {
  2: "igmp",
  33: "DCCP",
  50: "ESP",
  59: "no next header",
  88: "EIGRP",
  89: "OSPF",
  103: "PIM",
  112: "VRRP",
  132: "sctp",
};

function describeIp(
  packet: Packet,
  layer: Layer,
  all: readonly Layer[],
  index: number,
  end: number,
  cut: boolean,
): string {
  const { at } = layer;
  const four = layer.type.name === "ipv4";
  const bytes = four ? 4 : 16;
  const from = at + (four ? 12 : 8);
  // Ports stand behind the addresses, with a dot, so the transport is looked at already here.
  let next = index + 1;
  while (next < all.length && EXTENSIONS.has(all[next].type.name)) next++;
  const transport = all[next]?.type.name;
  const ports = transport === "udp" || transport === "tcp" ? all[next].at : -1;
  const address = (place: number, port: number) =>
    formatAddress(readBytes(packet, place, bytes)) + (ports < 0 ? "" : `.${packet.u16(ports + port)}`);
  const line = `${four ? "IP" : "IP6"} ${address(from, 0)} > ${address(from + bytes, 2)}: `;
  if (next < all.length || cut) return line;
  const header = all[next - 1];
  if (four && (packet.u16(at + 6) & 0x1fff) !== 0) return `${line}ip-proto-${packet.u8(at + 9)}`;
  if (header.type.name === "ipv6-fragment") return line;
  const protocol = four ? packet.u8(at + 9) : packet.u8(header === layer ? at + 6 : header.at);
  return `${line}${nameOf(protocol)}, length ${Math.max(0, end - header.at - header.size)}`;
}

function nameOf(protocol: number): string {
  return (
    PROTOCOLS[protocol] ??
    ({ 1: "icmp", 6: "tcp", 17: "udp" } as Record<number, string>)[protocol] ??
    `ip-proto-${protocol}`
  );
}

function describeUdp(packet: Packet, layer: Layer, next: Layer | undefined, end: number): string {
  const value = udp.parseAt(packet, layer.at);
  if (next !== undefined || value === undefined) return "";
  return `UDP, length ${value.length === 0 ? end - layer.at - 8 : value.length - 8}`;
}

const FLAGS = [
  [0x01, "F"],
  [0x02, "S"],
  [0x04, "R"],
  [0x08, "P"],
  [0x10, "."],
  [0x20, "U"],
  [0x40, "E"],
  [0x80, "W"],
  [0x100, "e"],
] as const;

/** Sequence numbers are absolute, as with tcpdump's -S. */
function describeTcp(packet: Packet, layer: Layer, end: number): string {
  const value = tcp.parseAt(packet, layer.at);
  if (value === undefined) return "";
  const length = Math.max(0, end - layer.at - layer.size);
  const { flags, sequence } = value;
  const letters = FLAGS.map(([bit, letter]) => ((flags & bit) === 0 ? "" : letter)).join("");
  const parts = [`Flags [${letters === "" ? "none" : letters}]`];
  if (length > 0) parts.push(`seq ${sequence}:${(sequence + length) >>> 0}`);
  else if ((flags & 0x07) !== 0) parts.push(`seq ${sequence}`);
  if ((flags & 0x10) !== 0) parts.push(`ack ${value.acknowledgement}`);
  parts.push(`win ${value.window}`);
  if ((flags & 0x20) !== 0) parts.push(`urg ${value.urgent}`);
  if (value.options.length > 0) parts.push(`options [${optionWords(value.options).join(",")}]`);
  parts.push(`length ${length}`);
  return parts.join(", ");
}

function optionWords(options: Uint8Array): string[] {
  const known = tcpOptions(options);
  const words = optionList(options).map(({ type, data }) => {
    if (type === 1) return "nop";
    if (type === 2 && known.maximumSegment !== undefined) return `mss ${known.maximumSegment}`;
    if (type === 3 && known.windowScale !== undefined) return `wscale ${known.windowScale}`;
    if (type === 4 && known.sackPermitted) return "sackOK";
    if (type === 5 && known.sack !== undefined) {
      const blocks = known.sack.map((edge, i) => (i % 2 === 0 ? `{${edge}:` : `${edge}}`)).join("");
      return `sack ${known.sack.length / 2} ${blocks}`;
    }
    if (type === 8 && known.timestamp !== undefined)
      return `TS val ${known.timestamp.value} ecr ${known.timestamp.echo}`;
    return `unknown-${type} 0x${Buffer.from(data).toString("hex")}`;
  });
  if (options.includes(0) && endsEarly(options)) words.push("eol");
  return words;
}

function endsEarly(options: Uint8Array): boolean {
  const used = optionList(options).reduce(
    (sum, { type, data }) => sum + (type === 1 ? 1 : 2 + data.length),
    0,
  );
  return options[used] === 0;
}

const ICMP4: Readonly<Record<number, string>> = {
  3: "destination unreachable",
  4: "source quench",
  5: "redirect",
  9: "router advertisement",
  10: "router solicitation",
  11: "time exceeded",
  12: "parameter problem",
  13: "time stamp query",
  14: "time stamp reply",
};
const ICMP6: Readonly<Record<number, string>> = {
  1: "destination unreachable",
  2: "packet too big",
  3: "time exceeded in-transit",
  4: "parameter problem",
  130: "multicast listener query",
  131: "multicast listener report",
  132: "multicast listener done",
  133: "router solicitation",
  134: "router advertisement",
  135: "neighbor solicitation",
  136: "neighbor advertisement",
  137: "redirect",
  143: "multicast listener report v2",
};

/** What stands before the address that such a message is about. */
const NEIGHBOURS: Readonly<Record<number, string>> = {
  135: "neighbor solicitation, who has",
  136: "neighbor advertisement, tgt is",
};

function describeIcmp(packet: Packet, layer: Layer, end: number): string {
  const six = layer.type.name === "icmpv6";
  const value = (six ? icmpv6 : icmp).parseAt(packet, layer.at);
  if (value === undefined) return "";
  const { type, code, identifier, sequence } = value;
  const name = six ? "ICMP6" : "ICMP";
  const length = `length ${end - layer.at}`;
  const request = type === (six ? 128 : 8);
  if (request || type === (six ? 129 : 0))
    return `${name}${six ? "," : ""} echo ${request ? "request" : "reply"}, id ${identifier}, seq ${sequence}, ${length}`;
  if (six && NEIGHBOURS[type] !== undefined && end - layer.at >= 24)
    return `${name}, ${NEIGHBOURS[type]} ${formatAddress(readBytes(packet, layer.at + 8, 16))}, ${length}`;
  const words = (six ? ICMP6 : ICMP4)[type] ?? `type-#${type}`;
  return `${name}${six ? "," : ""} ${words}${code === 0 ? "" : ` code ${code}`}, ${length}`;
}
