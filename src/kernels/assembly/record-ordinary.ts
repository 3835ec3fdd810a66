// Records of a capture file in the byte order of this machine: heads, tails, and runs of ordinary packets out of a
// TPACKET_V3 block, with few looks at each.
import { BLOCK_ENHANCED, DIRECTION_OUT, OPTION_FLAGS } from "../captures";
import {
  FAR,
  PACKET_OUTGOING,
  SHORTEST,
  SLL_PACKET_TYPE,
  SLL_SIZE,
  STATUS_VLAN_VALID,
  V3_HEADER,
} from "./tpacket";

export const ENHANCED_HEAD: u32 = 28;
const RECORD_HEAD: u32 = 16;
export const OPTIONS: u32 = 12;

/** Writes a record's head; returns where its data go. */
export function head(
  at: u32,
  pcapng: bool,
  nano: bool,
  length: u32,
  entry: u32,
  captured: u32,
  wire: u32,
): u32 {
  const seconds = load<u32>(entry, 4);
  const nanoseconds = load<u32>(entry, 8);
  if (pcapng) {
    const time = <u64>seconds * 1000000000 + <u64>nanoseconds;
    store<u64>(at, ((<u64>length) << 32) | <u64>BLOCK_ENHANCED);
    store<u64>(at, time & 0xffffffff00000000, 8); // interface 0
    store<u64>(at, ((<u64>captured) << 32) | (time & 0xffffffff), 16);
    store<u32>(at, wire, 24);
    return at + ENHANCED_HEAD;
  }
  store<u64>(at, ((<u64>(nano ? nanoseconds : nanoseconds / 1000)) << 32) | <u64>seconds);
  store<u64>(at, ((<u64>wire) << 32) | <u64>captured, 8);
  return at + RECORD_HEAD;
}

/** Writes what follows an enhanced block's data; returns where the next block goes. */
export function tail(at: u32, captured: u32, outgoing: bool, length: u32): u32 {
  store<u32>(at, 0);
  at += (0 - captured) & 3;
  if (outgoing) {
    store<u32>(at, (4 << 16) | OPTION_FLAGS);
    store<u64>(at, DIRECTION_OUT, 4); // and the end of options
    at += OPTIONS;
  }
  store<u32>(at, length);
  return at + 4;
}

/** What recordOrdinary() looks for. */
let ordinaryKinds: u32 = 0;
let unusual: u32 = 0; // bits of a status
let longest: u32 = 0;
/** Where it ended, and the bytes of its packets. */
export let stoppedAt: u32 = 0;
export let stoppedTo: u32 = 0;
export let recordedBytes: u32 = 0;

/** Says what recordOrdinary() is to look for: packets of these kinds, up to `most` bytes (64 at least, or 0: none). */
export function expectOrdinary(kinds: u32, tagged: bool, most: u32): void {
  ordinaryKinds = kinds & ~(1 << PACKET_OUTGOING);
  unusual = tagged ? STATUS_VLAN_VALID : 0;
  longest = most;
}

/**
 * Makes records of up to `run` packets that are short, whole, untagged and came in, and start before `until`; the next
 * one of each starts within the block too. From the entry at `at` on; returns how many.
 */
export function recordOrdinary(
  block: u32,
  at: u32,
  size: u32,
  to: u32,
  pcapng: bool,
  nano: bool,
  run: u32,
  until: u32,
): u32 {
  const mac = <u32>load<u16>(block + at, 24);
  const safe = min(size - mac - longest, until - 1);
  const kinds = ordinaryKinds;
  const compared: u64 = (0xffff << 32) | <u64>unusual; // status, then where the packet starts
  const expected = (<u64>mac) << 32;
  const range = longest - SHORTEST;
  let sum: u32 = 0;
  if (mac < V3_HEADER + SLL_SIZE || mac >= FAR) run = 0;
  let left = run;
  let stride: u32 = 0;
  while (left != 0 && at <= safe) {
    const entry = block + at;
    const step = load<u32>(entry);
    const bytes = load<u32>(entry, 12);
    if (
      bytes - SHORTEST > range ||
      step - 1 >= size ||
      (load<u64>(entry, 20) & compared) != expected ||
      ((kinds >> (<u32>load<u8>(entry, V3_HEADER + SLL_PACKET_TYPE) & 31)) & 1) == 0
    )
      break;
    const length = ENHANCED_HEAD + ((bytes + 3) & ~3) + 4;
    // As head() does it, but in place: a call costs a tenth of the rest.
    const seconds = <u64>load<u32>(entry, 4);
    const nanoseconds = <u64>load<u32>(entry, 8);
    const wire = load<u32>(entry, 16);
    let data = to + RECORD_HEAD;
    if (pcapng) {
      const time = seconds * 1000000000 + nanoseconds;
      store<u64>(to, ((<u64>length) << 32) | <u64>BLOCK_ENHANCED);
      store<u64>(to, time & 0xffffffff00000000, 8); // interface 0
      store<u64>(to, ((<u64>bytes) << 32) | (time & 0xffffffff), 16);
      store<u32>(to, wire, 24);
      data = to + ENHANCED_HEAD;
    } else {
      store<u64>(to, ((nano ? nanoseconds : nanoseconds / 1000) << 32) | seconds);
      store<u64>(to, ((<u64>wire) << 32) | <u64>bytes, 8);
    }
    const end = bytes - 16;
    const from = entry + mac;
    // Without a loop as far as the shortest packets of Ethernet go: there is room for so much on both sides.
    v128.store(data, v128.load(from));
    v128.store(data, v128.load(from, 16), 16);
    v128.store(data, v128.load(from, 32), 32);
    for (let byte: u32 = 48; byte < end; byte += 16) v128.store(data + byte, v128.load(from + byte));
    if (pcapng) {
      to += length;
      store<u64>(to - 8, (<u64>length) << 32); // padding, under the data
      v128.store(data + end, v128.load(from + end));
    } else {
      v128.store(data + end, v128.load(from + end));
      to = data + bytes;
    }
    sum += bytes;
    left--;
    // Guessed as in fetch() of tpacket-record.ts.
    if (step == stride) at += stride;
    else {
      stride = step;
      at += step;
    }
  }
  stoppedAt = at;
  stoppedTo = to;
  recordedBytes = sum;
  return run - left;
}
