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

/** A Geneve option: who defined it, what it is, and its data. */
export interface GeneveOption {
  /** Namespace of the type, as IANA gives it out. */
  readonly class: number;
  /** Seven bits, without that for `critical`. */
  readonly type: number;
  /** Who does not know it must drop the packet. */
  readonly critical: boolean;
  readonly data: Uint8Array;
}

/** Takes the options of a Geneve header apart (RFC 8926 section 3.5); what is malformed ends the list. */
export function geneveOptions(options: Uint8Array): GeneveOption[] {
  const list: GeneveOption[] = [];
  for (let at = 0; at + 4 <= options.length; ) {
    const end = at + 4 + 4 * (options[at + 3] & 31);
    if (end > options.length) break;
    const type = options[at + 2];
    list.push({
      class: (options[at] << 8) | options[at + 1],
      type: type & 127,
      critical: type >> 7 === 1,
      data: options.subarray(at + 4, end),
    });
    at = end;
  }
  return list;
}
