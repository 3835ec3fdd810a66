// What a virtio network card does to frames: finishes checksums, cuts super-frames, hashes flows.
import {
  VNET_BUFFERS,
  VNET_CHECKSUM_OFFSET,
  VNET_CHECKSUM_START,
  VNET_DATA_VALID,
  VNET_FLAGS,
  VNET_GSO,
  VNET_GSO_UDP,
  VNET_HASH,
  VNET_HASH_TYPE,
  VNET_NEEDS_CHECKSUM,
  VNET_SEGMENT,
} from "../../../kernels/virtio-structs.js";
import { toeplitz } from "../../../packet/toeplitz.js";
import { parseHeaders, pseudoSum, putU16, sumOf, u16 } from "../e1000e/headers.js";

/** The frames that leave for a packet with its network header in front: one, or as many as its segments. */
export function framesOf(header: Uint8Array, packet: Uint8Array): Uint8Array[] {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const kind = header[VNET_GSO] & 0x7f;
  if (kind !== 0) return segmentsOf(packet, view.getUint16(VNET_SEGMENT, true), kind === VNET_GSO_UDP);
  if ((header[VNET_FLAGS] & VNET_NEEDS_CHECKSUM) === 0) return [packet];
  const start = view.getUint16(VNET_CHECKSUM_START, true);
  const place = start + view.getUint16(VNET_CHECKSUM_OFFSET, true);
  if (place + 2 > packet.length) return [];
  const sum = ~sumOf(packet, start, packet.length) & 0xffff;
  putU16(packet, place, sum === 0 ? 0xffff : sum);
  return [packet];
}

function segmentsOf(packet: Uint8Array, size: number, udp: boolean): Uint8Array[] {
  const headers = parseHeaders(packet);
  const { l3, l4, l5, ipv4 } = headers;
  if (l5 === 0 || size === 0) return [];
  const frames: Uint8Array[] = [];
  const sequence = udp ? 0 : new DataView(packet.buffer, packet.byteOffset).getUint32(l4 + 4);
  for (let from = l5; from < packet.length; from += size) {
    const to = Math.min(from + size, packet.length);
    const frame = new Uint8Array(l5 + to - from);
    frame.set(packet.subarray(0, l5));
    frame.set(packet.subarray(from, to), l5);
    if (ipv4) {
      putU16(frame, l3 + 2, frame.length - l3);
      putU16(frame, l3 + 4, u16(packet, l3 + 4) + frames.length);
      putU16(frame, l3 + 10, 0);
      putU16(frame, l3 + 10, ~sumOf(frame, l3, l4) & 0xffff);
    } else putU16(frame, l3 + 4, frame.length - l4);
    const sumAt = udp ? l4 + 6 : l4 + 16;
    if (udp) putU16(frame, l4 + 4, frame.length - l4);
    else {
      new DataView(frame.buffer).setUint32(l4 + 4, (sequence + from - l5) >>> 0);
      if (to < packet.length) frame[l4 + 13] &= ~0x09; // FIN and PSH are the last one's
    }
    putU16(frame, sumAt, 0);
    const sum = ~sumOf(frame, l4, frame.length, pseudoSum(frame, parseHeaders(frame))) & 0xffff;
    putU16(frame, sumAt, sum === 0 && udp ? 0xffff : sum);
    frames.push(frame);
  }
  return frames;
}

export interface Hash {
  readonly value: number;
  /** Hash report value [5.1.6.4.5.1]; 0: nothing was hashed. */
  readonly report: number;
}

/** The Toeplitz hash of the most specific of the `types` that a frame has [5.1.6.4.3]. */
export function hashOf(frame: Uint8Array, key: Uint8Array, types: number): Hash {
  const { l3, l4, ipv4, ipv6, tcp, udp } = parseHeaders(frame);
  if (!(ipv4 || ipv6)) return { value: 0, report: 0 };
  const addresses = ipv4 ? frame.subarray(l3 + 12, l3 + 20) : frame.subarray(l3 + 8, l3 + 40);
  const kind = (tcp ? 1 : udp ? 2 : 0) + (ipv4 ? 0 : 3); // bit of the type, and report - 1
  const base = ipv4 ? 0 : 3;
  if (kind !== base && ((types >>> kind) & 1) === 1)
    return {
      value: toeplitz(key, Uint8Array.from([...addresses, ...frame.subarray(l4, l4 + 4)])),
      report: kind + 1,
    };
  if (((types >>> base) & 1) === 1) return { value: toeplitz(key, addresses), report: base + 1 };
  return { value: 0, report: 0 };
}

/** The network header in front of a received frame that lies in `buffers` buffers. */
export function headerOf(
  frame: Uint8Array,
  bytes: number,
  buffers: number,
  checks: boolean,
  hash: Hash | undefined,
): Uint8Array {
  const header = new Uint8Array(bytes);
  const view = new DataView(header.buffer);
  if (checks && checksumIsGood(frame)) header[VNET_FLAGS] = VNET_DATA_VALID;
  view.setUint16(VNET_BUFFERS, buffers, true);
  if (hash !== undefined && bytes > VNET_HASH) {
    view.setUint32(VNET_HASH, hash.value, true);
    view.setUint16(VNET_HASH_TYPE, hash.report, true);
  }
  return header;
}

function checksumIsGood(frame: Uint8Array): boolean {
  const headers = parseHeaders(frame);
  if (headers.l5 === 0) return false;
  if (headers.udp && u16(frame, headers.l4 + 6) === 0) return false; // it has none
  return sumOf(frame, headers.l4, headers.end, pseudoSum(frame, headers)) === 0xffff;
}
