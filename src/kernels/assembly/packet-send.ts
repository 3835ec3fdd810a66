// Packets out of the arena over sendmmsg on an AF_PACKET socket or, one by one, over writev on a tap: the vectors
// name the packet's fragments where they lie.
import {
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  META_SHIFT,
  META_VERDICT,
  VERDICT_PASS,
} from "../structs";
import {
  MESSAGE_SIZE,
  MESSAGE_VECTOR_COUNT,
  MESSAGE_VECTORS,
  MOST_VECTORS,
  OUTBOX_BASE,
  OUTBOX_CONTROL_SIZE,
  OUTBOX_CONTROLS,
  OUTBOX_HEADERS,
  OUTBOX_IOVEC_LIMIT,
  OUTBOX_IOVECS,
  OUTBOX_LIMIT,
  OUTBOX_LINK,
  OUTBOX_LOOKED,
  OUTBOX_MESSAGES,
  OUTBOX_OVERSIZE,
  OUTBOX_RANGES,
  OUTBOX_SCRATCH,
  OUTBOX_UNFINISHED,
  OUTBOX_VNET,
  VECTOR_SIZE,
} from "../structs-messages";
import { add, letGo } from "./outbox";
import { packetEnd } from "./packet";
import { piecesBytes, piecesFault } from "./pieces";
import { writeVnet } from "./vnet";

/**
 * Writes one message a packet for packets of the burst from `first` on: as many as one call takes. Packets that
 * cannot go are dropped here. OUTBOX_LOOKED is the first packet not looked at. Returns the number of messages,
 * or the negative fault of the first packet that would have gone.
 */
export function packetBuild(state: u32, burst: u32, first: u32): i32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const base = load<u64>(state, OUTBOX_BASE);
  const headers = load<u32>(state, OUTBOX_HEADERS);
  const ranges = load<u32>(state, OUTBOX_RANGES);
  const vnet = load<u32>(state, OUTBOX_VNET);
  const most = load<u32>(state, OUTBOX_MESSAGES);
  let room = load<u32>(state, OUTBOX_IOVEC_LIMIT);
  let vector = load<u32>(state, OUTBOX_IOVECS);
  let messages: u32 = 0;
  let packet = first;
  for (; packet < packets && messages < most; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = packetEnd(burst, packet);
    const pieces = end - start;
    if (pieces + 1 > room && pieces < <u32>MOST_VECTORS) break;
    const wrong = piecesFault(descs, start, end);
    if (wrong != 0) {
      store<u32>(state, packet, OUTBOX_LOOKED);
      return messages == 0 ? -(<i32>wrong) : <i32>messages;
    }
    const length = piecesBytes;
    if (length > load<u32>(state, OUTBOX_LIMIT) || pieces >= <u32>MOST_VECTORS) {
      add(state, OUTBOX_OVERSIZE, 1);
      letGo(burst, packet);
      continue;
    }
    const message = headers + messages * MESSAGE_SIZE;
    store<u64>(message, base + vector, MESSAGE_VECTORS);
    if (vnet != 0) {
      const header = load<u32>(state, OUTBOX_CONTROLS) + messages * OUTBOX_CONTROL_SIZE;
      if (
        !writeVnet(
          header,
          burst,
          packet,
          meta,
          load<u32>(state, OUTBOX_LINK),
          load<u32>(state, OUTBOX_SCRATCH),
        )
      ) {
        add(state, OUTBOX_UNFINISHED, 1);
        letGo(burst, packet);
        continue;
      }
      store<u64>(vector, base + header);
      store<u64>(vector, vnet, 8);
      vector += VECTOR_SIZE;
    }
    for (let index = start; index < end; index++) {
      const at = descs + index * DESC_SIZE;
      store<u64>(vector, base + load<u64>(at, DESC_ADDR));
      store<u64>(vector, load<u32>(at, DESC_LEN), 8);
      vector += VECTOR_SIZE;
    }
    const vectors = pieces + (vnet != 0 ? 1 : 0);
    store<u64>(message, vectors, MESSAGE_VECTOR_COUNT);
    store<u32>(ranges + (messages << 3), packet);
    store<u32>(ranges + (messages << 3), packet + 1, 4);
    room -= vectors;
    messages++;
  }
  store<u32>(state, packet, OUTBOX_LOOKED);
  return messages;
}
