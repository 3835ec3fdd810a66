// UDP out of the arena: messages for sendmmsg over the frames of a burst, runs of equal datagrams as one
// super-packet that the kernel or the card segments (UDP_SEGMENT).
import {
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  META_PEER,
  META_SHIFT,
  META_VERDICT,
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
  MOST_VECTORS,
  OUTBOX_BASE,
  OUTBOX_CONNECTED,
  OUTBOX_CONTROL_SIZE,
  OUTBOX_CONTROLS,
  OUTBOX_FRAME_HEAD,
  OUTBOX_FRAME_MASK,
  OUTBOX_FRAME_TAIL,
  OUTBOX_HEADERS,
  OUTBOX_IOVEC_LIMIT,
  OUTBOX_IOVECS,
  OUTBOX_LIMIT,
  OUTBOX_LOOKED,
  OUTBOX_MESSAGES,
  OUTBOX_NOWHERE,
  OUTBOX_OVERSIZE,
  OUTBOX_OWNER,
  OUTBOX_PIECE_LIMIT,
  OUTBOX_RANGES,
  OUTBOX_SEGMENT_LIMIT,
  OUTBOX_SENDERS,
  SENDER_LENGTH,
  SENDER_SIZE,
  SENDERS_COUNT,
  SENDERS_ENTRIES,
  VECTOR_SIZE,
} from "../structs-messages";
import { add, letGo } from "./outbox";
import { packetEnd } from "./packet";
import { piecesBytes, piecesFault } from "./pieces";

const SOL_UDP: u32 = 17;
const UDP_SEGMENT: u32 = 103;
const MOST_SEGMENTS: u32 = 64; // UDP_MAX_SEGMENTS of the oldest kernels that segment

/**
 * Writes messages for packets of the burst from `first` on: as many as one call takes. Packets that can go
 * nowhere are dropped here. OUTBOX_LOOKED is the first packet not looked at. Returns the number of messages,
 * or the negative fault of the first packet that would have gone.
 */
export function udpBuild(state: u32, burst: u32, first: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const base = load<u64>(state, OUTBOX_BASE);
  const headers = load<u32>(state, OUTBOX_HEADERS);
  const ranges = load<u32>(state, OUTBOX_RANGES);
  const iovecs = load<u32>(state, OUTBOX_IOVECS);
  const most = load<u32>(state, OUTBOX_MESSAGES);
  const limit = load<u32>(state, OUTBOX_LIMIT);
  const connected = load<u32>(state, OUTBOX_CONNECTED) != 0;
  const segmentLimit = load<u32>(state, OUTBOX_SEGMENT_LIMIT);
  const pieceLimit = load<u32>(state, OUTBOX_PIECE_LIMIT);
  let room = load<u32>(state, OUTBOX_IOVEC_LIMIT);
  let frameRoom: u32 = 0xffffffff;
  if (load<u32>(state, OUTBOX_OWNER) != 0)
    frameRoom =
      load<u32>(state, OUTBOX_FRAME_MASK) +
      1 -
      (load<u32>(state, OUTBOX_FRAME_HEAD) - load<u32>(state, OUTBOX_FRAME_TAIL));
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
    wrong = piecesFault(descs, start, end);
    if (wrong != 0) break;
    const length = piecesBytes;
    const to: u32 = connected ? 0 : load<u32>(meta, META_PEER);
    const nowhere =
      !connected && (to == 0 || to > load<u32>(load<u32>(state, OUTBOX_SENDERS), SENDERS_COUNT));
    if (nowhere || length > limit || end - start > <u32>MOST_VECTORS) {
      add(state, nowhere ? OUTBOX_NOWHERE : OUTBOX_OVERSIZE, 1);
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
  store<u32>(state, packet, OUTBOX_LOOKED);
  return wrong != 0 && messages == 0 ? -(<i32>wrong) : <i32>messages;
}

function address(state: u32, header: u32, base: u64, to: u32): void {
  const entry = load<u32>(load<u32>(state, OUTBOX_SENDERS), SENDERS_ENTRIES) + to * SENDER_SIZE;
  store<u64>(header, to == 0 ? 0 : base + entry, MESSAGE_NAME);
  store<u32>(header, to == 0 ? 0 : load<u32>(entry, SENDER_LENGTH), MESSAGE_NAME_LENGTH);
}

function control(state: u32, header: u32, message: u32, base: u64, segment: u32): void {
  const at = load<u32>(state, OUTBOX_CONTROLS) + message * OUTBOX_CONTROL_SIZE;
  if (segment != 0) {
    store<u64>(at, 18); // CMSG_LEN(sizeof(u16))
    store<u32>(at, SOL_UDP, 8);
    store<u32>(at, UDP_SEGMENT, 12);
    store<u16>(at, <u16>segment, 16);
  }
  store<u64>(header, segment == 0 ? 0 : base + at, MESSAGE_CONTROL);
  store<u64>(header, segment == 0 ? 0 : 24, MESSAGE_CONTROL_LENGTH);
}
