import type { LinkType } from "../port.js";

/** LINKTYPE_ values of https://www.tcpdump.org/linktypes.html by millrace's names. */
const NUMBERS: Readonly<Record<Exclude<LinkType, number>, number>> = {
  NULL: 0,
  EN10MB: 1,
  RAW: 101,
  LOOP: 108,
  LINUX_SLL: 113,
  // A socket's payload has no link header: the first of the values kept for private use.
  DATAGRAM: 147,
  IPV4: 228,
  IPV6: 229,
  LINUX_SLL2: 276,
};
const NAMES: ReadonlyMap<number, LinkType> = new Map<number, LinkType>([
  [0, "NULL"],
  [1, "EN10MB"],
  [12, "RAW"], // what some systems write for DLT_RAW
  [14, "RAW"],
  [101, "RAW"],
  [108, "LOOP"],
  [113, "LINUX_SLL"],
  [228, "IPV4"],
  [229, "IPV6"],
  [276, "LINUX_SLL2"],
]);
const TITLES: Readonly<Record<number, string>> = {
  0: "BSD loopback",
  1: "Ethernet",
  6: "Token Ring",
  9: "PPP",
  10: "FDDI",
  101: "Raw IP",
  105: "IEEE 802.11",
  108: "OpenBSD loopback",
  113: "Linux cooked v1",
  127: "IEEE 802.11 with radiotap",
  147: "User 0 (a socket's payload)",
  228: "Raw IPv4",
  229: "Raw IPv6",
  276: "Linux cooked v2",
};

/** The name of a LINKTYPE_ value, or the value where it has none here. */
export function linkTypeOf(number: number): LinkType {
  return NAMES.get(number) ?? number;
}

/** The LINKTYPE_ value that a capture file holds for a link type. */
export function linkTypeNumber(type: LinkType): number {
  return typeof type === "number" ? type : NUMBERS[type];
}

/** A link type given by name or number, or undefined. */
export function parseLinkType(text: string): number | undefined {
  if (/^\d+$/.test(text) && Number(text) <= 0xffff) return Number(text);
  const name = text.toUpperCase().replace(/^(DLT|LINKTYPE)_/, "");
  return Object.hasOwn(NUMBERS, name) ? NUMBERS[name as Exclude<LinkType, number>] : undefined;
}

/** `Ethernet (EN10MB)`, for people. */
export function describeLinkType(number: number): string {
  const name = linkTypeOf(number);
  const title = TITLES[number];
  if (title === undefined) return typeof name === "number" ? `link type ${number}` : name;
  return `${title} (${typeof name === "number" ? number : name})`;
}

/** Most bytes that one packet of a link type can have in a file; more is taken for damage, as Wireshark does. */
export function largestPacket(linkType: number): number {
  if (linkType === 231 || linkType === 249) return 128 * 2 ** 20; // D-Bus, USBPcap
  return linkType === 279 ? 8 * 2 ** 20 : 262_144; // EBHSCR
}
