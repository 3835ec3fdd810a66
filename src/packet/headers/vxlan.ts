import { u8, u24 } from "../fields.js";
import { defineHeader, etherNumber, udpNumber } from "../header.js";
import type { Header } from "../types.js";

/** Virtual eXtensible LAN (RFC 7348): an Ethernet frame follows. */
export interface Vxlan {
  /** 0x08: the network identifier is valid. */
  readonly flags: number;
  /** VXLAN network identifier, 24 bits. */
  readonly vni: number;
}

export const vxlan: Header<Vxlan> = defineHeader<Vxlan>({
  name: "vxlan",
  bytes: 8,
  found: [udpNumber(4789), udpNumber(8472)], // 8472: Linux before the port was assigned
  fields: { flags: u8(0), vni: u24(4) },
  next: () => etherNumber(0x6558),
  defaults: { flags: 8 },
});
