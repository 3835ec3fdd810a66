// Four packets of a burst at once. Most bursts are packets of one descriptor each: for them, the kernels that touch
// every packet look at four in one go, and leave what they find unusual to their plain loops.
import {
  BURST_COUNT,
  BURST_PACKETS,
  BURST_STARTS,
  META_SEGMENT,
  META_SIZE,
  SCRATCH_VECTOR,
} from "../structs";

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
  for (; packet + 16 <= packets; packet += 16) {
    const at = starts + (packet << 2);
    const more = i32x4.add(number, i32x4.splat(8));
    const a = v128.xor(v128.load(at), number);
    const b = v128.xor(v128.load(at, 16), i32x4.add(number, i32x4.splat(4)));
    const c = v128.xor(v128.load(at, 32), more);
    const d = v128.xor(v128.load(at, 48), i32x4.add(more, i32x4.splat(4)));
    wrong = v128.or(wrong, v128.or(v128.or(a, b), v128.or(c, d)));
    number = i32x4.add(more, i32x4.splat(8));
  }
  if (v128.any_true(wrong)) return false;
  for (; packet < packets; packet++) if (load<u32>(starts + (packet << 2)) != packet) return false;
  return true;
}

/** True when none of four packets is a super-frame and all have the verdict PASS. */
export function plain(meta: u32): bool {
  const first = load<u32>(meta, META_SEGMENT) | load<u32>(meta + META_SIZE, META_SEGMENT);
  const second =
    load<u32>(meta + 2 * META_SIZE, META_SEGMENT) | load<u32>(meta + 3 * META_SIZE, META_SEGMENT);
  return ((first | second) & PLAIN) == 0;
}

/** A vector that a loop keeps in a register: V8 would otherwise make it anew in each round of a loop with a break. */
export function pin(scratch: u32, value: v128): v128 {
  v128.store(scratch, value, SCRATCH_VECTOR);
  return v128.load(scratch, SCRATCH_VECTOR);
}
