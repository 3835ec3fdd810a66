/** True when two stretches of the arena hold the same bytes. */
export function equalBytes(a: u32, b: u32, length: u32): bool {
  const end = a + (length & ~15);
  for (; a < end; a += 16, b += 16) if (v128.any_true(v128.xor(v128.load(a), v128.load(b)))) return false;
  for (const last = end + (length & 15); a < last; a++, b++) if (load<u8>(a) != load<u8>(b)) return false;
  return true;
}
