import { toeplitz } from "../../../packet/toeplitz.js";
import * as r from "../../e1000e/registers.js";
import { bump, type ModelCard, reg } from "./card.js";
import { type Headers, u16 } from "./headers.js";

/** Whether the receive filters let a frame in (7.1.1: address, VLAN, length). */
export function passes(card: ModelCard, frame: Uint8Array): boolean {
  const control = reg(card, r.RCTL);
  const tagged = u16(frame, 12) === reg(card, r.VET);
  if (frame.length > 1514 + (tagged ? 4 : 0) && (control & r.RCTL_LPE) === 0) {
    bump(card, "rx_oversize");
    return false;
  }
  if (frame.length < 60) {
    bump(card, "rx_undersize");
    return false;
  }
  if (tagged && (control & r.RCTL_VFE) !== 0) {
    const vlan = u16(frame, 14) & 0xfff;
    if (((reg(card, r.VFTA, (vlan >>> 5) * 4) >>> (vlan & 31)) & 1) === 0) return false;
  }
  return addressPasses(card, frame, control);
}

function addressPasses(card: ModelCard, frame: Uint8Array, control: number): boolean {
  const group = (frame[0] & 1) !== 0;
  if (frame.subarray(0, 6).every((byte) => byte === 0xff)) return (control & (r.RCTL_BAM | r.RCTL_MPE)) !== 0;
  if ((control & (group ? r.RCTL_MPE : r.RCTL_UPE)) !== 0) return true;
  const low = (frame[0] | (frame[1] << 8) | (frame[2] << 16) | (frame[3] << 24)) >>> 0;
  const high = (frame[4] | (frame[5] << 8) | r.RAH_VALID) >>> 0;
  for (let entry = 0; entry < 16; entry++)
    if (reg(card, r.RAL, 8 * entry) === low && reg(card, r.RAH, 8 * entry) === high) return true;
  if (!group) return false;
  // RCTL.MO chooses which 12 bits of the last two bytes number the bit in the table.
  const shift = [4, 3, 2, 0][(control >>> r.RCTL_MO_SHIFT) & 3];
  const bit = (((frame[5] << 8) | frame[4]) >>> shift) & 0xfff;
  return ((reg(card, r.MTA, (bit >>> 5) * 4) >>> (bit & 31)) & 1) !== 0;
}

export interface Spread {
  /** What was hashed (as Linux's and QEMU's headers name them): 0 nothing, 1 IPv4 with TCP ports, 2 IPv4, 3 IPv6 with TCP ports, 5 IPv6. */
  readonly type: number;
  readonly hash: number;
  readonly queue: number;
}

/** RSS: the Toeplitz hash of addresses, and of ports for TCP, and the queue the table gives its low 7 bits. */
export function spread(card: ModelCard, frame: Uint8Array, headers: Headers): Spread {
  const control = reg(card, r.MRQC);
  const { l3, l4, ipv4, ipv6, tcp } = headers;
  if ((control & 3) !== r.MRQC_RSS || !(ipv4 || ipv6)) return { type: 0, hash: 0, queue: 0 };
  const ports = tcp && (control & (ipv4 ? r.MRQC_TCP_IPV4 : r.MRQC_TCP_IPV6)) !== 0;
  if (!ports && (control & (ipv4 ? r.MRQC_IPV4 : r.MRQC_IPV6)) === 0) return { type: 0, hash: 0, queue: 0 };
  const addresses = ipv4 ? frame.subarray(l3 + 12, l3 + 20) : frame.subarray(l3 + 8, l3 + 40);
  const input = Uint8Array.from([...addresses, ...(ports ? frame.subarray(l4, l4 + 4) : [])]);
  const key = new Uint8Array(card.regs.buffer, r.RSSRK.offset, 40);
  const hash = toeplitz(key, input);
  const entry = new Uint8Array(card.regs.buffer, r.RETA.offset, 128)[hash & 127];
  const type = ipv4 ? (ports ? 1 : 2) : ports ? 3 : 5;
  return { type, hash, queue: (entry & r.RETA_QUEUE_1) !== 0 ? 1 : 0 };
}
