/** The 40-byte key of Microsoft's "Verifying the RSS Hash Calculation", which nearly every driver starts with. */
export const DEFAULT_RSS_KEY = Uint8Array.from([
  0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
  0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
  0xbe, 0xac, 0x01, 0xfa,
]);

/**
 * The Toeplitz hash of `input` (source address, destination address, and for TCP the ports, as on the wire):
 * for each bit that is set, the 32 bits of the key that start there are exclusive-ored in. The key is at least
 * four bytes longer than the input.
 */
export function toeplitz(key: Uint8Array, input: Uint8Array): number {
  let window = ((key[0] << 24) | (key[1] << 16) | (key[2] << 8) | key[3]) >>> 0;
  let hash = 0;
  for (let i = 0; i < input.length; i++) {
    const next = key[i + 4] ?? 0;
    for (let bit = 7; bit >= 0; bit--) {
      if ((input[i] >>> bit) & 1) hash ^= window;
      window = ((window << 1) | ((next >>> bit) & 1)) >>> 0;
    }
  }
  return hash >>> 0;
}
