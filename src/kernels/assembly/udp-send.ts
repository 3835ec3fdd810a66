// UDP out of the arena: messages for sendmmsg over the frames of a burst, runs of equal datagrams as one
// super-packet that the kernel or the card segments (UDP_SEGMENT).
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  FAULT_OWNER,
  META_PEER,
  META_SHIFT,
  META_VERDICT,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import {
  MESSAGE_CONTROL,
  MESSAGE_CONTROL_LENGTH,
  MESSAGE_NAME,
  MESSAGE_NAME_LENGTH,
  MESSAGE_SIZE,
  MESSAGE_VECTOR_COUNT,
  MESSAGE_VECTORS,
  SENDER_LENGTH,
  SENDER_SIZE,
  SENDERS_COUNT,
  SENDERS_ENTRIES,
  UDP_MOST_VECTORS,
  UDP_TX_BASE,
  UDP_TX_BYTES,
  UDP_TX_CONNECTED,
  UDP_TX_CONTROL_SIZE,
  UDP_TX_CONTROLS,
  UDP_TX_COPIED,
  UDP_TX_DONE,
  UDP_TX_FRAME_HEAD,
  UDP_TX_FRAME_MASK,
  UDP_TX_FRAME_TAIL,
  UDP_TX_FRAMES,
  UDP_TX_HEADERS,
  UDP_TX_HELD,
  UDP_TX_HELD_BY,
  UDP_TX_ID_HEAD,
  UDP_TX_ID_MASK,
  UDP_TX_ID_TAIL,
  UDP_TX_IDS,
  UDP_TX_IOVEC_LIMIT,
  UDP_TX_IOVECS,
  UDP_TX_LIMIT,
  UDP_TX_LOOKED,
  UDP_TX_MESSAGES,
  UDP_TX_NOWHERE,
  UDP_TX_OVERSIZE,
  UDP_TX_OWNER,
  UDP_TX_PACKETS,
  UDP_TX_PIECE_LIMIT,
  UDP_TX_RANGES,
  UDP_TX_REFUSED,
  UDP_TX_SEGMENT_LIMIT,
  UDP_TX_SENDERS,
  VECTOR_SIZE,
} from "../structs-udp";
import { frameShift, holds, moveFrame, releaseFrame, releaseFrom, selfOwner } from "./arena";
import { descriptorFault } from "./ring";

const SOL_UDP: u32 = 17;
const UDP_SEGMENT: u32 = 103;
const MOST_SEGMENTS: u32 = 64; // UDP_MAX_SEGMENTS of the oldest kernels that segment

function add(state: u32, counter: u32, value: u64): void {
  store<u64>(state + counter, load<u64>(state + counter) + value);
}

function packetEnd(burst: u32, packet: u32): u32 {
  return packet + 1 < load<u32>(burst, BURST_PACKETS)
    ? load<u32>(load<u32>(burst, BURST_STARTS) + ((packet + 1) << 2))
    : load<u32>(burst, BURST_COUNT);
}

/** Marks a packet as taken and gives its frames back to the pool. */
function letGo(burst: u32, packet: u32): void {
  const descs = load<u32>(burst, BURST_DESCS);
  const end = packetEnd(burst, packet);
  for (let index = load<u32>(load<u32>(burst, BURST_STARTS) + (packet << 2)); index < end; index++)
    releaseFrame(load<u32>(descs + index * DESC_SIZE, DESC_ADDR));
  store<u8>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
}

/**
 * Writes messages for packets of the burst from `first` on: as many as one call takes. Packets that can go
 * nowhere are dropped here. UDP_TX_LOOKED is the first packet not looked at. Returns the number of messages,
 * or the negative fault of the first packet that would have gone.
 */
export function udpBuild(state: u32, burst: u32, first: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const base = load<u64>(state, UDP_TX_BASE);
  const headers = load<u32>(state, UDP_TX_HEADERS);
  const ranges = load<u32>(state, UDP_TX_RANGES);
  const iovecs = load<u32>(state, UDP_TX_IOVECS);
  const most = load<u32>(state, UDP_TX_MESSAGES);
  const limit = load<u32>(state, UDP_TX_LIMIT);
  const connected = load<u32>(state, UDP_TX_CONNECTED) != 0;
  const segmentLimit = load<u32>(state, UDP_TX_SEGMENT_LIMIT);
  const pieceLimit = load<u32>(state, UDP_TX_PIECE_LIMIT);
  let room = load<u32>(state, UDP_TX_IOVEC_LIMIT);
  let frameRoom: u32 = 0xffffffff;
  if (load<u32>(state, UDP_TX_OWNER) != 0)
    frameRoom =
      load<u32>(state, UDP_TX_FRAME_MASK) +
      1 -
      (load<u32>(state, UDP_TX_FRAME_HEAD) - load<u32>(state, UDP_TX_FRAME_TAIL));
  let messages: u32 = 0;
  let vector = iovecs; // the next free one
  let open = false; // whether the last message can take more
  let segment: u32 = 0; // bytes of its first datagram
  let target: u32 = 0; // who it goes to
  let total: u32 = 0; // its bytes
  let joined: u32 = 0; // its datagrams
  let vectors: u32 = 0; // its vectors
  let taken: u32 = 0; // its descriptors
  let packet = first;
  let wrong: u32 = 0;
  for (; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = packetEnd(burst, packet);
    let length: u32 = 0;
    for (let index = start; index < end; index++) {
      const at = descs + index * DESC_SIZE;
      wrong = descriptorFault(at);
      if (wrong == 0 && !holds(load<u32>(at, DESC_ADDR))) wrong = FAULT_OWNER;
      if (wrong != 0) {
        wrong |= index << 8;
        break;
      }
      length += load<u32>(at, DESC_LEN);
    }
    if (wrong != 0) break;
    const to: u32 = connected ? 0 : load<u32>(meta, META_PEER);
    const nowhere =
      !connected && (to == 0 || to > load<u32>(load<u32>(state, UDP_TX_SENDERS), SENDERS_COUNT));
    if (nowhere || length > limit || end - start > <u32>UDP_MOST_VECTORS) {
      add(state, nowhere ? UDP_TX_NOWHERE : UDP_TX_OVERSIZE, 1);
      letGo(burst, packet);
      continue;
    }
    const pieces = end - start;
    if (pieces > room || pieces > frameRoom) break;
    const joins =
      open &&
      to == target &&
      length != 0 &&
      length <= segment &&
      joined < MOST_SEGMENTS &&
      total + length <= limit &&
      taken + pieces <= pieceLimit;
    if (!joins) {
      if (messages == most) break;
      messages++;
      store<u32>(ranges + ((messages - 1) << 3), packet);
      segment = length;
      target = to;
      total = 0;
      joined = 0;
      vectors = 0;
      taken = 0;
      const header = headers + (messages - 1) * MESSAGE_SIZE;
      store<u64>(header, base + vector, MESSAGE_VECTORS);
      address(state, header, base, to);
    }
    for (let index = start; index < end; index++) {
      const at = descs + index * DESC_SIZE;
      const bytes = load<u32>(at, DESC_LEN);
      const absolute = base + load<u64>(at, DESC_ADDR);
      const last = vector - VECTOR_SIZE;
      // Neighbours in memory are one vector: a chunk cut into datagrams is contiguous.
      if (vectors != 0 && load<u64>(last) + load<u64>(last, 8) == absolute)
        store<u64>(last, load<u64>(last, 8) + bytes, 8);
      else {
        store<u64>(vector, absolute);
        store<u64>(vector, bytes, 8);
        vector += VECTOR_SIZE;
        vectors++;
        room--;
      }
    }
    frameRoom -= pieces;
    total += length;
    joined++;
    taken += pieces;
    const current = headers + (messages - 1) * MESSAGE_SIZE;
    store<u64>(current, vectors, MESSAGE_VECTOR_COUNT);
    store<u32>(ranges + ((messages - 1) << 3), packet + 1, 4);
    control(state, current, messages - 1, base, joined > 1 ? segment : 0);
    open = segment != 0 && segment <= segmentLimit && length == segment;
  }
  store<u32>(state, packet, UDP_TX_LOOKED);
  return wrong != 0 && messages == 0 ? -(<i32>wrong) : <i32>messages;
}

function address(state: u32, header: u32, base: u64, to: u32): void {
  const entry = load<u32>(load<u32>(state, UDP_TX_SENDERS), SENDERS_ENTRIES) + to * SENDER_SIZE;
  store<u64>(header, to == 0 ? 0 : base + entry, MESSAGE_NAME);
  store<u32>(header, to == 0 ? 0 : load<u32>(entry, SENDER_LENGTH), MESSAGE_NAME_LENGTH);
}

function control(state: u32, header: u32, message: u32, base: u64, segment: u32): void {
  const at = load<u32>(state, UDP_TX_CONTROLS) + message * UDP_TX_CONTROL_SIZE;
  if (segment != 0) {
    store<u64>(at, 18); // CMSG_LEN(sizeof(u16))
    store<u32>(at, SOL_UDP, 8);
    store<u32>(at, UDP_SEGMENT, 12);
    store<u16>(at, <u16>segment, 16);
  }
  store<u64>(header, segment == 0 ? 0 : base + at, MESSAGE_CONTROL);
  store<u64>(header, segment == 0 ? 0 : 24, MESSAGE_CONTROL_LENGTH);
}

/** The length of the first message's datagrams where it is a super-packet, else 0. */
export function udpSegment(state: u32): u32 {
  if (load<u64>(load<u32>(state, UDP_TX_HEADERS), MESSAGE_CONTROL_LENGTH) == 0) return 0;
  return <u32>load<u16>(load<u32>(state, UDP_TX_CONTROLS), 16);
}

/**
 * The kernel took `sent` of the `messages` built: their packets are moved. Under `zeroCopy` it goes on reading
 * their frames, which are its own until udpCompleted. Returns the first packet not sent.
 */
export function udpSent(state: u32, burst: u32, messages: u32, sent: u32, zeroCopy: u32): u32 {
  const ranges = load<u32>(state, UDP_TX_RANGES);
  const metas = load<u32>(burst, BURST_METAS);
  const descs = load<u32>(burst, BURST_DESCS);
  const starts = load<u32>(burst, BURST_STARTS);
  const owner = load<u32>(state, UDP_TX_OWNER);
  const self = selfOwner();
  for (let message: u32 = 0; message < sent; message++) {
    const end = load<u32>(ranges + (message << 3), 4);
    let packets: u32 = 0;
    let bytes: u32 = 0;
    let frames: u32 = 0;
    for (let packet = load<u32>(ranges + (message << 3)); packet < end; packet++) {
      if (load<u8>(metas + (packet << META_SHIFT), META_VERDICT) != VERDICT_PASS) continue;
      packets++;
      const last = packetEnd(burst, packet);
      for (let index = load<u32>(starts + (packet << 2)); index < last; index++) {
        const from = load<u32>(descs + index * DESC_SIZE, DESC_ADDR);
        bytes += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
        if (zeroCopy == 0) releaseFrame(from);
        else {
          moveFrame(from >> frameShift, self, owner);
          const head = load<u32>(state, UDP_TX_FRAME_HEAD) + frames;
          store<u32>(
            load<u32>(state, UDP_TX_FRAMES) + ((head & load<u32>(state, UDP_TX_FRAME_MASK)) << 2),
            from,
          );
          frames++;
        }
      }
      store<u8>(metas + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
    }
    add(state, UDP_TX_PACKETS, packets);
    add(state, UDP_TX_BYTES, bytes);
    if (zeroCopy == 0) add(state, UDP_TX_COPIED, bytes);
    else {
      const id = load<u32>(state, UDP_TX_ID_HEAD);
      const slot = (id & load<u32>(state, UDP_TX_ID_MASK)) << 2;
      store<u32>(load<u32>(state, UDP_TX_IDS) + slot, frames);
      store<u32>(load<u32>(state, UDP_TX_HELD_BY) + slot, packets);
      store<u32>(state, id + 1, UDP_TX_ID_HEAD);
      store<u32>(state, load<u32>(state, UDP_TX_FRAME_HEAD) + frames, UDP_TX_FRAME_HEAD);
      store<u32>(state, load<u32>(state, UDP_TX_HELD) + packets, UDP_TX_HELD);
    }
  }
  return sent == messages ? load<u32>(state, UDP_TX_LOOKED) : load<u32>(ranges + (sent << 3));
}

/** Drops the packets of the first message, which the kernel will never take. Returns the packet after them. */
export function udpRefuse(state: u32, burst: u32): u32 {
  const ranges = load<u32>(state, UDP_TX_RANGES);
  const metas = load<u32>(burst, BURST_METAS);
  const end = load<u32>(ranges, 4);
  for (let packet = load<u32>(ranges); packet < end; packet++) {
    if (load<u8>(metas + (packet << META_SHIFT), META_VERDICT) != VERDICT_PASS) continue;
    letGo(burst, packet);
    add(state, UDP_TX_REFUSED, 1);
  }
  return end;
}

/** How many more zero-copy calls can be recorded. */
export function udpCalls(state: u32): u32 {
  return (
    load<u32>(state, UDP_TX_ID_MASK) +
    1 -
    (load<u32>(state, UDP_TX_ID_HEAD) - load<u32>(state, UDP_TX_ID_TAIL))
  );
}

/**
 * The kernel has done with the zero-copy calls `low` to `high`: their frames go back to the pool, oldest first.
 * A range that was never called is not believed: then the result is 1, else 0.
 */
export function udpCompleted(state: u32, low: u32, high: u32): u32 {
  const ids = load<u32>(state, UDP_TX_IDS);
  const mask = load<u32>(state, UDP_TX_ID_MASK);
  const head = load<u32>(state, UDP_TX_ID_HEAD);
  let tail = load<u32>(state, UDP_TX_ID_TAIL);
  if (low - tail >= head - tail || high - tail >= head - tail || high - tail < low - tail) return 1;
  for (let id = low; id != high + 1; id++) {
    const at = ids + ((id & mask) << 2);
    store<u32>(at, load<u32>(at) | <u32>UDP_TX_DONE);
  }
  const owner = load<u32>(state, UDP_TX_OWNER);
  const frames = load<u32>(state, UDP_TX_FRAMES);
  const frameMask = load<u32>(state, UDP_TX_FRAME_MASK);
  let frameTail = load<u32>(state, UDP_TX_FRAME_TAIL);
  while (tail != head) {
    const slot = (tail & mask) << 2;
    const entry = load<u32>(ids + slot);
    if ((entry & <u32>UDP_TX_DONE) == 0) break;
    const count = entry & ~(<u32>UDP_TX_DONE);
    for (let i: u32 = 0; i < count; i++) {
      releaseFrom(load<u32>(frames + ((frameTail & frameMask) << 2)), owner);
      frameTail++;
    }
    store<u32>(
      state,
      load<u32>(state, UDP_TX_HELD) - load<u32>(load<u32>(state, UDP_TX_HELD_BY) + slot),
      UDP_TX_HELD,
    );
    tail++;
  }
  store<u32>(state, tail, UDP_TX_ID_TAIL);
  store<u32>(state, frameTail, UDP_TX_FRAME_TAIL);
  return 0;
}
