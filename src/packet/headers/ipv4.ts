import { address, bits, flag, rest, scaled, u8, u16 } from "../fields.js";
import { defineHeader, etherNumber, ipNumber, linkNumber, NOTHING, pppNumber } from "../header.js";
import type { Header } from "../types.js";

/** Internet Protocol, version 4 (RFC 791; DSCP and ECN by RFC 2474 and 3168). */
export interface Ipv4 {
  readonly version: number;
  /** Bytes, options included. */
  readonly headerLength: number;
  readonly dscp: number;
  readonly ecn: number;
  /** Bytes of header and payload; 0 in a segment still to be cut. */
  readonly totalLength: number;
  readonly identification: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** Bytes from the start of the original payload. */
  readonly fragmentOffset: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly checksum: number;
  readonly source: string;
  readonly destination: string;
  /** A multiple of four bytes, at most 40. */
  readonly options: Uint8Array;
}

export const ipv4: Header<Ipv4> = defineHeader<Ipv4>({
  name: "ipv4",
  bytes: 20,
  found: [etherNumber(0x0800), ipNumber(4), ipNumber(94), pppNumber(0x0021), linkNumber(228)],
  fields: {
    version: bits(0, 4, 4, 1),
    headerLength: scaled(bits(0, 0, 4, 1), 4),
    dscp: bits(1, 2, 6, 1),
    ecn: bits(1, 0, 2, 1),
    totalLength: u16(2),
    identification: u16(4),
    dontFragment: flag(6, 14, 2),
    moreFragments: flag(6, 13, 2),
    fragmentOffset: scaled(bits(6, 0, 13, 2), 8),
    ttl: u8(8),
    protocol: u8(9),
    checksum: u16(10),
    source: address(12, 4),
    destination: address(16, 4),
    options: rest(20),
  },
  size: (bytes, at) => (bytes.u8(at) >> 4 === 4 ? 4 * (bytes.u8(at) & 15) : -1),
  // What follows a fragment's header is only a transport header in the first one.
  next: (bytes, at) => ((bytes.u16(at + 6) & 0x1fff) === 0 ? ipNumber(bytes.u8(at + 9)) : NOTHING),
  end: (bytes, at) => (bytes.u16(at + 2) === 0 ? Number.POSITIVE_INFINITY : at + bytes.u16(at + 2)),
  sizeOf: (value) => Math.max(value.headerLength ?? 20, 20 + (value.options?.length ?? 0)),
  defaults: {
    version: 4,
    headerLength: 20,
    ttl: 64,
    protocol: 17,
    source: "10.0.0.1",
    destination: "10.0.0.2",
  },
});

/** An IPv4 option: its type, and its data without type and length. */
export interface Ipv4Option {
  readonly type: number;
  readonly data: Uint8Array;
}

/** Takes the options of an IPv4 header apart, up to the end of the list; what is malformed ends it. */
export function ipv4Options(options: Uint8Array): Ipv4Option[] {
  return optionList(options);
}

/** Options of IPv4 and TCP: type 0 ends, type 1 pads, every other has a length that counts type and length. */
export function optionList(options: Uint8Array): Ipv4Option[] {
  const list: Ipv4Option[] = [];
  for (let at = 0; at < options.length && options[at] !== 0; ) {
    if (options[at] === 1) {
      list.push({ type: 1, data: options.subarray(at + 1, at + 1) });
      at++;
      continue;
    }
    const length = options[at + 1];
    if (length === undefined || length < 2 || at + length > options.length) break;
    list.push({ type: options[at], data: options.subarray(at + 2, at + length) });
    at += length;
  }
  return list;
}
