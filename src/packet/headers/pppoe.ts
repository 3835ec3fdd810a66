import { bits, u8, u16 } from "../fields.js";
import { type Bytes, defineHeader, etherNumber, linkNumber, NOTHING, pppNumber } from "../header.js";
import type { Header } from "../types.js";

/** PPP over Ethernet (RFC 2516). */
export interface Pppoe {
  readonly version: number;
  readonly type: number;
  /** 0 in a session; PADI 9, PADO 7, PADR 0x19, PADS 0x65, PADT 0xa7. */
  readonly code: number;
  readonly session: number;
  /** Bytes behind this header. */
  readonly length: number;
}

const SESSION = pppNumber(0x1ffff);

export const pppoe: Header<Pppoe> = defineHeader<Pppoe>({
  name: "pppoe",
  bytes: 6,
  found: [etherNumber(0x8863), etherNumber(0x8864)],
  fields: { version: bits(0, 4, 4, 1), type: bits(0, 0, 4, 1), code: u8(1), session: u16(2), length: u16(4) },
  next: (bytes, at) => (bytes.u8(at + 1) === 0 ? SESSION : NOTHING),
  end: (bytes, at) => at + 6 + bytes.u16(at + 4),
  defaults: { version: 1, type: 1 },
});

/**
 * The protocol field of the Point-to-Point Protocol (RFC 1661 section 2), one byte where it is compressed, behind
 * the address and control bytes of RFC 1662 where there are any.
 */
export interface Ppp {
  readonly protocol: number;
}

/** Bytes before the protocol field. */
function framing(bytes: Bytes, at: number): number {
  return at + 4 <= bytes.length && bytes.u16(at) === 0xff03 ? 2 : 0;
}

export const ppp: Header<Ppp> = defineHeader<Ppp>({
  name: "ppp",
  bytes: 1,
  found: [SESSION, linkNumber(9)],
  fields: {
    protocol: {
      read: (bytes, at, size) => (size % 2 === 1 ? bytes.u8(at + size - 1) : bytes.u16(at + size - 2)),
      write: (bytes, at, value, size) =>
        size % 2 === 1 ? bytes.setU8(at + size - 1, value) : bytes.setU16(at + size - 2, value),
    },
  },
  size(bytes, at) {
    const before = framing(bytes, at);
    return before + ((bytes.u8(at + before) & 1) === 1 ? 1 : 2);
  },
  next: (bytes, at, payload) =>
    pppNumber((payload - at) % 2 === 1 ? bytes.u8(payload - 1) : bytes.u16(payload - 2)),
  sizeOf: () => 2,
  defaults: { protocol: 0x0021 },
});
