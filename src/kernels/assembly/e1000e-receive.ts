// Receive queues of the 82574L: from its descriptors to bursts. The card is not believed: lengths, ends and indices are checked, and a frame is handed on only from the queue's owner.
import {
  RX_BROKEN,
  RX_DONE,
  RX_END,
  RX_IP_BAD,
  RX_L4_BAD,
  RX_L4_SUM,
  RX_VLAN,
  RXD_LENGTH,
  RXD_LENGTHS,
  RXD_RSS_HASH,
  RXD_RSS_TYPE,
  RXD_STATUS,
  RXD_VLAN,
  RXQ_BUFFERS,
  RXQ_BYTES,
  RXQ_COPIED,
  RXQ_COPYBREAK,
  RXQ_COUNT,
  RXQ_DESCS,
  RXQ_ERRORS,
  RXQ_FAULTS,
  RXQ_FILLED,
  RXQ_FRAMES,
  RXQ_HEADROOM,
  RXQ_MOST,
  RXQ_NEXT,
  RXQ_OWNER,
  RXQ_PACKETS,
  RXQ_QUEUE,
  RXQ_SIZE,
  RXQ_SIZE0,
} from "../e1000e";
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_BAD,
  CHECKSUM_GOOD,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SIZE,
  META_FLAGS,
  META_HASH,
  META_HASHED,
  META_NANOSECONDS,
  META_QUEUE,
  META_SHIFT,
  META_TAGGED,
  META_VLAN,
  META_WIRE_LENGTH,
  OWNER_SHIFT,
} from "../structs";
import { add, frameMask, frameShift, moveFrame, selfOwner, takeFrame, wordOf } from "./arena";
import { bufferOf, e1000eFill } from "./e1000e-fill";

/**
 * Appends what the card has completed to `burst`, up to `most` packets; frames become this worker's. Refills
 * the ring. Returns how many packets.
 */
export function e1000eReceive(queue: u32, burst: u32, most: u32): u32 {
  const before = load<u32>(queue, RXQ_NEXT);
  const simple = load<u32>(queue, RXQ_BUFFERS) == 1 ? receiveSimple(queue, burst, most) : 0;
  const packets = simple + receiveAny(queue, burst, most - simple);
  if (load<u32>(queue, RXQ_NEXT) != before) e1000eFill(queue);
  return packets;
}

/** As long as packets are whole, faultless and in one buffer that is handed over: nearly all of them. */
function receiveSimple(queue: u32, burst: u32, most: u32): u32 {
  const descs = load<u32>(queue, RXQ_DESCS);
  const mask = load<u32>(queue, RXQ_COUNT) - 1;
  const filled = load<u32>(queue, RXQ_FILLED);
  const frames = load<u32>(queue, RXQ_FRAMES);
  const headroom = load<u32>(queue, RXQ_HEADROOM);
  const least = max<u32>(load<u32>(queue, RXQ_COPYBREAK), 13);
  const size = load<u32>(queue, RXQ_SIZE0);
  const given = (load<u32>(queue, RXQ_OWNER) << OWNER_SHIFT) | 1;
  const taken = (selfOwner() << OWNER_SHIFT) | 1;
  const number = (<u64>load<u32>(queue, RXQ_QUEUE)) << 48; // META_QUEUE, in the last 8 bytes
  const out = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const room = load<u32>(burst, BURST_CAPACITY) - load<u32>(burst, BURST_COUNT);
  const limit = min<u32>(most, min<u32>(room, filled - load<u32>(queue, RXQ_NEXT)));
  let next = load<u32>(queue, RXQ_NEXT);
  let packet = load<u32>(burst, BURST_PACKETS);
  let count = load<u32>(burst, BURST_COUNT);
  let bytes: u64 = 0;
  let packets: u32 = 0;
  for (; packets < limit; packets++) {
    const slot = next & mask;
    const at = descs + (slot << 4);
    const told = atomic.load<u64>(at + RXD_STATUS); // status, length and VLAN tag at once
    const status = <u32>told;
    const length = <u32>(told >> 32) & 0xffff;
    if ((status & (RX_DONE | RX_END | RX_BROKEN)) != (RX_DONE | RX_END)) break;
    const frame = load<u32>(frames + (slot << 2));
    const word = wordOf(frame >> frameShift);
    if (length <= least || length > size || load<u32>(word) != given) break;
    store<u32>(word, taken);
    store<u32>(frames + (slot << 2), 0);
    const desc = out + count * DESC_SIZE;
    store<u64>(desc, bufferOf(frame, headroom), DESC_ADDR);
    store<u64>(desc, length, DESC_LEN);
    store<u32>(starts + (packet << 2), count);
    const meta = metas + (packet << META_SHIFT);
    const hashed = (load<u32>(at, RXD_RSS_TYPE) & 15) != 0;
    let flags = (status & RX_L4_SUM) != 0 ? CHECKSUM_GOOD : 0;
    if ((status & (RX_L4_BAD | RX_IP_BAD)) != 0) flags = CHECKSUM_BAD;
    if (hashed) flags |= META_HASHED;
    if ((status & RX_VLAN) != 0) flags |= META_TAGGED | ((<u32>(told >> 48)) << 16);
    store<u64>(meta, 0);
    store<u64>(meta, hashed ? (<u64>load<u32>(at, RXD_RSS_HASH)) << 32 : 0, META_NANOSECONDS);
    store<u64>(meta, length, META_WIRE_LENGTH);
    store<u64>(meta, number | flags, META_FLAGS);
    bytes += length;
    packet++;
    count++;
    next++;
  }
  store<u32>(queue, next, RXQ_NEXT);
  store<u32>(burst, packet, BURST_PACKETS);
  store<u32>(burst, count, BURST_COUNT);
  add(queue + RXQ_PACKETS, packets);
  add(queue + RXQ_BYTES, bytes);
  return packets;
}

/** Packets of any shape, with every reason to distrust the card told apart. */
function receiveAny(queue: u32, burst: u32, most: u32): u32 {
  const descs = load<u32>(queue, RXQ_DESCS);
  const count = load<u32>(queue, RXQ_COUNT);
  const filled = load<u32>(queue, RXQ_FILLED);
  const buffers = load<u32>(queue, RXQ_BUFFERS);
  const shift: u32 = buffers == 1 ? 4 : 5;
  const capacity = load<u32>(burst, BURST_CAPACITY);
  const limit = load<u32>(queue, RXQ_MOST);
  let next = load<u32>(queue, RXQ_NEXT);
  let taken: u32 = 0;
  while (taken < most) {
    // How many descriptors does the next packet span? All of them must be done, and have been given to the card.
    let length: u32 = 0;
    let status: u32 = 0;
    while (next + length != filled && length < limit) {
      status = atomic.load<u32>(descs + (((next + length) & (count - 1)) << shift) + RXD_STATUS);
      if ((status & RX_DONE) == 0) break;
      length++;
      if ((status & RX_END) != 0) break;
    }
    if (length == 0 || (status & RX_DONE) == 0) break;
    if ((status & RX_END) == 0) {
      if (length < limit) break;
      add(queue + RXQ_FAULTS, 1);
      next += length;
      continue;
    }
    if (load<u32>(burst, BURST_COUNT) + length * buffers > capacity) break;
    if ((status & RX_BROKEN) != 0) add(queue + RXQ_ERRORS, 1);
    else if (handOver(queue, burst, next, length, status)) taken++;
    next += length;
  }
  store<u32>(queue, next, RXQ_NEXT);
  return taken;
}

function pieceLength(at: u32, buffer: u32): u32 {
  return buffer == 0 ? <u32>load<u16>(at, RXD_LENGTH) : <u32>load<u16>(at + ((buffer - 1) << 1), RXD_LENGTHS);
}

/** Moves one packet of `length` descriptors to the burst. False: the card's lengths cannot be true, nothing moved. */
function handOver(queue: u32, burst: u32, next: u32, length: u32, status: u32): bool {
  const descs = load<u32>(queue, RXQ_DESCS);
  const mask = load<u32>(queue, RXQ_COUNT) - 1;
  const frames = load<u32>(queue, RXQ_FRAMES);
  const buffers = load<u32>(queue, RXQ_BUFFERS);
  const shift: u32 = buffers == 1 ? 4 : 5;
  const size0 = load<u32>(queue, RXQ_SIZE0);
  const size = load<u32>(queue, RXQ_SIZE);
  const headroom = load<u32>(queue, RXQ_HEADROOM);
  const owner = load<u32>(queue, RXQ_OWNER);
  const self = selfOwner();
  const packet = load<u32>(burst, BURST_PACKETS);
  const start = load<u32>(burst, BURST_COUNT);
  const out = load<u32>(burst, BURST_DESCS);
  let total: u32 = 0;
  let pieces: u32 = 0;
  for (let i: u32 = 0; i < length; i++) {
    const slot = (next + i) & mask;
    const at = descs + (slot << shift);
    for (let b: u32 = 0; b < buffers; b++) {
      const bytes = pieceLength(at, b);
      if (bytes == 0) continue;
      const frame = load<u32>(frames + ((slot * buffers + b) << 2));
      const wrong = bytes > (b == 0 ? size0 : size) || frame == 0 || (pieces == 0 && (b != 0 || bytes < 14));
      if (wrong) {
        add(queue + RXQ_FAULTS, 1);
        return false;
      }
      const desc = out + (start + pieces) * DESC_SIZE;
      store<u64>(desc, b == 0 ? bufferOf(frame, headroom) : frame, DESC_ADDR);
      store<u32>(desc, bytes, DESC_LEN);
      store<u32>(desc, CONTINUED, DESC_OPTIONS);
      total += bytes;
      pieces++;
    }
  }
  if (pieces == 0) {
    add(queue + RXQ_FAULTS, 1);
    return false;
  }
  const copied =
    pieces == 1 && total <= load<u32>(queue, RXQ_COPYBREAK) && copyOut(queue, out + start * DESC_SIZE);
  if (!copied) {
    for (let i: u32 = 0; i < pieces; i++)
      moveFrame(<u32>load<u64>(out + (start + i) * DESC_SIZE, DESC_ADDR) >> frameShift, owner, self);
    for (let i: u32 = 0; i < length; i++) {
      const slot = (next + i) & mask;
      const at = descs + (slot << shift);
      for (let b: u32 = 0; b < buffers; b++)
        if (pieceLength(at, b) != 0) store<u32>(frames + ((slot * buffers + b) << 2), 0);
    }
  }
  store<u32>(out + (start + pieces - 1) * DESC_SIZE, 0, DESC_OPTIONS);
  const last = descs + (((next + length - 1) & mask) << shift);
  describe(queue, load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), last, status, total);
  store<u32>(load<u32>(burst, BURST_STARTS) + (packet << 2), start);
  store<u32>(burst, packet + 1, BURST_PACKETS);
  store<u32>(burst, start + pieces, BURST_COUNT);
  add(queue + RXQ_PACKETS, 1);
  add(queue + RXQ_BYTES, total);
  return true;
}

/** Copies a short packet into a frame of its own, so that the card keeps the one it wrote. False: the pool is empty. */
function copyOut(queue: u32, desc: u32): bool {
  const frame = takeFrame();
  if (frame == 0) return false;
  const from = <u32>load<u64>(desc, DESC_ADDR);
  const bytes = load<u32>(desc, DESC_LEN);
  const to = frame + (from & frameMask);
  memory.copy(<usize>to, <usize>from, <usize>bytes);
  store<u64>(desc, to, DESC_ADDR);
  add(queue + RXQ_COPIED, bytes);
  return true;
}

function describe(queue: u32, meta: u32, last: u32, status: u32, total: u32): void {
  memory.fill(<usize>meta, 0, 1 << META_SHIFT);
  let flags: u32 = 0;
  if ((status & (RX_L4_BAD | RX_IP_BAD)) != 0) flags = CHECKSUM_BAD;
  else if ((status & RX_L4_SUM) != 0) flags = CHECKSUM_GOOD;
  if ((status & RX_VLAN) != 0) {
    flags |= META_TAGGED;
    store<u16>(meta, load<u16>(last, RXD_VLAN), META_VLAN);
  }
  if ((load<u32>(last, RXD_RSS_TYPE) & 15) != 0) {
    flags |= META_HASHED;
    store<u32>(meta, load<u32>(last, RXD_RSS_HASH), META_HASH);
  }
  store<u16>(meta, <u16>flags, META_FLAGS);
  store<u32>(meta, total, META_WIRE_LENGTH);
  store<u8>(meta, <u8>load<u32>(queue, RXQ_QUEUE), META_QUEUE);
}
