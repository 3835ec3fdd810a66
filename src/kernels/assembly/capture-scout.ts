// Capture files: fetches the heads of records into the cache. Where the next record begins stands in the one before, so
// that a walk over bytes that nobody has read yet waits for memory at each record. Here several walks go on at once,
// from places in between where a record seems to begin, so that their waits overlap. They only read, within the bytes
// given: after a wrong guess, bytes have been fetched that nobody wants, and nothing else is amiss.
import { CAPTURE_HEADER, CAPTURE_LENGTHS, CAPTURE_LIMIT, CAPTURE_UNITS, LENGTHS_NORMAL } from "../captures";
import { u32At } from "./capture-walk";

const STRETCH: u32 = 1 << 20; // bytes whose heads stay in a second-level cache until they are walked
const WALKS: u32 = 8;
const LEAST: u32 = 8192; // bytes a walk, or it is not worth looking for where it begins
const FIRST: u32 = 32; // records by which is told how long they are
const DENSE: u32 = 160; // bytes a record below which a processor fetches all of them by itself
const DAYS: u32 = 1 << 20; // seconds that records near each other may lie apart
const HEAD: u32 = 40; // bytes of a packet in which nearly all filters look
const MARGIN: u32 = 128; // what is read from a place on

export const NOTHING_TO_SCOUT: u32 = 0xffffffff;

let header: u32 = 0;
let limit: u32 = 0;
let units: u32 = 0;
let time: u32 = 0;
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
  last = end - MARGIN;
  const room = (last - position) / WALKS;
  const part = room < STRETCH / WALKS ? room : STRETCH / WALKS;
  let a = position;
  for (let i: u32 = 0; i < FIRST; i++) a = next(a, last);
  if (a - position < FIRST * DENSE) return NOTHING_TO_SCOUT;
  const stopA = position + part;
  const stopB = stopA + part;
  const stopC = stopB + part;
  const stopD = stopC + part;
  const stopE = stopD + part;
  const stopF = stopE + part;
  const stopG = stopF + part;
  const stopH = stopG + part;
  let b = beginning(stopA, stopB);
  let c = beginning(stopB, stopC);
  let d = beginning(stopC, stopD);
  let e = beginning(stopD, stopE);
  let f = beginning(stopE, stopF);
  let g = beginning(stopF, stopG);
  let h = beginning(stopG, stopH);
  while (
    a < stopA ||
    b < stopB ||
    c < stopC ||
    d < stopD ||
    e < stopE ||
    f < stopF ||
    g < stopG ||
    h < stopH
  ) {
    a = next(a, stopA);
    b = next(b, stopB);
    c = next(c, stopC);
    d = next(d, stopD);
    e = next(e, stopE);
    f = next(f, stopF);
    g = next(g, stopG);
    h = next(h, stopH);
  }
  return stopH;
}

/** The record after the one at `at`, which is fetched; `stop` at most where there is none. */
function next(at: u32, stop: u32): u32 {
  if (at >= stop) return at;
  const captured = u32At(at + 8);
  fetched += <u32>load<u8>(at + header + HEAD);
  return captured > limit ? stop : at + header + captured;
}

/** Where the first record seems to begin from `from` on; `stop` where none does. */
function beginning(from: u32, stop: u32): u32 {
  for (let at = from; at < stop; at++) {
    if (!plausible(at)) continue;
    const following = at + header + u32At(at + 8);
    if (following >= last || plausible(following)) return at;
  }
  return stop;
}

function plausible(at: u32): bool {
  if (u32At(at) - time + DAYS > 2 * DAYS) return false;
  const captured = u32At(at + 8);
  const wire = u32At(at + 12);
  return captured <= limit && wire >= captured && wire - captured <= limit && u32At(at + 4) < units;
}
