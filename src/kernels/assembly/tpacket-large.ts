// A packet that no slot of an AF_PACKET ring could hold, read from the socket's queue instead.
import {
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
} from "../structs";
import {
  TPACKET_BYTES,
  TPACKET_KINDS,
  TPACKET_MALFORMED,
  TPACKET_PACKETS,
  TPACKET_RING,
  TPACKET_TRUNCATED,
  TPACKET_UNIT,
  TPACKET_UNIT_SIZE,
} from "../structs-messages";
import { releaseFrame, takeFrame } from "./arena";
import { inboxFill, inboxSplit } from "./inbox";
import {
  ADDRESSES,
  add,
  address,
  describe,
  extra,
  HEADROOM,
  kind,
  nextUnit,
  readSlot,
  tag,
  writeCooked,
} from "./tpacket";

/**
 * Appends the packet that no slot could hold, once it was read from the socket into `inbox`, and gives its slot
 * back. `length` 0: it could not be read, and is counted as truncated. Returns how many packets were appended.
 */
export function tpacketLarge(state: u32, inbox: u32, burst: u32, length: u32): u32 {
  const unit = load<u32>(state, TPACKET_UNIT);
  const slot = load<u32>(state, TPACKET_RING) + unit * load<u32>(state, TPACKET_UNIT_SIZE);
  const sound = readSlot(state, slot);
  let appended: u32 = 0;
  if (sound && ((load<u32>(state, TPACKET_KINDS) >> (kind & 31)) & 1) != 0) {
    if (length != 0) {
      inboxFill(inbox, length);
      appended = inboxSplit(inbox, burst);
    }
    if (appended != 0) {
      const packet = load<u32>(burst, BURST_PACKETS) - 1;
      describe(state, load<u32>(burst, BURST_METAS) + (packet << META_SHIFT));
      if (extra != 0 && !insertHead(burst, packet)) appended = 0;
    }
    if (appended == 0) add(state, TPACKET_TRUNCATED, 1);
    else {
      add(state, TPACKET_PACKETS, 1);
      add(state, TPACKET_BYTES, length + extra);
    }
  } else if (!sound) add(state, TPACKET_MALFORMED, 1);
  atomic.store<u32>(slot, 0);
  nextUnit(state, unit);
  return appended;
}

/** Gives the last packet of the burst a head frame: its addresses with the tag put back, or its cooked header. */
function insertHead(burst: u32, packet: u32): bool {
  const start = load<u32>(load<u32>(burst, BURST_STARTS) + (packet << 2));
  const count = load<u32>(burst, BURST_COUNT);
  const first = load<u32>(burst, BURST_DESCS) + start * DESC_SIZE;
  const frame = takeFrame();
  if (frame == 0) {
    for (let index = start; index < count; index++)
      releaseFrame(load<u32>(load<u32>(burst, BURST_DESCS) + index * DESC_SIZE));
    store<u32>(burst, start, BURST_COUNT);
    store<u32>(burst, packet, BURST_PACKETS);
    return false;
  }
  const old = load<u32>(first, DESC_ADDR);
  const head = frame + HEADROOM;
  const moved: u32 = tag == 0 ? 0 : ADDRESSES;
  if (tag == 0) writeCooked(head, address);
  else {
    memory.copy(<usize>head, <usize>old, <usize>ADDRESSES);
    store<u32>(head, tag, ADDRESSES);
  }
  store<u64>(first, old + moved, DESC_ADDR);
  store<u32>(first, load<u32>(first, DESC_LEN) - moved, DESC_LEN);
  memory.copy(<usize>(first + DESC_SIZE), <usize>first, <usize>((count - start) * DESC_SIZE));
  store<u64>(first, head, DESC_ADDR);
  store<u32>(first, moved + extra, DESC_LEN);
  store<u32>(first, CONTINUED, DESC_OPTIONS);
  store<u32>(burst, count + 1, BURST_COUNT);
  return true;
}
