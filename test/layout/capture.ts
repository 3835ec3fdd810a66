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
    const captured = at + 16 > bytes.length ? bytes.length : bytes.readUInt32LE(at + 8);
    if (at + 16 + captured > bytes.length) break; // tcpdump is still writing
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

/**
 * Waits until tcpdump, which is slow on a busy machine and forgets at its end what it has not read, has written
 * at least so many datagrams and for two seconds no more; half a minute at most.
 */
export async function untilWritten(
  file: string,
  least: number,
  counts: (datagram: CapturedDatagram) => boolean,
): Promise<void> {
  let quiet = 0;
  for (let tries = 0, written = -1; tries < 60 && quiet < 4; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const now = readDatagrams(file).filter(counts).length;
    quiet = now === written && now >= least ? quiet + 1 : 0;
    written = now;
  }
}
