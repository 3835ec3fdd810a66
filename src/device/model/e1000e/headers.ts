/** What a card's parser finds in a frame; offsets in bytes, 0 where there is no such header. */
export interface Headers {
  readonly l3: number;
  readonly l4: number;
  /** Where the data after the transport header begins; 0 without a transport header that is known. */
  readonly l5: number;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly tcp: boolean;
  readonly udp: boolean;
  /** A fragment of an IP packet: its ports and checksum cannot be had. */
  readonly fragment: boolean;
  /** Where the IP packet ends; the frame may be padded beyond. */
  readonly end: number;
}

const NOTHING: Headers = {
  l3: 0,
  l4: 0,
  l5: 0,
  ipv4: false,
  ipv6: false,
  tcp: false,
  udp: false,
  fragment: false,
  end: 0,
};

export function u16(frame: Uint8Array, at: number): number {
  return (frame[at] << 8) | frame[at + 1];
}

export function putU16(frame: Uint8Array, at: number, value: number): void {
  frame[at] = value >>> 8;
  frame[at + 1] = value;
}

export function parseHeaders(frame: Uint8Array): Headers {
  let l3 = 14;
  let kind = u16(frame, 12);
  while (kind === 0x8100 && l3 + 4 <= frame.length) {
    kind = u16(frame, l3 + 2);
    l3 += 4;
  }
  if (kind === 0x0800 && l3 + 20 <= frame.length) {
    const l4 = l3 + 4 * (frame[l3] & 15);
    const fragment = (u16(frame, l3 + 6) & 0x3fff) !== 0;
    return withTransport(frame, l3, l4, frame[l3 + 9], true, fragment, l3 + u16(frame, l3 + 2));
  }
  if (kind === 0x86dd && l3 + 40 <= frame.length)
    return withTransport(frame, l3, l3 + 40, frame[l3 + 6], false, false, l3 + 40 + u16(frame, l3 + 4));
  return NOTHING;
}

function withTransport(
  frame: Uint8Array,
  l3: number,
  l4: number,
  protocol: number,
  ipv4: boolean,
  fragment: boolean,
  said: number,
): Headers {
  const end = Math.min(said, frame.length);
  const tcp = protocol === 6 && !fragment && l4 + 20 <= end;
  const udp = protocol === 17 && !fragment && l4 + 8 <= end;
  const l5 = tcp ? l4 + 4 * (frame[l4 + 12] >>> 4) : udp ? l4 + 8 : 0;
  return { l3, l4, l5: l5 > end ? 0 : l5, ipv4, ipv6: !ipv4, tcp, udp, fragment, end };
}

/** The ones' complement sum of bytes `from` to `to`, not complemented, on top of `sum` (RFC 1071). */
export function sumOf(frame: Uint8Array, from: number, to: number, sum = 0): number {
  let total = sum;
  let at = from;
  for (; at + 1 < to; at += 2) total += (frame[at] << 8) | frame[at + 1];
  if (at < to) total += frame[at] << 8;
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

/** The sum of the pseudo-header: addresses, protocol, length. */
export function pseudoSum(frame: Uint8Array, headers: Headers): number {
  const { l3, l4, ipv4, end, tcp } = headers;
  const sum = (tcp ? 6 : 17) + (end - l4);
  return ipv4 ? sumOf(frame, l3 + 12, l3 + 20, sum) : sumOf(frame, l3 + 8, l3 + 40, sum);
}
