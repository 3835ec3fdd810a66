// Sends the same packets again and again: each time with one more reference to their frames, never a copy.
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
  META_SHIFT,
} from "../structs";
import { addReference, addReferences, frameShift, releaseFrame, releaseReferences } from "./arena";
import { copyMeta } from "./meta";
import { descriptorAt, packetEnd, packetStart } from "./packet";

/** How many packets of `model` from number `first` on lie in one piece each in the same frame; `most` at most. */
function sameFrame(model: u32, first: u32, most: u32): u32 {
  const left = load<u32>(model, BURST_PACKETS) - first;
  const limit = left < most ? left : most;
  const frame = load<u32>(descriptorAt(model, packetStart(model, first)), DESC_ADDR) >> frameShift;
  let run: u32 = 0;
  for (; run < limit; run++) {
    const start = packetStart(model, first + run);
    if (packetEnd(model, first + run) != start + 1) break;
    if (load<u32>(descriptorAt(model, start), DESC_ADDR) >> frameShift != frame) break;
  }
  return run;
}

/**
 * Appends up to `most` packets of the burst `model`, from number `first` on and round and round, to `burst`;
 * metadata are copied. The model keeps its own references. Returns how many; fewer when `burst` is full or a
 * frame has as many references as it can.
 */
export function burstRepeat(model: u32, first: u32, burst: u32, most: u32): u32 {
  const modelPackets = load<u32>(model, BURST_PACKETS);
  const modelCount = load<u32>(model, BURST_COUNT);
  const modelDescs = load<u32>(model, BURST_DESCS);
  const modelMetas = load<u32>(model, BURST_METAS);
  const modelStarts = load<u32>(model, BURST_STARTS);
  const capacity = load<u32>(burst, BURST_CAPACITY);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  let count = load<u32>(burst, BURST_COUNT);
  let packets = load<u32>(burst, BURST_PACKETS);
  let from = first;
  let done: u32 = 0;
  let shared: u32 = 0;
  let taken: u32 = 0; // references to that frame that the packets to come have already
  while (done < most && modelPackets != 0) {
    if (from >= modelPackets) from = 0;
    const start = load<u32>(modelStarts + (from << 2));
    const end = from + 1 < modelPackets ? load<u32>(modelStarts + ((from + 1) << 2)) : modelCount;
    if (end - start > capacity - count) break;
    if (taken == 0) {
      const wanted = most - done;
      const run = modelPackets == 1 && end == start + 1 ? wanted : sameFrame(model, from, wanted);
      const address = load<u32>(modelDescs + start * DESC_SIZE, DESC_ADDR);
      shared = address >> frameShift;
      if (run > 1 && addReferences(address, run)) taken = run;
    }
    let index = start;
    if (taken != 0) {
      taken--;
      index++;
    }
    while (index < end && addReference(load<u32>(modelDescs + index * DESC_SIZE, DESC_ADDR))) index++;
    if (index < end) {
      for (let back = start; back < index; back++)
        releaseFrame(load<u32>(modelDescs + back * DESC_SIZE, DESC_ADDR));
      break;
    }
    for (let piece = start; piece < end; piece++) {
      const source = modelDescs + piece * DESC_SIZE;
      const target = descs + (count + (piece - start)) * DESC_SIZE;
      store<u64>(target, load<u64>(source, DESC_ADDR), DESC_ADDR);
      store<u64>(target, load<u64>(source, DESC_LEN), DESC_LEN);
    }
    copyMeta(metas + (packets << META_SHIFT), modelMetas + (from << META_SHIFT));
    store<u32>(starts + (packets << 2), count);
    count += end - start;
    packets++;
    from++;
    done++;
  }
  if (taken != 0) releaseReferences(shared, taken);
  store<u32>(burst, count, BURST_COUNT);
  store<u32>(burst, packets, BURST_PACKETS);
  return done;
}
