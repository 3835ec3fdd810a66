import { bits, flag, u16 } from "../fields.js";
import { defineHeader, etherNumber, NOTHING } from "../header.js";
import type { Header } from "../types.js";

/** VLAN tag, behind the EtherType that announces it (IEEE 802.1Q clause 9; 802.1ad for QinQ). */
export interface Vlan {
  readonly priority: number;
  readonly dropEligible: boolean;
  readonly id: number;
  /** EtherType of what follows. */
  readonly type: number;
}

export const vlan: Header<Vlan> = defineHeader<Vlan>({
  name: "vlan",
  bytes: 4,
  found: [etherNumber(0x8100), etherNumber(0x88a8), etherNumber(0x9100)],
  fields: { priority: bits(0, 13, 3, 2), dropEligible: flag(0, 12, 2), id: bits(0, 0, 12, 2), type: u16(2) },
  next: (bytes, at) => (bytes.u16(at + 2) < 1536 ? NOTHING : etherNumber(bytes.u16(at + 2))),
  defaults: { type: 0x0800 },
});
