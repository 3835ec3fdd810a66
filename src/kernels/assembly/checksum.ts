// The internet checksum (RFC 1071): sums of 16-bit words with end-around carry. The words are added in the
// machine's byte order and the sum is swapped once at the end, which comes to the same (RFC 1071 section 2 B).
import { DESC_ADDR, DESC_LEN, DESC_SHIFT } from "../structs";
import { descriptorAt, packetEnd, packetStart } from "./packet";

/** Bytes whose words can be added to 32-bit lanes, four sums of them joined, without overflow. */
const BLOCK: u32 = 1 << 17;

function fold(sum: u64): u32 {
  let folded = (sum & 0xffffffff) + (sum >> 32);
  folded = (folded & 0xffff) + ((folded >> 16) & 0xffff) + (folded >> 32);
  folded = (folded & 0xffff) + (folded >> 16);
  folded = (folded & 0xffff) + (folded >> 16);
  return <u32>folded;
}

/** Adds up the lanes of a sum of signed words; each of the `bytes` / 2 words was made 32,768 less than it is. */
function lanes(sum: v128, bytes: u32): u64 {
  return (
    <u64>(
      (<i64>v128.extract_lane<i32>(sum, 0) +
        <i64>v128.extract_lane<i32>(sum, 1) +
        <i64>v128.extract_lane<i32>(sum, 2) +
        <i64>v128.extract_lane<i32>(sum, 3))
    ) +
    ((<u64>bytes) << 14)
  );
}

/** Adds 16 bytes: signed words times one, in pairs, is the one instruction that adds neighbours (pmaddwd). */
function words(sum: v128, bytes: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(v128.xor(bytes, i16x8.splat(-32768)), i16x8.splat(1)));
}

/** The bytes behind the last whole 16, added up in the machine's order. */
function tailSum(at: u32, length: u32): u64 {
  let sum: u64 = 0;
  if (length & 8) {
    sum += <u64>load<u32>(at) + <u64>load<u32>(at, 4);
    at += 8;
  }
  if (length & 4) {
    sum += load<u32>(at);
    at += 4;
  }
  if (length & 2) {
    sum += load<u16>(at);
    at += 2;
  }
  if (length & 1) sum += load<u8>(at);
  return sum;
}

/** Folded sum in the machine's order. */
function nativeSum(at: u32, length: u32): u32 {
  let sum: u64 = 0;
  while (length >= 64) {
    const block = min(length, BLOCK) & ~63;
    const end = at + block;
    let a = i32x4.splat(0);
    let b = i32x4.splat(0);
    let c = i32x4.splat(0);
    let d = i32x4.splat(0);
    for (; at < end; at += 64) {
      a = words(a, v128.load(at));
      b = words(b, v128.load(at, 16));
      c = words(c, v128.load(at, 32));
      d = words(d, v128.load(at, 48));
    }
    sum += lanes(i32x4.add(i32x4.add(a, b), i32x4.add(c, d)), block);
    length -= block;
  }
  if (length >= 16) {
    let a = i32x4.splat(0);
    const end = at + (length & ~15);
    for (; at < end; at += 16) a = words(a, v128.load(at));
    sum += lanes(a, length & ~15);
    length &= 15;
  }
  return fold(sum + tailSum(at, length));
}

function swap(sum: u32): u32 {
  return ((sum & 0xff) << 8) | (sum >> 8);
}

/** Sum of `length` bytes at `at`, folded to 16 bits, not complemented. */
export function checksum(at: u32, length: u32): u32 {
  return swap(nativeSum(at, length));
}

/** Copies and sums in one pass; the two ranges must not overlap. Returns the sum as `checksum` does. */
export function checksumCopy(to: u32, from: u32, length: u32): u32 {
  let sum: u64 = 0;
  while (length >= 64) {
    const block = min(length, BLOCK) & ~63;
    const end = from + block;
    let a = i32x4.splat(0);
    let b = i32x4.splat(0);
    for (; from < end; from += 64, to += 64) {
      const x = v128.load(from);
      const y = v128.load(from, 16);
      const z = v128.load(from, 32);
      const u = v128.load(from, 48);
      v128.store(to, x);
      v128.store(to, y, 16);
      v128.store(to, z, 32);
      v128.store(to, u, 48);
      a = words(words(a, x), z);
      b = words(words(b, y), u);
    }
    sum += lanes(i32x4.add(a, b), block);
    length -= block;
  }
  if (length >= 16) {
    let a = i32x4.splat(0);
    const end = from + (length & ~15);
    for (; from < end; from += 16, to += 16) {
      const x = v128.load(from);
      v128.store(to, x);
      a = words(a, x);
    }
    sum += lanes(a, length & ~15);
  }
  length &= 15;
  if (length != 0) {
    memory.copy(<usize>to, <usize>from, <usize>length);
    sum += tailSum(from, length);
  }
  return swap(fold(sum));
}

/** Sum of `length` bytes of the packet from offset `from` on, across fragments of any length; what lies behind its end counts as nothing. */
export function packetChecksum(burst: u32, packet: u32, from: u32, length: u32): u32 {
  const end = descriptorAt(burst, packetEnd(burst, packet));
  let sum: u32 = 0;
  let done: u32 = 0;
  for (
    let at = descriptorAt(burst, packetStart(burst, packet));
    at < end && done < length;
    at += 1 << DESC_SHIFT
  ) {
    const piece = load<u32>(at, DESC_LEN);
    if (from >= piece) {
      from -= piece;
      continue;
    }
    const part = min(piece - from, length - done);
    const partial = nativeSum(load<u32>(at, DESC_ADDR) + from, part);
    sum += (done & 1) != 0 ? swap(partial) : partial;
    done += part;
    from = 0;
  }
  return swap(fold(sum));
}
