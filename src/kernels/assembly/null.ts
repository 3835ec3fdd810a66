// What null: ports bring: packets out of the pool.
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_SIZE,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  META_SHIFT,
  META_SIZE,
  META_WIRE_LENGTH,
} from "../structs";
import { frameShift, loadedMagazine, nextMagazine, soleWord, wordOf } from "./arena";
import { Frame2048, Frame4096, pin } from "./four";

const HEADROOM: u32 = 256;
const STAGGER: u32 = 31 << 6; // of 4,096; half of it of 2,048

/**
 * Appends up to `most` packets of `length` bytes to the burst, each in a fresh frame whose bytes are what they
 * were. Their places in the frames are staggered, or all of them would fight for the same cache sets. Returns how many.
 */
export function nullReceive(state: u32, burst: u32, most: u32, length: u32): u32 {
  const before = load<u32>(burst, BURST_PACKETS);
  const room = load<u32>(burst, BURST_CAPACITY) - load<u32>(burst, BURST_COUNT);
  const wanted = most < room ? most : room;
  let taken: u32 = 0;
  while (taken < wanted) {
    const magazine = loadedMagazine();
    const left = load<u32>(magazine, MAGAZINE_COUNT);
    if (left == 0) {
      if (!nextMagazine()) break;
      continue;
    }
    const now = wanted - taken < left ? wanted - taken : left;
    const entries = magazine + MAGAZINE_ENTRIES + ((left - now) << 2);
    if (frameShift == 12) fill<Frame4096>(state, burst, entries, now, length);
    else fill<Frame2048>(state, burst, entries, now, length);
    store<u32>(magazine, left - now, MAGAZINE_COUNT);
    taken += now;
  }
  return load<u32>(burst, BURST_PACKETS) - before;
}

/** Makes packets of `frames` free frames, whose addresses stand at `entries`. */
function fill<Frame>(state: u32, burst: u32, entries: u32, frames: u32, length: u32): void {
  const shift: u32 = 10 + <u32>sizeof<Frame>();
  const size: u32 = 1 << shift;
  const packets = load<u32>(burst, BURST_PACKETS);
  const number = load<u32>(burst, BURST_COUNT);
  let desc = load<u32>(burst, BURST_DESCS) + number * DESC_SIZE;
  const headroom = pin(state, i32x4.splat(length + HEADROOM <= size ? HEADROOM : 0));
  const widest: u32 = shift == 12 ? STAGGER : (STAGGER >> 1) & -64;
  const spread: u32 = length + HEADROOM + widest <= size ? widest : 0;
  const stagger = pin(state, i32x4.splat(spread));
  const behind = pin(state, i64x2.splat(<i64>length)); // length and options
  const owned = soleWord();
  const words = wordOf(0);
  const end = entries + (frames << 2);
  for (; entries + 16 <= end; entries += 16) {
    store<u32>(words + (load<u32>(entries) >> (shift - 2)), owned);
    store<u32>(words + (load<u32>(entries, 4) >> (shift - 2)), owned);
    store<u32>(words + (load<u32>(entries, 8) >> (shift - 2)), owned);
    store<u32>(words + (load<u32>(entries, 12) >> (shift - 2)), owned);
    const address = placed<Frame>(v128.load(entries), headroom, stagger);
    const two = i64x2.extend_low_i32x4_u(address);
    const more = i64x2.extend_high_i32x4_u(address);
    v128.store(desc, v128.shuffle<u64>(two, behind, 0, 2));
    v128.store(desc, v128.shuffle<u64>(two, behind, 1, 3), DESC_SIZE);
    v128.store(desc, v128.shuffle<u64>(more, behind, 0, 2), 2 * DESC_SIZE);
    v128.store(desc, v128.shuffle<u64>(more, behind, 1, 3), 3 * DESC_SIZE);
    desc += 4 * DESC_SIZE;
  }
  for (; entries < end; entries += 4) {
    store<u32>(words + (load<u32>(entries) >> (shift - 2)), owned);
    const address = placed<Frame>(v128.load32_splat(entries), headroom, stagger);
    v128.store(desc, v128.shuffle<u64>(i64x2.extend_low_i32x4_u(address), behind, 0, 2));
    desc += DESC_SIZE;
  }
  const metas = load<u32>(burst, BURST_METAS) + (packets << META_SHIFT);
  stampAll(state, metas, load<u32>(burst, BURST_STARTS) + (packets << 2), frames, number, length);
  store<u32>(burst, packets + frames, BURST_PACKETS);
  store<u32>(burst, number + frames, BURST_COUNT);
}

/** Where packets begin in the frames at `addresses`. */
function placed<Frame>(addresses: v128, headroom: v128, stagger: v128): v128 {
  const shift: u32 = 10 + <u32>sizeof<Frame>();
  return i32x4.add(i32x4.add(addresses, headroom), v128.and(i32x4.shr_u(addresses, shift - 6), stagger));
}

/**
 * Metadata of `count` packets of one descriptor each, from descriptor `number` on. Mostly it is there already from
 * the burst before, and a look costs less than a store: written only where it is not.
 */
function stampAll(state: u32, metas: u32, starts: u32, count: u32, number: u32, length: u32): void {
  const wire = pin(state, i32x4(length, 0, 0, 0)); // META_WIRE_LENGTH and what follows it
  let numbers = i32x4.add(i32x4.splat(number), i32x4(0, 1, 2, 3));
  let wrong = i32x4.splat(0);
  let meta = metas;
  let start = starts;
  const eights = starts + ((count & -8) << 2);
  for (; start < eights; start += 32) {
    const first = strange(meta, wire);
    const second = strange(meta + 4 * META_SIZE, wire);
    const next = i32x4.add(numbers, i32x4.splat(4));
    const order = v128.or(v128.xor(v128.load(start), numbers), v128.xor(v128.load(start, 16), next));
    wrong = v128.or(v128.or(wrong, order), v128.or(first, second));
    numbers = i32x4.add(next, i32x4.splat(4));
    meta += 8 * META_SIZE;
  }
  if (v128.any_true(wrong)) {
    meta = metas;
    start = starts;
  }
  number += (start - starts) >> 2;
  for (const end = starts + (count << 2); start < end; start += 4) {
    v128.store(meta, i32x4.splat(0));
    v128.store(meta, wire, META_WIRE_LENGTH);
    store<u32>(start, number++);
    meta += META_SIZE;
  }
}

/** 0 where the metadata of four packets is `wire` from META_WIRE_LENGTH on, and nothing before it. */
function strange(meta: u32, wire: v128): v128 {
  const zero = v128.or(
    v128.or(v128.load(meta), v128.load(meta, META_SIZE)),
    v128.or(v128.load(meta, 2 * META_SIZE), v128.load(meta, 3 * META_SIZE)),
  );
  const ab = v128.or(
    v128.xor(v128.load(meta, META_WIRE_LENGTH), wire),
    v128.xor(v128.load(meta, META_SIZE + META_WIRE_LENGTH), wire),
  );
  const cd = v128.or(
    v128.xor(v128.load(meta, 2 * META_SIZE + META_WIRE_LENGTH), wire),
    v128.xor(v128.load(meta, 3 * META_SIZE + META_WIRE_LENGTH), wire),
  );
  return v128.or(zero, v128.or(ab, cd));
}
