import { bits, rest, scaled, u16, u32 } from "../fields.js";
import { defineHeader, ipNumber } from "../header.js";
import type { Header } from "../types.js";
import { optionList } from "./ipv4.js";

/** Transmission Control Protocol (RFC 9293). */
export interface Tcp {
  readonly source: number;
  readonly destination: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  /** Bytes, options included. */
  readonly headerLength: number;
  /** TCP_FIN and its like, added up. */
  readonly flags: number;
  readonly window: number;
  readonly checksum: number;
  readonly urgent: number;
  /** A multiple of four bytes, at most 40; `tcpOptions` takes them apart. */
  readonly options: Uint8Array;
}

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_URG = 0x20;
export const TCP_ECE = 0x40;
export const TCP_CWR = 0x80;
/** Accurate ECN (RFC 9768), once the nonce sum. */
export const TCP_AE = 0x100;

export const tcp: Header<Tcp> = defineHeader<Tcp>({
  name: "tcp",
  bytes: 20,
  found: [ipNumber(6)],
  fields: {
    source: u16(0),
    destination: u16(2),
    sequence: u32(4),
    acknowledgement: u32(8),
    headerLength: scaled(bits(12, 12, 4, 2), 4),
    flags: bits(12, 0, 12, 2),
    window: u16(14),
    checksum: u16(16),
    urgent: u16(18),
    options: rest(20),
  },
  size: (bytes, at) => 4 * (bytes.u8(at + 12) >> 4),
  sizeOf: (value) => Math.max(value.headerLength ?? 20, 20 + (value.options?.length ?? 0)),
  defaults: { source: 4000, destination: 5000, headerLength: 20, flags: TCP_ACK, window: 65_535 },
});

/** What the options of a TCP header say (RFC 9293, 7323, 2018); undefined where an option is absent or malformed. */
export interface TcpOptions {
  readonly maximumSegment?: number;
  readonly windowScale?: number;
  readonly sackPermitted?: boolean;
  /** Edges of the blocks received, left and right, one after the other. */
  readonly sack?: readonly number[];
  readonly timestamp?: { readonly value: number; readonly echo: number };
}

export function tcpOptions(options: Uint8Array): TcpOptions {
  const out: { -readonly [K in keyof TcpOptions]: TcpOptions[K] } = {};
  for (const { type, data } of optionList(options)) {
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    if (type === 2 && data.length === 2) out.maximumSegment = view.getUint16(0);
    else if (type === 3 && data.length === 1) out.windowScale = data[0];
    else if (type === 4 && data.length === 0) out.sackPermitted = true;
    else if (type === 5 && data.length % 8 === 0 && data.length > 0)
      out.sack = Array.from({ length: data.length / 4 }, (_, i) => view.getUint32(4 * i));
    else if (type === 8 && data.length === 8)
      out.timestamp = { value: view.getUint32(0), echo: view.getUint32(4) };
  }
  return out;
}
