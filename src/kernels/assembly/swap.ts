/** Reverses the bytes of each word of `bits` (16, 32 or 64) bits, in place; what is left at the end stays. */
export function swapBytes(at: u32, length: u32, bits: u32): void {
  const word = bits >> 3;
  const end = at + (length & ~(word - 1));
  const vectors = at + ((end - at) & ~15);
  if (bits == 16) {
    for (; at < vectors; at += 16)
      v128.store(
        at,
        v128.shuffle<u8>(v128.load(at), v128.load(at), 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14),
      );
    for (; at < end; at += 2) store<u16>(at, bswap<u16>(load<u16>(at)));
  } else if (bits == 32) {
    for (; at < vectors; at += 16)
      v128.store(
        at,
        v128.shuffle<u8>(v128.load(at), v128.load(at), 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12),
      );
    for (; at < end; at += 4) store<u32>(at, bswap<u32>(load<u32>(at)));
  } else {
    for (; at < vectors; at += 16)
      v128.store(
        at,
        v128.shuffle<u8>(v128.load(at), v128.load(at), 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8),
      );
    for (; at < end; at += 8) store<u64>(at, bswap<u64>(load<u64>(at)));
  }
}
