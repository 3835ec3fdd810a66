import {
  MARK_SHIFT,
  RXQ_BIAS,
  RXQ_BUFFERS,
  RXQ_COPYBREAK,
  RXQ_COUNT,
  RXQ_DESCS,
  RXQ_FILLED,
  RXQ_FRAMES,
  RXQ_HEADROOM,
  RXQ_MOST,
  RXQ_NEXT,
  RXQ_OWNER,
  RXQ_QUEUE,
  RXQ_SIZE,
  RXQ_SIZE_BYTES,
  RXQ_SIZE0,
  RXQ_TAIL,
  RXQ_TOLD,
  TXQ_BIAS,
  TXQ_COUNT,
  TXQ_DESCS,
  TXQ_FRAGMENTS,
  TXQ_FRAMES,
  TXQ_LARGEST,
  TXQ_MARKS,
  TXQ_OWNER,
  TXQ_SIZE_BYTES,
  TXQ_TAGS,
} from "../../kernels/e1000e.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { claimOwner, releaseOwner } from "../../memory/owners.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import type { Bus } from "../bus/bus.js";
import { FRAGMENTS } from "./assumptions.js";
import type { Settings } from "./settings.js";

/** One queue: its descriptors, which the card may reach, and its state, which it may not. */
export interface Queue {
  /** Arena offset of its state (RXQ_ or TXQ_). */
  readonly state: number;
  readonly stateBytes: number;
  readonly descs: number;
  readonly descBytes: number;
  readonly frames: number;
  readonly frameBytes: number;
  readonly owner: number;
  readonly index: number;
  /** The tail as last written to the card. */
  told: number;
}

/** How received packets lie in memory: what the settings come to with this arena's frames. */
export interface Buffers {
  /** Buffers a descriptor. */
  readonly count: number;
  readonly size0: number;
  readonly size: number;
  readonly headroom: number;
  /** Descriptors that the longest packet spans. */
  readonly most: number;
}

/** Bytes of the buffer for headers (PSRCTL.BSIZE0, in units of 128). */
export const HEADER_BYTES = 256;
const HEADROOM = 64;

function planBuffers(frameSize: number, settings: Settings): Buffers {
  const tagged = settings.mtu + 4;
  if (settings.headerSplit) {
    const pages = Math.min(3, Math.ceil(tagged / frameSize));
    const most = Math.ceil(tagged / (pages * frameSize)) + 1;
    return { count: 1 + pages, size0: HEADER_BYTES, size: frameSize, headroom: HEADROOM, most };
  }
  // A standard frame leaves room before it in a frame of 4,096; anything else takes frames whole.
  if (frameSize === 4096 && tagged <= 2048)
    return { count: 1, size0: 2048, size: 0, headroom: HEADROOM, most: 1 };
  return { count: 1, size0: frameSize, size: 0, headroom: 0, most: Math.ceil(tagged / frameSize) };
}

function setBias(arena: ArenaMemory, at: number, bias: number): void {
  arena.u64[at >>> 3] = BigInt(bias);
}

export function createReceiveQueue(bus: Bus, index: number, settings: Settings): Queue {
  const { arena } = bus;
  const buffers = planBuffers(arena.frameSize, settings);
  const count = settings.rxRing;
  const descBytes = count * (buffers.count === 1 ? 16 : 32);
  const frameBytes = count * buffers.count * 4;
  const queue: Queue = {
    state: allocateRegion(arena, RXQ_SIZE_BYTES),
    stateBytes: RXQ_SIZE_BYTES,
    descs: allocateRegion(arena, descBytes),
    descBytes,
    frames: allocateRegion(arena, frameBytes),
    frameBytes,
    owner: claimOwner(arena, { counts: false }),
    index,
    told: 0,
  };
  bus.map(queue.descs, mappedBytes(descBytes));
  const set = (offset: number, value: number) => {
    arena.u32[(queue.state + offset) >>> 2] = value;
  };
  set(RXQ_DESCS, queue.descs);
  set(RXQ_COUNT, count);
  set(RXQ_FRAMES, queue.frames);
  set(RXQ_BUFFERS, buffers.count);
  set(RXQ_SIZE0, buffers.size0);
  set(RXQ_SIZE, buffers.size);
  set(RXQ_HEADROOM, buffers.headroom);
  set(RXQ_OWNER, queue.owner);
  setBias(arena, queue.state + RXQ_BIAS, bus.bias);
  set(RXQ_COPYBREAK, settings.copybreak);
  set(RXQ_QUEUE, index);
  set(RXQ_MOST, buffers.most);
  return queue;
}

export function createTransmitQueue(bus: Bus, index: number, settings: Settings): Queue {
  const { arena } = bus;
  const count = settings.txRing;
  const descBytes = count * 16;
  const frameBytes = count * (4 + (1 << MARK_SHIFT));
  const queue: Queue = {
    state: allocateRegion(arena, TXQ_SIZE_BYTES),
    stateBytes: TXQ_SIZE_BYTES,
    descs: allocateRegion(arena, descBytes),
    descBytes,
    frames: allocateRegion(arena, frameBytes),
    frameBytes,
    owner: claimOwner(arena, { counts: true }),
    index,
    told: 0,
  };
  bus.map(queue.descs, mappedBytes(descBytes));
  const set = (offset: number, value: number) => {
    arena.u32[(queue.state + offset) >>> 2] = value;
  };
  set(TXQ_DESCS, queue.descs);
  set(TXQ_COUNT, count);
  set(TXQ_MARKS, queue.frames);
  set(TXQ_FRAMES, queue.frames + (count << MARK_SHIFT));
  set(TXQ_OWNER, queue.owner);
  set(TXQ_FRAGMENTS, FRAGMENTS);
  set(TXQ_LARGEST, settings.mtu);
  set(TXQ_TAGS, settings.vlan ? 1 : 0);
  setBias(arena, queue.state + TXQ_BIAS, bus.bias);
  return queue;
}

function mappedBytes(bytes: number): number {
  return Math.ceil(bytes / 4096) * 4096;
}

/** Starts a receive ring anew; the frames that lay in it are given to the card again. The card is in reset. */
export function rewindReceive(arena: ArenaMemory, queue: Queue): void {
  arena.u8.fill(0, queue.descs, queue.descs + queue.descBytes);
  for (const offset of [RXQ_NEXT, RXQ_FILLED, RXQ_TOLD, RXQ_TAIL])
    arena.u32[(queue.state + offset) >>> 2] = 0;
  queue.told = 0;
  arena.kernels.e1000eFill(queue.state);
}

/** Starts a transmit ring anew and frees what lay in it. Returns how many packets were lost. The card is in reset. */
export function rewindTransmit(arena: ArenaMemory, queue: Queue): number {
  queue.told = 0;
  return arena.kernels.e1000eFlush(queue.state);
}

/** Gives a queue's frames and memory back. The card can no longer reach them. */
export function destroyQueue(arena: ArenaMemory, queue: Queue): void {
  releaseOwner(arena, queue.owner);
  freeRegion(arena, queue.frames, queue.frameBytes);
  freeRegion(arena, queue.descs, queue.descBytes);
  freeRegion(arena, queue.state, queue.stateBytes);
}

/** Ends the card's reach to a queue's descriptors. */
export function unmapQueue(bus: Bus, queue: Queue): void {
  bus.unmap(queue.descs, mappedBytes(queue.descBytes));
}
