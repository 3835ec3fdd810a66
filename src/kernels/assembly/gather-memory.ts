// Memory of gather: lists in frames, chunks and what they hold.
import {
  C_ADDRESS,
  C_CAPACITY,
  C_DATAGRAMS,
  C_EXPECTED,
  C_FLAGS,
  C_HEADS,
  C_HIGH,
  C_LENGTH,
  C_LOW,
  C_MISSING,
  C_NEXT,
  C_PACKETS,
  C_PEER,
  C_RANGES,
  C_STREAM,
  CHUNK_LINKED,
  CHUNK_OVERRUN,
  CHUNK_SIZED,
  G_BYTES,
  G_CHUNK_FREE,
  G_CHUNK_SIZE,
  G_COUNTERS,
  G_MAX_BYTES,
  G_MODE,
  LIST_ADDRESS,
  LIST_CAPACITY,
  LIST_COUNT,
  MODE_LINKED,
  N_HELD,
  N_MOVED,
  RANGE_ADDRESS,
  RANGE_SIZE,
  S_HIGH,
  S_LAST_LENGTH,
  S_LOW,
  S_PEER,
} from "../gather-structs";
import { claimFrames, frameMask, frameShift, releaseFrame, releaseFrames } from "./arena";

export function count(g: u32, which: u32, by: u64): void {
  const at = g + G_COUNTERS + (which << 3);
  store<u64>(at, load<u64>(at) + by);
}

// ── Frames within the bound of --max-bytes.

export function framesOf(bytes: u32): u32 {
  return (bytes >> frameShift) + ((bytes & frameMask) != 0 ? 1 : 0);
}

/** Memory of at least `bytes`, in whole frames; 0: beyond the bound, or none that is contiguous. */
export function claim(g: u32, bytes: u32): u32 {
  const rounded = framesOf(bytes) << frameShift;
  const used = load<u32>(g, G_BYTES);
  const most = load<u32>(g, G_MAX_BYTES);
  if (rounded > most || used > most - rounded) return 0;
  const address = claimFrames(framesOf(bytes));
  if (address != 0) store<u32>(g, used + rounded, G_BYTES);
  return address;
}

export function unclaim(g: u32, address: u32, bytes: u32): void {
  if (address == 0) return;
  releaseFrames(address, framesOf(bytes));
  store<u32>(g, load<u32>(g, G_BYTES) - (framesOf(bytes) << frameShift), G_BYTES);
}

// ── Lists.

export function listAt(list: u32, index: u32): u32 {
  return load<u32>(list, LIST_ADDRESS) + index * RANGE_SIZE;
}

/** Makes room for `more` entries. False: no memory. */
export function listRoom(g: u32, list: u32, more: u32): bool {
  const length = load<u32>(list, LIST_COUNT);
  const capacity = load<u32>(list, LIST_CAPACITY);
  if (length + more <= capacity) return true;
  let bytes = capacity == 0 ? frameMask + 1 : capacity * RANGE_SIZE * 2;
  while (bytes < (length + more) * RANGE_SIZE) bytes *= 2;
  const grown = claim(g, bytes);
  if (grown == 0) return false;
  const old = load<u32>(list, LIST_ADDRESS);
  if (old != 0) memory.copy(<usize>grown, <usize>old, <usize>(length * RANGE_SIZE));
  unclaim(g, old, capacity * RANGE_SIZE);
  store<u32>(list, grown, LIST_ADDRESS);
  store<u32>(list, bytes / RANGE_SIZE, LIST_CAPACITY);
  return true;
}

/** Makes room for one entry at `index` and counts it; its offset, or 0 when there is no memory. */
export function listInsert(g: u32, list: u32, index: u32): u32 {
  if (!listRoom(g, list, 1)) return 0;
  const length = load<u32>(list, LIST_COUNT);
  const at = listAt(list, index);
  if (index < length)
    memory.copy(<usize>(at + RANGE_SIZE), <usize>at, <usize>((length - index) * RANGE_SIZE));
  store<u32>(list, length + 1, LIST_COUNT);
  return at;
}

export function listRemove(list: u32, index: u32): void {
  const length = load<u32>(list, LIST_COUNT) - 1;
  const at = listAt(list, index);
  memory.copy(<usize>at, <usize>(at + RANGE_SIZE), <usize>((length - index) * RANGE_SIZE));
  store<u32>(list, length, LIST_COUNT);
}

function listFree(g: u32, list: u32): void {
  unclaim(g, load<u32>(list, LIST_ADDRESS), load<u32>(list, LIST_CAPACITY) * RANGE_SIZE);
  store<u32>(list, 0, LIST_ADDRESS);
  store<u32>(list, 0, LIST_CAPACITY);
  store<u32>(list, 0, LIST_COUNT);
}

/** Adds `first` (u64, in the entry's first half) and `length` (u64) to a list of what is missing. */
export function listMissing(g: u32, list: u32, first: u64, length: u64): void {
  const last = load<u32>(list, LIST_COUNT);
  if (last != 0) {
    const before = listAt(list, last - 1);
    if (load<u64>(before) + load<u64>(before, 8) == first) {
      store<u64>(before, load<u64>(before, 8) + length, 8);
      return;
    }
  }
  const at = listInsert(g, list, last);
  if (at == 0) return; // the chunk is incomplete all the same, and the counters have it
  store<u64>(at, first);
  store<u64>(at, length, 8);
}

// ── Chunks.

/** A fresh chunk of stream `s`, not yet in its order; 0: all are in use. */
export function chunkTake(g: u32, s: u32): u32 {
  const c = load<u32>(g, G_CHUNK_FREE);
  if (c == 0) return 0;
  store<u32>(g, load<u32>(c, C_NEXT), G_CHUNK_FREE);
  memory.fill(<usize>c, 0, <usize>(C_HEADS + 4));
  store<u32>(c, 0, C_DATAGRAMS);
  store<u32>(c, s, C_STREAM);
  store<u32>(c, load<u32>(s, S_PEER), C_PEER);
  store<u64>(c, load<u64>(s, S_LOW), C_LOW);
  store<u64>(c, load<u64>(s, S_HIGH), C_HIGH);
  if ((load<u32>(g, G_MODE) & MODE_LINKED) != 0) store<u32>(c, CHUNK_LINKED, C_FLAGS);
  return c;
}

/** Makes sure that the chunk has memory up to `end`. False: there is none. */
export function chunkReserve(g: u32, c: u32, end: u32): bool {
  const capacity = load<u32>(c, C_CAPACITY);
  if (end <= capacity) return true;
  const s = load<u32>(c, C_STREAM);
  const exact = (load<u32>(c, C_FLAGS) & CHUNK_SIZED) != 0 && load<u32>(c, C_EXPECTED) >= end;
  const size = load<u32>(g, G_CHUNK_SIZE);
  let wanted: u32 = exact
    ? load<u32>(c, C_EXPECTED)
    : max<u32>(end, capacity == 0 ? load<u32>(s, S_LAST_LENGTH) : capacity * 2);
  if (!exact && size != 0 && end <= size)
    wanted = min<u32>(max<u32>(wanted, capacity == 0 ? min<u32>(size, 65536) : wanted), size);
  let address = claim(g, wanted);
  if (address == 0 && wanted > end) {
    wanted = end;
    address = claim(g, wanted);
  }
  if (address == 0) return false;
  const old = load<u32>(c, C_ADDRESS);
  if (old != 0) {
    const length = load<u32>(c, C_LENGTH);
    memory.copy(<usize>address, <usize>old, <usize>length);
    count(g, N_MOVED, length);
    unclaim(g, old, capacity);
  }
  store<u32>(c, address, C_ADDRESS);
  store<u32>(c, framesOf(wanted) << frameShift, C_CAPACITY);
  return true;
}

/** Frees what the chunk holds; the record itself stays. */
function chunkEmpty(g: u32, c: u32): void {
  unclaim(g, load<u32>(c, C_ADDRESS), load<u32>(c, C_CAPACITY));
  store<u32>(c, 0, C_ADDRESS);
  store<u32>(c, 0, C_CAPACITY);
  if ((load<u32>(c, C_FLAGS) & CHUNK_LINKED) != 0) {
    const pieces = load<u32>(c + C_RANGES, LIST_COUNT);
    for (let i: u32 = 0; i < pieces; i++) {
      releaseFrame(load<u32>(listAt(c + C_RANGES, i), RANGE_ADDRESS));
      store<u32>(g, load<u32>(g, G_BYTES) - (frameMask + 1), G_BYTES);
    }
  }
  listFree(g, c + C_RANGES);
  listFree(g, c + C_MISSING);
}

/** Gives a chunk back altogether. */
export function chunkFree(g: u32, c: u32): void {
  chunkEmpty(g, c);
  store<u32>(c, load<u32>(g, G_CHUNK_FREE), C_NEXT);
  store<u32>(g, c, G_CHUNK_FREE);
}

/** Drops the chunk under way for lack of memory: it swallows what still comes for it. */
export function chunkOverrun(g: u32, c: u32, reason: u32): void {
  const packets = load<u32>(c, C_PACKETS);
  count(g, reason, packets);
  count(g, N_HELD, -(<i64>packets));
  chunkEmpty(g, c);
  store<u32>(c, 0, C_PACKETS);
  store<u32>(c, load<u32>(c, C_FLAGS) | CHUNK_OVERRUN, C_FLAGS);
}
