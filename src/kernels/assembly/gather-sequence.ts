// Placement by sequence: a window of datagrams a stream, delivered in order into the chunk under way.

import {
  C_ADDRESS,
  C_FLAGS,
  C_ID,
  C_LENGTH,
  C_MISSING,
  C_PACKETS,
  C_RANGES,
  C_RECEIVED,
  CHUNK_DONE,
  E_CHUNK,
  E_COUNT,
  E_FIRST,
  E_SIZE,
  E_STREAM,
  E_UNIT,
  G_BYTES,
  G_CHUNK_SIZE,
  G_EVENT_COUNT,
  G_EVENT_LIMIT,
  G_EVENTS,
  G_LENT,
  G_MODE,
  G_SEQUENCE_MASK,
  G_WINDOW,
  H_CHANGED,
  H_FLAGS,
  H_HEAD,
  H_HEAD_KIND,
  H_HEAD_LENGTH,
  H_NANOSECONDS,
  H_NEXT,
  H_PIECE,
  H_PIECES,
  H_SECONDS,
  LIST_COUNT,
  MODE_ARRIVAL,
  MODE_EVENTS,
  MODE_HAS_END,
  MODE_LINKED,
  MODE_LIVE,
  N_COPIED,
  N_DATA,
  N_DATA_BYTES,
  N_DUPLICATE,
  N_GAP_DATAGRAMS,
  N_HELD,
  N_LATE,
  N_MEMORY,
  N_OUTPUT,
  N_REORDERED,
  N_RESYNC,
  S_CHANGED,
  S_CHUNKS,
  S_FIRST,
  S_FLAGS,
  S_HELD,
  S_LAST,
  S_NEXT,
  S_OPEN,
  S_PENDING_FIRST,
  S_PENDING_LOST,
  S_PROBATION,
  S_PROBATION_NEXT,
  S_RESUME,
  S_TOP,
  S_WINDOW,
  SLOT_DELIVERED,
  SLOT_EMPTY,
  SLOT_LOST,
  STREAM_HAS_CHANGED,
  STREAM_SKIP,
  STREAM_STARTED,
} from "../gather-structs";
import {
  CUT_CHANGED,
  CUT_CHUNK,
  CUT_DATA,
  CUT_END,
  CUT_FIELDS,
  CUT_FLAGS,
  CUT_HAS_CHANGED,
  CUT_HAS_CHUNK,
  CUT_KIND,
  CUT_LENGTH,
  CUT_POSITION,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
} from "../structs";
import { addReference, frameMask } from "./arena";
import { chunkOverrun, chunkReserve, chunkTake, count, listMissing, listRoom } from "./gather-memory";
import { outOldest } from "./gather-out";
import {
  copyData,
  copyIn,
  heldLength,
  heldPieces,
  hold,
  keepHead,
  letGo,
  letGoRest,
  linkPiece,
  nanosecondsOf,
  secondsOf,
  stamp,
  taken,
} from "./gather-pieces";

/** Tells that something is missing, as soon as it is seen. */
export function gapEvent(g: u32, s: u32, unit: u32, chunk: u64, first: u64, length: u64): void {
  if ((load<u32>(g, G_MODE) & MODE_EVENTS) == 0) return;
  const events = load<u32>(g, G_EVENT_COUNT);
  if (events == load<u32>(g, G_EVENT_LIMIT)) return; // TypeScript takes them after each burst; a burst has room
  const at = load<u32>(g, G_EVENTS) + events * E_SIZE;
  store<u32>(at, s, E_STREAM);
  store<u32>(at, unit, E_UNIT);
  store<u64>(at, chunk, E_CHUNK);
  store<u64>(at, first, E_FIRST);
  store<u64>(at, length, E_COUNT);
  store<u32>(g, events + 1, G_EVENT_COUNT);
}

function slotOf(g: u32, s: u32, sequence: u64): u32 {
  return load<u32>(s, S_WINDOW) + ((<u32>sequence & (2 * load<u32>(g, G_WINDOW) - 1)) << 2);
}

/** Ends the stream's chunk under way. */
function endChunk(g: u32, s: u32): void {
  outOldest(g, s);
}

/** The chunk under way, begun if there is none; 0: no memory for one. */
function chunkUnderWay(g: u32, s: u32, id: u64, hasId: bool): u32 {
  let c = load<u32>(s, S_FIRST);
  if (c != 0) return c;
  c = chunkTake(g, s);
  if (c == 0) return 0;
  const number = load<u64>(s, S_CHUNKS);
  store<u64>(c, hasId ? id : number, C_ID);
  store<u64>(s, number + 1, S_CHUNKS);
  store<u32>(s, c, S_FIRST);
  store<u32>(s, c, S_LAST);
  store<u32>(s, 1, S_OPEN);
  const lost = load<u32>(s, S_PENDING_LOST);
  if (lost != 0) {
    listMissing(g, c + C_MISSING, load<u64>(s, S_PENDING_FIRST), lost);
    store<u32>(s, 0, S_PENDING_LOST);
  }
  return c;
}

/** No memory: true where the datagram is dropped with its chunk, false where the engine should wait. */
function dropOrWait(g: u32, s: u32): bool {
  const lent = load<u32>(g, G_LENT);
  if (lent != 0 && (load<u32>(g, G_MODE) & MODE_LIVE) == 0) return false;
  const reason = lent != 0 ? N_OUTPUT : N_MEMORY;
  const c = load<u32>(s, S_FIRST);
  if (c != 0) {
    chunkOverrun(g, c, reason);
    store<u32>(c, load<u32>(c, C_FLAGS) | CHUNK_DONE, C_FLAGS);
    endChunk(g, s);
  }
  store<u32>(s, 0, S_RESUME);
  // What is still to come of this chunk goes with it, where its end can be told.
  if ((load<u32>(g, G_MODE) & MODE_HAS_END) != 0) store<u32>(s, load<u32>(s, S_FLAGS) | STREAM_SKIP, S_FLAGS);
  count(g, reason, 1);
  return true;
}

/** Links or copies bytes [from, from + length) of a record chain into the chunk at its end. False: no memory. */
function appendRecord(g: u32, c: u32, record: u32, from: u32, length: u32): bool {
  const linked = (load<u32>(g, G_MODE) & MODE_LINKED) != 0;
  if (linked && !listRoom(g, c + C_RANGES, heldPieces(record))) return false;
  if (!linked) count(g, N_COPIED, length);
  let at = load<u32>(c, C_LENGTH);
  for (; record != 0 && length != 0; record = load<u32>(record, H_NEXT)) {
    const pieces = load<u32>(record, H_PIECES);
    for (let i: u32 = 0; i < pieces && length != 0; i++) {
      let address = load<u32>(record + (i << 3), H_PIECE);
      let size = load<u32>(record + (i << 3), H_PIECE + 4);
      if (from >= size) {
        from -= size;
        continue;
      }
      // The rest of a piece whose first part went into the chunk before needs a reference of its own.
      if (linked && from != 0) {
        if (!addReference(address)) return false;
        store<u32>(g, load<u32>(g, G_BYTES) + frameMask + 1, G_BYTES);
      }
      address += from;
      size = min<u32>(size - from, length);
      from = 0;
      if (linked) linkPiece(g, c, load<u32>(c + C_RANGES, LIST_COUNT), at, address, size);
      else copyIn(load<u32>(g, G_MODE), c, at, load<u32>(c, C_ADDRESS) + at, address, size);
      at += size;
      length -= size;
    }
  }
  return true;
}

/**
 * Delivers the datagram that is next in order: from a record chain, or straight from the burst when `record`
 * is 0. False: no memory now; nothing has changed but S_RESUME, and the same call may be made again.
 */
function deliver(g: u32, s: u32, burst: u32, datagram: u32, cut: u32, record: u32): bool {
  const flags = record != 0 ? load<u32>(record, H_FLAGS) : load<u32>(cut, CUT_FLAGS);
  const changed = record != 0 ? load<u64>(record, H_CHANGED) : load<u64>(cut, CUT_CHANGED);
  if ((flags & CUT_HAS_CHANGED) != 0 && load<u32>(s, S_RESUME) == 0) {
    const known = (load<u32>(s, S_FLAGS) & STREAM_HAS_CHANGED) != 0;
    if (known && load<u64>(s, S_CHANGED) != changed) {
      endChunk(g, s);
      store<u32>(s, load<u32>(s, S_FLAGS) & ~STREAM_SKIP, S_FLAGS);
    }
    store<u64>(s, changed, S_CHANGED);
    store<u32>(s, load<u32>(s, S_FLAGS) | STREAM_HAS_CHANGED, S_FLAGS);
  }
  if ((load<u32>(s, S_FLAGS) & STREAM_SKIP) != 0) {
    if ((flags & CUT_END) != 0) store<u32>(s, load<u32>(s, S_FLAGS) & ~STREAM_SKIP, S_FLAGS);
    count(g, N_OUTPUT, 1);
    if (record != 0) {
      letGo(g, record, true);
      count(g, N_HELD, <u64>-1);
    } else taken(burst, datagram);
    return true;
  }
  const length = record != 0 ? heldLength(record) : load<u32>(cut, CUT_LENGTH);
  const size = load<u32>(g, G_CHUNK_SIZE);
  const linked = (load<u32>(g, G_MODE) & MODE_LINKED) != 0;
  let chain = record;
  if (linked && record == 0) {
    chain = holdDatagram(g, burst, datagram, cut);
    if (chain == 0) {
      if (!dropOrWait(g, s)) return false;
      taken(burst, datagram);
      return true;
    }
    count(g, N_HELD, 1);
  }
  let done = load<u32>(s, S_RESUME);
  do {
    const c = chunkUnderWay(
      g,
      s,
      record != 0 ? 0 : load<u64>(cut, CUT_CHUNK),
      record == 0 && (flags & CUT_HAS_CHUNK) != 0,
    );
    const at = c == 0 ? 0 : load<u32>(c, C_LENGTH);
    const part = size == 0 ? length - done : min<u32>(size - at, length - done);
    let fits = c != 0 && <u64>at + part <= <u64>0xffffffff;
    if (fits && !linked) fits = chunkReserve(g, c, at + part);
    if (fits && chain != 0) fits = appendRecord(g, c, chain, done, part);
    if (!fits) {
      store<u32>(s, done, S_RESUME);
      if (linked && record == 0) return dropChain(g, s, chain, done);
      if (!dropOrWait(g, s)) return false;
      if (record != 0) {
        if (linked) letGoRest(g, record, done);
        else letGo(g, record, true);
        count(g, N_HELD, <u64>-1);
      } else taken(burst, datagram);
      return true;
    }
    if (chain == 0)
      copyData(
        g,
        c,
        at,
        load<u32>(c, C_ADDRESS) + at,
        burst,
        datagram,
        load<u32>(cut, CUT_DATA) + done,
        part,
      );
    done += part;
    store<u32>(c, at + part, C_LENGTH);
    store<u32>(c, load<u32>(c, C_RECEIVED) + part, C_RECEIVED);
    if (chain != 0) stamp(c, load<f64>(chain, H_SECONDS), load<u32>(chain, H_NANOSECONDS));
    else stamp(c, secondsOf(g, burst, datagram), nanosecondsOf(g, burst, datagram));
    if ((flags & CUT_FIELDS) != 0) {
      if (chain == 0)
        keepHead(
          c,
          load<u32>(cut, CUT_KIND),
          load<u32>(datagram, DATAGRAM_HEAD),
          load<u32>(datagram, DATAGRAM_HEAD_LENGTH),
        );
      else if (load<u32>(chain, H_HEAD) != 0)
        keepHead(c, load<u16>(chain, H_HEAD_KIND), load<u32>(chain, H_HEAD), load<u16>(chain, H_HEAD_LENGTH));
    }
    if (done == length) store<u32>(c, load<u32>(c, C_PACKETS) + 1, C_PACKETS);
    if ((size != 0 && at + part == size) || (done == length && (flags & CUT_END) != 0)) endChunk(g, s);
  } while (done < length);
  store<u32>(s, 0, S_RESUME);
  if (chain != 0) letGo(g, chain, !linked);
  if (record == 0 && chain == 0) {
    count(g, N_HELD, 1);
    taken(burst, datagram);
  }
  return true;
}

// A linked datagram whose frames are already out of the burst cannot wait there: it is dropped.
function dropChain(g: u32, s: u32, chain: u32, done: u32): bool {
  const c = load<u32>(s, S_FIRST);
  if (c != 0) {
    chunkOverrun(g, c, N_MEMORY);
    store<u32>(c, load<u32>(c, C_FLAGS) | CHUNK_DONE, C_FLAGS);
    endChunk(g, s);
  }
  store<u32>(s, 0, S_RESUME);
  letGoRest(g, chain, done);
  count(g, N_HELD, <u64>-1);
  count(g, N_MEMORY, 1);
  return true;
}

function holdDatagram(g: u32, burst: u32, datagram: u32, cut: u32): u32 {
  const record = hold(g, burst, datagram, load<u32>(cut, CUT_DATA), load<u32>(cut, CUT_LENGTH), true);
  if (record == 0) return 0;
  store<u32>(record, load<u32>(cut, CUT_FLAGS), H_FLAGS);
  store<u64>(record, load<u64>(cut, CUT_CHANGED), H_CHANGED);
  store<f64>(record, secondsOf(g, burst, datagram), H_SECONDS);
  store<u32>(record, nanosecondsOf(g, burst, datagram), H_NANOSECONDS);
  // The head lies before the data in the first piece's frame, if in any that was kept.
  const head = load<u32>(datagram, DATAGRAM_HEAD);
  const kept =
    load<u32>(record, H_PIECES) != 0 && head + load<u32>(cut, CUT_DATA) == load<u32>(record, H_PIECE);
  store<u32>(record, kept ? head : 0, H_HEAD);
  store<u16>(record, load<u32>(datagram, DATAGRAM_HEAD_LENGTH), H_HEAD_LENGTH);
  store<u16>(record, load<u32>(cut, CUT_KIND), H_HEAD_KIND);
  return record;
}

/** Moves the window on by one: delivers what is held there, or gives it up as lost. False: no memory now. */
function moveOn(g: u32, s: u32): bool {
  const next = load<u64>(s, S_NEXT);
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  const slot = slotOf(g, s, next);
  const record = load<u32>(slot);
  if (record > <u32>SLOT_LOST) {
    if (!deliver(g, s, 0, 0, 0, record)) return false;
    store<u32>(slot, SLOT_DELIVERED);
    store<u32>(s, load<u32>(s, S_HELD) - 1, S_HELD);
  } else {
    store<u32>(slot, SLOT_LOST);
    count(g, N_GAP_DATAGRAMS, 1);
    const c = load<u32>(s, S_FIRST);
    if (c != 0) listMissing(g, c + C_MISSING, next, 1);
    else {
      if (load<u32>(s, S_PENDING_LOST) == 0) store<u64>(s, next, S_PENDING_FIRST);
      store<u32>(s, load<u32>(s, S_PENDING_LOST) + 1, S_PENDING_LOST);
    }
  }
  // The slot one window ahead held the oldest number of the past: it is the future's now.
  clearSlot(slotOf(g, s, next + load<u32>(g, G_WINDOW)));
  store<u64>(s, (next + 1) & mask, S_NEXT);
  return true;
}

// In a stream's first window a record may lie there already: it stays.
function clearSlot(slot: u32): void {
  if (load<u32>(slot) <= <u32>SLOT_LOST) store<u32>(slot, SLOT_EMPTY);
}

/** Delivers what is held and next in order. */
function drain(g: u32, s: u32): bool {
  while (load<u32>(s, S_HELD) != 0 && load<u32>(slotOf(g, s, load<u64>(s, S_NEXT))) > <u32>SLOT_LOST)
    if (!moveOn(g, s)) return false;
  return true;
}

/** Ends the waiting in a stream's window: everything held is delivered, what is not there is lost. */
export function flushWindow(g: u32, s: u32): bool {
  if ((load<u32>(s, S_FLAGS) & STREAM_STARTED) == 0) settle(g, s);
  while (load<u32>(s, S_HELD) != 0) if (!moveOn(g, s)) return false;
  return true;
}

/** The stream's first window is over: its lowest number is where the stream begins. */
function settle(g: u32, s: u32): void {
  store<u32>(s, load<u32>(s, S_FLAGS) | STREAM_STARTED, S_FLAGS);
  if (load<u32>(s, S_HELD) == 0) return;
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  let next = load<u64>(s, S_NEXT);
  while (load<u32>(slotOf(g, s, next)) <= <u32>SLOT_LOST) {
    store<u32>(slotOf(g, s, next), SLOT_LOST);
    next = (next + 1) & mask;
  }
  store<u64>(s, next, S_NEXT);
  // Numbers from one window behind to the start count as past, those up to one window ahead are open.
  const window = load<u32>(g, G_WINDOW);
  for (let i: u32 = 1; i <= window; i++) {
    const slot = slotOf(g, s, next - i);
    if (load<u32>(slot) <= <u32>SLOT_LOST) store<u32>(slot, SLOT_LOST);
  }
}

/** Begins a stream, or begins it anew after a jump, at `sequence`. */
function begin(g: u32, s: u32, sequence: u64, started: bool): void {
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  const window = load<u32>(g, G_WINDOW);
  memory.fill(<usize>load<u32>(s, S_WINDOW), 0, <usize>(window << 3));
  store<u64>(s, (started ? sequence : sequence - window) & mask, S_NEXT);
  store<u64>(s, sequence, S_TOP);
  if (started) for (let i: u32 = 1; i <= window; i++) store<u32>(slotOf(g, s, sequence - i), SLOT_LOST);
}

/** Places one datagram by its sequence number. False: no memory now, call again with the same. */
export function placeSequence(g: u32, s: u32, burst: u32, datagram: u32, cut: u32, fresh: bool): bool {
  if ((load<u32>(g, G_MODE) & MODE_ARRIVAL) != 0) return accept(g, s, burst, datagram, cut, true);
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  const window = load<u32>(g, G_WINDOW);
  const sequence = load<u64>(cut, CUT_POSITION) & mask;
  if (fresh) begin(g, s, sequence, false);
  else if (!drainStarted(g, s)) return false;
  const top = load<u64>(s, S_TOP);
  const ahead = (sequence - top) & mask; // of everything seen so far; a large value is behind
  const late = ahead > mask >> 1;
  if (!late && ahead >= window && !fresh) return jump(g, s, burst, datagram, cut, sequence);
  if ((load<u32>(s, S_FLAGS) & STREAM_STARTED) == 0) {
    const from = (sequence - load<u64>(s, S_NEXT)) & mask;
    if (from < 2 * window && load<u32>(s, S_HELD) < window) {
      if (load<u32>(slotOf(g, s, sequence)) > <u32>SLOT_LOST) return dropOne(g, burst, datagram, N_DUPLICATE);
      if (late) count(g, N_REORDERED, 1);
      else noteTop(g, s, sequence);
      return accept(g, s, burst, datagram, cut, false);
    }
    settle(g, s);
    if (!drain(g, s)) return false;
  }
  const past = (load<u64>(s, S_NEXT) - sequence) & mask;
  if (past != 0 && past <= mask >> 1) {
    if (past > window) return jump(g, s, burst, datagram, cut, sequence);
    return dropOne(g, burst, datagram, load<u32>(slotOf(g, s, sequence)) == SLOT_LOST ? N_LATE : N_DUPLICATE);
  }
  while (((sequence - load<u64>(s, S_NEXT)) & mask) >= window) if (!moveOn(g, s)) return false;
  if (load<u32>(slotOf(g, s, sequence)) > <u32>SLOT_LOST) return dropOne(g, burst, datagram, N_DUPLICATE);
  const inOrder = sequence == load<u64>(s, S_NEXT);
  if (!accept(g, s, burst, datagram, cut, inOrder)) return false;
  if (late) count(g, N_REORDERED, 1);
  else noteTop(g, s, sequence);
  if (inOrder) drain(g, s); // what cannot be delivered now is delivered before the next
  return true;
}

function drainStarted(g: u32, s: u32): bool {
  return (load<u32>(s, S_FLAGS) & STREAM_STARTED) == 0 || drain(g, s);
}

/** The highest number so far is `sequence`; tells of what it left out. */
function noteTop(g: u32, s: u32, sequence: u64): void {
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  const top = load<u64>(s, S_TOP);
  if (sequence != top) {
    const c = load<u32>(s, S_FIRST);
    gapEvent(g, s, 1, c != 0 ? load<u64>(c, C_ID) : load<u64>(s, S_CHUNKS), top, (sequence - top) & mask);
  }
  store<u64>(s, (sequence + 1) & mask, S_TOP);
}

/** Takes a datagram in: delivers it at once when it is next, else holds it in its slot. False: no memory now. */
function accept(g: u32, s: u32, burst: u32, datagram: u32, cut: u32, inOrder: bool): bool {
  const length = load<u32>(cut, CUT_LENGTH);
  if (inOrder) {
    if (!deliver(g, s, burst, datagram, cut, 0)) return false;
    if (load<u32>(s, S_WINDOW) != 0) {
      const next = load<u64>(s, S_NEXT);
      store<u32>(slotOf(g, s, next), SLOT_DELIVERED);
      clearSlot(slotOf(g, s, next + load<u32>(g, G_WINDOW)));
      store<u64>(s, (next + 1) & load<u64>(g, G_SEQUENCE_MASK), S_NEXT);
    }
  } else {
    const record = holdDatagram(g, burst, datagram, cut);
    if (record == 0) {
      const sequence = load<u64>(cut, CUT_POSITION) & load<u64>(g, G_SEQUENCE_MASK);
      if (!stopWaiting(g, s, sequence)) return false;
      if (load<u64>(s, S_NEXT) != sequence) return dropOne(g, burst, datagram, N_LATE);
      return accept(g, s, burst, datagram, cut, true);
    }
    store<u32>(slotOf(g, s, load<u64>(cut, CUT_POSITION)), record);
    store<u32>(s, load<u32>(s, S_HELD) + 1, S_HELD);
    count(g, N_HELD, 1);
  }
  count(g, N_DATA, 1);
  count(g, N_DATA_BYTES, length);
  return true;
}

/** No datagram can be held: the stream goes on with `sequence`, or with what follows it. False: no memory now. */
function stopWaiting(g: u32, s: u32, sequence: u64): bool {
  if ((load<u32>(s, S_FLAGS) & STREAM_STARTED) == 0 && load<u32>(s, S_HELD) == 0) {
    begin(g, s, sequence, true);
    store<u32>(s, load<u32>(s, S_FLAGS) | STREAM_STARTED, S_FLAGS);
    return true;
  }
  if (!flushWindow(g, s)) return false;
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  if (((sequence - load<u64>(s, S_NEXT)) & mask) > mask >> 1) return true;
  while (load<u64>(s, S_NEXT) != sequence) if (!moveOn(g, s)) return false;
  return true;
}

export function dropOne(g: u32, burst: u32, datagram: u32, reason: u32): bool {
  count(g, reason, 1);
  taken(burst, datagram);
  return true;
}

/** Forgets a jump that came to nothing. */
export function dropProbation(g: u32, s: u32): void {
  const record = load<u32>(s, S_PROBATION);
  if (record == 0) return;
  letGo(g, record, true);
  store<u32>(s, 0, S_PROBATION);
  count(g, N_HELD, <u64>-1);
  count(g, N_LATE, 1);
}

// A jump beyond the window: one datagram is on probation, a second one in sequence with it is a restart of
// the stream (RFC 3550 A.1).
function jump(g: u32, s: u32, burst: u32, datagram: u32, cut: u32, sequence: u64): bool {
  const mask = load<u64>(g, G_SEQUENCE_MASK);
  const waiting = load<u32>(s, S_PROBATION);
  if (waiting == 0 || sequence != load<u64>(s, S_PROBATION_NEXT)) {
    if (waiting != 0 && ((sequence + 1) & mask) == load<u64>(s, S_PROBATION_NEXT))
      return dropOne(g, burst, datagram, N_DUPLICATE);
    dropProbation(g, s);
    const record = holdDatagram(g, burst, datagram, cut);
    if (record == 0) return dropOne(g, burst, datagram, N_MEMORY);
    store<u32>(s, record, S_PROBATION);
    store<u64>(s, (sequence + 1) & mask, S_PROBATION_NEXT);
    count(g, N_HELD, 1);
    return true;
  }
  if (!flushWindow(g, s)) return false;
  endChunk(g, s);
  const first = (sequence - 1) & mask;
  begin(g, s, first, true);
  store<u32>(s, (load<u32>(s, S_FLAGS) | STREAM_STARTED) & ~(STREAM_SKIP | STREAM_HAS_CHANGED), S_FLAGS);
  store<u32>(slotOf(g, s, first), waiting);
  store<u32>(s, 1, S_HELD);
  store<u32>(s, 0, S_PROBATION);
  store<u64>(s, sequence, S_TOP);
  count(g, N_DATA, 1);
  count(g, N_DATA_BYTES, heldLength(waiting));
  count(g, N_RESYNC, 1);
  return placeSequence(g, s, burst, datagram, cut, false);
}
