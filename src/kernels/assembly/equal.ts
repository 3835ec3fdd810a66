/** True when two stretches of the arena hold the same bytes. */
export function equalBytes(a: u32, b: u32, length: u32): bool {
  const end = a + length;
  // One branch a cache line.
  for (const whole = a + (length & ~63); a < whole; a += 64, b += 64) {
    const low = v128.or(v128.xor(v128.load(a), v128.load(b)), v128.xor(v128.load(a, 16), v128.load(b, 16)));
    const high = v128.or(
      v128.xor(v128.load(a, 32), v128.load(b, 32)),
      v128.xor(v128.load(a, 48), v128.load(b, 48)),
    );
    if (v128.any_true(v128.or(low, high))) return false;
  }
  for (; a < end; a++, b++) if (load<u8>(a) != load<u8>(b)) return false;
  return true;
}
