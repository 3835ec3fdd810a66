// Sending over a ring of the kernel's (PACKET_TX_RING) mapped over a region of the arena, on a socket of its own:
// a socket with such a ring sends nothing by other calls.
import { REGION_PAGE_SHIFT } from "../../kernels/structs.js";
import {
  OUTBOX_RING,
  OUTBOX_SLOT_FULL,
  OUTBOX_SLOT_LIMIT,
  OUTBOX_SLOT_SIZE,
  OUTBOX_SLOTS,
} from "../../kernels/structs-messages.js";
import { ERRNO } from "../../linux/errno.js";
import { libc } from "../../linux/libc.js";
import { mapOver, unmapOver } from "../../linux/mapping.js";
import {
  bindPacketSocket,
  bypassQdisc,
  enableVnetHeader,
  makeSendRing,
  mtuReader,
  openPacketSocket,
  type PacketRing,
} from "../../linux/packet-socket.js";
import { MSG_DONTWAIT } from "../../linux/socket.js";
import { watch } from "../../linux/watch.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { freeRegionBytes } from "../../memory/region.js";
import { createRegions, setWords } from "../messages.js";
import { pause } from "../pause.js";
import type { PacketOptions } from "./options.js";
import { frameLimit, type PacketLink } from "./receive.js";

const SLOTS = 512;
const FEWEST_SLOTS = 32;
const MOST_BYTES = 4 * 2 ** 20;
const SLOT_HEADER = 32; // struct tpacket2_hdr

export interface SendRing {
  /** Sends packets from `first` on as long as they are for the ring, in one call. */
  send(burst: number, first: number): RingResult;
  close(): void;
}

/** What became of one call. */
export interface RingResult {
  /** Slots that were filled. */
  readonly filled: number;
  /** Those that the kernel took. The next packet is to be sent another way, unless there was no room. */
  readonly sent: number;
  /** There was no room: resolves when there may be some again. */
  readonly room: ((signal: AbortSignal) => Promise<void>) | undefined;
}

/**
 * Opens the socket, makes the ring and maps it; `outbox` gets its words. Undefined where the arena has no room for a
 * ring worth its while. Throws an errno's name.
 */
export function createSendRing(
  arena: ArenaMemory,
  link: PacketLink,
  index: number,
  outbox: number,
  options: PacketOptions,
): SendRing | undefined {
  const shape = shapeFor(arena, link);
  if (shape === undefined) return undefined;
  const { u32, kernels } = arena;
  const { close, sendto, errno } = libc();
  const { subject, vnet } = link;
  const fd = openPacketSocket(false, subject);
  const regions = createRegions(arena);
  let at = 0;
  const { frameSize } = shape;
  const bytes = shape.blocks * shape.blockSize;
  try {
    if (vnet !== 0) enableVnetHeader(fd);
    if (options.bypass) bypassQdisc(fd, subject);
    makeSendRing(fd, shape, subject);
    at = regions.reserve(bytes);
    mapOver(arena, at, bytes, { fd, at: 0 }, subject);
    bindPacketSocket(fd, index, false, subject);
  } catch (error) {
    if (at !== 0) unmapOver(arena, at, bytes);
    regions.free();
    close(fd);
    // Another thread has taken what was left of the arena: there is another way to send.
    if ((error as { code?: string }).code === "ERR_MEMORY") return undefined;
    throw error;
  }
  const watching = watch(fd);
  const mtu = mtuReader(fd, options.interface);
  setWords(arena, outbox, [
    [OUTBOX_RING, at],
    [OUTBOX_SLOTS, bytes / frameSize],
    [OUTBOX_SLOT_SIZE, frameSize],
  ]);

  return {
    send(burst, first) {
      // Nobody checks lengths where the network header is before packets: what is longer than the MTU goes past the ring.
      const longest = Math.min(frameLimit(link.linkType, mtu()), frameSize - SLOT_HEADER - vnet);
      setWords(arena, outbox, [[OUTBOX_SLOT_LIMIT, longest]]);
      const filled = kernels.packetRingFill(outbox, burst, first);
      const behind = u32[(outbox + OUTBOX_SLOT_FULL) >>> 2] === 0 ? undefined : pause;
      if (filled === 0) return { filled, sent: 0, room: behind };
      const code = sendto(fd, null, 0, MSG_DONTWAIT, null, 0) < 0 ? errno() : 0;
      const sent = kernels.packetRingTaken(outbox, filled);
      if (sent === filled) return { filled, sent, room: behind };
      if (code === ERRNO.EAGAIN) return { filled, sent, room: watching.writable };
      return { filled, sent, room: code === ERRNO.ENOBUFS ? pause : undefined };
    },
    close() {
      watching.close();
      unmapOver(arena, at, bytes);
      regions.free();
      close(fd);
    },
  };
}

/** 512 slots of one packet each, or as many as 4 MiB, a 64th of the arena and half of its free regions have room for. */
function shapeFor(
  arena: ArenaMemory,
  { mtu, vnet, linkType }: PacketLink,
): Omit<PacketRing, "delay"> | undefined {
  const longest = frameLimit(linkType, mtu) + vnet + SLOT_HEADER;
  const frameSize = 2 ** Math.ceil(Math.log2(longest));
  const blockSize = Math.max(4 << REGION_PAGE_SHIFT, frameSize);
  const most = Math.min(MOST_BYTES, arena.buffer.byteLength / 64, freeRegionBytes(arena) / 2);
  const bytes = Math.min(SLOTS * frameSize, most);
  if (bytes < FEWEST_SLOTS * frameSize) return undefined;
  return { blocks: Math.ceil(bytes / blockSize), blockSize, frameSize };
}
