// What capture prints of a packet where it does not write a file.
import { summarize } from "../../packet/summary.js";
import type { Packet } from "../../packet/types.js";
import { type InterfaceNames, withLinkHeader } from "./link-header.js";
import { createRelative } from "./relative.js";

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

/** Prints packets one after the other; remembers the times and the connections before. */
export function createPrinter(options: LineOptions, names: InterfaceNames): (packet: Packet) => string {
  const relative = createRelative();
  let first: Moment | undefined;
  let previous: Moment | undefined;
  return (packet) => {
    const now = { seconds: packet.seconds, nanoseconds: packet.nanoseconds };
    first ??= now;
    const time = stamp(options, now, options.times === 5 ? first : (previous ?? now));
    previous = now;
    if (options.json) return `${JSON.stringify(toJson(packet, now))}\n`;
    const text = options.quick ? quick(summarize(packet)) : relative(summarize(packet));
    return `${time}${withLinkHeader(packet, text, options, names)}\n${dump(packet, options)}`;
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
