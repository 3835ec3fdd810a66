// TPACKET_V3 blocks, packet after packet, into pool frames.
import { BURST_PACKETS } from "../structs";
import {
  TPACKET_KINDS,
  TPACKET_LEFT,
  TPACKET_MALFORMED,
  TPACKET_NEXT,
  TPACKET_OPENED,
  TPACKET_RING,
  TPACKET_STARVED,
  TPACKET_UNIT,
  TPACKET_UNIT_SIZE,
} from "../structs-messages";
import { add, append, kind, nextUnit, readEntry, releaseUnits, STATUS_USER } from "./tpacket";

/** Copies packets out of TPACKET_V3 blocks until the burst is full or no block is ready. Returns how many. */
export function tpacketBlocks(state: u32, burst: u32): u32 {
  const before = load<u32>(burst, BURST_PACKETS);
  store<u32>(state, 0, TPACKET_STARVED);
  releaseUnits(state);
  const size = load<u32>(state, TPACKET_UNIT_SIZE);
  const ring = load<u32>(state, TPACKET_RING);
  const kinds = load<u32>(state, TPACKET_KINDS);
  let unit = load<u32>(state, TPACKET_UNIT);
  while (true) {
    const block = ring + unit * size;
    let at = load<u32>(state, TPACKET_NEXT);
    let left = load<u32>(state, TPACKET_LEFT);
    if (at == 0) {
      if ((atomic.load<u32>(block, 8) & STATUS_USER) == 0) break;
      left = load<u32>(block, 12);
      at = load<u32>(block, 16);
      add(state, TPACKET_OPENED, left);
    }
    let full = false;
    while (left != 0) {
      if (at > size || !readEntry(state, block + at, block + size)) {
        add(state, TPACKET_MALFORMED, left);
        left = 0;
        break;
      }
      if (((kinds >> (kind & 31)) & 1) != 0) {
        full = !append(state, burst);
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
  return load<u32>(burst, BURST_PACKETS) - before;
}
