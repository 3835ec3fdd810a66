import { u16 } from "../fields.js";
import { defineHeader, ipNumber, NOTHING, udpNumber } from "../header.js";
import type { Header } from "../types.js";

/** User Datagram Protocol (RFC 768). */
export interface Udp {
  readonly source: number;
  readonly destination: number;
  /** Bytes of header and payload; 0: longer than the field holds (RFC 2675). */
  readonly length: number;
  /** 0: the sender made none. */
  readonly checksum: number;
}

const TUNNELS = new Set([4789, 8472, 6081, 6635]);

export const udp: Header<Udp> = defineHeader<Udp>({
  name: "udp",
  bytes: 8,
  found: [ipNumber(17)],
  fields: { source: u16(0), destination: u16(2), length: u16(4), checksum: u16(6) },
  next: (bytes, at) => (TUNNELS.has(bytes.u16(at + 2)) ? udpNumber(bytes.u16(at + 2)) : NOTHING),
  end: (bytes, at) => (bytes.u16(at + 4) < 8 ? Number.POSITIVE_INFINITY : at + bytes.u16(at + 4)),
  defaults: { source: 4000, destination: 5000 },
});
