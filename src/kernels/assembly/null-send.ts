// What null: ports take: packets back into the pool.
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SHIFT,
  DESC_SIZE,
  EDGE_FINISHES,
  EDGE_MOST,
  EDGE_REWRITES,
  EDGE_SWAPS,
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
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import { frameShift, loadedMagazine, makeRoom, plainFrames, releaseFrame, soleWord, wordOf } from "./arena";
import { burstClear } from "./burst";
import { ordinary, rewrite } from "./edge";
import { Frame2048, Frame4096, pin, singles, VECTOR } from "./four";
import { endAmong } from "./packet";
import { descriptorFault } from "./ring";

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
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  let packet = first;
  let unmarked = first; // packets from here on have gone and do not say so yet
  while (packet < packets) {
    const magazine = loadedMagazine();
    const room: u32 = MAGAZINE_CAPACITY - load<u32>(magazine, MAGAZINE_COUNT);
    if (room == 0) {
      makeRoom();
      continue;
    }
    const left = packets - packet;
    const stop = packet + ((left < room ? left : room) & -4);
    const next =
      stop == packet ? packet : takeFours<Frame>(state, magazine, descs, metas, packet, stop, edge);
    sent += next - packet;
    const whole = next == stop && stop != packet;
    packet = next;
    if (whole) continue;
    markMoved(metas, unmarked, packet);
    unmarked = packet + 4 < packets ? packet + 4 : packets;
    const result = sendEach(burst, packet, unmarked, edge);
    if (result < <i32>unmarked) return result;
    packet = unmarked;
  }
  if (edge == 0 || sent != packets) markMoved(metas, unmarked, packets); // else nobody reads the verdicts
  return <i32>packets;
}

/**
 * Packets from number `first` to before `stop`, four by four, into a magazine that has room for them, to the first four
 * of which one is not as most are. A loop of its own, with nothing in it that can wait: what it costs is how many
 * instructions it has.
 */
function takeFours<Frame>(
  state: u32,
  magazine: u32,
  descs: u32,
  metas: u32,
  first: u32,
  stop: u32,
  edge: u32,
): u32 {
  const shift: u32 = 10 + <u32>sizeof<Frame>();
  const rewrites: u32 = edge == 0 ? 0 : load<u32>(edge, EDGE_REWRITES);
  const most: u32 = edge == 0 ? 1 << shift : load<u32>(edge, EDGE_MOST);
  const shortest: u32 = edge == 0 ? 0 : VECTOR;
  const longest: u32 = most < 1 << shift ? most : 1 << shift;
  const least = pin(state, i32x4.splat(shortest));
  const span = pin(state, i32x4.splat(longest < shortest ? 0 : longest - shortest));
  const size = pin(state, i32x4.splat(1 << shift));
  const within = pin(state, i32x4.splat((1 << shift) - 1));
  const last = pin(state, i32x4.splat((plainFrames() << shift) - 1));
  const zero = pin(state, i32x4(0, -1, 0, -1)); // the address's upper half, the options
  // From META_WIRE_LENGTH on: the verdict; before an edge no super-frame, and no checksum that may be left partial.
  const flags: u32 = edge != 0 && load<u32>(edge, EDGE_FINISHES) != 0 ? 1 : 0;
  const pass = pin(state, i32x4(0, 0, flags, edge == 0 ? 0xff000000 : 0xff00ffff));
  const owned = soleWord();
  const words = wordOf(0);
  const metasFrom = metas - 2 * descs; // a packet's metadata is twice as long as its descriptor
  const end = descs + stop * DESC_SIZE;
  let desc = descs + first * DESC_SIZE;
  let slot = magazine + (load<u32>(magazine, MAGAZINE_COUNT) << 2);
  let lengths = i32x4.splat(0);
  for (; desc < end; desc += 4 * DESC_SIZE) {
    const meta = metasFrom + 2 * desc;
    const a = v128.load(desc);
    const b = v128.load(desc, DESC_SIZE);
    const c = v128.load(desc, 2 * DESC_SIZE);
    const d = v128.load(desc, 3 * DESC_SIZE);
    const ab = v128.or(a, i64x2.shl(b, 32)); // addresses of both, lengths of both
    const cd = v128.or(c, i64x2.shl(d, 32));
    const address = v128.shuffle<u64>(ab, cd, 0, 2);
    const length = v128.shuffle<u64>(ab, cd, 1, 3);
    const offset = v128.and(address, within);
    const frame = i32x4.sub(address, offset);
    const one = v128.or(v128.load(meta, META_WIRE_LENGTH), v128.load(meta, META_SIZE + META_WIRE_LENGTH));
    const other = v128.or(
      v128.load(meta, 2 * META_SIZE + META_WIRE_LENGTH),
      v128.load(meta, 3 * META_SIZE + META_WIRE_LENGTH),
    );
    let unusual = v128.and(v128.or(one, other), pass);
    unusual = v128.or(unusual, v128.and(v128.or(v128.or(a, b), v128.or(c, d)), zero));
    unusual = v128.or(unusual, v128.xor(i32x4.max_u(address, last), last));
    unusual = v128.or(unusual, v128.xor(i32x4.max_u(i32x4.sub(length, least), span), span));
    unusual = v128.or(unusual, i32x4.gt_s(length, i32x4.sub(size, offset)));
    unusual = v128.or(unusual, i32x4.eq(frame, v128.shuffle<u32>(frame, frame, 1, 2, 3, 0)));
    unusual = v128.or(unusual, i32x4.eq(frame, v128.shuffle<u32>(frame, frame, 2, 3, 0, 1)));
    if (v128.any_true(unusual)) break;
    const h0 = load<u32>(desc);
    const h1 = load<u32>(desc, DESC_SIZE);
    const h2 = load<u32>(desc, 2 * DESC_SIZE);
    const h3 = load<u32>(desc, 3 * DESC_SIZE);
    const w0 = words + ((h0 >> shift) << 2);
    const w1 = words + ((h1 >> shift) << 2);
    const w2 = words + ((h2 >> shift) << 2);
    const w3 = words + ((h3 >> shift) << 2);
    const strangers =
      (load<u32>(w0) ^ owned) | (load<u32>(w1) ^ owned) | (load<u32>(w2) ^ owned) | (load<u32>(w3) ^ owned);
    if (strangers != 0) break; // frame 0 is nobody's
    store<u32>(w0, 0);
    store<u32>(w1, 0);
    store<u32>(w2, 0);
    store<u32>(w3, 0);
    if (rewrites == EDGE_SWAPS) {
      swapVector(h0);
      swapVector(h1);
      swapVector(h2);
      swapVector(h3);
    } else if (rewrites != 0) {
      rewrite(edge, h0);
      rewrite(edge, h1);
      rewrite(edge, h2);
      rewrite(edge, h3);
    }
    v128.store(slot, frame, MAGAZINE_ENTRIES);
    lengths = i32x4.add(lengths, length);
    slot += 16;
    store<u32>(magazine, (slot - magazine) >> 2, MAGAZINE_COUNT); // each time: a worker is ended at a loop's head
  }
  sentBytes += sumOf(lengths);
  return (desc - descs) >> DESC_SHIFT;
}

function markMoved(metas: u32, from: u32, to: u32): void {
  const end = metas + (to << META_SHIFT);
  for (let meta = metas + (from << META_SHIFT); meta < end; meta += META_SIZE)
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
}

/** Swaps the hardware addresses of a packet of VECTOR bytes or more. The order stands here: V8 wants to see that it is one. */
function swapVector(head: u32): void {
  v128.store(
    head,
    v128.swizzle(v128.load(head), i8x16(6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14, 15)),
  );
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
    const end = endAmong(starts, packet, packets, count);
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
