// Frames into the receive descriptors of the 82574L.
import {
  RXQ_BATCH,
  RXQ_BIAS,
  RXQ_BUFFERS,
  RXQ_COUNT,
  RXQ_DESCS,
  RXQ_FILLED,
  RXQ_FRAMES,
  RXQ_HEADROOM,
  RXQ_NEXT,
  RXQ_OWNER,
  RXQ_STARVED,
  RXQ_TAIL,
  RXQ_TOLD,
} from "../e1000e";
import { MAGAZINE_COUNT, MAGAZINE_ENTRIES, OWNER_SHIFT } from "../structs";
import { add, frameShift, loadedMagazine, nextMagazine, takeFrame, wordOf } from "./arena";

/** Gives empty slots their frames back, as far as the pool has any; sets RXQ_TAIL once there are enough. */
export function e1000eFill(queue: u32): void {
  const count = load<u32>(queue, RXQ_COUNT);
  const simple = load<u32>(queue, RXQ_BUFFERS) == 1;
  const filled = simple ? fillSimple(queue) : fillSplit(queue);
  store<u32>(queue, filled, RXQ_FILLED);
  if (filled - load<u32>(queue, RXQ_TOLD) < min<u32>(RXQ_BATCH, count >> 2)) return;
  store<u32>(queue, filled, RXQ_TOLD);
  // The tail counts 16 bytes, whatever the size of a descriptor.
  store<u32>(queue, (filled & (count - 1)) << (simple ? 0 : 1), RXQ_TAIL);
}

/** One buffer a descriptor. Returns how far the ring is filled. */
function fillSimple(queue: u32): u32 {
  const descs = load<u32>(queue, RXQ_DESCS);
  const mask = load<u32>(queue, RXQ_COUNT) - 1;
  const frames = load<u32>(queue, RXQ_FRAMES);
  const headroom = load<u32>(queue, RXQ_HEADROOM);
  const bias = load<u64>(queue, RXQ_BIAS);
  const given = (load<u32>(queue, RXQ_OWNER) << OWNER_SHIFT) | 1;
  // One slot stays empty: a tail that has caught up with the head would mean that the card has nothing.
  const end = load<u32>(queue, RXQ_NEXT) + mask;
  let filled = load<u32>(queue, RXQ_FILLED);
  let magazine = loadedMagazine();
  let left = load<u32>(magazine, MAGAZINE_COUNT);
  for (; filled != end; filled++) {
    const slot = filled & mask;
    const held = frames + (slot << 2);
    let frame = load<u32>(held);
    if (frame == 0) {
      if (left == 0) {
        if (!nextMagazine()) {
          add(queue + RXQ_STARVED, 1);
          break;
        }
        magazine = loadedMagazine();
        left = load<u32>(magazine, MAGAZINE_COUNT);
      }
      left--;
      frame = load<u32>(magazine + (left << 2), MAGAZINE_ENTRIES);
      store<u32>(wordOf(frame >> frameShift), given); // the table first, as takeFrame does
      store<u32>(magazine, left, MAGAZINE_COUNT);
      store<u32>(held, frame);
    }
    const at = descs + (slot << 4);
    store<u64>(at, bias + bufferOf(frame, headroom));
    store<u64>(at, 0, 8);
  }
  return filled;
}

/** Header split: two to four buffers a descriptor, all of them or none. Returns how far the ring is filled. */
function fillSplit(queue: u32): u32 {
  const descs = load<u32>(queue, RXQ_DESCS);
  const count = load<u32>(queue, RXQ_COUNT);
  const next = load<u32>(queue, RXQ_NEXT);
  const frames = load<u32>(queue, RXQ_FRAMES);
  const buffers = load<u32>(queue, RXQ_BUFFERS);
  const headroom = load<u32>(queue, RXQ_HEADROOM);
  const bias = load<u64>(queue, RXQ_BIAS);
  const given = (load<u32>(queue, RXQ_OWNER) << OWNER_SHIFT) | 1;
  let filled = load<u32>(queue, RXQ_FILLED);
  for (; filled - next < count - 1; filled++) {
    const slot = filled & (count - 1);
    const held = frames + ((slot * buffers) << 2);
    for (let i: u32 = 0; i < buffers; i++) {
      if (load<u32>(held + (i << 2)) != 0) continue;
      const frame = takeFrame();
      if (frame == 0) {
        add(queue + RXQ_STARVED, 1);
        return filled;
      }
      store<u32>(wordOf(frame >> frameShift), given);
      store<u32>(held + (i << 2), frame);
    }
    const at = descs + (slot << 5);
    store<u64>(at, bias + bufferOf(load<u32>(held), headroom));
    for (let i: u32 = 1; i < 4; i++) {
      // All ones: no such buffer. Buffer 1 is always there, so the bit that becomes RX_DONE is 0.
      store<u64>(at + (i << 3), i < buffers ? bias + load<u32>(held + (i << 2)) : ~(<u64>0));
    }
  }
  return filled;
}

/** Where buffer 0 starts. Frames that all start their data at the same offset fight for the same cache sets. */
export function bufferOf(frame: u32, headroom: u32): u32 {
  return headroom == 0 ? frame : frame + headroom + (((frame >> frameShift) & 15) << 6);
}
