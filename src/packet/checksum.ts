/** The checksum that stands for a folded sum: its complement. */
export function complement(sum: number): number {
  return ~sum & 0xffff;
}

/** Adds two folded sums with end-around carry. */
export function addSums(a: number, b: number): number {
  const sum = a + b;
  return (sum & 0xffff) + (sum >>> 16);
}

/**
 * The checksum after a 16-bit word that it covers changed from `before` to `after`, without the other bytes
 * (RFC 1624 equation 3, which never turns a right checksum into the wrong zero).
 */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return complement(addSums(addSums(complement(checksum), ~before & 0xffff), after & 0xffff));
}

/** Folded sum of plain bytes, where they lie outside the arena. */
export function sumBytes(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  if (bytes.length % 2 === 1) sum += bytes[bytes.length - 1] << 8;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}
