import { bits } from "../fields.js";
import { defineHeader, etherNumber, linkNumber, NOTHING } from "../header.js";
import type { Header } from "../types.js";

/** An IP packet without a link header (LINKTYPE_RAW): nothing but its version is looked at. */
export interface Raw {
  readonly version: number;
}

export const raw: Header<Raw> = defineHeader<Raw>({
  name: "raw",
  bytes: 0,
  found: [linkNumber(101), linkNumber(12), linkNumber(14)],
  fields: { version: bits(0, 4, 4, 1) },
  size: (bytes, at) => (at < bytes.length ? 0 : -1),
  next(bytes, at) {
    const version = bytes.u8(at) >> 4;
    return version === 4 ? etherNumber(0x0800) : version === 6 ? etherNumber(0x86dd) : NOTHING;
  },
});
