import { MillraceError } from "../errors.js";
import {
  C_FLAGS,
  C_RANGES,
  CHUNK_LINKED,
  LIST_ADDRESS,
  LIST_COUNT,
  RANGE_ADDRESS,
  RANGE_END,
  RANGE_SIZE,
} from "../kernels/gather-structs.js";
import { BURST_PACKETS, SEND_DATA, SEND_DATA_LENGTH, SEND_SIZE } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../memory/burst.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import type { PortDriver } from "../ports/port.js";
import type { ChunkView } from "./chunk.js";
import { BURST_DESCRIPTORS } from "./source.js";

/** Bytes of a chunk in one datagram unless told otherwise: what fits an Ethernet frame over IPv6 and UDP. */
export const DATAGRAM_BYTES = 1440;

/** Cuts chunks into packets over their memory, a burst at a time. */
export interface Packetizer {
  readonly burst: number;
  /** Begins with a chunk, which must stay until next() has returned 0. */
  begin(chunk: ChunkView): void;
  /** Fills the (empty) burst with the chunk's next packets; how many. 0: all are made. */
  next(): number;
  /** Packets and bytes made so far; bytes copied because the port takes linear packets only. */
  readonly made: number;
  readonly linearized: number;
  close(): void;
}

const TABLE = 256; // packets described at a time

/** Packets of up to `size` bytes of data and nothing else, for ports that take datagrams or raw bytes. */
export function createPacketizer(arena: ArenaMemory, driver: PortDriver, size: number): Packetizer {
  if (!(Number.isInteger(size) && size >= 1 && size <= 65_507))
    throw new MillraceError("ERR_USAGE", `datagrams of ${size} bytes cannot be sent`, {
      hint: "1 to 65507 bytes",
    });
  const { u32, kernels } = arena;
  const linear = driver.can.fragments === 0;
  const burst = createBurst(arena, BURST_DESCRIPTORS);
  const region = allocateRegion(arena, RANGE_SIZE + TABLE * SEND_SIZE);
  const table = region + RANGE_SIZE;
  let list = 0;
  let pieces = 0;
  let length = 0;
  let at = 0;
  let made = 0;
  let linearized = 0;
  return {
    burst,
    begin(chunk) {
      length = chunk.length;
      at = 0;
      if ((u32[(chunk.record + C_FLAGS) >>> 2] & CHUNK_LINKED) !== 0 && chunk.linearAddress === 0) {
        list = u32[(chunk.record + C_RANGES + LIST_ADDRESS) >>> 2];
        pieces = u32[(chunk.record + C_RANGES + LIST_COUNT) >>> 2];
      } else {
        list = region;
        pieces = 1;
        u32.fill(0, region >>> 2, (region + RANGE_SIZE) >>> 2);
        u32[(region + RANGE_END) >>> 2] = length;
        u32[(region + RANGE_ADDRESS) >>> 2] = chunk.linear();
      }
    },
    next() {
      throwFault(arena, burst, kernels.burstRelease(burst, 0));
      if (at >= length) return 0;
      const count = Math.min(TABLE, Math.ceil((length - at) / size));
      for (let i = 0; i < count; i++) {
        const send = (table + i * SEND_SIZE) >>> 2;
        u32[send] = 0;
        u32[send + 1] = 0;
        u32[send + SEND_DATA / 4] = at + i * size;
        u32[send + SEND_DATA_LENGTH / 4] = Math.min(size, length - at - i * size);
      }
      const done = kernels.scatterPackets(burst, list, pieces, table, 0, count, 0, linear ? 1 : 0);
      if (done === 0)
        throw new MillraceError("ERR_MEMORY", `no frames are left to send a datagram of ${size} bytes`, {
          hint: "make a larger arena, or smaller datagrams",
        });
      const bytes = Math.min(length - at, done * size);
      at += bytes;
      made += done;
      if (linear) linearized += bytes;
      return done;
    },
    get made() {
      return made;
    },
    get linearized() {
      return linearized;
    },
    close() {
      destroyBurst(arena, burst);
      freeRegion(arena, region, RANGE_SIZE + TABLE * SEND_SIZE);
    },
  };
}

/** Sends what is in the burst, waiting where the port is full. Rejects with the signal's reason. */
export async function sendBurst(
  arena: ArenaMemory,
  driver: PortDriver,
  burst: number,
  signal: AbortSignal,
): Promise<void> {
  let next = driver.send(burst, 0);
  while (next < arena.u32[(burst + BURST_PACKETS) >>> 2]) {
    await driver.writable(signal);
    next = driver.send(burst, next);
  }
}
