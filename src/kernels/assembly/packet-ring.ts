// Packets out of the arena over a ring of AF_PACKET (PACKET_TX_RING, linux/if_packet.h): copied into TPACKET_V2
// slots, which the kernel sends within the next call on the socket. Between calls it looks at no slot that it has
// not taken, so what it leaves is taken back and belongs to the burst as before.
import {
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  META_SEGMENT,
  META_SHIFT,
  META_VERDICT,
  VERDICT_PASS,
} from "../structs";
import {
  OUTBOX_LINK,
  OUTBOX_LOOKED,
  OUTBOX_MESSAGES,
  OUTBOX_RANGES,
  OUTBOX_RING,
  OUTBOX_SCRATCH,
  OUTBOX_SLOT,
  OUTBOX_SLOT_FULL,
  OUTBOX_SLOT_LIMIT,
  OUTBOX_SLOT_SIZE,
  OUTBOX_SLOTS,
  OUTBOX_VNET,
} from "../structs-messages";
import { VNET_HEADERS } from "../virtio-structs";
import { packetEnd } from "./packet";
import { piecesBytes, piecesFault } from "./pieces";
import { writeVnet } from "./vnet";

const STATUS_AVAILABLE: u32 = 0;
const STATUS_SEND_REQUEST: u32 = 1;
const STATUS_WRONG_FORMAT: u32 = 4;
const SLOT_LENGTH: u32 = 4; // tp_len of struct tpacket2_hdr
const SLOT_DATA: u32 = 32; // behind struct tpacket2_hdr, where the kernel looks without PACKET_TX_HAS_OFF
/**
 * Up to here the kernel is told to copy a packet, which the copy into the slot has left in the caches, instead of
 * lending the slot's pages: over a veth, where lent pages are copied later, 1.1 times as many a second at 1,500 bytes
 * as sendmmsg, against 0.9.
 */
const SHORT: u32 = 2048;

/**
 * Copies packets of the burst from `first` on into slots, up to the first that is not for the ring: a longer one,
 * one to be segmented, one at fault. OUTBOX_LOOKED is that packet. Returns the number of slots filled.
 */
export function packetRingFill(state: u32, burst: u32, first: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const descs = load<u32>(burst, BURST_DESCS);
  const metas = load<u32>(burst, BURST_METAS);
  const starts = load<u32>(burst, BURST_STARTS);
  const ranges = load<u32>(state, OUTBOX_RANGES);
  const vnet = load<u32>(state, OUTBOX_VNET);
  const most = load<u32>(state, OUTBOX_MESSAGES);
  const limit = load<u32>(state, OUTBOX_SLOT_LIMIT);
  let unit = load<u32>(state, OUTBOX_SLOT);
  let filled: u32 = 0;
  let packet = first;
  store<u32>(state, 0, OUTBOX_SLOT_FULL);
  for (; packet < packets && filled < most; packet++) {
    const meta = metas + (packet << META_SHIFT);
    if (load<u8>(meta, META_VERDICT) != VERDICT_PASS) continue;
    const start = load<u32>(starts + (packet << 2));
    const end = packetEnd(burst, packet);
    if (piecesFault(descs, start, end) != 0 || piecesBytes > limit) break;
    if (load<u16>(meta, META_SEGMENT) != 0) break;
    const slot = slotAt(state, unit);
    if (atomic.load<u32>(slot) != STATUS_AVAILABLE) {
      store<u32>(state, 1, OUTBOX_SLOT_FULL);
      break;
    }
    let to = slot + SLOT_DATA;
    if (vnet != 0) {
      if (
        !writeVnet(to, burst, packet, meta, load<u32>(state, OUTBOX_LINK), load<u32>(state, OUTBOX_SCRATCH))
      )
        break;
      if (piecesBytes <= SHORT) store<u16>(to, <u16>piecesBytes, VNET_HEADERS);
      to += vnet;
    }
    const length = piecesBytes + vnet;
    for (let index = start; index < end; index++) {
      const at = descs + index * DESC_SIZE;
      const bytes = load<u32>(at, DESC_LEN);
      memory.copy(<usize>to, <usize>load<u32>(at, DESC_ADDR), <usize>bytes);
      to += bytes;
    }
    store<u32>(slot, length, SLOT_LENGTH);
    atomic.store<u32>(slot, STATUS_SEND_REQUEST);
    store<u32>(ranges + (filled << 3), packet);
    store<u32>(ranges + (filled << 3), packet + 1, 4);
    filled++;
    unit = unit + 1 == load<u32>(state, OUTBOX_SLOTS) ? 0 : unit + 1;
  }
  store<u32>(state, packet, OUTBOX_LOOKED);
  return filled;
}

/** After the call: how many of the `filled` slots the kernel took, in order. The others are empty again. */
export function packetRingTaken(state: u32, filled: u32): u32 {
  const slots = load<u32>(state, OUTBOX_SLOTS);
  const first = load<u32>(state, OUTBOX_SLOT);
  let taken: u32 = 0;
  for (let unit = first; taken < filled; taken++) {
    const status = atomic.load<u32>(slotAt(state, unit));
    if (status == STATUS_SEND_REQUEST || status == STATUS_WRONG_FORMAT) break;
    unit = unit + 1 == slots ? 0 : unit + 1;
  }
  const next = (first + taken) % slots;
  for (let left = taken, unit = next; left < filled; left++) {
    atomic.store<u32>(slotAt(state, unit), STATUS_AVAILABLE);
    unit = unit + 1 == slots ? 0 : unit + 1;
  }
  store<u32>(state, next, OUTBOX_SLOT);
  return taken;
}

function slotAt(state: u32, unit: u32): u32 {
  return load<u32>(state, OUTBOX_RING) + unit * load<u32>(state, OUTBOX_SLOT_SIZE);
}
