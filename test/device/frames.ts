// Frames as a sender's stack would leave them, for the tests: checksums partial or missing.

export const MAC_A = [2, 0, 0, 0, 0, 1];
export const MAC_B = [2, 0, 0, 0, 0, 2];

export interface Flow {
  readonly family: 4 | 6;
  readonly protocol: "tcp" | "udp";
  readonly source?: readonly number[];
  readonly destination?: readonly number[];
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

function sum(bytes: Uint8Array, start = 0): number {
  let total = start;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 65536);
  return total;
}

const V4 = { source: [10, 0, 0, 1], destination: [10, 0, 0, 2] };
const V6 = {
  source: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
  destination: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
};

/** An Ethernet frame with the pseudo-header's sum in its transport checksum, IPv4 header sum right. */
export function partialFrame(flow: Flow, payload: Uint8Array): Uint8Array {
  const tcp = flow.protocol === "tcp";
  const source = flow.source ?? (flow.family === 4 ? V4 : V6).source;
  const destination = flow.destination ?? (flow.family === 4 ? V4 : V6).destination;
  const l4 = new Uint8Array((tcp ? 20 : 8) + payload.length);
  const transport = new DataView(l4.buffer);
  transport.setUint16(0, flow.sourcePort ?? 4000);
  transport.setUint16(2, flow.destinationPort ?? 5000);
  if (tcp) {
    transport.setUint32(4, 0xfffffc00); // wraps within a long packet
    transport.setUint32(8, 77);
    transport.setUint16(12, 0x5019); // 20 bytes, ACK PSH FIN
    transport.setUint16(14, 0x2000);
  } else transport.setUint16(4, l4.length);
  l4.set(payload, tcp ? 20 : 8);
  const pseudo = sum(Uint8Array.from([...source, ...destination]), (tcp ? 6 : 17) + l4.length);
  transport.setUint16(tcp ? 16 : 6, pseudo);
  const header = Buffer.alloc(flow.family === 4 ? 20 : 40);
  if (flow.family === 4) {
    header[0] = 0x45;
    header.writeUInt16BE((20 + l4.length) & 0xffff, 2);
    header.writeUInt16BE(0x1234, 4);
    header[8] = 64;
    header[9] = tcp ? 6 : 17;
    header.set(source, 12);
    header.set(destination, 16);
    header.writeUInt16BE(~sum(header) & 0xffff, 10);
  } else {
    header[0] = 0x60;
    header.writeUInt16BE(l4.length & 0xffff, 4);
    header[6] = tcp ? 6 : 17;
    header[7] = 64;
    header.set(source, 8);
    header.set(destination, 24);
  }
  const type = flow.family === 4 ? [8, 0] : [0x86, 0xdd];
  return Buffer.concat([Uint8Array.from([...MAC_B, ...MAC_A, ...type]), header, l4]);
}

/** The same with its checksum finished. */
export function wholeFrame(flow: Flow, payload: Uint8Array): Uint8Array {
  const frame = partialFrame(flow, payload);
  const l4 = flow.family === 4 ? 34 : 54;
  const field = l4 + (flow.protocol === "tcp" ? 16 : 6);
  const total = ~sum(frame.subarray(l4)) & 0xffff;
  frame[field] = total >>> 8;
  frame[field + 1] = total;
  return frame;
}

export function pattern(bytes: number, seed = 1): Uint8Array {
  return new Uint8Array(bytes).map((_, i) => (i * 31 + (i >>> 8) * 17 + seed) & 0xff);
}
