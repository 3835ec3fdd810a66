import { address, bits, rest, scaled, u8, u16, u32 } from "../fields.js";
import { defineHeader, etherNumber, ipNumber, linkNumber, NOTHING, pppNumber } from "../header.js";
import type { Header } from "../types.js";

/** Internet Protocol, version 6 (RFC 8200 section 3). */
export interface Ipv6 {
  readonly version: number;
  readonly dscp: number;
  readonly ecn: number;
  readonly flowLabel: number;
  /** Bytes behind this header; 0 in a jumbogram and in a segment still to be cut. */
  readonly payloadLength: number;
  /** Number of the next header: an extension header, or the protocol. */
  readonly nextHeader: number;
  readonly hopLimit: number;
  readonly source: string;
  readonly destination: string;
}

export const ipv6: Header<Ipv6> = defineHeader<Ipv6>({
  name: "ipv6",
  bytes: 40,
  found: [etherNumber(0x86dd), ipNumber(41), pppNumber(0x0057), linkNumber(229)],
  fields: {
    version: bits(0, 28, 4),
    dscp: bits(0, 22, 6),
    ecn: bits(0, 20, 2),
    flowLabel: bits(0, 0, 20),
    payloadLength: u16(4),
    nextHeader: u8(6),
    hopLimit: u8(7),
    source: address(8, 16),
    destination: address(24, 16),
  },
  size: (bytes, at) => (bytes.u8(at) >> 4 === 6 ? 40 : -1),
  next: (bytes, at) => ipNumber(bytes.u8(at + 6)),
  end: (bytes, at) => (bytes.u16(at + 4) === 0 ? Number.POSITIVE_INFINITY : at + 40 + bytes.u16(at + 4)),
  defaults: { version: 6, hopLimit: 64, nextHeader: 17, source: "fd00::1", destination: "fd00::2" },
});

/** What hop-by-hop, routing, destination, mobility, HIP and Shim6 headers have in common (RFC 8200 section 4, RFC 6564). */
export interface Ipv6Extension {
  readonly nextHeader: number;
  /** Bytes of the whole extension header. */
  readonly headerLength: number;
  /** What stands behind the first two bytes. */
  readonly data: Uint8Array;
}

function extension(name: string, ...numbers: number[]): Header<Ipv6Extension> {
  return defineHeader<Ipv6Extension>({
    name,
    bytes: 8,
    found: numbers.map(ipNumber),
    fields: {
      nextHeader: u8(0),
      headerLength: {
        read: (bytes, at) => 8 * (bytes.u8(at + 1) + 1),
        write: (bytes, at, value) => bytes.setU8(at + 1, value / 8 - 1),
      },
      data: rest(2),
    },
    size: (bytes, at) => 8 * (bytes.u8(at + 1) + 1),
    next: (bytes, at) => ipNumber(bytes.u8(at)),
    sizeOf: (value) => Math.max(value.headerLength ?? 8, 2 + (value.data?.length ?? 0)),
    defaults: { nextHeader: 17, headerLength: 8 },
  });
}

export const ipv6HopByHop: Header<Ipv6Extension> = extension("ipv6-hop-by-hop", 0);
export const ipv6Routing: Header<Ipv6Extension> = extension("ipv6-routing", 43);
export const ipv6Destination: Header<Ipv6Extension> = extension("ipv6-destination", 60);
export const ipv6Other: Header<Ipv6Extension> = extension("ipv6-extension", 135, 139, 140);

/** IPv6 fragment header (RFC 8200 section 4.5). */
export interface Ipv6Fragment {
  readonly nextHeader: number;
  /** Bytes from the start of the fragmentable part. */
  readonly fragmentOffset: number;
  /** 1: more fragments follow. */
  readonly moreFragments: number;
  readonly identification: number;
}

export const ipv6Fragment: Header<Ipv6Fragment> = defineHeader<Ipv6Fragment>({
  name: "ipv6-fragment",
  bytes: 8,
  found: [ipNumber(44)],
  fields: {
    nextHeader: u8(0),
    fragmentOffset: scaled(bits(2, 3, 13, 2), 8),
    moreFragments: bits(2, 0, 1, 2),
    identification: u32(4),
  },
  next: (bytes, at) => ((bytes.u16(at + 2) & 0xfff8) === 0 ? ipNumber(bytes.u8(at)) : NOTHING),
  defaults: { nextHeader: 17 },
});

/** IP authentication header (RFC 4302), in IPv4 and IPv6. */
export interface Authentication {
  readonly nextHeader: number;
  readonly headerLength: number;
  /** Security parameters index. */
  readonly spi: number;
  readonly sequence: number;
}

export const authentication: Header<Authentication> = defineHeader<Authentication>({
  name: "ah",
  bytes: 12,
  found: [ipNumber(51)],
  fields: {
    nextHeader: u8(0),
    headerLength: {
      read: (bytes, at) => 4 * (bytes.u8(at + 1) + 2),
      write: (bytes, at, value) => bytes.setU8(at + 1, value / 4 - 2),
    },
    spi: u32(4),
    sequence: u32(8),
  },
  size: (bytes, at) => 4 * (bytes.u8(at + 1) + 2),
  next: (bytes, at) => ipNumber(bytes.u8(at)),
  sizeOf: (value) => value.headerLength ?? 12,
  defaults: { nextHeader: 17, headerLength: 12 },
});
