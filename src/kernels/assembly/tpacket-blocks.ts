// TPACKET_V3 blocks, packet after packet: into pool frames, or straight into the records of a capture file.
import { OUTPUT_NEED, OUTPUT_SNAPLEN } from "../captures";
import { BURST_PACKETS } from "../structs";
import {
  TPACKET_BYTES,
  TPACKET_KINDS,
  TPACKET_LEFT,
  TPACKET_MALFORMED,
  TPACKET_META,
  TPACKET_NEXT,
  TPACKET_PACKETS,
  TPACKET_RING,
  TPACKET_STARVED,
  TPACKET_UNIT,
  TPACKET_UNIT_SIZE,
} from "../structs-messages";
import { beginRecords, copy, countRecords, putHead } from "./capture-write";
import {
  ADDRESSES,
  add,
  append,
  body,
  bytes,
  describe,
  extra,
  kind,
  nextUnit,
  readEntry,
  STATUS_USER,
  TAG,
  tag,
  wire,
  writeCooked,
} from "./tpacket";

let recorded: u32 = 0;
let recordedBytes: u64 = 0;
let receivedBytes: u64 = 0; // those behind the snap length too

/** Writes the packet being looked at as a record. False: the output has no room. */
function record(state: u32, output: u32, snaplen: u32): bool {
  const meta = state + TPACKET_META;
  const total = bytes + extra;
  const captured = total < snaplen ? total : snaplen;
  describe(state, meta);
  let to = putHead(output, meta, captured, wire + extra);
  if (to == 0) return false;
  let from = body;
  let left = captured;
  if (tag != 0 && bytes >= ADDRESSES) {
    copy(to, from, ADDRESSES);
    store<u32>(to, tag, ADDRESSES);
    to += ADDRESSES + TAG;
    from += ADDRESSES;
    left -= ADDRESSES + TAG;
  } else if (extra != 0 && tag == 0) {
    writeCooked(to);
    to += extra;
    left -= extra;
  }
  copy(to, from, left);
  recorded++;
  recordedBytes += captured;
  receivedBytes += total;
  return true;
}

/** Takes packets out of blocks until the burst or, if that is not 0, the output takes no more, or none is ready. */
function takeBlocks(state: u32, burst: u32, output: u32, most: u32): void {
  const size = load<u32>(state, TPACKET_UNIT_SIZE);
  const ring = load<u32>(state, TPACKET_RING);
  const kinds = load<u32>(state, TPACKET_KINDS);
  const snaplen: u32 = output == 0 ? 0 : load<u32>(output, OUTPUT_SNAPLEN);
  let unit = load<u32>(state, TPACKET_UNIT);
  while (true) {
    const block = ring + unit * size;
    let at = load<u32>(state, TPACKET_NEXT);
    let left = load<u32>(state, TPACKET_LEFT);
    if (at == 0) {
      if ((atomic.load<u32>(block, 8) & STATUS_USER) == 0) break;
      left = load<u32>(block, 12);
      at = load<u32>(block, 16);
    }
    let full = false;
    while (left != 0) {
      if (at > size || !readEntry(state, block + at, block + size)) {
        add(state, TPACKET_MALFORMED, left);
        left = 0;
        break;
      }
      if (((kinds >> (kind & 31)) & 1) != 0) {
        full = output == 0 ? !append(state, burst) : recorded == most || !record(state, output, snaplen);
        if (full) break;
      }
      left--;
      const step = load<u32>(block + at);
      if (left != 0 && (step == 0 || step > size)) {
        add(state, TPACKET_MALFORMED, left);
        left = 0;
        break;
      }
      at += step;
    }
    if (full) {
      store<u32>(state, at, TPACKET_NEXT);
      store<u32>(state, left, TPACKET_LEFT);
      break;
    }
    store<u32>(state, 0, TPACKET_NEXT);
    atomic.store<u32>(block, 0, 8);
    unit = nextUnit(state, unit);
  }
}

/** Copies packets out of TPACKET_V3 blocks until the burst is full or no block is ready. Returns how many. */
export function tpacketBlocks(state: u32, burst: u32): u32 {
  const before = load<u32>(burst, BURST_PACKETS);
  store<u32>(state, 0, TPACKET_STARVED);
  takeBlocks(state, burst, 0, 0);
  return load<u32>(burst, BURST_PACKETS) - before;
}

/**
 * Copies up to `most` packets out of TPACKET_V3 blocks to the end of a block of output, as records of its capture
 * file, until that has no room for the next one (OUTPUT_NEED bytes) or no block is ready. The snap length must be
 * 64 at least. Returns how many.
 */
export function tpacketRecord(state: u32, output: u32, most: u32): u32 {
  recorded = 0;
  recordedBytes = 0;
  receivedBytes = 0;
  store<u32>(output, 0, OUTPUT_NEED);
  beginRecords(output);
  takeBlocks(state, 0, output, most);
  countRecords(output, recorded, recordedBytes);
  store<u64>(state, load<u64>(state, TPACKET_PACKETS) + recorded, TPACKET_PACKETS);
  store<u64>(state, load<u64>(state, TPACKET_BYTES) + receivedBytes, TPACKET_BYTES);
  return recorded;
}
