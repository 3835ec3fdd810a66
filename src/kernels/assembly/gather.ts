// Gather: datagrams, as a layout cut them, into chunks. One call takes a burst; what ends goes to a queue.

import {
  G_ALL_FIRST,
  G_BUCKET_MASK,
  G_BUCKETS,
  G_COUNTERS,
  G_EVENT_COUNT,
  G_EVENT_LIMIT,
  G_ID_BOUNDS,
  G_LENT,
  G_MODE,
  G_NOW,
  G_READY,
  G_STREAM_FREE,
  G_STREAM_USED,
  G_TIMEOUT,
  G_WINDOW_FREE,
  MODE_ANY_PEER,
  MODE_ARRIVAL,
  MODE_EVENTS,
  MODE_LINKED,
  MODE_OFFSET,
  N_CONTROL,
  N_CONTROL_BYTES,
  N_MALFORMED,
  N_OPENED,
  N_OTHER,
  N_STREAMS,
  READY_BYTES,
  S_BIRTH,
  S_CHAIN,
  S_FIRST,
  S_FLAGS,
  S_HELD,
  S_HIGH,
  S_ID_FIRST,
  S_ID_LAST,
  S_LOW,
  S_NEXT_ALL,
  S_NUMBER,
  S_OPEN,
  S_PEER,
  S_PREVIOUS_ALL,
  S_PROBATION,
  S_PROGRESS,
  S_SIZE,
  S_WINDOW,
  STREAM_STARTED,
} from "../gather-structs";
import {
  BURST_METAS,
  CUT_BYTES,
  CUT_DATAGRAM,
  CUT_FLAGS,
  CUT_HAS_CHUNK,
  CUT_IS_CONTROL,
  CUT_IS_DATA,
  CUT_IS_MALFORMED,
  CUT_IS_OTHER,
  CUT_KIND,
  CUT_MORE,
  CUT_STREAM_HIGH,
  CUT_STREAM_LOW,
  CUT_WHAT,
  DATAGRAM_GROUP,
  DATAGRAM_HEAD,
  DATAGRAM_LENGTH,
  DATAGRAM_PEER,
  DATAGRAM_SIZE,
  META_SHIFT,
  META_VERDICT,
  SCAN_IS_DATAGRAM,
  SCAN_IS_FRAGMENT,
  SCAN_IS_MALFORMED,
  VERDICT_PASS,
  VERDICT_TAKEN,
} from "../structs";
import { chunkFree, count } from "./gather-memory";
import { placeControl, placeOffset } from "./gather-offset";
import { outOldest } from "./gather-out";
import { taken } from "./gather-pieces";
import { bringNext, placeRun } from "./gather-run";
import { dropOne, dropProbation, flushWindow, placeSequence } from "./gather-sequence";
import { touch } from "./touch";

// ── Streams: a hash table with chains; a stream that is idle makes room for a new one.

function bucketOf(g: u32, peer: u32, low: u64, high: u64): u32 {
  let hash = low ^ (high * 0x9e3779b97f4a7c15) ^ ((<u64>peer) << 32);
  hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15;
  return load<u32>(g, G_BUCKETS) + ((<u32>(hash >> 32) & load<u32>(g, G_BUCKET_MASK)) << 2);
}

let lastStream: u32 = 0; // the stream of the datagram before: bursts mostly stay with one
let lastGather: u32 = 0;

function matches(s: u32, peer: u32, low: u64, high: u64): bool {
  return load<u64>(s, S_LOW) == low && load<u32>(s, S_PEER) == peer && load<u64>(s, S_HIGH) == high;
}

function findStream(g: u32, peer: u32, low: u64, high: u64): u32 {
  // A gather that has no stream yet may stand where another stood before it.
  if (load<u32>(g, G_STREAM_USED) == 0) return 0;
  if (lastGather == g && lastStream != 0 && matches(lastStream, peer, low, high)) return lastStream;
  for (let s = load<u32>(bucketOf(g, peer, low, high)); s != 0; s = load<u32>(s, S_CHAIN))
    if (matches(s, peer, low, high)) {
      lastStream = s;
      lastGather = g;
      return s;
    }
  return 0;
}

/** A new stream; 0: no room, even after idle ones were let go. */
function addStream(g: u32, peer: u32, low: u64, high: u64, kind: u32): u32 {
  const sequenced = (load<u32>(g, G_MODE) & (MODE_OFFSET | MODE_ARRIVAL)) == 0;
  let s = load<u32>(g, G_STREAM_FREE);
  if (s == 0 || (sequenced && load<u32>(g, G_WINDOW_FREE) == 0)) {
    if (!retireIdle(g)) return 0;
    s = load<u32>(g, G_STREAM_FREE);
  }
  store<u32>(g, load<u32>(s, S_CHAIN), G_STREAM_FREE);
  memory.fill(<usize>s, 0, S_SIZE);
  store<u32>(s, peer, S_PEER);
  store<u64>(s, low, S_LOW);
  store<u64>(s, high, S_HIGH);
  const bounds = load<u32>(g, G_ID_BOUNDS) + ((kind & 0xff) << 4); // of the case that its first datagram has
  store<u64>(s, load<u64>(bounds), S_ID_FIRST);
  store<u64>(s, load<u64>(bounds, 8), S_ID_LAST);
  if (sequenced) {
    const window = load<u32>(g, G_WINDOW_FREE);
    store<u32>(g, load<u32>(window), G_WINDOW_FREE);
    store<u32>(s, window, S_WINDOW);
  }
  const bucket = bucketOf(g, peer, low, high);
  store<u32>(s, load<u32>(bucket), S_CHAIN);
  store<u32>(bucket, s);
  const first = load<u32>(g, G_ALL_FIRST);
  store<u32>(s, first, S_NEXT_ALL);
  if (first != 0) store<u32>(first, s, S_PREVIOUS_ALL);
  store<u32>(g, s, G_ALL_FIRST);
  store<u32>(s, <u32>load<u64>(counterAt(g, N_OPENED)), S_NUMBER);
  store<f64>(s, load<f64>(g, G_NOW), S_BIRTH);
  store<u32>(g, load<u32>(g, G_STREAM_USED) + 1, G_STREAM_USED);
  count(g, N_OPENED, 1);
  lastStream = s;
  lastGather = g;
  return s;
}

function counterAt(g: u32, which: u32): u32 {
  return g + G_COUNTERS + (which << 3);
}

function removeStream(g: u32, s: u32): void {
  const bucket = bucketOf(g, load<u32>(s, S_PEER), load<u64>(s, S_LOW), load<u64>(s, S_HIGH));
  if (load<u32>(bucket) == s) store<u32>(bucket, load<u32>(s, S_CHAIN));
  else {
    let at = load<u32>(bucket);
    while (load<u32>(at, S_CHAIN) != s) at = load<u32>(at, S_CHAIN);
    store<u32>(at, load<u32>(s, S_CHAIN), S_CHAIN);
  }
  const previous = load<u32>(s, S_PREVIOUS_ALL);
  const next = load<u32>(s, S_NEXT_ALL);
  if (previous != 0) store<u32>(previous, next, S_NEXT_ALL);
  else store<u32>(g, next, G_ALL_FIRST);
  if (next != 0) store<u32>(next, previous, S_PREVIOUS_ALL);
  const window = load<u32>(s, S_WINDOW);
  if (window != 0) {
    store<u32>(window, load<u32>(g, G_WINDOW_FREE));
    store<u32>(g, window, G_WINDOW_FREE);
  }
  store<u32>(s, load<u32>(g, G_STREAM_FREE), S_CHAIN);
  store<u32>(g, s, G_STREAM_FREE);
  store<u32>(g, load<u32>(g, G_STREAM_USED) - 1, G_STREAM_USED);
  if (lastStream == s) lastStream = 0;
}

let retiredAt: f64 = 0; // a scan of all streams is worth it only when time has passed

/** Lets go of streams with nothing under way that were silent for ten timeouts. False: there was none. */
function retireIdle(g: u32): bool {
  const now = load<f64>(g, G_NOW);
  const limit = now - 10 * load<f64>(g, G_TIMEOUT);
  if (retiredAt > limit && lastGather == g) return false;
  retiredAt = now;
  let any = false;
  let s = load<u32>(g, G_ALL_FIRST);
  while (s != 0) {
    const next = load<u32>(s, S_NEXT_ALL);
    if (
      load<u32>(s, S_OPEN) == 0 &&
      load<u32>(s, S_HELD) == 0 &&
      load<u32>(s, S_PROBATION) == 0 &&
      load<f64>(s, S_PROGRESS) < limit
    ) {
      removeStream(g, s);
      any = true;
    }
    s = next;
  }
  return any;
}

// ── A burst.

let sink: u32 = 0;

/**
 * Places the datagrams that cuts [from, cuts) describe, whose records begin at `datagrams`; up to `last` there are
 * more. Returns the number of the first cut not looked at: fewer than all when READY_BYTES of chunks are finished
 * (take them and call again), memory is lent out (give chunks back and call again) or gap events fill their queue.
 */
export function gatherRun(
  g: u32,
  burst: u32,
  datagrams: u32,
  last: u32,
  cutTable: u32,
  from: u32,
  cuts: u32,
): u32 {
  const mode = load<u32>(g, G_MODE);
  const runs = (mode & MODE_LINKED) == 0;
  // Who is told of gaps is told of each that is seen, also of those that close at once.
  const sorts = (mode & (MODE_OFFSET | MODE_ARRIVAL | MODE_EVENTS)) == 0;
  store<u32>(g, 0, G_READY);
  let index = from;
  while (index < cuts && load<u32>(g, G_READY) < <u32>READY_BYTES) {
    const cut = cutTable + index * CUT_BYTES;
    const datagram = datagrams + load<u32>(cut, CUT_DATAGRAM) * DATAGRAM_SIZE;
    if (runs) {
      const peer = (mode & MODE_ANY_PEER) != 0 ? 0 : load<u32>(datagram, DATAGRAM_PEER);
      const s = findStream(g, peer, load<u64>(cut, CUT_STREAM_LOW), load<u64>(cut, CUT_STREAM_HIGH));
      const next = s == 0 ? index : placeRun(g, s, burst, datagrams, last, cutTable, index, cuts);
      if (next != index || (s != 0 && sorts && bringNext(g, s, datagrams, cutTable, index, cuts))) {
        index = next;
        continue;
      }
    }
    let after = index + 1;
    while ((load<u32>(cutTable + (after - 1) * CUT_BYTES, CUT_FLAGS) & CUT_MORE) != 0 && after < cuts)
      after++;
    if (load<u32>(g, G_EVENT_COUNT) + (after - index) + 1 > load<u32>(g, G_EVENT_LIMIT)) return index;
    const ahead = datagram + DATAGRAM_GROUP * DATAGRAM_SIZE;
    if (ahead < last) sink = touch(load<u32>(ahead, DATAGRAM_HEAD));
    if (!placeOne(g, mode, burst, datagram, cut, after - index)) return index;
    index = after;
  }
  return index;
}

function placeOne(g: u32, mode: u32, burst: u32, datagram: u32, cut: u32, cuts: u32): bool {
  const flags = load<u32>(cut, CUT_FLAGS);
  const what = flags & CUT_WHAT;
  if (what == CUT_IS_OTHER) return dropOne(g, burst, datagram, N_OTHER);
  if (what == CUT_IS_MALFORMED) return dropOne(g, burst, datagram, N_MALFORMED);
  const peer = (mode & MODE_ANY_PEER) != 0 ? 0 : load<u32>(datagram, DATAGRAM_PEER);
  const low = load<u64>(cut, CUT_STREAM_LOW);
  const high = load<u64>(cut, CUT_STREAM_HIGH);
  let s = findStream(g, peer, low, high);
  const fresh = s == 0;
  if (what != CUT_IS_DATA) {
    count(g, N_CONTROL, 1);
    count(g, N_CONTROL_BYTES, load<u32>(datagram, DATAGRAM_LENGTH));
    taken(burst, datagram);
    if ((mode & MODE_OFFSET) == 0 || (flags & CUT_HAS_CHUNK) == 0) return true;
    if (fresh) s = addStream(g, peer, low, high, load<u32>(cut, CUT_KIND));
    if (s == 0) return true;
    store<f64>(s, load<f64>(g, G_NOW), S_PROGRESS);
    if (what == CUT_IS_CONTROL) placeControl(g, s, burst, datagram, cut);
    return true;
  }
  if (fresh) {
    s = addStream(g, peer, low, high, load<u32>(cut, CUT_KIND));
    if (s == 0) return dropOne(g, burst, datagram, N_STREAMS);
  }
  store<f64>(s, load<f64>(g, G_NOW), S_PROGRESS);
  if ((mode & MODE_OFFSET) != 0) return placeOffset(g, s, burst, datagram, cut, cuts);
  return placeSequence(g, s, burst, datagram, cut, fresh);
}

/** Accounts for the packets [first, next) of a burst that hold no datagram, by what the scan said of each. Says how many are fragments: those are left. */
export function gatherOthers(g: u32, burst: u32, states: u32, first: u32, next: u32): u32 {
  let fragments: u32 = 0;
  const metas = load<u32>(burst, BURST_METAS);
  for (let packet = first; packet < next; packet++) {
    const state = <u32>load<u8>(states + packet);
    const verdict = metas + (packet << META_SHIFT) + META_VERDICT;
    if (state == SCAN_IS_DATAGRAM || load<u8>(verdict) != VERDICT_PASS) continue;
    if (state == SCAN_IS_FRAGMENT) {
      fragments++;
      continue;
    }
    count(g, state == SCAN_IS_MALFORMED ? N_MALFORMED : N_OTHER, 1);
    store<u8>(verdict, VERDICT_TAKEN);
  }
  return fragments;
}

// ── The end of waiting.

/** Ends the waiting in one stream. False: no memory now. */
function flushStream(g: u32, s: u32): bool {
  if ((load<u32>(g, G_MODE) & (MODE_OFFSET | MODE_ARRIVAL)) == 0 && !flushWindow(g, s)) return false;
  dropProbation(g, s);
  while (load<u32>(s, S_FIRST) != 0) outOldest(g, s);
  return true;
}

/** Ends the waiting where nothing came for the timeout. False: memory is lent out, call again. */
export function gatherTick(g: u32): bool {
  const limit = load<f64>(g, G_NOW) - load<f64>(g, G_TIMEOUT);
  for (let s = load<u32>(g, G_ALL_FIRST); s != 0; s = load<u32>(s, S_NEXT_ALL)) {
    const waits = load<u32>(s, S_OPEN) != 0 || load<u32>(s, S_HELD) != 0 || load<u32>(s, S_PROBATION) != 0;
    if (!waits) continue;
    if (load<f64>(s, S_PROGRESS) <= limit) {
      if (!flushStream(g, s)) return false;
    } else if (
      (load<u32>(s, S_FLAGS) & STREAM_STARTED) == 0 &&
      load<f64>(s, S_BIRTH) <= limit &&
      load<u32>(s, S_HELD) != 0
    ) {
      if (!flushWindow(g, s)) return false;
    }
  }
  return true;
}

/** Ends the waiting everywhere: the source has ended. False: memory is lent out, give chunks back and call again. */
export function gatherFlush(g: u32): bool {
  for (let s = load<u32>(g, G_ALL_FIRST); s != 0; s = load<u32>(s, S_NEXT_ALL))
    if (!flushStream(g, s)) return false;
  return true;
}

/** Takes a finished chunk back, with its memory. */
export function gatherRelease(g: u32, c: u32): void {
  chunkFree(g, c);
  store<u32>(g, load<u32>(g, G_LENT) - 1, G_LENT);
}
