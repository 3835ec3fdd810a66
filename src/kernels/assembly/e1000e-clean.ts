// Frames back from the transmit queues of the 82574L: once it reports packets sent, or once it is in reset.
import {
  MARK_BYTES,
  MARK_INDEX,
  MARK_PACKETS,
  MARK_SHIFT,
  TX_DONE,
  TXD_OPTIONS,
  TXQ_BYTES,
  TXQ_CLEAN,
  TXQ_CONTEXT,
  TXQ_COUNT,
  TXQ_DESCS,
  TXQ_FRAMES,
  TXQ_HELD,
  TXQ_MARK_FIRST,
  TXQ_MARK_NEXT,
  TXQ_MARKS,
  TXQ_NEXT,
  TXQ_OWNER,
  TXQ_PACKETS,
  TXQ_TAIL,
} from "../e1000e";
import { MAGAZINE_CAPACITY, MAGAZINE_COUNT, MAGAZINE_ENTRIES, OWNER_SHIFT } from "../structs";
import {
  add,
  frameMask,
  frameShift,
  loadedMagazine,
  moveFrame,
  plainFrames,
  releaseFrame,
  selfOwner,
  wordOf,
} from "./arena";

/** Frees the frames of every packet the card has reported sent. Returns how many packets. */
export function e1000eClean(queue: u32): u32 {
  const end = load<u32>(queue, TXQ_MARK_NEXT);
  let first = load<u32>(queue, TXQ_MARK_FIRST);
  if (first == end) return 0;
  const descs = load<u32>(queue, TXQ_DESCS);
  const mask = load<u32>(queue, TXQ_COUNT) - 1;
  const marks = load<u32>(queue, TXQ_MARKS);
  let clean = load<u32>(queue, TXQ_CLEAN);
  let packets: u32 = 0;
  let bytes: u64 = 0;
  for (; first != end; first++) {
    const mark = marks + ((first & mask) << MARK_SHIFT);
    const index = load<u32>(mark, MARK_INDEX);
    if ((atomic.load<u32>(descs + ((index & mask) << 4) + TXD_OPTIONS) & TX_DONE) == 0) break;
    giveBackFrames(queue, clean, index + 1);
    clean = index + 1;
    packets += load<u32>(mark, MARK_PACKETS);
    bytes += load<u32>(mark, MARK_BYTES);
  }
  store<u32>(queue, first, TXQ_MARK_FIRST);
  store<u32>(queue, clean, TXQ_CLEAN);
  store<u32>(queue, load<u32>(queue, TXQ_HELD) - packets, TXQ_HELD);
  add(queue + TXQ_PACKETS, packets);
  add(queue + TXQ_BYTES, bytes);
  return packets;
}

/** Gives up the frames of descriptors `from` to `to`. Nearly all are the queue's alone: those go straight to the magazine. */
function giveBackFrames(queue: u32, from: u32, to: u32): void {
  const mask = load<u32>(queue, TXQ_COUNT) - 1;
  const frames = load<u32>(queue, TXQ_FRAMES);
  const owner = load<u32>(queue, TXQ_OWNER);
  const given = (owner << OWNER_SHIFT) | 1;
  const plain = plainFrames();
  let magazine = loadedMagazine();
  let count = load<u32>(magazine, MAGAZINE_COUNT);
  for (; from != to; from++) {
    const held = frames + ((from & mask) << 2);
    const address = load<u32>(held);
    if (address == 0) continue;
    const frame = address >> frameShift;
    const word = wordOf(frame);
    if (frame < plain && count < <u32>MAGAZINE_CAPACITY && load<u32>(word) == given) {
      store<u32>(magazine + (count << 2), address & ~frameMask, MAGAZINE_ENTRIES);
      count++;
      store<u32>(magazine, count, MAGAZINE_COUNT);
      store<u32>(word, 0);
    } else {
      if (moveFrame(frame, owner, selfOwner())) releaseFrame(address);
      magazine = loadedMagazine();
      count = load<u32>(magazine, MAGAZINE_COUNT);
    }
    store<u32>(held, 0);
  }
}

/** Takes everything back that the card, now in reset, had; the ring is as new. Returns how many packets were lost. */
export function e1000eFlush(queue: u32): u32 {
  const count = load<u32>(queue, TXQ_COUNT);
  const frames = load<u32>(queue, TXQ_FRAMES);
  const owner = load<u32>(queue, TXQ_OWNER);
  const self = selfOwner();
  const lost = load<u32>(queue, TXQ_HELD);
  for (let slot: u32 = 0; slot < count; slot++) {
    const frame = load<u32>(frames + (slot << 2));
    if (frame != 0 && moveFrame(frame >> frameShift, owner, self)) releaseFrame(frame);
    store<u32>(frames + (slot << 2), 0);
  }
  memory.fill(<usize>load<u32>(queue, TXQ_DESCS), 0, <usize>(count << 4));
  store<u32>(queue, 0, TXQ_NEXT);
  store<u32>(queue, 0, TXQ_CLEAN);
  store<u32>(queue, 0, TXQ_MARK_FIRST);
  store<u32>(queue, 0, TXQ_MARK_NEXT);
  store<u32>(queue, 0, TXQ_HELD);
  store<u32>(queue, 0, TXQ_TAIL);
  store<u64>(queue, 0, TXQ_CONTEXT);
  return lost;
}
