import { MillraceError } from "../errors.js";

/** An address of 4 or 16 bytes as text: dotted, or as RFC 5952 writes IPv6. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i] << 8) | bytes[i + 1]);
  // RFC 5952 section 5: what embeds an IPv4 address is written so.
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff)
    return `::ffff:${bytes.slice(12).join(".")}`;
  const { start, length } = longestZeros(groups);
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(":");
  if (length < 2) return hex(groups);
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}

function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (start + length < groups.length && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}

/** 4 or 16 bytes of an address in text; undefined: it is none. */
export function parseAddress(text: string): Uint8Array | undefined {
  return text.includes(":") ? parse6(text) : parse4(text);
}

function parse4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
    return undefined;
  return Uint8Array.from(parts, Number);
}

function parse6(text: string): Uint8Array | undefined {
  let rest = text;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const last = parse4(dotted[2]);
    if (last === undefined) return undefined;
    const group = (i: number) => ((last[i] << 8) | last[i + 1]).toString(16);
    rest = `${dotted[1]}${group(0)}:${group(2)}`;
  }
  const halves = rest.split("::");
  if (halves.length > 2) return undefined;
  const groupsOf = (half: string) => (half === "" ? [] : half.split(":"));
  const front = groupsOf(halves[0]);
  const back = halves.length === 2 ? groupsOf(halves[1]) : [];
  const missing = 8 - front.length - back.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...front, ...Array<string>(missing).fill("0"), ...back];
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  return Uint8Array.from(
    groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]),
  );
}

/** A hardware address as `02:00:00:00:00:01`. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** The bytes of a hardware address, of `length` bytes; undefined: it is none. */
export function parseMac(text: string, length = 6): Uint8Array | undefined {
  const parts = text.split(/[:-]/);
  if (parts.length !== length || !parts.every((part) => /^[0-9a-fA-F]{2}$/.test(part))) return undefined;
  return Uint8Array.from(parts, (part) => Number.parseInt(part, 16));
}

/** As `parseAddress`, of one family. Throws ERR_USAGE. */
export function addressBytes(text: string, bytes: 4 | 16): Uint8Array {
  const address = parseAddress(text);
  if (address?.length === bytes) return address;
  throw new MillraceError("ERR_USAGE", `"${text}" is no IPv${bytes === 4 ? 4 : 6} address`);
}
