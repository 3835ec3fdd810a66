import { bits, flag, u16 } from "../fields.js";
import { type Bytes, defineHeader, etherNumber, type Field, ipNumber, NOTHING } from "../header.js";
import type { Header } from "../types.js";

/** Generic Routing Encapsulation (RFC 2784, key and sequence by RFC 2890; version 1 by RFC 2637). */
export interface Gre {
  readonly checksumPresent: boolean;
  readonly keyPresent: boolean;
  readonly sequencePresent: boolean;
  readonly version: number;
  /** EtherType of what follows. */
  readonly type: number;
  /** Undefined where the flag says it is not there. */
  readonly key: number | undefined;
  readonly sequence: number | undefined;
}

/** Offset of an optional word: behind those whose flags stand before its own. */
function placeOf(bytes: Bytes, at: number, which: "key" | "sequence"): number {
  const flags = bytes.u16(at);
  const checksum = (flags & 0xc000) !== 0 ? 4 : 0; // routing brings the checksum's word too
  return at + 4 + checksum + (which === "sequence" && (flags & 0x2000) !== 0 ? 4 : 0);
}

function optional(which: "key" | "sequence", bit: number): Field<number | undefined> {
  return {
    read: (bytes, at) => ((bytes.u16(at) & bit) === 0 ? undefined : bytes.u32(placeOf(bytes, at, which))),
    write(bytes, at, value) {
      if (value !== undefined && (bytes.u16(at) & bit) !== 0) bytes.setU32(placeOf(bytes, at, which), value);
    },
  };
}

function sizeFor(flags: number): number {
  const words =
    ((flags & 0xc000) !== 0 ? 1 : 0) + ((flags & 0x2000) !== 0 ? 1 : 0) + ((flags & 0x1000) !== 0 ? 1 : 0);
  const acknowledgement = (flags & 7) === 1 && (flags & 0x80) !== 0 ? 1 : 0;
  return 4 + 4 * (words + acknowledgement);
}

export const gre: Header<Gre> = defineHeader<Gre>({
  name: "gre",
  bytes: 4,
  found: [ipNumber(47)],
  fields: {
    checksumPresent: flag(0, 15, 2),
    keyPresent: flag(0, 13, 2),
    sequencePresent: flag(0, 12, 2),
    version: bits(0, 0, 3, 2),
    type: u16(2),
    key: optional("key", 0x2000),
    sequence: optional("sequence", 0x1000),
  },
  size: (bytes, at) => sizeFor(bytes.u16(at)),
  next(bytes, at) {
    const flags = bytes.u16(at);
    // Source routing (RFC 1701) puts entries of unknown length before the payload.
    return (flags & 0x4000) !== 0 || (flags & 7) > 1 ? NOTHING : etherNumber(bytes.u16(at + 2));
  },
  sizeOf: (value) =>
    sizeFor(
      (value.checksumPresent ? 0x8000 : 0) |
        (value.keyPresent ? 0x2000 : 0) |
        (value.sequencePresent ? 0x1000 : 0),
    ),
  defaults: { type: 0x0800 },
});
