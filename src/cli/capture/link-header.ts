// What tcpdump prints of a packet's link header: before its line with -e, and before each of all interfaces at once.
import type { Packet } from "../../packet/types.js";

/** How much is printed, and what names an interface by its index. */
export interface LinkOptions {
  /** -e: the link header too. */
  readonly link: boolean;
  readonly quick: boolean;
}

/** Names as tcpdump has them. */
const ETHERTYPES: ReadonlyMap<number, string> = new Map([
  [0x0600, "NS"],
  [0x0707, "GeoNet (old)"],
  [0x0800, "IPv4"],
  [0x0806, "ARP"],
  [0x1000, "Trail"],
  [0x1111, "CALM FAST"],
  [0x6001, "MOP DL"],
  [0x6002, "MOP RC"],
  [0x6003, "DN"],
  [0x6004, "LAT"],
  [0x6007, "SCA"],
  [0x6558, "TEB"],
  [0x8035, "Reverse ARP"],
  [0x8038, "Lanbridge"],
  [0x803c, "DEC DNS"],
  [0x803e, "DEC DTS"],
  [0x805b, "VEXP"],
  [0x805c, "VPROD"],
  [0x809b, "Appletalk"],
  [0x80f3, "Appletalk ARP"],
  [0x8100, "802.1Q"],
  [0x8137, "IPX"],
  [0x86dd, "IPv6"],
  [0x8808, "MPCP"],
  [0x8809, "Slow Protocols"],
  [0x880b, "PPP"],
  [0x8847, "MPLS unicast"],
  [0x8848, "MPLS multicast"],
  [0x8863, "PPPoE D"],
  [0x8864, "PPPoE S"],
  [0x886f, "MS NLB heartbeat"],
  [0x888e, "EAPOL"],
  [0x8899, "Realtek protocols"],
  [0x88a2, "AoE"],
  [0x88a8, "802.1Q-QinQ"],
  [0x88ca, "TIPC"],
  [0x88cc, "LLDP"],
  [0x88e5, "802.1AE MACsec"],
  [0x88f7, "PTP"],
  [0x8902, "CFM"],
  [0x893a, "IEEE1905.1"],
  [0x8947, "GeoNet"],
  [0x894f, "NSH"],
  [0x9000, "Loopback"],
  [0x9100, "802.1Q-9100"],
  [0x9200, "802.1Q-9200"],
  [0xabcd, "CFM (old)"],
  [0xd28b, "Arista Vendor Specific Protocol"],
  [0xfefe, "OSI"],
]);

/** `eth0` of an interface's index; undefined where there is none of that index. */
export type InterfaceNames = (index: number) => string | undefined;

function mac(packet: Packet, at: number): string {
  return Array.from({ length: 6 }, (_, i) =>
    packet
      .u8(at + i)
      .toString(16)
      .padStart(2, "0"),
  ).join(":");
}

/** The line of a packet, `summary`, with what stands before it. */
export function withLinkHeader(
  packet: Packet,
  summary: string,
  options: LinkOptions,
  names: InterfaceNames,
): string {
  const { linkType, length } = packet;
  if (linkType === "EN10MB") return ethernet(packet, summary, options);
  if (linkType === "LINUX_SLL" && length >= 16) return cooked(packet, summary, options);
  if (linkType === "LINUX_SLL2" && length >= 20) return cookedTwo(packet, summary, options, names);
  return summary;
}

const TAG = /^vlan \d+, p \d(?:, DEI)?, /;
/** What the ethertype before it says already. */
const PROTOCOL = /^(MPLS (?:\([^)]*\) )+)?(?:IP6? |ARP, )/;

function ethernet(packet: Packet, summary: string, { link, quick }: LinkOptions): string {
  let head = "";
  let rest = summary;
  if (link && packet.length >= 14) head = ethernetHead(packet, quick);
  for (let at = 16, tag = TAG.exec(rest); tag !== null; at += 4, tag = TAG.exec(rest)) {
    rest = rest.slice(tag[0].length);
    if (head === "") continue; // tcpdump tells tags with -e alone
    head += tag[0];
    const ethertype = packet.u16(at);
    if (ethertype >= 1536) head += `${nameOf(ethertype, quick)}, `;
  }
  return head === "" ? rest : head + rest.replace(PROTOCOL, "$1");
}

function ethernetHead(packet: Packet, quick: boolean): string {
  const from = `${mac(packet, 6)} > ${mac(packet, 0)}`;
  const ethertype = packet.u16(12);
  return ethertype < 1536
    ? `${from}, 802.3, length ${Math.min(ethertype, packet.wireLength - 14)}: `
    : `${from}, ${nameOf(ethertype, quick)}, length ${packet.wireLength}: `;
}

function nameOf(ethertype: number, quick: boolean): string {
  const name = ETHERTYPES.get(ethertype);
  if (quick) return name ?? "Unknown Ethertype";
  return `ethertype ${name ?? "Unknown"} (0x${ethertype.toString(16).padStart(4, "0")})`;
}

/** By sll_pkttype: to this host, to all, to several, to another, from this host. */
const WAYS = ["In", "B", "M", "P", "Out"];

function cooked(packet: Packet, summary: string, options: LinkOptions): string {
  if (!options.link) return summary;
  const way = (WAYS[packet.u16(0)] ?? "?").padStart(3);
  const address = packet.u16(4) === 6 ? `${mac(packet, 6)} ` : "";
  return `${way} ${address}${cookedRest(packet, 14, summary, options)}`;
}

function cookedTwo(packet: Packet, summary: string, options: LinkOptions, names: InterfaceNames): string {
  const index = packet.u32(4);
  const where = `${(names(index) ?? "?").padEnd(5)} ${(WAYS[packet.u8(10)] ?? "?").padEnd(3)} `;
  if (!options.link) return where + summary;
  const address = packet.u8(11) === 6 ? `${mac(packet, 12)} ` : "";
  return `${where}ifindex ${index} ${address}${cookedRest(packet, 0, summary, options)}`;
}

function cookedRest(packet: Packet, at: number, summary: string, { quick }: LinkOptions): string {
  const ethertype = packet.u16(at);
  if (ethertype < 1536) return summary;
  const head = quick ? "" : `${nameOf(ethertype, false)}, length ${packet.wireLength}: `;
  return head + summary.replace(PROTOCOL, "$1");
}
