// Four packets of a burst at once. Most bursts are packets of one descriptor each: for them, the kernels that touch
// every packet look at four in one go, and leave what they find unusual to their plain loops.
import { BURST_COUNT, BURST_PACKETS, BURST_STARTS, META_FLAGS, META_SEGMENT, META_SIZE } from "../structs";

// Types that stand for the two frame sizes: loops are compiled once for each (10 + sizeof is the shift), since a
// shift by a variable takes three instructions.
export type Frame2048 = u8;
export type Frame4096 = u16;

/** Bytes that are read and written at once to rewrite the hardware addresses: those, and four behind them. */
export const VECTOR: u32 = 16;

/** Of a packet's metadata from META_SEGMENT on: 0 where it is no super-frame and has the verdict PASS. */
const PLAIN: u32 = 0xff00ffff;

/** True when every packet of the burst is the one descriptor of the same number. */
export function singles(burst: u32): bool {
  const packets = load<u32>(burst, BURST_PACKETS);
  if (packets != load<u32>(burst, BURST_COUNT)) return false;
  const starts = load<u32>(burst, BURST_STARTS);
  let number = i32x4(0, 1, 2, 3);
  let wrong = i32x4.splat(0);
  let packet: u32 = 0;
  for (; packet + 4 <= packets; packet += 4) {
    wrong = v128.or(wrong, v128.xor(v128.load(starts + (packet << 2)), number));
    number = i32x4.add(number, i32x4.splat(4));
  }
  if (v128.any_true(wrong)) return false;
  for (; packet < packets; packet++) if (load<u32>(starts + (packet << 2)) != packet) return false;
  return true;
}

/** Of a packet's metadata from META_FLAGS on: what must be 0 for a sender to take it, and with an edge before it. */
export function takenMask(edge: u32): u64 {
  return edge == 0 ? 0xff00000000000000 : 0xff00ffff00000000;
}

/** True when `mask` has nothing against four packets, and no checksum is left partial where `partial` is 1. */
export function takeable(meta: u32, mask: u64, partial: u64): bool {
  const first = load<u64>(meta, META_FLAGS) | load<u64>(meta, META_SIZE + META_FLAGS);
  const second = load<u64>(meta, 2 * META_SIZE + META_FLAGS) | load<u64>(meta, 3 * META_SIZE + META_FLAGS);
  const all = first | second;
  return ((all & mask) | (all & (all >> 1) & partial)) == 0; // CHECKSUM_PARTIAL: bits 0 and 1, both
}

/** True when none of four packets is a super-frame and all have the verdict PASS. */
export function plain(meta: u32): bool {
  const first = load<u32>(meta, META_SEGMENT) | load<u32>(meta + META_SIZE, META_SEGMENT);
  const second =
    load<u32>(meta + 2 * META_SIZE, META_SEGMENT) | load<u32>(meta + 3 * META_SIZE, META_SEGMENT);
  return ((first | second) & PLAIN) == 0;
}
