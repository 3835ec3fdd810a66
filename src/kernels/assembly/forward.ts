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
  META_SEGMENT,
  META_SHIFT,
  META_VERDICT,
  VERDICT_PASS,
} from "../structs";
import { exclusive } from "./arena";

const SWAP: u32 = 1;
const SET_DESTINATION: u32 = 2;
const SET_SOURCE: u32 = 4;

/**
 * Goes over the packets with verdict PASS from number `first` on. One of more than `most` bytes, unless it is a
 * super-frame, gets the verdict `tooLong`. Then, as `actions` say, the hardware addresses of an Ethernet header are swapped, or set to the 12
 * bytes at `addresses` (destination, source). Ends at a packet with more than `fragments` fragments, or with a
 * header that cannot be rewritten in place, and returns its number; the number of all when there is none.
 */
export function forwardEdge(
  burst: u32,
  first: u32,
  fragments: u32,
  most: u32,
  tooLong: u32,
  actions: u32,
  addresses: u32,
): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  for (let packet = first; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = packet + 1 < packets ? load<u32>(starts + ((packet + 1) << 2)) : count;
    let bytes: u32 = 0;
    for (let index = start; index < end; index++) bytes += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
    if (bytes > most && load<u16>(meta, META_SEGMENT) == 0) {
      store<u8>(meta, tooLong, META_VERDICT);
      continue;
    }
    if (end - start - 1 > fragments) return packet;
    if (actions == 0 || bytes < 14) continue;
    const head = load<u32>(descs + start * DESC_SIZE, DESC_ADDR);
    if (load<u32>(descs + start * DESC_SIZE, DESC_LEN) < 14 || !exclusive(head)) return packet;
    if (actions & SWAP) {
      const low = load<u32>(head);
      const high = load<u16>(head, 4);
      store<u32>(head, load<u32>(head, 6));
      store<u16>(head, load<u16>(head, 10), 4);
      store<u32>(head, low, 6);
      store<u16>(head, high, 10);
    }
    if (actions & SET_DESTINATION) {
      store<u32>(head, load<u32>(addresses));
      store<u16>(head, load<u16>(addresses, 4), 4);
    }
    if (actions & SET_SOURCE) {
      store<u32>(head, load<u32>(addresses, 6), 6);
      store<u16>(head, load<u16>(addresses, 10), 10);
    }
  }
  return packets;
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
