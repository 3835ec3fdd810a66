import { bits, flag, rest, scaled, u16, u24 } from "../fields.js";
import { defineHeader, etherNumber, udpNumber } from "../header.js";
import type { Header } from "../types.js";

/** Generic Network Virtualization Encapsulation (RFC 8926). */
export interface Geneve {
  readonly version: number;
  /** Bytes of options. */
  readonly optionsLength: number;
  readonly control: boolean;
  readonly critical: boolean;
  /** EtherType of what follows. */
  readonly type: number;
  /** Virtual network identifier, 24 bits. */
  readonly vni: number;
  readonly options: Uint8Array;
}

export const geneve: Header<Geneve> = defineHeader<Geneve>({
  name: "geneve",
  bytes: 8,
  found: [udpNumber(6081)],
  fields: {
    version: bits(0, 6, 2, 1),
    optionsLength: scaled(bits(0, 0, 6, 1), 4),
    control: flag(1, 7),
    critical: flag(1, 6),
    type: u16(2),
    vni: u24(4),
    options: rest(8),
  },
  size: (bytes, at) => (bytes.u8(at) >> 6 === 0 ? 8 + 4 * (bytes.u8(at) & 63) : -1),
  next: (bytes, at) => etherNumber(bytes.u16(at + 2)),
  sizeOf: (value) => 8 + Math.max(value.optionsLength ?? 0, value.options?.length ?? 0),
  defaults: { type: 0x6558 },
});
