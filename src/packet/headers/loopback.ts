import { type Bytes, defineHeader, etherNumber, linkNumber, NOTHING } from "../header.js";
import type { Header } from "../types.js";

/** BSD loopback (LINKTYPE_NULL and LINKTYPE_LOOP). */
export interface Loopback {
  /** Address family; its numbers differ from system to system. */
  readonly family: number;
}

// LINKTYPE_NULL has the capturing machine's byte order. Families are small, so either order can be told.
function familyAt(bytes: Bytes, at: number): number {
  const family = bytes.u32(at);
  if (family < 0x10000) return family;
  return (
    (((family & 0xff) << 24) | ((family & 0xff00) << 8) | ((family >>> 8) & 0xff00) | (family >>> 24)) >>> 0
  );
}

export const loopback: Header<Loopback> = defineHeader<Loopback>({
  name: "loopback",
  bytes: 4,
  found: [linkNumber(0), linkNumber(108)],
  fields: { family: { read: familyAt, write: (bytes, at, value) => bytes.setU32(at, value) } },
  next(bytes, at) {
    const family = familyAt(bytes, at);
    if (family === 2) return etherNumber(0x0800);
    // AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS
    return [10, 24, 28, 30].includes(family) ? etherNumber(0x86dd) : NOTHING;
  },
  defaults: { family: 2 },
});
