// Capture files: walks the blocks of a pcapng.
import {
  BLOCK_ENHANCED,
  BLOCK_LARGEST,
  BLOCK_OBSOLETE,
  BLOCK_SECTION,
  BLOCK_SIMPLE,
  CAPTURE_END,
  CAPTURE_FAULT_BLOCK,
  CAPTURE_FAULT_DATA,
  CAPTURE_FAULT_INTERFACE,
  CAPTURE_FAULT_OPTIONS,
  CAPTURE_FAULT_RECORD,
  CAPTURE_FAULT_TRAILER,
  CAPTURE_INTERFACE_COUNT,
  CAPTURE_INTERFACES,
  CAPTURE_NEED,
  CAPTURE_OPTIONS,
  CAPTURE_OPTIONS_LENGTH,
  CAPTURE_OTHER,
  CAPTURE_PASSED,
  CAPTURE_PASSED_BYTES,
  CAPTURE_POSITION,
  CAPTURE_WANTS_OPTIONS,
  DIRECTION_OUT,
  INTERFACE_LIMIT,
  INTERFACE_NANO,
  INTERFACE_NUMBER,
  INTERFACE_OFFSET,
  INTERFACE_PASS,
  INTERFACE_PICO,
  INTERFACE_SHIFT,
  INTERFACE_SIZE,
  INTERFACE_SNAPLEN,
  INTERFACE_UNITS,
  OPTION_END,
  OPTION_FLAGS,
  OPTION_QUEUE,
  WALK_BLOCK,
  WALK_NEED,
  WALK_OPTIONS,
} from "../captures";
import {
  META_FLAGS,
  META_NANOSECONDS,
  META_OUTGOING,
  META_PEER,
  META_QUEUE,
  META_SECONDS,
  META_STAMPED,
  META_WIRE_LENGTH,
} from "../structs";
import { append, begin, fault, finish, noRoom, rejects, u16At, u32At } from "./capture-walk";

const NANO: u64 = 1000000000;

function stamp(meta: u32, entry: u32, high: u32, low: u32): void {
  const time = ((<u64>high) << 32) | <u64>low;
  const units = load<u64>(entry, INTERFACE_UNITS);
  const nano = load<u64>(entry, INTERFACE_NANO);
  const pico = load<u64>(entry, INTERFACE_PICO);
  let seconds: u64 = 0;
  let nanoseconds: u64 = 0;
  if (nano != 0) {
    seconds = time / units;
    nanoseconds = (time - seconds * units) * nano;
  } else if (pico != 0) {
    if (units != 0) seconds = time / units;
    nanoseconds = (time - seconds * units) / pico;
  } else {
    const shift = <u64>load<u32>(entry, INTERFACE_SHIFT);
    let rest = time;
    if (shift < 64) {
      seconds = time >> shift;
      rest = time & (((<u64>1) << shift) - 1);
    }
    if (shift <= 34) nanoseconds = (rest * NANO) >> shift;
    else if (shift < 96)
      nanoseconds = ((rest >> 32) * NANO + (((rest & 0xffffffff) * NANO) >> 32)) >> (shift - 32);
  }
  store<f64>(meta, <f64>seconds + <f64>load<i64>(entry, INTERFACE_OFFSET), META_SECONDS);
  store<u32>(meta, <u32>nanoseconds, META_NANOSECONDS);
  store<u16>(meta, META_STAMPED, META_FLAGS);
}

// What readOptions found.
let optionFlags: u32 = 0;
let optionQueue: u32 = 0;

/** Takes direction and queue out of a packet's options. 1: there is more than metadata can hold; -1: malformed. */
function readOptions(at: u32, end: u32): i32 {
  let more = 0;
  optionFlags = 0;
  optionQueue = 0;
  while (end - at >= 4) {
    const code = u16At(at);
    const length = u16At(at + 2);
    if (code == OPTION_END) break;
    if (length > end - at - 4) return -1;
    if (code == OPTION_FLAGS || code == OPTION_QUEUE) {
      if (length != 4) return -1;
      const value = u32At(at + 4);
      if (code == OPTION_FLAGS) optionFlags = value;
      else optionQueue = value;
    } else more = 1;
    at += 4 + ((length + 3) & ~3);
  }
  return (optionFlags & ~(<u32>DIRECTION_OUT)) != 0 || optionQueue > 255 ? 1 : more;
}

/**
 * Walks pcapng blocks as walkPcap does records. Blocks that carry no packet are left to the caller (WALK_BLOCK),
 * who sets the position past them. Every block's two lengths have been compared.
 */
export function walkPcapng(state: u32, burst: u32): i32 {
  begin(state, burst);
  const interfaces = load<u32>(state, CAPTURE_INTERFACES);
  const interfaceCount = load<u32>(state, CAPTURE_INTERFACE_COUNT);
  const end = load<u32>(state, CAPTURE_END);
  let position = load<u32>(state, CAPTURE_POSITION);
  let result: i32 = WALK_NEED;
  while (true) {
    const left = end - position;
    if (left < 12) {
      store<u32>(state, 12, CAPTURE_NEED);
      break;
    }
    const kind = u32At(position);
    if (kind == BLOCK_SECTION) {
      store<u32>(state, 12, CAPTURE_NEED); // a new section may have another byte order: the caller measures it
      result = WALK_BLOCK;
      break;
    }
    const length = u32At(position + 4);
    const head: u32 = kind == BLOCK_ENHANCED || kind == BLOCK_OBSOLETE ? 28 : kind == BLOCK_SIMPLE ? 12 : 8;
    if (length < head + 4 || length > <u32>BLOCK_LARGEST || (length & 3) != 0) {
      result = fault(state, CAPTURE_FAULT_BLOCK, length);
      break;
    }
    store<u32>(state, length, CAPTURE_NEED);
    if (left < length) break;
    if (u32At(position + length - 4) != length) {
      result = fault(state, CAPTURE_FAULT_TRAILER, u32At(position + length - 4));
      break;
    }
    if (head == 8) {
      result = WALK_BLOCK;
      break;
    }
    const number: u32 = head == 12 ? 0 : kind == BLOCK_OBSOLETE ? u16At(position + 8) : u32At(position + 8);
    if (number >= interfaceCount) {
      result = fault(state, CAPTURE_FAULT_INTERFACE, number);
      break;
    }
    const entry = interfaces + number * INTERFACE_SIZE;
    const wire = u32At(position + head - 4);
    const room = length - head - 4;
    let captured = wire;
    if (head == 28) captured = u32At(position + 20);
    else {
      const snaplen = load<u32>(entry, INTERFACE_SNAPLEN);
      if (snaplen != 0 && captured > snaplen) captured = snaplen;
    }
    if (captured > room || captured > load<u32>(entry, INTERFACE_LIMIT)) {
      result = fault(state, captured > room ? CAPTURE_FAULT_DATA : CAPTURE_FAULT_RECORD, captured);
      break;
    }
    if (load<u16>(entry, INTERFACE_PASS) != 0) {
      store<u64>(state, load<u64>(state, CAPTURE_PASSED) + 1, CAPTURE_PASSED);
      store<u64>(state, load<u64>(state, CAPTURE_PASSED_BYTES) + captured, CAPTURE_PASSED_BYTES);
      position += length;
      continue;
    }
    if (rejects(position + head, captured, wire)) {
      position += length;
      continue;
    }
    const options = position + head + ((captured + 3) & ~3);
    const optionsEnd = position + length - 4;
    let more = 0;
    if (head == 28 && optionsEnd > options) {
      more = readOptions(options, optionsEnd);
      if (more < 0) {
        result = fault(state, CAPTURE_FAULT_OPTIONS, 0);
        break;
      }
    }
    const meta = append(position + head, captured);
    if (meta == 0) {
      result = noRoom(state, captured);
      break;
    }
    store<u32>(meta, wire, META_WIRE_LENGTH);
    store<u32>(meta, load<u32>(entry, INTERFACE_NUMBER), META_PEER);
    if (head == 28) stamp(meta, entry, u32At(position + 12), u32At(position + 16));
    position += length;
    if (head != 28 || optionsEnd == options) continue;
    if ((optionFlags & 3) == DIRECTION_OUT) store<u16>(meta, META_STAMPED | META_OUTGOING, META_FLAGS);
    store<u8>(meta, <u8>optionQueue, META_QUEUE);
    if (more != 0 && load<u32>(state, CAPTURE_WANTS_OPTIONS) != 0) {
      store<u32>(state, options, CAPTURE_OPTIONS);
      store<u32>(state, optionsEnd - options, CAPTURE_OPTIONS_LENGTH);
      store<u32>(state, kind == BLOCK_OBSOLETE ? 1 : 0, CAPTURE_OTHER);
      result = WALK_OPTIONS;
      break;
    }
  }
  return finish(state, burst, position, result);
}
