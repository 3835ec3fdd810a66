// Capture files: walks the records of a pcap.
import {
  CAPTURE_END,
  CAPTURE_FAULT_RECORD,
  CAPTURE_HEADER,
  CAPTURE_LENGTHS,
  CAPTURE_LENT,
  CAPTURE_LIMIT,
  CAPTURE_NEED,
  CAPTURE_POSITION,
  CAPTURE_SCOUTED,
  CAPTURE_UNITS,
  LENGTHS_NORMAL,
  LENGTHS_SWAPPED,
  WALK_NEED,
} from "../captures";
import { META_FLAGS, META_NANOSECONDS, META_SECONDS, META_STAMPED, META_WIRE_LENGTH } from "../structs";
import { NOTHING_TO_SCOUT, scout } from "./capture-scout";
import { append, begin, fault, finish, noRoom, rejects, u32At } from "./capture-walk";

const NANO: u64 = 1000000000;

/** Walks pcap records until the burst is full, the bytes in memory end, or one is wrong; WALK_… says which. */
export function walkPcap(state: u32, burst: u32): i32 {
  begin(state, burst);
  const header = load<u32>(state, CAPTURE_HEADER);
  const lengths = load<u32>(state, CAPTURE_LENGTHS);
  const limit = load<u32>(state, CAPTURE_LIMIT);
  const units = load<u32>(state, CAPTURE_UNITS);
  const scale: u32 = <u32>NANO / units;
  const end = load<u32>(state, CAPTURE_END);
  let position = load<u32>(state, CAPTURE_POSITION);
  let result: i32 = WALK_NEED;
  let scouted = load<u32>(state, CAPTURE_LENT) != 0 ? load<u32>(state, CAPTURE_SCOUTED) : NOTHING_TO_SCOUT;
  while (true) {
    if (position >= scouted) scouted = scout(state, position, end);
    const left = end - position;
    if (left < header) {
      store<u32>(state, header, CAPTURE_NEED);
      break;
    }
    let captured = u32At(position + 8);
    let wire = u32At(position + 12);
    if (lengths != LENGTHS_NORMAL && (lengths == LENGTHS_SWAPPED || captured > wire)) {
      const first = captured;
      captured = wire;
      wire = first;
    }
    if (captured > limit) {
      result = fault(state, CAPTURE_FAULT_RECORD, captured);
      break;
    }
    if (left - header < captured) {
      store<u32>(state, header + captured, CAPTURE_NEED);
      break;
    }
    if (rejects(position + header, captured, wire)) {
      position += header + captured;
      continue;
    }
    const meta = append(position + header, captured);
    if (meta == 0) {
      result = noRoom(state, captured);
      break;
    }
    let seconds = <f64>u32At(position);
    let fraction = u32At(position + 4);
    if (fraction >= units) {
      seconds += <f64>(fraction / units);
      fraction %= units;
    }
    store<f64>(meta, seconds, META_SECONDS);
    store<u32>(meta, fraction * scale, META_NANOSECONDS);
    store<u32>(meta, wire, META_WIRE_LENGTH);
    store<u16>(meta, META_STAMPED, META_FLAGS);
    position += header + captured;
  }
  store<u32>(state, scouted, CAPTURE_SCOUTED);
  return finish(state, burst, position, result);
}
