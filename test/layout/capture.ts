// The UDP payloads of an Ethernet capture written by tcpdump, read without any of millrace's own packet code.
import { readFileSync } from "node:fs";

export interface CapturedDatagram {
  readonly source: number;
  readonly destination: number;
  readonly payload: Uint8Array;
}

export function readDatagrams(file: string | URL): CapturedDatagram[] {
  const bytes = readFileSync(file);
  const datagrams: CapturedDatagram[] = [];
  for (let at = 24; at < bytes.length; ) {
    const captured = bytes.readUInt32LE(at + 8);
    const packet = bytes.subarray(at + 16, at + 16 + captured);
    at += 16 + captured;
    if (packet.readUInt16BE(12) !== 0x0800 || packet[23] !== 17) continue;
    const udp = 14 + 4 * (packet[14] & 15);
    const length = packet.readUInt16BE(udp + 4);
    datagrams.push({
      source: packet.readUInt16BE(udp),
      destination: packet.readUInt16BE(udp + 2),
      payload: Uint8Array.from(packet.subarray(udp + 8, udp + length)),
    });
  }
  return datagrams;
}
