// UDP into the arena: frames under the vectors of recvmmsg, and what came split into one packet a datagram.
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_GOOD,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SIZE,
  META_PEER,
  META_SHIFT,
  META_STAMPED,
  META_WIRE_LENGTH,
} from "../structs";
import {
  INBOX_BASE,
  INBOX_BYTES,
  INBOX_CONTROL_SIZE,
  INBOX_CONTROLS,
  INBOX_CURSOR,
  INBOX_DIRTY,
  INBOX_HEADERS,
  INBOX_HOME,
  INBOX_HOMELESS,
  INBOX_IOVECS,
  INBOX_KEPT,
  INBOX_MESSAGES,
  INBOX_NAMES,
  INBOX_NANOSECONDS,
  INBOX_OFFSET,
  INBOX_OVERSIZE,
  INBOX_OWNER,
  INBOX_PACKETS,
  INBOX_READY,
  INBOX_SECONDS,
  INBOX_SEGMENT,
  INBOX_SENDER,
  INBOX_SENDERS,
  INBOX_SLOTS,
  INBOX_STAMPED,
  INBOX_TRUNCATED,
  INBOX_VECTORS,
  MESSAGE_CONTROL_LENGTH,
  MESSAGE_FLAGS,
  MESSAGE_LENGTH,
  MESSAGE_NAME_LENGTH,
  MESSAGE_SIZE,
  SENDER_LENGTH,
  SENDER_SIZE,
  SENDERS_COUNT,
  SENDERS_ENTRIES,
  SENDERS_LIMIT,
  SENDERS_MASK,
  SENDERS_REFUSED,
  SENDERS_SEED,
  SENDERS_SLOTS,
  VECTOR_SIZE,
} from "../structs-messages";
import {
  addReference,
  claimFrame,
  claimFrames,
  frameMask,
  frameShift,
  moveFrame,
  releaseFrame,
  releaseFrames,
  selfOwner,
  takeFrame,
} from "./arena";
import { clearMeta, stampMeta } from "./meta";

const SOL_SOCKET: u32 = 1;
const SCM_TIMESTAMPNS: u32 = 35;
const SOL_UDP: u32 = 17;
const UDP_GRO: u32 = 104;
const MSG_TRUNC: u32 = 0x20;
const CMSG_HEADER: u32 = 16;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/** Puts frames where vectors lack them and readies the headers. Returns how many messages can be received into. */
export function inboxPost(state: u32): u32 {
  const dirty = load<u32>(state, INBOX_DIRTY);
  const vectors = load<u32>(state, INBOX_VECTORS);
  const slots = load<u32>(state, INBOX_SLOTS);
  const headers = load<u32>(state, INBOX_HEADERS);
  const owner = load<u32>(state, INBOX_OWNER);
  const home = findHome(state);
  for (let message: u32 = 0; message < dirty; message++) {
    const first = slots + ((message * vectors) << 2);
    const own = home == INBOX_HOMELESS ? 0 : home + ((message * (vectors + 1)) << frameShift);
    let vector: u32 = 0;
    // A message is filled from its first vector on, so the first full one ends the search.
    for (; vector < vectors && load<u32>(first + (vector << 2)) == 0; vector++) {
      const address = frameFor(own == 0 ? 0 : own + (vector << frameShift), owner);
      if (address == 0) {
        // Vectors before this one are full, those behind may be: give them back, so that the search holds.
        for (let back: u32 = 0; back < vector; back++) dropSlot(first + (back << 2), owner);
        return message;
      }
      store<u32>(first + (vector << 2), address);
    }
    if (vector != 0) joinVectors(state, message * vectors, vectors);
    const header = headers + message * MESSAGE_SIZE;
    store<u32>(header, SENDER_SIZE - 4, MESSAGE_NAME_LENGTH);
    store<u64>(header, INBOX_CONTROL_SIZE, MESSAGE_CONTROL_LENGTH);
    store<u32>(header, 0, MESSAGE_FLAGS);
  }
  store<u32>(state, 0, INBOX_DIRTY);
  return load<u32>(state, INBOX_MESSAGES);
}

/**
 * Where there is room for the frames of all messages, looked for once: they are claimed one by one, and come back
 * there as they are freed. One frame more a message, as their first frames would else share a few sets of the caches.
 */
function findHome(state: u32): u32 {
  let home = load<u32>(state, INBOX_HOME);
  if (home != 0) return home;
  const run = load<u32>(state, INBOX_MESSAGES) * (load<u32>(state, INBOX_VECTORS) + 1);
  home = claimFrames(run);
  if (home == 0) home = INBOX_HOMELESS;
  else releaseFrames(home, run);
  store<u32>(state, home, INBOX_HOME);
  return home;
}

/** A frame to receive into: the one at `home` if it is free, else one of the pool; 0: there is none. */
function frameFor(home: u32, owner: u32): u32 {
  if (home != 0 && claimFrame(home, owner)) return home;
  const address = takeFrame();
  if (address != 0) moveFrame(address >> frameShift, selfOwner(), owner);
  return address;
}

/** Frames side by side are one vector, those behind it empty: the kernel copies into one long piece for a third less. */
function joinVectors(state: u32, first: u32, vectors: u32): void {
  const base = load<u64>(state, INBOX_BASE);
  const slots = load<u32>(state, INBOX_SLOTS);
  const size: u64 = frameMask + 1;
  let vector = load<u32>(state, INBOX_IOVECS) + first * VECTOR_SIZE;
  let head = vector;
  let end: u32 = 0;
  for (let slot = first; slot < first + vectors; slot++, vector += VECTOR_SIZE) {
    const address = load<u32>(slots + (slot << 2));
    const joins = address == end;
    store<u64>(vector, base + address);
    store<u64>(vector, joins ? 0 : size, 8);
    if (joins) store<u64>(head, load<u64>(head, 8) + size, 8);
    else head = vector;
    end = address + frameMask + 1;
  }
}

function dropSlot(slot: u32, owner: u32): void {
  const address = load<u32>(slot);
  if (address == 0) return;
  moveFrame(address >> frameShift, owner, selfOwner());
  releaseFrame(address);
  store<u32>(slot, 0);
}

/** Takes note that the kernel filled `count` messages. */
export function inboxReceived(state: u32, count: u32): void {
  store<u32>(state, count, INBOX_READY);
  store<u32>(state, 0, INBOX_CURSOR);
  store<u32>(state, 0, INBOX_OFFSET);
  if (load<u32>(state, INBOX_DIRTY) < count) store<u32>(state, count, INBOX_DIRTY);
}

/** Takes note that `bytes` of one packet were read into the frames of the first message, outside recvmmsg. */
export function inboxFill(state: u32, bytes: u32): void {
  const header = load<u32>(state, INBOX_HEADERS);
  store<u32>(header, bytes, MESSAGE_LENGTH);
  store<u32>(header, 0, MESSAGE_FLAGS);
  store<u32>(header, 0, MESSAGE_NAME_LENGTH);
  store<u64>(header, 0, MESSAGE_CONTROL_LENGTH);
  inboxReceived(state, 1);
}

/** Appends one packet a datagram to the burst until it is full or all that was received is split. Returns how many. */
export function inboxSplit(state: u32, burst: u32): u32 {
  const before = load<u32>(burst, BURST_PACKETS);
  const ready = load<u32>(state, INBOX_READY);
  let message = load<u32>(state, INBOX_CURSOR);
  for (; message < ready; message++) {
    const header = load<u32>(state, INBOX_HEADERS) + message * MESSAGE_SIZE;
    if (load<u32>(state, INBOX_OFFSET) == 0) {
      const posted = load<u32>(state, INBOX_VECTORS) << frameShift;
      if ((load<u32>(header, MESSAGE_FLAGS) & MSG_TRUNC) != 0 || load<u32>(header, MESSAGE_LENGTH) > posted) {
        store<u64>(state, load<u64>(state, INBOX_TRUNCATED) + 1, INBOX_TRUNCATED);
        continue; // its frames stay posted
      }
      readControl(state, message, header);
    }
    if (!splitMessage(state, burst, message, load<u32>(header, MESSAGE_LENGTH))) break;
    store<u32>(state, 0, INBOX_OFFSET);
  }
  store<u32>(state, message, INBOX_CURSOR);
  return load<u32>(burst, BURST_PACKETS) - before;
}

/** Splits one message from INBOX_OFFSET on; false when the burst is full first. */
function splitMessage(state: u32, burst: u32, message: u32, length: u32): bool {
  const capacity = load<u32>(burst, BURST_CAPACITY);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const owner = load<u32>(state, INBOX_OWNER);
  const slots = load<u32>(state, INBOX_SLOTS) + ((message * load<u32>(state, INBOX_VECTORS)) << 2);
  const segment = load<u32>(state, INBOX_SEGMENT);
  const sender = load<u32>(state, INBOX_SENDER);
  const flags: u32 = CHECKSUM_GOOD | (load<u32>(state, INBOX_STAMPED) != 0 ? META_STAMPED : 0);
  const seconds = load<f64>(state, INBOX_SECONDS);
  const nanoseconds = load<u32>(state, INBOX_NANOSECONDS);
  const self = selfOwner();
  let kept = load<u32>(state, INBOX_KEPT) != 0;
  let packets = load<u32>(burst, BURST_PACKETS);
  let count = load<u32>(burst, BURST_COUNT);
  let offset = load<u32>(state, INBOX_OFFSET);
  let whole = true;
  do {
    const size = min(segment == 0 ? length : segment, length - offset);
    const pieces: u32 = size == 0 ? 1 : ((offset + size - 1) >> frameShift) - (offset >> frameShift) + 1;
    if (count + pieces > capacity) {
      whole = false;
      break;
    }
    store<u32>(starts + (packets << 2), count);
    const end = offset + size;
    let at = offset;
    for (let piece: u32 = 0; piece < pieces; piece++) {
      const slot = slots + ((at >> frameShift) << 2);
      const inside = at & frameMask;
      const address = load<u32>(slot);
      const bytes = min(end - at, frameMask + 1 - inside);
      if (inside == 0) moveFrame(address >> frameShift, owner, self);
      else if (kept) kept = false;
      else addReference(address);
      const desc = descs + count * DESC_SIZE;
      store<u64>(desc, address + inside, DESC_ADDR);
      store<u32>(desc, bytes, DESC_LEN);
      store<u32>(desc, piece + 1 < pieces ? CONTINUED : 0, DESC_OPTIONS);
      count++;
      at += bytes;
      // Emptied to the end of the frame or of the message: the slot wants a new frame.
      if (at == length || (at & frameMask) == 0) store<u32>(slot, 0);
    }
    const meta = metas + (packets << META_SHIFT);
    clearMeta(meta);
    stampMeta(meta, seconds, nanoseconds, flags);
    store<u32>(meta, size, META_WIRE_LENGTH);
    store<u32>(meta, sender, META_PEER);
    packets++;
    offset = end;
  } while (offset < length);
  const appended = packets - load<u32>(burst, BURST_PACKETS);
  store<u64>(state, load<u64>(state, INBOX_PACKETS) + appended, INBOX_PACKETS);
  store<u64>(state, load<u64>(state, INBOX_BYTES) + (offset - load<u32>(state, INBOX_OFFSET)), INBOX_BYTES);
  store<u32>(burst, packets, BURST_PACKETS);
  store<u32>(burst, count, BURST_COUNT);
  if (!whole && appended == 0 && load<u32>(burst, BURST_COUNT) == 0)
    return dropRest(state, slots, offset, length);
  // Who gets the first packets may free the frame under the cursor before the rest is asked for.
  if (!whole && !kept && (offset & frameMask) != 0 && offset != load<u32>(state, INBOX_OFFSET))
    kept = addReference(load<u32>(slots + ((offset >> frameShift) << 2)));
  store<u32>(state, offset, INBOX_OFFSET);
  store<u32>(state, kept ? 1 : 0, INBOX_KEPT);
  return whole;
}

/** A datagram that not even an empty burst can take: it goes, with what is left of its message. */
function dropRest(state: u32, slots: u32, offset: u32, length: u32): bool {
  const segment = load<u32>(state, INBOX_SEGMENT);
  const left = segment == 0 ? 1 : (length - offset + segment - 1) / segment;
  store<u64>(state, load<u64>(state, INBOX_OVERSIZE) + left, INBOX_OVERSIZE);
  if (load<u32>(state, INBOX_KEPT) != 0) releaseFrame(load<u32>(slots + ((offset >> frameShift) << 2)));
  store<u32>(state, 0, INBOX_KEPT);
  if ((offset & frameMask) != 0) store<u32>(slots + ((offset >> frameShift) << 2), 0);
  // Frames not yet touched stay under their vectors, but no longer from the first one on.
  for (let vector: u32 = 0; vector < load<u32>(state, INBOX_VECTORS); vector++)
    dropSlot(slots + (vector << 2), load<u32>(state, INBOX_OWNER));
  return true;
}

/** Reads the control messages and the sender of a message that is about to be split. */
function readControl(state: u32, message: u32, header: u32): void {
  const control = load<u32>(state, INBOX_CONTROLS) + message * INBOX_CONTROL_SIZE;
  const length = <u32>min<u64>(load<u64>(header, MESSAGE_CONTROL_LENGTH), INBOX_CONTROL_SIZE);
  store<u32>(state, 0, INBOX_SEGMENT);
  store<u32>(state, 0, INBOX_STAMPED);
  store<f64>(state, 0, INBOX_SECONDS);
  store<u32>(state, 0, INBOX_NANOSECONDS);
  let at: u32 = 0;
  while (length - at >= CMSG_HEADER && at < length) {
    const size = load<u64>(control + at);
    if (size < CMSG_HEADER || size > length - at) break;
    const level = load<u32>(control + at, 8);
    const type = load<u32>(control + at, 12);
    const data = control + at + CMSG_HEADER;
    if (level == SOL_UDP && type == UDP_GRO && size >= CMSG_HEADER + 4) {
      store<u32>(state, load<u32>(data) & 0xffff, INBOX_SEGMENT);
    } else if (level == SOL_SOCKET && type == SCM_TIMESTAMPNS && size >= CMSG_HEADER + 16) {
      store<f64>(state, <f64>load<i64>(data), INBOX_SECONDS);
      store<u32>(state, load<u32>(data, 8), INBOX_NANOSECONDS);
      store<u32>(state, 1, INBOX_STAMPED);
    }
    at += (<u32>size + 7) & ~7;
  }
  const name = load<u32>(state, INBOX_NAMES) + message * SENDER_SIZE;
  const known = load<u32>(header, MESSAGE_NAME_LENGTH);
  store<u32>(state, senderNumber(load<u32>(state, INBOX_SENDERS), name, known), INBOX_SENDER);
}

/** The number of the socket address at `name` (SENDER_SIZE bytes, which are put in order here); 0: no number left. */
function senderNumber(senders: u32, name: u32, length: u32): u32 {
  const family = <u32>load<u16>(name);
  if (family == AF_INET && length >= 16) {
    store<u64>(name, 0, 8);
    store<u64>(name, 0, 16);
    store<u32>(name, 0, 24);
    length = 16;
  } else if (family == AF_INET6 && length >= 28) {
    store<u32>(name, 0, 4); // the flow label is no part of who it is
    length = 28;
  } else return 0;
  const entries = load<u32>(senders, SENDERS_ENTRIES);
  const slots = load<u32>(senders, SENDERS_SLOTS);
  const mask = load<u32>(senders, SENDERS_MASK);
  let hash = <u64>load<u32>(senders, SENDERS_SEED) | 0x9e3779b900000000;
  for (let i: u32 = 0; i < 24; i += 8) hash = mix(hash ^ load<u64>(name + i));
  hash = mix(hash ^ load<u32>(name, 24));
  let slot = <u32>hash & mask;
  let number = load<u32>(slots + (slot << 2));
  while (number != 0) {
    const entry = entries + number * SENDER_SIZE;
    if (
      load<u64>(entry) == load<u64>(name) &&
      load<u64>(entry, 8) == load<u64>(name, 8) &&
      load<u64>(entry, 16) == load<u64>(name, 16) &&
      load<u32>(entry, 24) == load<u32>(name, 24)
    )
      return number;
    slot = (slot + 1) & mask;
    number = load<u32>(slots + (slot << 2));
  }
  number = load<u32>(senders, SENDERS_COUNT);
  if (number >= load<u32>(senders, SENDERS_LIMIT)) {
    store<u32>(senders, load<u32>(senders, SENDERS_REFUSED) + 1, SENDERS_REFUSED);
    return 0;
  }
  number++;
  const entry = entries + number * SENDER_SIZE;
  memory.copy(<usize>entry, <usize>name, SENDER_LENGTH);
  store<u32>(entry, length, SENDER_LENGTH);
  store<u32>(senders, number, SENDERS_COUNT);
  store<u32>(slots + (slot << 2), number);
  return number;
}

// The finalizer of splitmix64.
function mix(value: u64): u64 {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

/** Gives every frame under the vectors back to the pool, and what was received and not split. */
export function inboxUnpost(state: u32): void {
  const slots = load<u32>(state, INBOX_SLOTS);
  const vectors = load<u32>(state, INBOX_VECTORS);
  const owner = load<u32>(state, INBOX_OWNER);
  if (load<u32>(state, INBOX_KEPT) != 0) {
    const under = load<u32>(state, INBOX_CURSOR) * vectors + (load<u32>(state, INBOX_OFFSET) >> frameShift);
    releaseFrame(load<u32>(slots + (under << 2)));
    store<u32>(slots + (under << 2), 0);
    store<u32>(state, 0, INBOX_KEPT);
  }
  const all = load<u32>(state, INBOX_MESSAGES) * vectors;
  for (let vector: u32 = 0; vector < all; vector++) dropSlot(slots + (vector << 2), owner);
  store<u32>(state, 0, INBOX_READY);
  store<u32>(state, 0, INBOX_CURSOR);
  store<u32>(state, 0, INBOX_OFFSET);
  store<u32>(state, load<u32>(state, INBOX_MESSAGES), INBOX_DIRTY);
}
