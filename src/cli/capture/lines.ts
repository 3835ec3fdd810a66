// What capture prints of a packet where it does not write a file.
import { summarize } from "../../packet/summary.js";
import type { Packet } from "../../packet/types.js";

export interface LineOptions {
  /** How often -t was given: 1 no time, 2 epoch, 3 since the packet before, 4 with the date, 5 since the first. */
  readonly times: number;
  readonly nano: boolean;
  /** -e: the link header too. */
  readonly link: boolean;
  readonly quick: boolean;
  /** -x, -X; twice: with the link header. */
  readonly hex: number;
  readonly ascii: number;
  readonly json: boolean;
}

interface Moment {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** Prints packets one after the other; remembers the times before. */
export function createPrinter(options: LineOptions): (packet: Packet) => string {
  let first: Moment | undefined;
  let previous: Moment | undefined;
  return (packet) => {
    const now = { seconds: packet.seconds, nanoseconds: packet.nanoseconds };
    first ??= now;
    const time = stamp(options, now, options.times === 5 ? first : (previous ?? now));
    previous = now;
    if (options.json) return `${JSON.stringify(toJson(packet, now))}\n`;
    const text = options.quick ? quick(summarize(packet)) : summarize(packet);
    const head = options.link ? linkHead(packet) : "";
    return `${time}${head}${text}\n${dump(packet, options)}`;
  };
}

function fraction(nanoseconds: number, nano: boolean): string {
  return nano
    ? String(nanoseconds).padStart(9, "0")
    : String(Math.floor(nanoseconds / 1000)).padStart(6, "0");
}

function clock(date: Date): string {
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

function stamp({ times, nano }: LineOptions, now: Moment, before: Moment): string {
  if (times === 1) return "";
  if (times === 2) return `${now.seconds}.${fraction(now.nanoseconds, nano)} `;
  if (times === 3 || times === 5) {
    let seconds = now.seconds - before.seconds;
    let nanoseconds = now.nanoseconds - before.nanoseconds;
    const sign = seconds < 0 || (seconds === 0 && nanoseconds < 0) ? "-" : " ";
    if (sign === "-") [seconds, nanoseconds] = [-seconds, -nanoseconds];
    if (nanoseconds < 0) [seconds, nanoseconds] = [seconds - 1, nanoseconds + 1e9];
    const since = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return `${sign}${since.map((part) => String(part).padStart(2, "0")).join(":")}.${fraction(nanoseconds, nano)} `;
  }
  const date = new Date(now.seconds * 1000);
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()];
  const dated = times === 4 ? `${day.map((part) => String(part).padStart(2, "0")).join("-")} ` : "";
  return `${dated}${clock(date)}.${fraction(now.nanoseconds, nano)} `;
}

/** Endpoints, protocol and length: what is left of a line with -q. */
function quick(text: string): string {
  const match = /^(.*?: )(Flags \[.*length (\d+))/.exec(text);
  return match === null ? text : `${match[1]}tcp ${match[3]}`;
}

function toJson(packet: Packet, { seconds, nanoseconds }: Moment): object {
  return {
    time: `${seconds}.${String(nanoseconds).padStart(9, "0")}`,
    length: packet.length,
    wireLength: packet.wireLength,
    summary: summarize(packet),
  };
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

function mac(packet: Packet, at: number): string {
  return Array.from({ length: 6 }, (_, i) =>
    packet
      .u8(at + i)
      .toString(16)
      .padStart(2, "0"),
  ).join(":");
}

/** Hardware addresses and ethertype as tcpdump -e prints them. */
function linkHead(packet: Packet): string {
  if (packet.linkType !== "EN10MB" || packet.length < 14) return "";
  const from = `${mac(packet, 6)} > ${mac(packet, 0)}`;
  const ethertype = packet.u16(12);
  if (ethertype < 1536) return `${from}, 802.3, length ${Math.min(ethertype, packet.wireLength - 14)}: `;
  const name = ETHERTYPES.get(ethertype) ?? "Unknown";
  const number = ethertype.toString(16).padStart(4, "0");
  return `${from}, ethertype ${name} (0x${number}), length ${packet.wireLength}: `;
}

const LINK_HEADERS: Readonly<Record<string, number>> = {
  EN10MB: 14,
  LINUX_SLL: 16,
  LINUX_SLL2: 20,
  NULL: 4,
  LOOP: 4,
};

function linkLength(packet: Packet): number {
  let length = LINK_HEADERS[packet.linkType] ?? 0;
  if (packet.linkType !== "EN10MB") return Math.min(length, packet.length);
  while (packet.length >= length + 4 && [0x8100, 0x88a8].includes(packet.u16(length - 2))) length += 4;
  return Math.min(length, packet.length);
}

function dump(packet: Packet, { hex, ascii }: LineOptions): string {
  const times = Math.max(hex, ascii);
  if (times === 0) return "";
  const bytes = packet.copy().subarray(times > 1 ? 0 : linkLength(packet));
  let out = "";
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.subarray(at, at + 16);
    const digits = (
      Buffer.from(row)
        .toString("hex")
        .match(/.{1,4}/g) ?? []
    ).join(" ");
    const text = Array.from(row, (byte) => (byte > 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join(
      "",
    );
    const tail = ascii > 0 ? `  ${text}` : "";
    out += `\t0x${at.toString(16).padStart(4, "0")}:  ${ascii > 0 ? digits.padEnd(39) : digits}${tail}\n`;
  }
  return out;
}
