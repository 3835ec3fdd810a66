import { formatMac } from "../address.js";
import { readBytes, u8, u16, u32, wantMac, writeBytes } from "../fields.js";
import { type Bytes, defineHeader, etherNumber, type Field, linkNumber, NOTHING } from "../header.js";
import type { Header } from "../types.js";

/** Linux cooked capture (LINKTYPE_LINUX_SLL). */
export interface Sll {
  /** 0 to us, 1 broadcast, 2 multicast, 3 to someone else, 4 from us. */
  readonly packetType: number;
  /** ARPHRD_ value of the device. */
  readonly hardwareType: number;
  readonly addressLength: number;
  /** The sender's link address, at most eight bytes of it. */
  readonly address: string;
  /** EtherType of what follows, as a rule. */
  readonly protocol: number;
}

function address(length: (bytes: Bytes, at: number) => number, offset: number): Field<string> {
  const size = (bytes: Bytes, at: number) => Math.min(8, length(bytes, at));
  return {
    read: (bytes, at) => formatMac(readBytes(bytes, at + offset, size(bytes, at))),
    write: (bytes, at, value) => writeBytes(bytes, at + offset, wantMac(value, size(bytes, at))),
  };
}

const ARPHRD_NETLINK = 824;

/** For such devices the protocol field is no EtherType (the link type's page at tcpdump.org). */
function protocolNumber(hardwareType: number, protocol: number): number {
  if (hardwareType === ARPHRD_NETLINK) return NOTHING;
  return protocol < 1536 ? NOTHING : etherNumber(protocol);
}

export const sll: Header<Sll> = defineHeader<Sll>({
  name: "sll",
  bytes: 16,
  found: [linkNumber(113)],
  fields: {
    packetType: u16(0),
    hardwareType: u16(2),
    addressLength: u16(4),
    address: address((bytes, at) => bytes.u16(at + 4), 6),
    protocol: u16(14),
  },
  next: (bytes, at) => protocolNumber(bytes.u16(at + 2), bytes.u16(at + 14)),
  defaults: { hardwareType: 1, addressLength: 6, address: "02:00:00:00:00:01", protocol: 0x0800 },
});

/** Linux cooked capture, version 2 (LINKTYPE_LINUX_SLL2). */
export interface Sll2 extends Sll {
  readonly interfaceIndex: number;
}

export const sll2: Header<Sll2> = defineHeader<Sll2>({
  name: "sll2",
  bytes: 20,
  found: [linkNumber(276)],
  fields: {
    protocol: u16(0),
    interfaceIndex: u32(4),
    hardwareType: u16(8),
    packetType: u8(10),
    addressLength: u8(11),
    address: address((bytes, at) => bytes.u8(at + 11), 12),
  },
  next: (bytes, at) => protocolNumber(bytes.u16(at + 8), bytes.u16(at)),
  defaults: { hardwareType: 1, addressLength: 6, address: "02:00:00:00:00:01", protocol: 0x0800 },
});
