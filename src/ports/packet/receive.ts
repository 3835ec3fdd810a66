// The receiving side: a ring of the kernel's mapped over a region of the arena, and its packets copied out.
import { BURST_CAPACITY, BURST_COUNT, REGION_PAGE_SHIFT } from "../../kernels/structs.js";
import {
  INBOX_HEADER,
  INBOX_IOVECS,
  INBOX_VECTORS,
  MESSAGE_VECTOR_COUNT,
  MESSAGE_VECTORS,
  TPACKET_COOKED,
  TPACKET_ETHERNET,
  TPACKET_KINDS,
  TPACKET_LARGE,
  TPACKET_LEFT,
  TPACKET_NEXT,
  TPACKET_OPENED,
  TPACKET_RING,
  TPACKET_SIZE,
  TPACKET_STARVED,
  TPACKET_UNIT_SIZE,
  TPACKET_UNITS,
  TPACKET_VNET,
  VECTOR_SIZE,
} from "../../kernels/structs-messages.js";
import { libc } from "../../linux/libc.js";
import { arenaBase, mapOver, unmapOver } from "../../linux/mapping.js";
import { createPacketRing, type PacketRing } from "../../linux/packet-socket.js";
import { MSG_DONTWAIT, SOL_SOCKET, tryOption } from "../../linux/socket.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { freeRegionBytes } from "../../memory/region.js";
import { closeInbox, createInbox, createRegions, type Regions, setAddress, setWords } from "../messages.js";
import type { LinkType } from "../port.js";
import { type PacketOptions, usualRingBytes } from "./options.js";

export interface PacketReceiver {
  /** Offset of the TPACKET_ structure, with its counters. */
  readonly state: number;
  readonly blocks: boolean;
  receive(burst: number): number;
  /** As PortDriver.record(); only where `blocks`. */
  record(output: number, records: number, most: number): number;
  ready(): boolean;
  /** Packets of the ring's blocks that receive() and record() have gone past; only where `blocks`. */
  handedOut(): number;
  starved(): boolean;
  close(): void;
}

/** What the socket is, as far as the ring depends on it. */
export interface PacketLink {
  readonly fd: number;
  readonly subject: string;
  readonly mtu: number;
  readonly linkType: LinkType;
  readonly vnet: number;
}

/** Bytes of the longest frame, link header included, at an MTU. */
export function frameLimit(linkType: PacketLink["linkType"], mtu: number): number {
  return linkType === "RAW" ? mtu : mtu + 14;
}

const BLOCK = 256 * 1024; // TPACKET_V3: holds a super-frame of 64 KiB
const LARGEST_BLOCK = 32 * 2 ** 20;
const LONG_DELAY = 100; // milliseconds
const SLOT_OVERHEAD = 128; // tpacket2_hdr, sockaddr_ll, virtio_net_hdr, link header and a VLAN tag, aligned
const LEAST = 2 * BLOCK;
const QUEUE_BYTES = 8 * 2 ** 20; // for packets that no slot can hold
const SO_RCVBUFFORCE = 33;
const KINDS = { in: 0xef, out: 0x10, inout: 0xff } as const; // sll_pkttype 4 is outgoing

/** Makes the ring, maps it and gets ready to read it. */
export function createPacketReceiver(
  arena: ArenaMemory,
  link: PacketLink,
  options: PacketOptions,
): PacketReceiver {
  const { fd, subject, vnet } = link;
  const regions = createRegions(arena);
  const { ring, at, bytes } = takeRing(arena, regions, link.mtu, options);
  const blocks = ring.frameSize === 0;
  const unitSize = blocks ? ring.blockSize : ring.frameSize;
  let mapped = false;
  try {
    createPacketRing(fd, ring, subject);
    tryOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES);
    mapOver(arena, at, bytes, { fd, at: 0 }, subject);
    mapped = true;
    const state = regions.take(TPACKET_SIZE);
    setWords(arena, state, [
      [TPACKET_RING, at],
      [TPACKET_UNITS, bytes / unitSize],
      [TPACKET_UNIT_SIZE, unitSize],
      [TPACKET_VNET, vnet],
      [TPACKET_KINDS, KINDS[options.traffic]],
      [TPACKET_ETHERNET, link.linkType === "EN10MB" ? 1 : 0],
      [TPACKET_COOKED, link.linkType === "LINUX_SLL2" ? 1 : 0],
    ]);
    const inbox = createInbox(arena, regions, 1, 0);
    return { state, blocks, ...reader(arena, link, state, inbox, blocks), close };

    function close(): void {
      unmapOver(arena, at, bytes);
      closeInbox(arena, inbox);
      regions.free();
    }
  } catch (error) {
    if (mapped) unmapOver(arena, at, bytes);
    regions.free();
    throw error;
  }
}

/** A ring and the region of the arena for it. */
interface RingPlace {
  readonly ring: PacketRing;
  readonly at: number;
  readonly bytes: number;
}

/**
 * Without buffer= the usual size, but never more than half of what others have left of the arena's regions: several ports on one arena get rings one smaller than the other, and none is refused.
 */
function takeRing(arena: ArenaMemory, regions: Regions, mtu: number, options: PacketOptions): RingPlace {
  const { buffer, delay } = options;
  const usual = usualRingBytes(arena.buffer.byteLength, delay);
  for (let wanted = buffer ?? Math.min(usual, freeRegionBytes(arena) / 2); ; wanted /= 2) {
    const ring = ringFor(wanted, mtu, delay);
    const bytes = ring.blocks * ring.blockSize;
    try {
      return { ring, at: regions.reserve(bytes), bytes };
    } catch (error) {
      // Another thread was faster, or what is left is in pieces.
      if (buffer !== undefined || wanted < LEAST) throw error;
    }
  }
}

/**
 * Slots (TPACKET_V2) where no packet may wait, else blocks (TPACKET_V3): of a large ring that is seldom handed over
 * three to five, since each wakes its reader; many where a reader that is late must not find all handed over.
 */
function ringFor(wanted: number, mtu: number, delay: number): PacketRing {
  const page = 1 << REGION_PAGE_SHIFT;
  if (delay > 0) {
    const third = 2 ** Math.floor(Math.log2(wanted / 3));
    const blockSize = delay < LONG_DELAY ? BLOCK : Math.max(BLOCK, Math.min(LARGEST_BLOCK, third));
    const blocks = Math.max(2, Math.floor(wanted / blockSize));
    return { blocks, blockSize, frameSize: 0, delay };
  }
  const frameSize = Math.min(65536, 2 ** Math.ceil(Math.log2(mtu + SLOT_OVERHEAD)));
  const blockSize = Math.max(4 * page, frameSize);
  return { blocks: Math.max(1, Math.floor(wanted / blockSize)), blockSize, frameSize, delay };
}

function reader(arena: ArenaMemory, link: PacketLink, state: number, inbox: number, blocks: boolean) {
  const { u32, kernels } = arena;
  const { recvmsg } = libc();
  const word = (offset: number) => u32[(state + offset) >>> 2];
  const vectors = u32[(inbox + INBOX_VECTORS) >>> 2];
  const message = messageOver(arena, inbox, link.vnet, vectors);
  let postless = false; // the pool had no frame for a packet that waits in the socket's queue

  function receive(burst: number): number {
    if (blocks) return kernels.tpacketBlocks(state, burst);
    let packets = 0;
    postless = false;
    for (;;) {
      packets += kernels.tpacketSlots(state, burst);
      if (word(TPACKET_LARGE) === 0) return packets;
      const used = u32[(burst + BURST_COUNT) >>> 2];
      // One more for the head frame that a VLAN tag may want.
      if (used > 0 && used + vectors + 1 > u32[(burst + BURST_CAPACITY) >>> 2]) return packets;
      postless = kernels.inboxPost(inbox) === 0;
      if (postless) return packets;
      const length = recvmsg(link.fd, message, MSG_DONTWAIT);
      packets += kernels.tpacketLarge(state, inbox, burst, Math.max(0, length - link.vnet));
    }
  }

  return {
    receive,
    record: (output: number, records: number, most: number) =>
      kernels.tpacketRecord(state, output, records, most),
    ready: () => kernels.tpacketReady(state, blocks ? 1 : 0) !== 0,
    handedOut: () =>
      Number(arena.u64[(state + TPACKET_OPENED) / 8]) - (word(TPACKET_NEXT) === 0 ? 0 : word(TPACKET_LEFT)),
    starved: () => postless || word(TPACKET_STARVED) !== 0,
  };
}

/** A struct msghdr over the inbox's vectors, with one before them for the network header. Absolute address. */
function messageOver(arena: ArenaMemory, inbox: number, vnet: number, vectors: number): Uint8Array {
  const header = new Uint8Array(56);
  const view = new DataView(header.buffer);
  const front = arena.u32[(inbox + INBOX_HEADER) >>> 2];
  const iovecs = arena.u32[(inbox + INBOX_IOVECS) >>> 2];
  setAddress(arena, front + VECTOR_SIZE + 8, vnet);
  const first = arenaBase(arena) + (vnet === 0 ? iovecs : front + VECTOR_SIZE);
  view.setBigUint64(MESSAGE_VECTORS, BigInt(first), true);
  view.setBigUint64(MESSAGE_VECTOR_COUNT, BigInt(vectors + (vnet === 0 ? 0 : 1)), true);
  return header;
}
