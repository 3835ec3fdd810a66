// null: ports: packets out of the pool, packets back into the pool, nothing in between.
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  EDGE_FINISHES,
  EDGE_MOST,
  EDGE_ORDER,
  EDGE_REWRITES,
  EDGE_SET,
  FAULT_OWNER,
  MAGAZINE_CAPACITY,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  META_SHIFT,
  META_SIZE,
  META_VERDICT,
  META_WIRE_LENGTH,
  NULL_BYTES,
  NULL_PACKETS,
  SCRATCH_VECTOR,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import {
  frameShift,
  loadedMagazine,
  makeRoom,
  nextMagazine,
  plainFrames,
  releaseFrame,
  soleWord,
  wordOf,
} from "./arena";
import { ordinary, rewrite } from "./edge";
import { Frame2048, Frame4096, singles, takeable, takenMask, VECTOR } from "./four";
import { burstClear, descriptorFault } from "./ring";

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

/** A vector that a loop keeps in a register: V8 would otherwise make it anew in each round of a loop with a break. */
function pin(scratch: u32, value: v128): v128 {
  v128.store(scratch, value, SCRATCH_VECTOR);
  return v128.load(scratch, SCRATCH_VECTOR);
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
  const fours = starts + ((count & -4) << 2);
  for (; start < fours; start += 16) {
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
    wrong = v128.or(v128.or(wrong, zero), v128.or(v128.or(ab, cd), v128.xor(v128.load(start), numbers)));
    numbers = i32x4.add(numbers, i32x4.splat(4));
    meta += 4 * META_SIZE;
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

/**
 * Frees the packets with verdict PASS from number `first` on, marks them VERDICT_MOVED and counts packets and bytes
 * in the state. With an EDGE_ structure at `edge` it does first what that says, ends at a packet that is not
 * ordinary to it, and leaves a burst that goes as a whole empty. Returns the number of the first packet not looked
 * at, or a negative fault.
 */
export function nullSend(state: u32, burst: u32, first: u32, edge: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  sent = 0;
  sentBytes = 0;
  let result: i32;
  if (plainFrames() == 0 || !singles(burst)) result = sendEach(burst, first, packets, edge);
  else if (frameShift == 12) result = sendFours<Frame4096>(state, burst, first, packets, edge);
  else result = sendFours<Frame2048>(state, burst, first, packets, edge);
  if (edge != 0 && sent == packets) burstClear(burst);
  store<f64>(state, load<f64>(state, NULL_PACKETS) + <f64>sent, NULL_PACKETS);
  store<f64>(state, load<f64>(state, NULL_BYTES) + <f64>sentBytes, NULL_BYTES);
  return result;
}

let sent: u32 = 0;
let sentBytes: u64 = 0;

/** Packets of one descriptor each: four at once as long as their frames are the pool's and this worker's alone. */
function sendFours<Frame>(state: u32, burst: u32, first: u32, packets: u32, edge: u32): i32 {
  const shift: u32 = 10 + <u32>sizeof<Frame>();
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const owned = soleWord();
  const words = wordOf(0);
  const mask = takenMask(edge);
  const partial: u64 = edge != 0 && load<u32>(edge, EDGE_FINISHES) != 0 ? 1 : 0;
  const rewrites = edge != 0 && load<u32>(edge, EDGE_REWRITES) != 0;
  const order = v128.load(edge, EDGE_ORDER);
  const set = v128.load(edge, EDGE_SET);
  const shortest: u32 = edge == 0 ? 0 : VECTOR;
  const most: u32 = edge == 0 ? 1 << shift : load<u32>(edge, EDGE_MOST);
  const longest: u32 = most < 1 << shift ? most : 1 << shift;
  const least = pin(state, i32x4.splat(shortest));
  const span = pin(state, i32x4.splat(longest < shortest ? 0 : longest - shortest));
  const size = pin(state, i32x4.splat(1 << shift));
  const within = pin(state, i32x4.splat((1 << shift) - 1));
  const last = pin(state, i32x4.splat((plainFrames() << shift) - 1));
  const zero = pin(state, i32x4(0, -1, 0, -1)); // the address's upper half, the options
  let packet = first;
  while (packet < packets) {
    let magazine = loadedMagazine();
    let held = load<u32>(magazine, MAGAZINE_COUNT);
    let lengths = i32x4.splat(0);
    const from = packet;
    let meta = metas + (packet << META_SHIFT);
    let desc = descs + packet * DESC_SIZE;
    while (packet + 4 <= packets) {
      if (held + 4 > <u32>MAGAZINE_CAPACITY) {
        if (held != MAGAZINE_CAPACITY) break;
        makeRoom();
        magazine = loadedMagazine();
        held = load<u32>(magazine, MAGAZINE_COUNT);
      }
      if (!takeable(meta, mask, partial)) break;
      const a = v128.load(desc);
      const b = v128.load(desc, DESC_SIZE);
      const c = v128.load(desc, 2 * DESC_SIZE);
      const d = v128.load(desc, 3 * DESC_SIZE);
      const strange = v128.and(v128.or(v128.or(a, b), v128.or(c, d)), zero);
      const ab = v128.or(a, i64x2.shl(b, 32)); // addresses of both, lengths of both
      const cd = v128.or(c, i64x2.shl(d, 32));
      const address = v128.shuffle<u64>(ab, cd, 0, 2);
      const length = v128.shuffle<u64>(ab, cd, 1, 3);
      const offset = v128.and(address, within);
      const foreign = v128.xor(i32x4.max_u(address, last), last);
      const long = v128.xor(i32x4.max_u(i32x4.sub(length, least), span), span);
      const beyond = i32x4.gt_s(length, i32x4.sub(size, offset));
      if (v128.any_true(v128.or(v128.or(strange, long), v128.or(foreign, beyond)))) break;
      // One after the other, so that a frame that is there twice is found; and back again. Frame 0 is nobody's.
      const h0 = load<u32>(desc);
      const h1 = load<u32>(desc, DESC_SIZE);
      const h2 = load<u32>(desc, 2 * DESC_SIZE);
      const h3 = load<u32>(desc, 3 * DESC_SIZE);
      const w0 = words + ((h0 >> shift) << 2);
      const w1 = words + ((h1 >> shift) << 2);
      const w2 = words + ((h2 >> shift) << 2);
      const w3 = words + ((h3 >> shift) << 2);
      const o0 = load<u32>(w0);
      store<u32>(w0, 0);
      const o1 = load<u32>(w1);
      store<u32>(w1, 0);
      const o2 = load<u32>(w2);
      store<u32>(w2, 0);
      const o3 = load<u32>(w3);
      store<u32>(w3, 0);
      if (((o0 ^ owned) | (o1 ^ owned) | (o2 ^ owned) | (o3 ^ owned)) != 0) {
        store<u32>(w3, o3);
        store<u32>(w2, o2);
        store<u32>(w1, o1);
        store<u32>(w0, o0);
        break;
      }
      if (rewrites) {
        rewriteVector(h0, order, set);
        rewriteVector(h1, order, set);
        rewriteVector(h2, order, set);
        rewriteVector(h3, order, set);
      }
      v128.store(magazine + (held << 2), i32x4.sub(address, offset), MAGAZINE_ENTRIES);
      lengths = i32x4.add(lengths, length);
      held += 4;
      store<u32>(magazine, held, MAGAZINE_COUNT); // each time: this worker may be ended at a loop's head
      packet += 4;
      meta += 4 * META_SIZE;
      desc += 4 * DESC_SIZE;
    }
    sent += packet - from;
    sentBytes += sumOf(lengths);
    if (edge != 0 && sent == packets) break; // nobody reads the verdicts
    markMoved(metas, from, packet);
    if (packet == packets) break;
    const stop = packet + 4 < packets ? packet + 4 : packets;
    const result = sendEach(burst, packet, stop, edge);
    if (result < <i32>stop) return result;
    packet = stop;
  }
  return <i32>packets;
}

/** Rewrites the hardware addresses of a packet of VECTOR bytes or more. */
function rewriteVector(head: u32, order: v128, set: v128): void {
  v128.store(head, v128.or(v128.swizzle(v128.load(head), order), set));
}

function markMoved(metas: u32, from: u32, to: u32): void {
  const end = metas + (to << META_SHIFT);
  for (let meta = metas + (from << META_SHIFT); meta < end; meta += META_SIZE)
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
}

function sumOf(lengths: v128): u32 {
  return (
    i32x4.extract_lane(lengths, 0) +
    i32x4.extract_lane(lengths, 1) +
    i32x4.extract_lane(lengths, 2) +
    i32x4.extract_lane(lengths, 3)
  );
}

/** Packets `first` to before `stop`, whatever they are; ends at one that the edge does not take as it is. */
function sendEach(burst: u32, first: u32, stop: u32, edge: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  for (let packet = first; packet < stop; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = packet + 1 < packets ? load<u32>(starts + ((packet + 1) << 2)) : count;
    if (edge != 0) {
      const desc = descs + start * DESC_SIZE;
      if (!ordinary(edge, meta, desc, end - start)) return <i32>packet;
      rewrite(edge, load<u32>(desc, DESC_ADDR));
    }
    for (let index = start; index < end; index++) {
      const at = descs + index * DESC_SIZE;
      let wrong = descriptorFault(at);
      if (wrong == 0 && !releaseFrame(load<u32>(at, DESC_ADDR))) wrong = FAULT_OWNER;
      if (wrong != 0) return -(<i32>((index << 8) | wrong));
      sentBytes += load<u32>(at, DESC_LEN);
    }
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
    sent++;
  }
  return <i32>stop;
}
