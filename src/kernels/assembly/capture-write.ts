// Capture files: turns the packets of a burst into records at the end of a block of output.
import {
  BLOCK_ENHANCED,
  BLOCK_SIMPLE,
  DIRECTION_OUT,
  OPTION_FLAGS,
  OPTION_QUEUE,
  OUTPUT_BYTES,
  OUTPUT_CLAMPED,
  OUTPUT_END,
  OUTPUT_ETHERNET,
  OUTPUT_INTERFACE_COUNT,
  OUTPUT_INTERFACES,
  OUTPUT_NANOSECONDS,
  OUTPUT_NEED,
  OUTPUT_PACKETS,
  OUTPUT_PCAPNG,
  OUTPUT_POSITION,
  OUTPUT_SECONDS,
  OUTPUT_SIMPLE_SNAPLEN,
  OUTPUT_SNAPLEN,
  OUTPUT_SWAPPED,
  OUTPUT_UNITS,
} from "../captures";
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  META_FLAGS,
  META_NANOSECONDS,
  META_OUTGOING,
  META_PEER,
  META_QUEUE,
  META_SECONDS,
  META_SHIFT,
  META_STAMPED,
  META_TAGGED,
  META_VERDICT,
  META_VLAN,
  META_WIRE_LENGTH,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import { releaseFrame } from "./arena";
import { endAmong } from "./packet";
import { piecesBytes, piecesFault } from "./pieces";

const TAG_OFFSET: u32 = 12; // behind the two addresses of an Ethernet frame
const LARGEST_TIME: f64 = 18446744073; // seconds that 64 bits of nanoseconds hold

let swapped: bool = false;
let nano: bool = false;

function put(at: u32, value: u32): void {
  store<u32>(at, swapped ? bswap<u32>(value) : value);
}

function putOption(at: u32, code: u32, value: u32): void {
  store<u16>(at, swapped ? bswap<u16>(<u16>code) : <u16>code);
  store<u16>(at, swapped ? bswap<u16>(4) : 4, 2);
  put(at + 4, value);
}

const SHORT: u32 = 2048;

// memory.copy leaves WebAssembly, which costs as much as some hundred bytes.
export function copy(to: u32, from: u32, length: u32): void {
  if (length > SHORT) {
    memory.copy(<usize>to, <usize>from, <usize>length);
    return;
  }
  if (length >= 16) {
    const last = length - 16;
    for (let at: u32 = 0; at < last; at += 16) v128.store(to + at, v128.load(from + at));
    v128.store(to + last, v128.load(from + last));
    return;
  }
  for (let at: u32 = 0; at < length; at++) store<u8>(to + at, load<u8>(from + at));
}

/** Copies up to `limit` bytes of a packet to `to`, with a tag put in at TAG_OFFSET if `tag` is not 0. */
function gather(descs: u32, start: u32, end: u32, to: u32, limit: u32, tag: u32): void {
  let out: u32 = 0;
  for (let index = start; index < end && out < limit; index++) {
    let from = load<u32>(descs + index * DESC_SIZE, DESC_ADDR);
    let left = load<u32>(descs + index * DESC_SIZE, DESC_LEN);
    while (left != 0 && out < limit) {
      if (tag != 0 && out == TAG_OFFSET) {
        store<u32>(to + out, tag); // its four bytes fit: the limit counts them
        out += 4;
        continue;
      }
      let piece = left < limit - out ? left : limit - out;
      if (tag != 0 && out < TAG_OFFSET && piece > TAG_OFFSET - out) piece = TAG_OFFSET - out;
      copy(to + out, from, piece);
      out += piece;
      from += piece;
      left -= piece;
    }
  }
}

/**
 * Writes packets of `burst` from number `first` to before `stop` that have the verdict PASS, frees them and marks them
 * VERDICT_MOVED, until the block has no room for the next record (OUTPUT_NEED bytes). Returns the number of
 * the first packet not looked at, or a negative fault.
 */
export function packCapture(state: u32, burst: u32, first: u32, stop: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const pcapng = load<u32>(state, OUTPUT_PCAPNG) != 0;
  const snaplen = load<u32>(state, OUTPUT_SNAPLEN);
  const end = load<u32>(state, OUTPUT_END);
  let position = load<u32>(state, OUTPUT_POSITION);
  let written: u64 = 0;
  let bytes: u64 = 0;
  const last = stop < packets ? stop : packets;
  let result = <i32>last;
  swapped = load<u32>(state, OUTPUT_SWAPPED) != 0;
  nano = load<u32>(state, OUTPUT_UNITS) == 1000000000;
  store<u32>(state, 0, OUTPUT_NEED);
  for (let packet = first; packet < last; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const beyond = endAmong(starts, packet, packets, count);
    const wrong = piecesFault(descs, start, beyond);
    if (wrong != 0) {
      result = -(<i32>wrong);
      break;
    }
    let length = piecesBytes;
    const flags = <u32>load<u16>(meta, META_FLAGS);
    let wire = load<u32>(meta, META_WIRE_LENGTH);
    if (wire == 0) wire = length;
    let tag: u32 = 0;
    if ((flags & META_TAGGED) != 0 && load<u32>(state, OUTPUT_ETHERNET) != 0 && length > TAG_OFFSET) {
      tag = 0x0081 | ((<u32>bswap<u16>(load<u16>(meta, META_VLAN))) << 16);
      length += 4;
      wire += 4;
    }
    let captured = length < snaplen ? length : snaplen;
    if (tag != 0 && captured > TAG_OFFSET && captured < TAG_OFFSET + 4) captured = TAG_OFFSET;
    const record = pcapng ? room(state, meta, flags, captured, wire) : 16 + captured;
    if (record > end - position) {
      store<u32>(state, record, OUTPUT_NEED);
      result = <i32>packet;
      break;
    }
    const data = pcapng
      ? putBlock(state, meta, flags, position, record, captured, wire)
      : putRecord(state, meta, flags, position, captured, wire);
    gather(descs, start, beyond, data, captured, tag);
    position += record;
    written++;
    bytes += captured;
    for (let index = start; index < beyond; index++)
      releaseFrame(load<u32>(descs + index * DESC_SIZE, DESC_ADDR));
    store<u8>(meta, VERDICT_MOVED, META_VERDICT);
  }
  store<u32>(state, position, OUTPUT_POSITION);
  store<u64>(state, load<u64>(state, OUTPUT_PACKETS) + written, OUTPUT_PACKETS);
  store<u64>(state, load<u64>(state, OUTPUT_BYTES) + bytes, OUTPUT_BYTES);
  return result;
}

function clamped(state: u32): void {
  store<u64>(state, load<u64>(state, OUTPUT_CLAMPED) + 1, OUTPUT_CLAMPED);
}

function secondsOf(state: u32, meta: u32, flags: u32, most: f64): f64 {
  let seconds =
    (flags & META_STAMPED) != 0 ? load<f64>(meta, META_SECONDS) : load<f64>(state, OUTPUT_SECONDS);
  if (seconds >= 0 && seconds <= most) return seconds;
  clamped(state);
  return seconds > most ? most : 0;
}

function nanosecondsOf(state: u32, meta: u32, flags: u32): u32 {
  return (flags & META_STAMPED) != 0
    ? load<u32>(meta, META_NANOSECONDS)
    : load<u32>(state, OUTPUT_NANOSECONDS);
}

function putRecord(state: u32, meta: u32, flags: u32, at: u32, captured: u32, wire: u32): u32 {
  const seconds = secondsOf(state, meta, flags, 4294967295);
  put(at, <u32>seconds);
  put(at + 4, nanosecondsOf(state, meta, flags) / (nano ? 1 : 1000));
  put(at + 8, captured);
  put(at + 12, wire);
  return at + 16;
}

function interfaceOf(state: u32, meta: u32): u32 {
  const map = load<u32>(state, OUTPUT_INTERFACES);
  const peer = load<u32>(meta, META_PEER);
  return map != 0 && peer < load<u32>(state, OUTPUT_INTERFACE_COUNT) ? load<u32>(map + (peer << 2)) : 0;
}

// A packet without a time goes into a simple packet block where that can tell everything there is to it.
function simple(state: u32, meta: u32, flags: u32, captured: u32, wire: u32): bool {
  const snaplen = load<u32>(state, OUTPUT_SIMPLE_SNAPLEN);
  const told = snaplen != 0 && snaplen < wire ? snaplen : wire; // what a reader takes it to hold
  return (
    (flags & (META_STAMPED | META_OUTGOING)) == 0 &&
    load<f64>(state, OUTPUT_SECONDS) == 0 &&
    captured == told &&
    interfaceOf(state, meta) == 0 &&
    load<u8>(meta, META_QUEUE) == 0
  );
}

function optionBytes(meta: u32, flags: u32): u32 {
  let options: u32 = 0;
  if ((flags & META_OUTGOING) != 0) options += 8;
  if (load<u8>(meta, META_QUEUE) != 0) options += 8;
  return options == 0 ? 0 : options + 4;
}

function room(state: u32, meta: u32, flags: u32, captured: u32, wire: u32): u32 {
  const padded = (captured + 3) & ~3;
  if (simple(state, meta, flags, captured, wire)) return 16 + padded;
  return 32 + padded + optionBytes(meta, flags);
}

function putBlock(state: u32, meta: u32, flags: u32, at: u32, record: u32, captured: u32, wire: u32): u32 {
  put(at + 4, record);
  put(at + record - 4, record);
  if (simple(state, meta, flags, captured, wire)) {
    put(at, BLOCK_SIMPLE);
    put(at + 8, wire);
    store<u32>(at + 12 + (captured & ~3), 0); // padding, or the trailer's place when there is none
    put(at + record - 4, record);
    return at + 12;
  }
  const seconds = secondsOf(state, meta, flags, LARGEST_TIME);
  const time = <u64>seconds * 1000000000 + <u64>nanosecondsOf(state, meta, flags);
  put(at, BLOCK_ENHANCED);
  put(at + 8, interfaceOf(state, meta));
  put(at + 12, <u32>(time >> 32));
  put(at + 16, <u32>time);
  put(at + 20, captured);
  put(at + 24, wire);
  if ((captured & 3) != 0) store<u32>(at + 28 + (captured & ~3), 0);
  let option = at + 28 + ((captured + 3) & ~3);
  if ((flags & META_OUTGOING) != 0) {
    putOption(option, OPTION_FLAGS, DIRECTION_OUT);
    option += 8;
  }
  if (load<u8>(meta, META_QUEUE) != 0) {
    putOption(option, OPTION_QUEUE, <u32>load<u8>(meta, META_QUEUE));
    option += 8;
  }
  if (option != at + record - 4) store<u32>(option, 0); // end of options
  return at + 28;
}
