import { formatAddress, formatMac, parseAddress } from "../address.js";
import { readBytes, u8, u16, wantMac, writeBytes } from "../fields.js";
import { type Bytes, defineHeader, etherNumber, type Field } from "../header.js";
import type { Header } from "../types.js";

/** Address Resolution Protocol (RFC 826), and RARP (RFC 903). */
export interface Arp {
  readonly hardwareType: number;
  readonly protocolType: number;
  readonly hardwareSize: number;
  readonly protocolSize: number;
  /** 1 request, 2 reply. */
  readonly operation: number;
  /** Hardware addresses as `02:00:…`, protocol addresses dotted where they have four bytes. */
  readonly senderHardware: string;
  readonly senderProtocol: string;
  readonly targetHardware: string;
  readonly targetProtocol: string;
}

function hardware(target: 0 | 1): Field<string> {
  const place = (bytes: Bytes, at: number) => at + 8 + target * (bytes.u8(at + 4) + bytes.u8(at + 5));
  return {
    read: (bytes, at) => formatMac(readBytes(bytes, place(bytes, at), bytes.u8(at + 4))),
    write: (bytes, at, value) => writeBytes(bytes, place(bytes, at), wantMac(value, bytes.u8(at + 4))),
  };
}

function protocol(target: 0 | 1): Field<string> {
  const place = (bytes: Bytes, at: number) =>
    at + 8 + bytes.u8(at + 4) + target * (bytes.u8(at + 4) + bytes.u8(at + 5));
  return {
    read(bytes, at) {
      const address = readBytes(bytes, place(bytes, at), bytes.u8(at + 5));
      return address.length === 4 || address.length === 16 ? formatAddress(address) : formatMac(address);
    },
    write(bytes, at, value) {
      const size = bytes.u8(at + 5);
      const address = parseAddress(value);
      writeBytes(bytes, place(bytes, at), address?.length === size ? address : wantMac(value, size));
    },
  };
}

export const arp: Header<Arp> = defineHeader<Arp>({
  name: "arp",
  bytes: 8,
  found: [etherNumber(0x0806), etherNumber(0x8035)],
  fields: {
    hardwareType: u16(0),
    protocolType: u16(2),
    hardwareSize: u8(4),
    protocolSize: u8(5),
    operation: u16(6),
    senderHardware: hardware(0),
    senderProtocol: protocol(0),
    targetHardware: hardware(1),
    targetProtocol: protocol(1),
  },
  size: (bytes, at) => 8 + 2 * (bytes.u8(at + 4) + bytes.u8(at + 5)),
  sizeOf: (value) => 8 + 2 * ((value.hardwareSize ?? 0) + (value.protocolSize ?? 0)),
  defaults: {
    hardwareType: 1,
    protocolType: 0x0800,
    hardwareSize: 6,
    protocolSize: 4,
    operation: 1,
    senderHardware: "02:00:00:00:00:01",
    targetHardware: "00:00:00:00:00:00",
  },
});
