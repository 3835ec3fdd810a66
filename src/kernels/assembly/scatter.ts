// Packets over a chunk's memory: a header in a frame of its own, the data where it lies.

import { RANGE_ADDRESS, RANGE_END, RANGE_SIZE, RANGE_START } from "../gather-structs";
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SIZE,
  META_SHIFT,
  META_SIZE,
  SEND_DATA,
  SEND_DATA_LENGTH,
  SEND_HEADER,
  SEND_HEADER_LENGTH,
  SEND_SIZE,
} from "../structs";
import { addReference, frameMask, releaseFrame, takeFrame } from "./arena";

let descs: u32 = 0;
let used: u32 = 0;
let limit: u32 = 0;

function put(address: u32, length: u32): bool {
  if (used == limit) return false;
  const at = descs + used * DESC_SIZE;
  store<u64>(at, address, DESC_ADDR);
  store<u32>(at, length, DESC_LEN);
  store<u32>(at, CONTINUED, DESC_OPTIONS);
  used++;
  return true;
}

/** Appends references to bytes [from, from + length) of the pieces, cut where frames end. */
function link(list: u32, pieces: u32, from: u32, length: u32): bool {
  let index = findPiece(list, pieces, from);
  while (length != 0) {
    const piece = list + index * RANGE_SIZE;
    const skip = from - load<u32>(piece, RANGE_START);
    let address = load<u32>(piece, RANGE_ADDRESS) + skip;
    let left = min<u32>(load<u32>(piece, RANGE_END) - from, length);
    from += left;
    length -= left;
    while (left != 0) {
      const part = min<u32>(left, frameMask + 1 - (address & frameMask));
      if (!addReference(address)) return false;
      if (!put(address, part)) {
        releaseFrame(address);
        return false;
      }
      address += part;
      left -= part;
    }
    index++;
  }
  return true;
}

/** Copies bytes [from, from + length) of the pieces to `to`. */
function copyOut(list: u32, pieces: u32, from: u32, length: u32, to: u32): void {
  let index = findPiece(list, pieces, from);
  while (length != 0) {
    const piece = list + index * RANGE_SIZE;
    const part = min<u32>(load<u32>(piece, RANGE_END) - from, length);
    memory.copy(
      <usize>to,
      <usize>(load<u32>(piece, RANGE_ADDRESS) + from - load<u32>(piece, RANGE_START)),
      <usize>part,
    );
    from += part;
    to += part;
    length -= part;
    index++;
  }
}

/** The piece that holds byte `at`: pieces are sorted by RANGE_START and follow one another. */
function findPiece(list: u32, pieces: u32, at: u32): u32 {
  let low: u32 = 0;
  let high = pieces;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (load<u32>(list + middle * RANGE_SIZE, RANGE_START) <= at) low = middle;
    else high = middle;
  }
  return low;
}

/** Takes a fresh frame for the head of each of `count` entries of a SEND table: its address behind `headroom` bytes. Says how many it got. */
export function scatterFrames(table: u32, count: u32, headroom: u32): u32 {
  for (let entry: u32 = 0; entry < count; entry++) {
    const frame = takeFrame();
    if (frame == 0) return entry;
    store<u32>(table + entry * SEND_SIZE, frame + headroom, SEND_HEADER);
  }
  return count;
}

/**
 * Appends packets to the burst, as entries [0, count) of a SEND table describe them: the header at the entry's
 * address, data of the chunk whose pieces `list` names, `tail` bytes that lie behind the header. The data goes
 * by reference or, with `linear`, is copied into the head's frame, where it must fit. An address of
 * 0 means no head at all. Returns how many it made: fewer where the burst is full or a frame has too many
 * references; the frames of the heads that were not used are freed.
 */
export function scatterPackets(
  burst: u32,
  list: u32,
  pieces: u32,
  table: u32,
  count: u32,
  tail: u32,
  linear: bool,
): u32 {
  descs = load<u32>(burst, BURST_DESCS);
  used = load<u32>(burst, BURST_COUNT);
  limit = load<u32>(burst, BURST_CAPACITY);
  let packets = load<u32>(burst, BURST_PACKETS);
  let made = count;
  for (let entry: u32 = 0; entry < count; entry++) {
    const at = table + entry * SEND_SIZE;
    const start = used;
    if (!build(list, pieces, at, tail, linear)) {
      for (let back = start; back < used; back++)
        releaseFrame(load<u32>(descs + back * DESC_SIZE, DESC_ADDR));
      used = start;
      made = entry;
      for (let rest = entry; rest < count; rest++) {
        const head = load<u32>(table + rest * SEND_SIZE, SEND_HEADER);
        if (head != 0 && (rest > entry || !headUsed)) releaseFrame(head);
      }
      break;
    }
    store<u32>(descs + (used - 1) * DESC_SIZE, 0, DESC_OPTIONS);
    store<u32>(load<u32>(burst, BURST_STARTS) + (packets << 2), start);
    memory.fill(<usize>(load<u32>(burst, BURST_METAS) + (packets << META_SHIFT)), 0, META_SIZE);
    packets++;
  }
  store<u32>(burst, used, BURST_COUNT);
  store<u32>(burst, packets, BURST_PACKETS);
  return made;
}

let headUsed: bool = false; // whether the packet that failed had put its head among the descriptors

function build(list: u32, pieces: u32, entry: u32, tail: u32, linear: bool): bool {
  const head = load<u32>(entry, SEND_HEADER);
  const header = load<u32>(entry, SEND_HEADER_LENGTH);
  const from = load<u32>(entry, SEND_DATA);
  const length = load<u32>(entry, SEND_DATA_LENGTH);
  headUsed = false;
  if (linear) {
    const at = head + header;
    // The tail lies where the data goes: it moves behind first.
    if (tail != 0) memory.copy(<usize>(at + length), <usize>at, <usize>tail);
    copyOut(list, pieces, from, length, at);
    headUsed = put(head, header + length + tail);
    return headUsed;
  }
  if (head != 0) {
    headUsed = put(head, header);
    if (!headUsed) return false;
  }
  if (length != 0 && !link(list, pieces, from, length)) return false;
  if (tail == 0) return true;
  if (!addReference(head)) return false;
  if (put(head + header, tail)) return true;
  releaseFrame(head);
  return false;
}
