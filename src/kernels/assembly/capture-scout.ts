// Capture files: fetches the heads of records into the cache. Where the next record begins stands in the one before, so
// that a walk over bytes that nobody has read yet waits for memory at each record. Here several walks go on at once,
// from places in between where a record seems to begin, so that their waits overlap. They only read, within the bytes
// given: after a wrong guess, bytes have been fetched that nobody wants, and nothing else is amiss.
import {
  CAPTURE_HEADER,
  CAPTURE_LENGTHS,
  CAPTURE_LIMIT,
  CAPTURE_SCOUTS,
  CAPTURE_SWAPPED,
  CAPTURE_UNITS,
  LENGTHS_NORMAL,
} from "../captures";
import { u32At } from "./capture-walk";

const STRETCH: u32 = 1 << 20; // bytes whose heads stay in a second-level cache until they are walked
const WALKS: u32 = 16;
const WALK_SIZE: u32 = 8;
const LEAST: u32 = 8192; // bytes a walk, or it is not worth looking for where it begins
const LOOK: u32 = 4096; // bytes in which a beginning is looked for: where there is none, records are few
const FIRST: u32 = 16; // records by which is told how long they are
const DENSE: u32 = 160; // bytes a record below which a processor fetches all of them by itself
const DAYS: u32 = 1 << 20; // seconds that records near each other may lie apart
const HEAD: u32 = 40; // bytes of a packet in which nearly all filters look
const MARGIN: u32 = 128; // what is read from a place on

export const NOTHING_TO_SCOUT: u32 = 0xffffffff;

let header: u32 = 0;
let limit: u32 = 0;
let units: u32 = 0;
let time: u32 = 0;
let highest: u32 = 0;
let last: u32 = 0;
// What the walks have read, so that they do.
let fetched: u32 = 0;

/**
 * Fetches the heads of pcap records from `position` on, where one begins; returns the address up to which that is
 * done, or NOTHING_TO_SCOUT where it would not help from here to `end`.
 */
export function scout(state: u32, position: u32, end: u32): u32 {
  if (load<u32>(state, CAPTURE_LENGTHS) != LENGTHS_NORMAL || end - position < MARGIN + WALKS * LEAST)
    return NOTHING_TO_SCOUT;
  header = load<u32>(state, CAPTURE_HEADER);
  limit = load<u32>(state, CAPTURE_LIMIT);
  units = load<u32>(state, CAPTURE_UNITS);
  time = u32At(position);
  highest = load<u32>(state, CAPTURE_SWAPPED) != 0 ? 0 : 3;
  last = end - MARGIN;
  const room = (last - position) / WALKS;
  const part = room < STRETCH / WALKS ? room : STRETCH / WALKS;
  const stop = position + WALKS * part;
  let first = position;
  for (let i: u32 = 0; i < FIRST; i++) first = next(first);
  if (first - position < FIRST * DENSE) return stop;
  const walks = state + CAPTURE_SCOUTS;
  let walk = walks;
  store<u32>(walk, first);
  for (let from = position + part; from < stop; from += part) {
    const at = beginning(from);
    if (at == 0) continue; // the walk before goes on
    store<u32>(walk, from, 4);
    walk += WALK_SIZE;
    store<u32>(walk, at);
  }
  store<u32>(walk, stop, 4);
  goOn(walks, walk + WALK_SIZE);
  return stop;
}

/** Takes all walks to their ends, a record each in turn. */
function goOn(walks: u32, past: u32): void {
  while (past > walks)
    for (let walk = walks; walk < past; walk += WALK_SIZE) {
      const at = load<u32>(walk);
      if (at < load<u32>(walk, 4)) store<u32>(walk, next(at));
      else {
        past -= WALK_SIZE;
        store<u64>(walk, load<u64>(past));
      }
    }
}

/** The record after the one at `at`, which is fetched; `last` where there is none. */
function next(at: u32): u32 {
  if (at >= last) return last;
  const captured = u32At(at + 8);
  fetched += <u32>load<u8>(at + header + HEAD);
  return captured > limit ? last : at + header + captured;
}

/** Where the first record seems to begin from `from` on; 0 where none does nearby. */
function beginning(from: u32): u32 {
  const highestOfTime = i8x16.splat(<i8>(time >> 24));
  const zero = i8x16.splat(0);
  const past = from + LOOK < last ? from + LOOK : last;
  for (let at = from; at < past; at += 16) {
    // Sixteen places at once: the highest bytes of the time and of both lengths.
    const places = at + highest;
    const captured = i8x16.eq(v128.load(places, 8), zero);
    const wire = i8x16.eq(v128.load(places, 12), zero);
    const seconds = i8x16.eq(v128.load(places), highestOfTime);
    let found = <u32>i8x16.bitmask(v128.and(v128.and(captured, wire), seconds));
    for (; found != 0; found &= found - 1) {
      const place = at + ctz(found);
      if (!plausible(place)) continue;
      const following = place + header + u32At(place + 8);
      if (following >= last || plausible(following)) return place;
    }
  }
  return 0;
}

function plausible(at: u32): bool {
  if (u32At(at) - time + DAYS > 2 * DAYS) return false;
  const captured = u32At(at + 8);
  const wire = u32At(at + 12);
  return captured <= limit && wire >= captured && wire - captured <= limit && u32At(at + 4) < units;
}
