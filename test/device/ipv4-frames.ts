// Frames for the tests, made by hand: Ethernet, IPv4, UDP.
import { randomInt } from "node:crypto";

export interface Addresses {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly source: string;
  readonly destination: string;
}

function fold(bytes: Uint8Array, sum = 0): number {
  let total = sum;
  for (let i = 0; i < bytes.length; i++) total += (i & 1) === 0 ? bytes[i] << 8 : bytes[i];
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

export function addressBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split("."), Number);
}

export function ethernet(
  { from, to }: Pick<Addresses, "from" | "to">,
  type: number,
  payload: Uint8Array,
): Buffer {
  return Buffer.concat([to, from, Uint8Array.of(type >>> 8, type & 0xff), payload]);
}

/** An IPv4 packet with its header checksum. */
export function ipv4({ source, destination }: Addresses, protocol: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(0x4500, 0);
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(randomInt(65536), 4);
  header[8] = 64;
  header[9] = protocol;
  header.set(addressBytes(source), 12);
  header.set(addressBytes(destination), 16);
  header.writeUInt16BE(~fold(header) & 0xffff, 10);
  return Buffer.concat([header, payload]);
}

/** The sum of the pseudo-header, for a checksum that is finished elsewhere. */
export function pseudoSum({ source, destination }: Addresses, protocol: number, length: number): number {
  const pseudo = [
    ...addressBytes(source),
    ...addressBytes(destination),
    0,
    protocol,
    length >>> 8,
    length & 0xff,
  ];
  return fold(Uint8Array.from(pseudo));
}

/** A UDP datagram in its Ethernet frame; with `partial` its checksum is left to the card. */
export function udpFrame(
  addresses: Addresses,
  sourcePort: number,
  port: number,
  payload: Uint8Array,
  partial = false,
): Buffer {
  const udp = Buffer.alloc(8 + payload.length);
  udp.writeUInt16BE(sourcePort, 0);
  udp.writeUInt16BE(port, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.set(payload, 8);
  const pseudo = pseudoSum(addresses, 17, udp.length);
  udp.writeUInt16BE(partial ? pseudo : ~fold(udp, pseudo) & 0xffff || 0xffff, 6);
  return ethernet(addresses, 0x0800, ipv4(addresses, 17, udp));
}

/** A TCP segment in its Ethernet frame, its checksum left to the card. */
export function tcpFrame(
  addresses: Addresses,
  sourcePort: number,
  port: number,
  sequence: number,
  payload: Uint8Array,
): Buffer {
  const tcp = Buffer.alloc(20 + payload.length);
  tcp.writeUInt16BE(sourcePort, 0);
  tcp.writeUInt16BE(port, 2);
  tcp.writeUInt32BE(sequence, 4);
  tcp.writeUInt16BE(0x5010, 12); // five words of header, ACK
  tcp.writeUInt16BE(1024, 14);
  tcp.set(payload, 20);
  tcp.writeUInt16BE(pseudoSum(addresses, 6, tcp.length), 16);
  return ethernet(addresses, 0x0800, ipv4(addresses, 6, tcp));
}
