import { DATAGRAM_HEAD_LIMIT } from "../../kernels/structs.js";
import {
  HEADER_SLOT,
  RECORD_NEXT,
  RECORD_SIZE,
  TABLE_DESCS,
  VIRTQ_DESC_SIZE,
  VQ_BIAS,
  VQ_BYTES,
  VQ_DESCS,
  VQ_DEVICE,
  VQ_DRIVER,
  VQ_DRY,
  VQ_FAULT,
  VQ_FAULT_ID,
  VQ_FLAGS,
  VQ_FREE,
  VQ_HEADER_BYTES,
  VQ_HEADERS,
  VQ_NUMBER,
  VQ_OUTSTANDING,
  VQ_OWNER,
  VQ_PACKED,
  VQ_PACKETS,
  VQ_RECORDS,
  VQ_RUNTS,
  VQ_SCRATCH,
  VQ_SIZE,
  VQ_STAGGER,
  VQ_STRUCT_SIZE,
  VQ_TABLES,
  VQ_TOO_LONG,
  VQ_UNOFFERED,
  VQ_WRAPS,
} from "../../kernels/virtio-structs.js";
import { claimOwner, releaseOwner } from "../../memory/owners.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import type { Bus } from "../bus/bus.js";
import { readCommon, type Structures, writeCommon } from "./registers.js";

/** A virtqueue in the arena: `shared` is what the device can reach, `own` what it cannot. */
export interface Virtqueue {
  /** Its number on the device. */
  readonly index: number;
  readonly size: number;
  /** Offset of the driver's record, for the kernels. */
  readonly own: number;
  readonly owner: number;
  /** Rings the doorbell: something was published. */
  readonly notify: () => void;
  readonly shared: number;
  readonly sharedBytes: number;
  readonly ownBytes: number;
}

export interface QueueOptions {
  readonly index: number;
  readonly most: number;
  /** VQ_… flags. */
  readonly flags: number;
  readonly headerBytes: number;
  readonly vector: number;
  readonly indirect: boolean;
  /** Number of the queue pair it belongs to. */
  readonly pair: number;
}

const RING_ALIGN = 64; // more than the 16, 2 and 4 bytes asked for [2.7]: a cache line each

/** Makes queue number `index` in the arena and tells the device where it is [4.1.5.1.3]. */
export function createVirtqueue(bus: Bus, structures: Structures, options: QueueOptions): Virtqueue {
  const { arena } = bus;
  const { index, flags } = options;
  writeCommon(structures, "queueSelect", index);
  const offered = readCommon(structures, "queueSize");
  const size = 2 ** Math.floor(Math.log2(Math.min(offered, options.most)));
  const packed = (flags & VQ_PACKED) !== 0;

  let end = 0;
  const take = (bytes: number) => {
    const at = end;
    end = Math.ceil((at + bytes) / RING_ALIGN) * RING_ALIGN;
    return at;
  };
  const descs = take(size * VIRTQ_DESC_SIZE);
  const driver = take(packed ? 4 : 6 + 2 * size);
  const device = take(packed ? 4 : 6 + 8 * size);
  const headers = take(size * HEADER_SLOT);
  const tables = options.indirect ? take(size * TABLE_DESCS * VIRTQ_DESC_SIZE) : undefined;
  const sharedBytes = Math.ceil(end / 4096) * 4096;
  const shared = allocateRegion(arena, sharedBytes);
  bus.map(shared, sharedBytes);

  const scratch = VQ_STRUCT_SIZE + size * RECORD_SIZE;
  const ownBytes = scratch + DATAGRAM_HEAD_LIMIT;
  const own = allocateRegion(arena, ownBytes);
  const owner = claimOwner(arena, { counts: true });
  const set = (offset: number, value: number) => {
    arena.u32[(own + offset) >>> 2] = value;
  };
  set(VQ_FLAGS, flags);
  set(VQ_SIZE, size);
  set(VQ_DESCS, shared + descs);
  set(VQ_DRIVER, shared + driver);
  set(VQ_DEVICE, shared + device);
  set(VQ_OWNER, owner);
  arena.u64[(own + VQ_BIAS) >>> 3] = BigInt(bus.bias);
  set(VQ_RECORDS, own + VQ_STRUCT_SIZE);
  set(VQ_TABLES, tables === undefined ? 0 : shared + tables);
  set(VQ_HEADERS, shared + headers);
  set(VQ_HEADER_BYTES, options.headerBytes);
  set(VQ_FREE, size);
  set(VQ_NUMBER, options.pair);
  set(VQ_SCRATCH, own + scratch);
  // Frames of a size that a whole Ethernet frame does not fill have room to keep out of each other's cache sets.
  set(VQ_STAGGER, arena.frameSize === 4096 ? 15 : 3);
  if (packed) set(VQ_WRAPS, 3);
  for (let id = 0; id < size; id++)
    set(VQ_STRUCT_SIZE + id * RECORD_SIZE + RECORD_NEXT, (id + 1) & (size - 1));

  writeCommon(structures, "queueSize", size);
  writeCommon(structures, "queueVector", options.vector);
  writeCommon(structures, "queueDescs", shared + descs + bus.bias);
  writeCommon(structures, "queueDriver", shared + driver + bus.bias);
  writeCommon(structures, "queueDevice", shared + device + bus.bias);
  const { bar, offset } = structures.notify;
  const doorbell = offset + readCommon(structures, "queueNotifyOffset") * structures.notifyStride;
  const notify = () => bar.write16(doorbell, index);
  return { index, size, own, owner, notify, shared, sharedBytes, ownBytes };
}

/** Gives a queue's memory and the frames in it back. The device must have been reset. */
export function destroyVirtqueue(bus: Bus, queue: Virtqueue): void {
  const { arena } = bus;
  releaseOwner(arena, queue.owner);
  bus.unmap(queue.shared, queue.sharedBytes);
  freeRegion(arena, queue.shared, queue.sharedBytes);
  freeRegion(arena, queue.own, queue.ownBytes);
}

/** What a queue has counted since it was made. */
export interface QueueCounters {
  readonly packets: number;
  readonly bytes: number;
  readonly runts: number;
  readonly tooLong: number;
  /** Times that the pool had no frame to post. */
  readonly dry: number;
  /** Packets dropped because they asked for an offload that the device does not do. */
  readonly unoffered: number;
  /** Packets or posted frames that the device has now. */
  readonly outstanding: number;
}

export function queueCounters(bus: Bus, { own }: Virtqueue): QueueCounters {
  const { u32, u64 } = bus.arena;
  const sum = (at: number) => Number(u64[(own + at) >>> 3]);
  return {
    packets: sum(VQ_PACKETS),
    bytes: sum(VQ_BYTES),
    runts: sum(VQ_RUNTS),
    tooLong: sum(VQ_TOO_LONG),
    dry: sum(VQ_DRY),
    unoffered: sum(VQ_UNOFFERED),
    outstanding: u32[(own + VQ_OUTSTANDING) >>> 2],
  };
}

const FAULTS = [
  "",
  "it completed buffer %, which it does not have",
  "its used index ran % entries on, past all that it has",
  "it filled buffer % beyond its length",
  "it spread a packet that starts in buffer % over an impossible number of buffers",
];

/** What the device did in this queue that it must not, in words; undefined while it keeps the rules. */
export function queueFault(bus: Bus, { own }: Virtqueue): string | undefined {
  const fault = bus.arena.u32[(own + VQ_FAULT) >>> 2];
  return fault === 0
    ? undefined
    : FAULTS[fault].replace("%", String(bus.arena.u32[(own + VQ_FAULT_ID) >>> 2]));
}
