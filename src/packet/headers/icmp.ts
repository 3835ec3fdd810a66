import { u8, u16, u32 } from "../fields.js";
import { defineHeader, ipNumber } from "../header.js";
import type { Header } from "../types.js";

/** Internet Control Message Protocol (RFC 792), and for IPv6 (RFC 4443): the first eight bytes. */
export interface Icmp {
  readonly type: number;
  readonly code: number;
  readonly checksum: number;
  /** The second word, as one number and, as echo messages have it, as two. */
  readonly rest: number;
  readonly identifier: number;
  readonly sequence: number;
}

const fields = {
  type: u8(0),
  code: u8(1),
  checksum: u16(2),
  rest: u32(4),
  identifier: u16(4),
  sequence: u16(6),
};

export const icmp: Header<Icmp> = defineHeader<Icmp>({
  name: "icmp",
  bytes: 8,
  found: [ipNumber(1)],
  fields,
  defaults: { type: 8 },
});

export const icmpv6: Header<Icmp> = defineHeader<Icmp>({
  name: "icmpv6",
  bytes: 8,
  found: [ipNumber(58)],
  fields,
  defaults: { type: 128 },
});
