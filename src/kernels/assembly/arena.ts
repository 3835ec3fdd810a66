// Frames: the table that says who owns each, the pool with its magazines, references, and runs.
// One instance serves one worker over one arena: `attach` names both.
import {
  CONTROL_DEPOT_EMPTY,
  CONTROL_DEPOT_FULL,
  CONTROL_FRAME_SHIFT,
  CONTROL_FRAMES,
  CONTROL_MAGAZINES,
  CONTROL_OWNERS,
  CONTROL_POISON,
  CONTROL_POOL_FRAMES,
  CONTROL_RUN_HINTS,
  CONTROL_TABLE,
  MAGAZINE_CAPACITY,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  MAGAZINE_NEXT,
  MAGAZINE_SIZE,
  OWNER_LOADED,
  OWNER_PREVIOUS,
  OWNER_REFERENCES,
  OWNER_SHARED,
  OWNER_SHIFT,
  OWNER_SIZE,
  POISON_BYTE,
  REFERENCE_MASK,
  RUN_HINTS,
} from "../structs";

let control: u32 = 0;
let self: u32 = 0; // this worker's owner number
let selfEntry: u32 = 0; // its entry in the owner table
let references: u32 = 0; // its own counts of shared frames
let table: u32 = 0;
let magazines: u32 = 0;
let poolFrames: u32 = 0;
let poison: u32 = 0;
export let frameShift: u32 = 12;
export let frameMask: u32 = 4095;
export let frames: u32 = 0;

export function attach(controlBlock: u32, worker: u32): void {
  control = controlBlock;
  self = worker;
  selfEntry = load<u32>(control, CONTROL_OWNERS) + worker * OWNER_SIZE;
  references = load<u32>(selfEntry, OWNER_REFERENCES);
  table = load<u32>(control, CONTROL_TABLE);
  magazines = load<u32>(control, CONTROL_MAGAZINES);
  poolFrames = load<u32>(control, CONTROL_POOL_FRAMES);
  poison = load<u32>(control, CONTROL_POISON);
  frameShift = load<u32>(control, CONTROL_FRAME_SHIFT);
  frameMask = (1 << frameShift) - 1;
  frames = load<u32>(control, CONTROL_FRAMES);
}

/** Adds to a u64 counter. */
export function add(at: u32, value: u64): void {
  store<u64>(at, load<u64>(at) + value);
}

export function selfOwner(): u32 {
  return self;
}
export function wordOf(frame: u32): u32 {
  return table + (frame << 2);
}

// ── The depot: two stacks of magazines, linked by number, each head tagged against ABA.

function depotPop(head: u32): u32 {
  while (true) {
    const old = atomic.load<u64>(control + head);
    const number = <u32>old;
    if (number == 0) return 0;
    const next = load<u32>(magazines + number * MAGAZINE_SIZE, MAGAZINE_NEXT);
    const tagged = (((old >> 32) + 1) << 32) | <u64>next;
    if (atomic.cmpxchg<u64>(control + head, old, tagged) == old) return number;
  }
}

function depotPush(head: u32, number: u32): void {
  while (true) {
    const old = atomic.load<u64>(control + head);
    store<u32>(magazines + number * MAGAZINE_SIZE, <u32>old, MAGAZINE_NEXT);
    const tagged = (((old >> 32) + 1) << 32) | <u64>number;
    if (atomic.cmpxchg<u64>(control + head, old, tagged) == old) return;
  }
}

// A worker is terminated only at a call or at a loop's head, so a swap of magazines after a depot
// operation is whole for whoever sweeps up after it.
function refill(): bool {
  const loaded = load<u32>(selfEntry, OWNER_LOADED);
  const previous = load<u32>(selfEntry, OWNER_PREVIOUS);
  if (load<u32>(magazines + previous * MAGAZINE_SIZE, MAGAZINE_COUNT) != 0) {
    store<u32>(selfEntry, previous, OWNER_LOADED);
    store<u32>(selfEntry, loaded, OWNER_PREVIOUS);
    return true;
  }
  const full = depotPop(CONTROL_DEPOT_FULL);
  if (full == 0) return false;
  store<u32>(selfEntry, full, OWNER_LOADED);
  depotPush(CONTROL_DEPOT_EMPTY, loaded);
  return true;
}

/** Another magazine in use instead of one that is full; it has room. */
export function makeRoom(): void {
  const loaded = load<u32>(selfEntry, OWNER_LOADED);
  const previous = load<u32>(selfEntry, OWNER_PREVIOUS);
  if (load<u32>(magazines + previous * MAGAZINE_SIZE, MAGAZINE_COUNT) == 0) {
    store<u32>(selfEntry, previous, OWNER_LOADED);
    store<u32>(selfEntry, loaded, OWNER_PREVIOUS);
    return;
  }
  const empty = depotPop(CONTROL_DEPOT_EMPTY); // there are more magazines than frames can fill: never 0
  store<u32>(selfEntry, empty, OWNER_LOADED);
  depotPush(CONTROL_DEPOT_FULL, loaded);
}

/** Address of a free frame, now this worker's, or 0 when the pool is empty. */
export function takeFrame(): u32 {
  let magazine = magazines + load<u32>(selfEntry, OWNER_LOADED) * MAGAZINE_SIZE;
  let count = load<u32>(magazine, MAGAZINE_COUNT);
  if (count == 0) {
    if (!refill()) return 0;
    magazine = magazines + load<u32>(selfEntry, OWNER_LOADED) * MAGAZINE_SIZE;
    count = load<u32>(magazine, MAGAZINE_COUNT);
  }
  count -= 1;
  const address = load<u32>(magazine + (count << 2), MAGAZINE_ENTRIES);
  // The table first: a worker that dies in between leaves the frame both owned and in its magazine, which
  // the sweep can tell.
  store<u32>(wordOf(address >> frameShift), (self << OWNER_SHIFT) | 1);
  store<u32>(magazine, count, MAGAZINE_COUNT);
  return address;
}

/** Takes up to `count` frames and writes their addresses (u32) to `out`; says how many it got. */
export function takeFrames(out: u32, count: u32): u32 {
  for (let i: u32 = 0; i < count; i++) {
    const address = takeFrame();
    if (address == 0) return i;
    store<u32>(out + (i << 2), address);
  }
  return count;
}

function giveBack(frame: u32): void {
  if (poison != 0) memory.fill(<usize>(frame << frameShift), <u8>POISON_BYTE, <usize>(frameMask + 1));
  if (frame >= poolFrames) {
    atomic.store<u32>(wordOf(frame), 0); // a run's frame is free as soon as its word says so
    return;
  }
  let magazine = magazines + load<u32>(selfEntry, OWNER_LOADED) * MAGAZINE_SIZE;
  let count = load<u32>(magazine, MAGAZINE_COUNT);
  if (count == MAGAZINE_CAPACITY) {
    makeRoom();
    magazine = magazines + load<u32>(selfEntry, OWNER_LOADED) * MAGAZINE_SIZE;
    count = load<u32>(magazine, MAGAZINE_COUNT);
  }
  store<u32>(magazine + (count << 2), frame << frameShift, MAGAZINE_ENTRIES);
  store<u32>(magazine, count + 1, MAGAZINE_COUNT);
  store<u32>(wordOf(frame), 0);
}

// ── Loops that take or give back many frames keep the magazine in use in their own hands for a while.

/** The magazine in use, from which frames may be taken and to which they may be added as long as it lasts. */
export function loadedMagazine(): u32 {
  return magazines + load<u32>(selfEntry, OWNER_LOADED) * MAGAZINE_SIZE;
}

/** Another magazine in use, with frames in it. False: the pool is empty. */
export function nextMagazine(): bool {
  return refill();
}

/** The word of a frame's table entry when this worker alone holds it. */
export function soleWord(): u32 {
  return (self << OWNER_SHIFT) | 1;
}

/** Frames below this that this worker alone holds may go straight into the magazine in use, if that has room. */
export function plainFrames(): u32 {
  return poison == 0 ? poolFrames : 0;
}

/** An empty magazine for a worker that starts. */
export function takeEmptyMagazine(): u32 {
  return depotPop(CONTROL_DEPOT_EMPTY);
}

// ── References. A frame has one holder (owner, 1) or several (OWNER_SHARED, n), and then each holder keeps
// its own count, so that what a dead worker held can be taken back.

/** True when this worker holds a reference to the frame at `address`, alone or with others. */
export function holds(address: u32): bool {
  const frame = address >> frameShift;
  if (frame == 0 || frame >= frames) return false;
  const word = load<u32>(wordOf(frame));
  if (word == ((self << OWNER_SHIFT) | 1)) return true;
  return word >> OWNER_SHIFT == OWNER_SHARED && load<u16>(references + (frame << 1)) != 0;
}

/** True when this worker holds the only reference, so that it may write there. */
export function exclusive(address: u32): bool {
  const frame = address >> frameShift;
  if (frame == 0 || frame >= frames) return false;
  const word = atomic.load<u32>(wordOf(frame));
  if (word == ((self << OWNER_SHIFT) | 1)) return true;
  return word == ((OWNER_SHARED << OWNER_SHIFT) | 1) && load<u16>(references + (frame << 1)) == 1;
}

/** One more reference of this worker's to a frame it holds. False: it does not hold it, or there are too many. */
export function addReference(address: u32): bool {
  const frame = address >> frameShift;
  if (frame == 0 || frame >= frames) return false;
  const at = wordOf(frame);
  const own = references + (frame << 1);
  const word = atomic.load<u32>(at);
  if (word == ((self << OWNER_SHIFT) | 1)) {
    store<u16>(own, 2);
    atomic.store<u32>(at, (OWNER_SHARED << OWNER_SHIFT) | 2);
    return true;
  }
  if (word >> OWNER_SHIFT != OWNER_SHARED || load<u16>(own) == 0) return false;
  if ((word & REFERENCE_MASK) >= <u32>(REFERENCE_MASK - 1024)) return false; // room for every worker to race here
  store<u16>(own, load<u16>(own) + 1);
  atomic.add<u32>(at, 1);
  return true;
}

/** As `count` calls of addReference, at the cost of one. */
export function addReferences(address: u32, count: u32): bool {
  if (count == 0) return holds(address);
  if (!addReference(address)) return false;
  const frame = address >> frameShift;
  if ((atomic.load<u32>(wordOf(frame)) & REFERENCE_MASK) + count >= <u32>(REFERENCE_MASK - 1024)) {
    releaseFrame(address);
    return false;
  }
  const own = references + (frame << 1);
  store<u16>(own, load<u16>(own) + <u16>(count - 1));
  atomic.add<u32>(wordOf(frame), count - 1);
  return true;
}

/** Gives up one reference; the last one frees the frame. False: this worker holds none (a double free, a foreign offset). */
export function releaseFrame(address: u32): bool {
  const frame = address >> frameShift;
  if (frame == 0 || frame >= frames) return false;
  const at = wordOf(frame);
  if (load<u32>(at) == ((self << OWNER_SHIFT) | 1)) {
    giveBack(frame);
    return true;
  }
  const own = references + (frame << 1);
  const held = load<u16>(own);
  if (load<u32>(at) >> OWNER_SHIFT != OWNER_SHARED || held == 0) return false;
  store<u16>(own, held - 1);
  if ((atomic.sub<u32>(at, 1) & REFERENCE_MASK) == 1) {
    store<u32>(at, (self << OWNER_SHIFT) | 1);
    giveBack(frame);
  }
  return true;
}

/** Gives up `count` references to a frame at once. False: this worker holds fewer; what it holds is given up. */
export function releaseReferences(frame: u32, count: u32): bool {
  const at = wordOf(frame);
  const own = references + (frame << 1);
  if (
    frame == 0 ||
    frame >= frames ||
    load<u32>(at) >> OWNER_SHIFT != OWNER_SHARED ||
    load<u16>(own) < count
  ) {
    let whole = true;
    for (let i: u32 = 0; i < count; i++) whole = releaseFrame(frame << frameShift) && whole;
    return whole;
  }
  store<u16>(own, load<u16>(own) - <u16>count);
  if ((atomic.sub<u32>(at, count) & REFERENCE_MASK) == count) {
    store<u32>(at, (self << OWNER_SHIFT) | 1);
    giveBack(frame);
  }
  return true;
}

/**
 * Hands one reference from the holder `from` to the holder `to`. Only the worker itself and rings that belong
 * to it may stand on either side. A ring without counts of its own (a link) records shared frames by its entries.
 */
export function moveFrame(frame: u32, from: u32, to: u32): bool {
  const at = wordOf(frame);
  if (load<u32>(at) == ((from << OWNER_SHIFT) | 1)) {
    store<u32>(at, (to << OWNER_SHIFT) | 1);
    return true;
  }
  return moveShared(frame, from, to, 1);
}

/** The same for `count` references to a frame that is shared; false where it is not, or `from` has fewer. */
export function moveShared(frame: u32, from: u32, to: u32, count: u32): bool {
  if (load<u32>(wordOf(frame)) >> OWNER_SHIFT != OWNER_SHARED) return false;
  const owners = load<u32>(control, CONTROL_OWNERS);
  const source = load<u32>(owners + from * OWNER_SIZE, OWNER_REFERENCES);
  if (source != 0) {
    const held = <u32>load<u16>(source + (frame << 1));
    if (held < count) return false;
    store<u16>(source + (frame << 1), <u16>(held - count));
  }
  const target = load<u32>(owners + to * OWNER_SIZE, OWNER_REFERENCES);
  if (target != 0) store<u16>(target + (frame << 1), load<u16>(target + (frame << 1)) + <u16>count);
  return true;
}

/** How many references to a frame that is shared `owner`, which keeps counts, holds. */
export function sharesOf(frame: u32, owner: u32): u32 {
  if (load<u32>(wordOf(frame)) >> OWNER_SHIFT != OWNER_SHARED) return 0;
  const counts = load<u32>(load<u32>(control, CONTROL_OWNERS) + owner * OWNER_SIZE, OWNER_REFERENCES);
  return load<u16>(counts + (frame << 1));
}

// ── Runs: adjacent words of a table claimed together, frames and region pages alike.

/** Claims `count` adjacent free words of `words`[from, to), stores `word` in each; index of the first, or -1. */
export function claimRun(words: u32, from: u32, to: u32, hint: u32, count: u32, word: u32): i32 {
  if (count == 0 || to - from < count) return -1;
  let start: u32 = load<u32>(hint);
  if (start < from || start >= to) start = from;
  let at = start;
  let seen: u32 = 0; // words looked at, so that the search ends after one round
  const all = to - from + count;
  while (seen < all) {
    if (at + count > to) {
      seen += to - at;
      at = from;
      continue;
    }
    let got: u32 = 0;
    for (; got < count; got++) {
      const place = words + ((at + got) << 2);
      // A look first: most words on the way to a free stretch are taken, and an exchange costs ten times as much.
      if (atomic.load<u32>(place) != 0 || atomic.cmpxchg<u32>(place, 0, word) != 0) break;
    }
    if (got == count) {
      store<u32>(hint, at + count);
      return at;
    }
    for (let i: u32 = 0; i < got; i++) atomic.store<u32>(words + ((at + i) << 2), 0);
    seen += got + 1;
    at += got + 1;
  }
  return -1;
}

// ── Sweeping up after a worker that is gone. Only the main thread calls these, when nothing of it runs any more.

/** Frees what owner `gone` held: exclusive frames, its shares of shared ones, its magazines. Says how many frames came back. */
export function sweepOwner(gone: u32): u32 {
  const entry = load<u32>(control, CONTROL_OWNERS) + gone * OWNER_SIZE;
  const freed: u32 = 0;
  for (let which: u32 = 0; which < 2; which++) {
    const slot = entry + (which == 0 ? OWNER_LOADED : OWNER_PREVIOUS);
    const number = load<u32>(slot);
    if (number == 0) continue;
    const magazine = magazines + number * MAGAZINE_SIZE;
    const count = load<u32>(magazine, MAGAZINE_COUNT);
    for (let i: u32 = 0; i < count; i++)
      store<u32>(wordOf(load<u32>(magazine + (i << 2), MAGAZINE_ENTRIES) >> frameShift), 0);
    depotPush(count == 0 ? CONTROL_DEPOT_EMPTY : CONTROL_DEPOT_FULL, number);
    store<u32>(slot, 0);
  }
  return freed + sweepFrames(gone);
}

/** Frees the frames that `gone` (a worker or a ring) owns or holds a share of. */
export function sweepFrames(gone: u32): u32 {
  const counts = load<u32>(load<u32>(control, CONTROL_OWNERS) + gone * OWNER_SIZE, OWNER_REFERENCES);
  let freed: u32 = 0;
  for (let frame: u32 = 1; frame < frames; frame++) {
    const at = wordOf(frame);
    const word = load<u32>(at);
    if (word == 0) continue;
    if (word >> OWNER_SHIFT == gone) {
      giveBack(frame);
      freed++;
    } else if (counts != 0 && word >> OWNER_SHIFT == OWNER_SHARED) {
      const held = <u32>load<u16>(counts + (frame << 1));
      if (held == 0) continue;
      store<u16>(counts + (frame << 1), 0);
      if ((atomic.sub<u32>(at, held) & REFERENCE_MASK) == held) {
        giveBack(frame);
        freed++;
      }
    }
  }
  return freed;
}

/** Gives up one reference recorded by an entry of the ring `owner`, which is being torn down. */
export function releaseFrom(address: u32, owner: u32): void {
  const frame = address >> frameShift;
  if (frame == 0 || frame >= frames) return;
  const at = wordOf(frame);
  const word = load<u32>(at);
  if (word == ((owner << OWNER_SHIFT) | 1)) giveBack(frame);
  else if (word >> OWNER_SHIFT == OWNER_SHARED && (atomic.sub<u32>(at, 1) & REFERENCE_MASK) == 1)
    giveBack(frame);
}

/** Counts frames by owner: adds one to the u32 at `out` + 4 * owner for each frame (0: free). */
export function census(out: u32): void {
  for (let frame: u32 = 1; frame < frames; frame++) {
    const at = out + ((load<u32>(wordOf(frame)) >> OWNER_SHIFT) << 2);
    store<u32>(at, load<u32>(at) + 1);
  }
}

// ── Runs of adjacent frames, for chunks and blocks.

/** Address of `count` adjacent frames, this worker's, or 0 when there is no such stretch. */
export function claimFrames(count: u32): u32 {
  const first = claimRun(
    table,
    poolFrames,
    frames,
    control + CONTROL_RUN_HINTS + ((min<u32>(max<u32>(count, 1), RUN_HINTS) - 1) << 2),
    count,
    (self << OWNER_SHIFT) | 1,
  );
  return first < 0 ? 0 : (<u32>first) << frameShift;
}

/** Claims one frame of the runs' for `owner`. False: it is not free. */
export function claimFrame(address: u32, owner: u32): bool {
  return atomic.cmpxchg<u32>(wordOf(address >> frameShift), 0, (owner << OWNER_SHIFT) | 1) == 0;
}

/** Gives up one reference to each of `count` adjacent frames. False: one of them was not this worker's. */
export function releaseFrames(address: u32, count: u32): bool {
  const sole = soleWord();
  const first = address >> frameShift;
  // Frames of runs that nobody shares need no more than their words cleared, behind one barrier (any atomic addition
  // is one): whoever claims them finds all done that was done in them.
  const plain = poison == 0 && first >= poolFrames && first < frames && count <= frames - first;
  if (plain) atomic.add<u32>(control + CONTROL_RUN_HINTS, 0);
  let whole = true;
  for (let i: u32 = 0; i < count; i++) {
    const at = wordOf(first + i);
    if (plain && load<u32>(at) == sole) store<u32>(at, 0);
    else whole = releaseFrame(address + (i << frameShift)) && whole;
  }
  if (first >= poolFrames) lowerHints(first, min<u32>(first + count, frames));
  return whole;
}

/**
 * Frames [first, end) are free: the next run that fits there is looked for there, so that low memory stays warm, and
 * the rest untouched. Lengths for which there is no room, with the free frames on both sides, go on where they were:
 * ten thousand chunks that each give their last frame back must not be walked over one by one. Hints, so a race over
 * them does no harm.
 */
function lowerHints(first: u32, end: u32): void {
  while (end - first < <u32>RUN_HINTS && first > poolFrames && load<u32>(wordOf(first - 1)) == 0) first--;
  while (end - first < <u32>RUN_HINTS && end < frames && load<u32>(wordOf(end)) == 0) end++;
  let at = control + CONTROL_RUN_HINTS;
  const last = at + (min<u32>(end - first, RUN_HINTS) << 2);
  const firsts = i32x4.splat(first);
  for (; at + 16 <= last; at += 16) v128.store(at, i32x4.min_u(v128.load(at), firsts));
  for (; at < last; at += 4) if (load<u32>(at) > first) store<u32>(at, first);
}

/** True when nobody else holds any of `count` adjacent frames of this worker's. */
export function alone(address: u32, count: u32): bool {
  for (let i: u32 = 0; i < count; i++) if (!exclusive(address + (i << frameShift))) return false;
  return true;
}
