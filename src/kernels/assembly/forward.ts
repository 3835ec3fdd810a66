// The edge in front of a port that packets are forwarded to: what is too large is dropped, what the port cannot
// take as it lies is pointed out, hardware addresses are rewritten.
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  EDGE_FRAGMENTS,
  EDGE_MOST,
  EDGE_ORDER,
  EDGE_REWRITES,
  EDGE_SET,
  EDGE_TOO_LONG,
  META_SEGMENT,
  META_SHIFT,
  META_SIZE,
  META_VERDICT,
  VERDICT_PASS,
} from "../structs";
import { exclusive, frameShift, frames, soleWord, wordOf } from "./arena";
import { rewrite } from "./edge";
import { Frame2048, Frame4096, pin, plain, singles, VECTOR } from "./four";
import { endAmong } from "./packet";

/**
 * Goes over the packets with verdict PASS from number `first` on, as the EDGE_ structure at `edge` says. One that is
 * too long, unless it is a super-frame, gets the verdict for that. Of the others the hardware addresses are rewritten.
 * Ends at a packet with too many fragments, or with a header that cannot be rewritten in place, and returns its
 * number; the number of all when there is none.
 */
export function forwardEdge(burst: u32, first: u32, edge: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  if (load<u32>(edge, EDGE_MOST) < VECTOR || !singles(burst)) return edgeEach(burst, first, packets, edge);
  let packet = first;
  while (packet < packets) {
    packet =
      frameShift == 12
        ? edgeFours<Frame4096>(burst, packet, edge)
        : edgeFours<Frame2048>(burst, packet, edge);
    const stop = packet + 4 < packets ? packet + 4 : packets;
    const next = edgeEach(burst, packet, stop, edge);
    if (next < stop) return next;
    packet = next;
  }
  return packets;
}

/** Rewrites the hardware addresses of a packet of VECTOR bytes or more. */
function rewriteVector(head: u32, order: v128, set: v128): void {
  v128.store(head, v128.or(v128.swizzle(v128.load(head), order), set));
}

/** Packets of one descriptor each from number `first` on, four by four, to the first four that are not all plain. */
function edgeFours<Frame>(burst: u32, first: u32, edge: u32): u32 {
  const shift: u32 = 10 + <u32>sizeof<Frame>();
  const packets = load<u32>(burst, BURST_PACKETS);
  let desc = load<u32>(burst, BURST_DESCS) + first * DESC_SIZE;
  let meta = load<u32>(burst, BURST_METAS) + (first << META_SHIFT);
  const words = wordOf(0);
  const owned = soleWord();
  const rewrites = load<u32>(edge, EDGE_REWRITES) != 0;
  const order = v128.load(edge, EDGE_ORDER);
  const set = v128.load(edge, EDGE_SET);
  // Of a descriptor: its address before the frames' end, its length between these.
  const low = pin(edge, i32x4(0, 0, VECTOR, 0));
  const most = load<u32>(edge, EDGE_MOST) - VECTOR;
  const span = pin(edge, i32x4((frames << shift) - 1, -1, most, -1));
  let packet = first;
  for (; packet + 4 <= packets; packet += 4) {
    if (!plain(meta)) break;
    const pair = i32x4.max_u(i32x4.sub(v128.load(desc), low), i32x4.sub(v128.load(desc, DESC_SIZE), low));
    const other = i32x4.max_u(
      i32x4.sub(v128.load(desc, 2 * DESC_SIZE), low),
      i32x4.sub(v128.load(desc, 3 * DESC_SIZE), low),
    );
    if (v128.any_true(v128.xor(i32x4.max_u(i32x4.max_u(pair, other), span), span))) break;
    if (rewrites) {
      const a = load<u32>(desc);
      const b = load<u32>(desc, DESC_SIZE);
      const c = load<u32>(desc, 2 * DESC_SIZE);
      const d = load<u32>(desc, 3 * DESC_SIZE);
      const others =
        (load<u32>(words + ((a >> shift) << 2)) ^ owned) |
        (load<u32>(words + ((b >> shift) << 2)) ^ owned) |
        (load<u32>(words + ((c >> shift) << 2)) ^ owned) |
        (load<u32>(words + ((d >> shift) << 2)) ^ owned);
      if (others != 0) break;
      rewriteVector(a, order, set);
      rewriteVector(b, order, set);
      rewriteVector(c, order, set);
      rewriteVector(d, order, set);
    }
    meta += 4 * META_SIZE;
    desc += 4 * DESC_SIZE;
  }
  return packet;
}

/** Packets `first` to before `stop`, whatever they are; see forwardEdge(). */
function edgeEach(burst: u32, first: u32, stop: u32, edge: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const fragments = load<u32>(edge, EDGE_FRAGMENTS);
  const most = load<u32>(edge, EDGE_MOST);
  for (let packet = first; packet < stop; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = endAmong(starts, packet, packets, count);
    let bytes: u32 = 0;
    for (let index = start; index < end; index++) bytes += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
    if (bytes > most && load<u16>(meta, META_SEGMENT) == 0) {
      store<u8>(meta, <u8>load<u32>(edge, EDGE_TOO_LONG), META_VERDICT);
      continue;
    }
    if (end - start - 1 > fragments) return packet;
    if (load<u32>(edge, EDGE_REWRITES) == 0 || bytes < 14) continue;
    const head = load<u32>(descs + start * DESC_SIZE, DESC_ADDR);
    if (load<u32>(descs + start * DESC_SIZE, DESC_LEN) < 14 || !exclusive(head)) return packet;
    rewrite(edge, head);
  }
  return stop;
}

/** How many packets with verdict PASS are super-frames, to be cut by a card or in software. */
export function burstSuperFrames(burst: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  let meta = load<u32>(burst, BURST_METAS);
  let found: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    if (load<u16>(meta, META_SEGMENT) != 0 && load<u8>(meta, META_VERDICT) == VERDICT_PASS) found++;
    meta += 1 << META_SHIFT;
  }
  return found;
}
