// What is asked of a burst as a whole, and its end.
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_GENERATION,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  FAULT_OWNER,
  MAGAZINE_CAPACITY,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  META_QUEUE,
  META_SHIFT,
  META_SIZE,
  META_VERDICT,
  OWNER_SHARED,
  OWNER_SHIFT,
  VERDICT_MOVED,
} from "../structs";
import {
  frameShift,
  frames,
  loadedMagazine,
  plainFrames,
  releaseFrame,
  releaseReferences,
  soleWord,
  wordOf,
} from "./arena";
import { endAmong } from "./packet";
import { fault } from "./ring";

/** Empties a burst without touching frames. */
export function burstClear(burst: u32): void {
  store<u32>(burst, 0, BURST_COUNT);
  store<u32>(burst, 0, BURST_PACKETS);
  store<u32>(burst, load<u32>(burst, BURST_GENERATION) + 1, BURST_GENERATION);
}

function allMoved(meta: u32): bool {
  const first = load<u8>(meta, META_VERDICT) & load<u8>(meta, META_SIZE + META_VERDICT);
  const second = load<u8>(meta, 2 * META_SIZE + META_VERDICT) & load<u8>(meta, 3 * META_SIZE + META_VERDICT);
  return (first & second) == VERDICT_MOVED;
}

/**
 * Frees every packet still in the burst and empties it. Adds packets and bytes by verdict to `tally`
 * (256 × {u64 packets, u64 bytes}) unless it is 0. Returns 0 or a negative fault (a frame not this worker's).
 */
export function burstRelease(burst: u32, tally: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const words = wordOf(0);
  const owned = soleWord();
  const plain = plainFrames();
  let magazine = loadedMagazine();
  let held = load<u32>(magazine, MAGAZINE_COUNT);
  let shared: u32 = 0;
  let pieces: u32 = 0;
  let result: i32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (packet + 4 <= packets && allMoved(meta)) {
      packet += 3;
      continue;
    }
    const verdict = <u32>load<u8>(meta, META_VERDICT);
    if (verdict == VERDICT_MOVED) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = endAmong(starts, packet, packets, count);
    let bytes: u32 = 0;
    for (let index = start; index < end; index++) {
      const address = load<u32>(descs + index * DESC_SIZE, DESC_ADDR);
      const frame = address >> frameShift;
      bytes += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
      if (frame < plain && held < <u32>MAGAZINE_CAPACITY && load<u32>(words + (frame << 2)) == owned) {
        // As giveBack() does it, in its order: this worker may be ended at any loop's head.
        store<u32>(magazine + (held << 2), frame << frameShift, MAGAZINE_ENTRIES);
        store<u32>(magazine, ++held, MAGAZINE_COUNT);
        store<u32>(words + (frame << 2), 0);
        continue;
      }
      // Pieces of a frame that is shared mostly follow each other, and are given up together.
      if (frame == shared && pieces != 0) {
        pieces++;
        continue;
      }
      if (pieces != 0 && !releaseReferences(shared, pieces)) result = fault(FAULT_OWNER, index);
      pieces = 0;
      if (frame < frames && load<u32>(words + (frame << 2)) >> OWNER_SHIFT == OWNER_SHARED) {
        shared = frame;
        pieces = 1;
      } else if (!releaseFrame(address)) result = fault(FAULT_OWNER, index);
      magazine = loadedMagazine();
      held = load<u32>(magazine, MAGAZINE_COUNT);
    }
    if (tally != 0) {
      const at = tally + (verdict << 4);
      store<u64>(at, load<u64>(at) + 1);
      store<u64>(at, load<u64>(at, 8) + bytes, 8);
    }
  }
  if (pieces != 0 && !releaseReferences(shared, pieces)) result = fault(FAULT_OWNER, count);
  burstClear(burst);
  return result;
}

/** Bytes of all packets in the burst whose verdict is `verdict`, as a u32 (a burst holds far less than 4 GiB). */
export function burstBytes(burst: u32, verdict: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  let bytes: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    if (<u32>load<u8>(metas + (packet << META_SHIFT), META_VERDICT) != verdict) continue;
    const end = endAmong(starts, packet, packets, count);
    for (let index = load<u32>(starts + (packet << 2)); index < end; index++)
      bytes += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
  }
  return bytes;
}

/** The number after the last packet, from `first` on, that has come in on the same queue as `first`. */
export function burstQueueRun(burst: u32, first: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  if (first >= packets) return packets;
  const queue = load<u8>(metas + (first << META_SHIFT), META_QUEUE);
  let packet = first + 1;
  while (packet < packets && load<u8>(metas + (packet << META_SHIFT), META_QUEUE) == queue) packet++;
  return packet;
}

/** How many packets of the burst have the verdict `verdict`. */
export function burstCount(burst: u32, verdict: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  let count: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++)
    if (<u32>load<u8>(metas + (packet << META_SHIFT), META_VERDICT) == verdict) count++;
  return count;
}

/** Gives every packet whose verdict is `from` the verdict `to`; says how many. */
export function burstVerdict(burst: u32, from: u32, to: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  let count: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    const at = metas + (packet << META_SHIFT);
    if (<u32>load<u8>(at, META_VERDICT) != from) continue;
    store<u8>(at, to, META_VERDICT);
    count++;
  }
  return count;
}
