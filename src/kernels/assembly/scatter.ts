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

/**
 * Appends packets to the burst, as SEND_ entries [first, count) of `table` describe them: a header copied into
 * a fresh frame behind `headroom` bytes, and data of the chunk whose pieces `list` names, by reference or, with
 * `linear`, copied behind the header. Returns the number of the first entry not done: the burst or the pool is
 * exhausted, or (linear) the packet does not fit a frame.
 */
export function scatterPackets(
  burst: u32,
  list: u32,
  pieces: u32,
  table: u32,
  first: u32,
  count: u32,
  headroom: u32,
  linear: bool,
): u32 {
  descs = load<u32>(burst, BURST_DESCS);
  used = load<u32>(burst, BURST_COUNT);
  limit = load<u32>(burst, BURST_CAPACITY);
  let packets = load<u32>(burst, BURST_PACKETS);
  let entry = first;
  for (; entry < count; entry++) {
    const send = table + entry * SEND_SIZE;
    const header = load<u32>(send, SEND_HEADER_LENGTH);
    const from = load<u32>(send, SEND_DATA);
    const length = load<u32>(send, SEND_DATA_LENGTH);
    const start = used;
    let whole = true;
    if (linear || header != 0 || length == 0 || headroom != 0) {
      const inHead = header + (linear ? length : 0);
      const frame = headroom + inHead > frameMask + 1 ? 0 : takeFrame();
      whole = frame != 0;
      if (whole) {
        memory.copy(<usize>(frame + headroom), <usize>load<u32>(send, SEND_HEADER), <usize>header);
        if (linear) copyOut(list, pieces, from, length, frame + headroom + header);
        whole = put(frame + headroom, inHead);
        if (!whole) releaseFrame(frame);
      }
    }
    if (whole && !linear && length != 0) whole = link(list, pieces, from, length);
    if (!whole) {
      for (let back = start; back < used; back++)
        releaseFrame(load<u32>(descs + back * DESC_SIZE, DESC_ADDR));
      used = start;
      break;
    }
    store<u32>(descs + (used - 1) * DESC_SIZE, 0, DESC_OPTIONS);
    store<u32>(load<u32>(burst, BURST_STARTS) + (packets << 2), start);
    memory.fill(<usize>(load<u32>(burst, BURST_METAS) + (packets << META_SHIFT)), 0, META_SIZE);
    packets++;
  }
  store<u32>(burst, used, BURST_COUNT);
  store<u32>(burst, packets, BURST_PACKETS);
  return entry;
}
