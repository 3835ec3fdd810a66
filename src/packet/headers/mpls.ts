import { bits, flag, u8 } from "../fields.js";
import { defineHeader, etherNumber, NOTHING, pppNumber, udpNumber } from "../header.js";
import type { Header } from "../types.js";

/** One entry of a Multiprotocol Label Switching stack (RFC 3032; traffic class by RFC 5462). */
export interface Mpls {
  readonly label: number;
  readonly trafficClass: number;
  /** The last entry of the stack. */
  readonly bottom: boolean;
  readonly ttl: number;
}

export const mpls: Header<Mpls> = defineHeader<Mpls>({
  name: "mpls",
  bytes: 4,
  // 6635: MPLS in UDP (RFC 7510).
  found: [etherNumber(0x8847), etherNumber(0x8848), pppNumber(0x0281), pppNumber(0x0283), udpNumber(6635)],
  fields: { label: bits(0, 12, 20), trafficClass: bits(0, 9, 3), bottom: flag(2, 0), ttl: u8(3) },
  // Nothing says what follows the bottom; only IP can be told, by its first four bits (RFC 4928).
  next(bytes, at, payload) {
    if ((bytes.u8(at + 2) & 1) === 0) return etherNumber(0x8847);
    const version = payload < bytes.length ? bytes.u8(payload) >> 4 : 0;
    return version === 4 ? etherNumber(0x0800) : version === 6 ? etherNumber(0x86dd) : NOTHING;
  },
  defaults: { bottom: true, ttl: 64 },
});
