import { mac, u16 } from "../fields.js";
import { defineHeader, etherNumber, ipNumber, linkNumber, NOTHING } from "../header.js";
import type { Header } from "../types.js";

/** Ethernet II (IEEE 802.3 clause 3.2). */
export interface Ethernet {
  readonly destination: string;
  readonly source: string;
  /** EtherType; below 1,536 it is an IEEE 802.3 length, and an LLC header follows. */
  readonly type: number;
}

export const ethernet: Header<Ethernet> = defineHeader<Ethernet>({
  name: "ethernet",
  bytes: 14,
  // 0x6558: transparent Ethernet bridging (GRE, Geneve); 143: Ethernet as an IP protocol (RFC 8986).
  found: [linkNumber(1), etherNumber(0x6558), ipNumber(143)],
  fields: { destination: mac(0), source: mac(6), type: u16(12) },
  next: (bytes, at) => (bytes.u16(at + 12) < 1536 ? NOTHING : etherNumber(bytes.u16(at + 12))),
  defaults: { destination: "02:00:00:00:00:02", source: "02:00:00:00:00:01", type: 0x0800 },
});
