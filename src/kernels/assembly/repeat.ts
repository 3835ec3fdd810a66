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
  META_SIZE,
} from "../structs";
import { addReference, releaseFrame } from "./arena";

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
  while (done < most && modelPackets != 0) {
    if (from >= modelPackets) from = 0;
    const start = load<u32>(modelStarts + (from << 2));
    const end = from + 1 < modelPackets ? load<u32>(modelStarts + ((from + 1) << 2)) : modelCount;
    if (end - start > capacity - count) break;
    let index = start;
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
    memory.copy(
      <usize>(metas + (packets << META_SHIFT)),
      <usize>(modelMetas + (from << META_SHIFT)),
      META_SIZE,
    );
    store<u32>(starts + (packets << 2), count);
    count += end - start;
    packets++;
    from++;
    done++;
  }
  store<u32>(burst, count, BURST_COUNT);
  store<u32>(burst, packets, BURST_PACKETS);
  return done;
}
