// Adds the packets of a burst to what is known of a capture.
import {
  SUMMARY_CAPTURED,
  SUMMARY_CUT,
  SUMMARY_CUT_LEAST,
  SUMMARY_CUT_MOST,
  SUMMARY_DISORDER,
  SUMMARY_FIRST,
  SUMMARY_FIRST_NANO,
  SUMMARY_INTERFACES,
  SUMMARY_LAST,
  SUMMARY_LAST_NANO,
  SUMMARY_PACKETS,
  SUMMARY_PREVIOUS,
  SUMMARY_PREVIOUS_NANO,
  SUMMARY_SIZE,
  SUMMARY_STAMPED,
  SUMMARY_WIRE,
} from "../captures";
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_LEN,
  DESC_SIZE,
  META_FLAGS,
  META_NANOSECONDS,
  META_PEER,
  META_SECONDS,
  META_SHIFT,
  META_STAMPED,
  META_WIRE_LENGTH,
} from "../structs";
import { endAmong } from "./packet";

function add(at: u32, value: u64): void {
  store<u64>(at, load<u64>(at) + value);
}

function before(seconds: f64, nano: u32, otherSeconds: f64, otherNano: u32): bool {
  return seconds < otherSeconds || (seconds == otherSeconds && nano < otherNano);
}

function keepTime(at: u32, nanoAt: u32, seconds: f64, nano: u32): void {
  store<f64>(at, seconds);
  store<u32>(nanoAt, nano);
}

/** Adds every packet of `burst`, whatever its verdict, to the summary at `state`. */
export function summarizeBurst(state: u32, burst: u32): void {
  const packets = load<u32>(burst, BURST_PACKETS);
  const count = load<u32>(burst, BURST_COUNT);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const interfaces = load<u32>(state, SUMMARY_INTERFACES);
  for (let packet: u32 = 0; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    const end = endAmong(starts, packet, packets, count);
    let length: u32 = 0;
    for (let index = load<u32>(starts + (packet << 2)); index < end; index++)
      length += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
    const given = load<u32>(meta, META_WIRE_LENGTH);
    const wire = given == 0 ? length : given;
    add(state + SUMMARY_CAPTURED, length);
    add(state + SUMMARY_WIRE, wire);
    if (length < wire) {
      if (load<u64>(state, SUMMARY_CUT) == 0 || length < load<u32>(state, SUMMARY_CUT_LEAST))
        store<u32>(state, length, SUMMARY_CUT_LEAST);
      if (length > load<u32>(state, SUMMARY_CUT_MOST)) store<u32>(state, length, SUMMARY_CUT_MOST);
      add(state + SUMMARY_CUT, 1);
    }
    const peer = load<u32>(meta, META_PEER);
    if (peer < interfaces) add(state + SUMMARY_SIZE + (peer << 3), 1);
    if ((<u32>load<u16>(meta, META_FLAGS) & META_STAMPED) == 0) continue;
    const seconds = load<f64>(meta, META_SECONDS);
    const nano = load<u32>(meta, META_NANOSECONDS);
    const none = load<u64>(state, SUMMARY_STAMPED) == 0;
    if (none || before(seconds, nano, load<f64>(state, SUMMARY_FIRST), load<u32>(state, SUMMARY_FIRST_NANO)))
      keepTime(state + SUMMARY_FIRST, state + SUMMARY_FIRST_NANO, seconds, nano);
    if (none || before(load<f64>(state, SUMMARY_LAST), load<u32>(state, SUMMARY_LAST_NANO), seconds, nano))
      keepTime(state + SUMMARY_LAST, state + SUMMARY_LAST_NANO, seconds, nano);
    if (
      !none &&
      before(seconds, nano, load<f64>(state, SUMMARY_PREVIOUS), load<u32>(state, SUMMARY_PREVIOUS_NANO))
    )
      store<u32>(state, load<u32>(state, SUMMARY_DISORDER) + 1, SUMMARY_DISORDER);
    keepTime(state + SUMMARY_PREVIOUS, state + SUMMARY_PREVIOUS_NANO, seconds, nano);
    add(state + SUMMARY_STAMPED, 1);
  }
  add(state + SUMMARY_PACKETS, packets);
}
