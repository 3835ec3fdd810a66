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
  DESC_OPTIONS,
  DESC_SIZE,
  FAULT_OWNER,
  MAGAZINE_CAPACITY,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  META_SHIFT,
  META_VERDICT,
  META_WIRE_LENGTH,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import {
  frameMask,
  frameShift,
  loadedMagazine,
  nextMagazine,
  plainFrames,
  releaseFrame,
  soleWord,
  wordOf,
} from "./arena";
import { clearMeta } from "./meta";
import { descriptorFault } from "./ring";

const HEADROOM: u32 = 256;

/**
 * Appends up to `most` packets of `length` bytes to the burst, each in a fresh frame whose bytes are what they
 * were. Their places in the frames are staggered, or all of them would fight for the same cache sets. Returns how many.
 */
export function nullReceive(burst: u32, most: u32, length: u32): u32 {
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  let packets = load<u32>(burst, BURST_PACKETS);
  let count = load<u32>(burst, BURST_COUNT);
  const room = load<u32>(burst, BURST_CAPACITY) - count;
  const wanted = most < room ? most : room;
  const before = packets;
  const spread: u32 = length + HEADROOM + 960 <= frameMask + 1 ? 15 : 0;
  const owned = soleWord();
  let magazine = loadedMagazine();
  let left = load<u32>(magazine, MAGAZINE_COUNT);
  for (let i: u32 = 0; i < wanted; i++) {
    if (left == 0) {
      store<u32>(magazine, 0, MAGAZINE_COUNT);
      if (!nextMagazine()) break;
      magazine = loadedMagazine();
      left = load<u32>(magazine, MAGAZINE_COUNT);
    }
    left--;
    const frame = load<u32>(magazine + (left << 2), MAGAZINE_ENTRIES);
    store<u32>(wordOf(frame >> frameShift), owned);
    const at = descs + count * DESC_SIZE;
    const headroom = HEADROOM + (((frame >> frameShift) & spread) << 6);
    store<u64>(at, <u64>(frame + (headroom + length <= frameMask + 1 ? headroom : 0)), DESC_ADDR);
    store<u32>(at, length, DESC_LEN);
    store<u32>(at, 0, DESC_OPTIONS);
    const meta = metas + (packets << META_SHIFT);
    clearMeta(meta);
    store<u32>(meta, length, META_WIRE_LENGTH);
    store<u32>(starts + (packets << 2), count);
    count++;
    packets++;
  }
  store<u32>(magazine, left, MAGAZINE_COUNT);
  store<u32>(burst, packets, BURST_PACKETS);
  store<u32>(burst, count, BURST_COUNT);
  return packets - before;
}

/**
 * Frees the packets with verdict PASS from number `first` on, marks them VERDICT_MOVED and adds packets and
 * bytes to the two f64 at `sums`. Returns the number of the first packet not looked at, or a negative fault.
 */
export function nullSend(burst: u32, first: u32, sums: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const owned = soleWord();
  const plain = plainFrames();
  let magazine = loadedMagazine();
  let held = load<u32>(magazine, MAGAZINE_COUNT);
  let sent: u32 = 0;
  let bytes: u64 = 0;
  let result: i32 = <i32>packets;
  for (let packet = first; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const end = packet + 1 < packets ? load<u32>(starts + ((packet + 1) << 2)) : count;
    let wrong: u32 = 0;
    for (let index = load<u32>(starts + (packet << 2)); index < end; index++) {
      const at = descs + index * DESC_SIZE;
      wrong = descriptorFault(at);
      if (wrong == 0) {
        const address = load<u32>(at, DESC_ADDR);
        const frame = address >> frameShift;
        if (load<u32>(wordOf(frame)) == owned && held < <u32>MAGAZINE_CAPACITY && frame < plain) {
          store<u32>(magazine + (held << 2), frame << frameShift, MAGAZINE_ENTRIES);
          store<u32>(wordOf(frame), 0);
          held++;
        } else {
          // Shared, of a run, or no room: the way that knows all cases, which keeps its own count.
          store<u32>(magazine, held, MAGAZINE_COUNT);
          if (!releaseFrame(address)) wrong = FAULT_OWNER;
          magazine = loadedMagazine();
          held = load<u32>(magazine, MAGAZINE_COUNT);
        }
      }
      if (wrong != 0) {
        result = -(<i32>((index << 8) | wrong));
        break;
      }
      bytes += load<u32>(at, DESC_LEN);
    }
    if (wrong != 0) break;
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
    sent++;
  }
  store<u32>(magazine, held, MAGAZINE_COUNT);
  store<f64>(sums, load<f64>(sums) + <f64>sent);
  store<f64>(sums, load<f64>(sums, 8) + <f64>bytes, 8);
  return result;
}
