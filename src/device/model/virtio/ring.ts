// The device's side of a virtqueue, split or packed (Virtual I/O Device Version 1.2, 2.7 and 2.8), over a bus
// master's reads and writes.
import {
  VIRTQ_AVAIL,
  VIRTQ_EVENT_AT,
  VIRTQ_EVENT_DISABLE,
  VIRTQ_INDIRECT,
  VIRTQ_NEXT,
  VIRTQ_USED,
  VIRTQ_WRITE,
} from "../../../kernels/virtio-structs.js";
import type { ModelHost } from "../device.js";

/** A queue as the driver has set it up. */
export interface ModelQueue {
  enabled: boolean;
  size: number;
  vector: number;
  descs: number;
  driver: number;
  device: number;
  packed: boolean;
  events: boolean;
  /** Split: next index of the available ring; packed: next slot. */
  next: number;
  nextWrap: boolean;
  /** Where the next used entry goes. */
  used: number;
  usedWrap: boolean;
  /** Used entries written since the driver was last interrupted. */
  added: number;
  /** The doorbell rang, and not everything was looked at since. */
  rung: boolean;
}

export interface Piece {
  readonly iova: number;
  readonly length: number;
  readonly write: boolean;
}

/** A chain of descriptors that the driver made available. */
export interface Chain {
  readonly id: number;
  readonly pieces: readonly Piece[];
  readonly slots: number;
}

export function createModelQueue(size: number): ModelQueue {
  return {
    enabled: false,
    size,
    vector: 0xffff,
    descs: 0,
    driver: 0,
    device: 0,
    packed: false,
    events: false,
    next: 0,
    nextWrap: true,
    used: 0,
    usedWrap: true,
    added: 0,
    rung: false,
  };
}

const LONGEST_CHAIN = 1024; // a chain that loops is cut off here

function read(host: ModelHost, iova: number, bytes: number): DataView | undefined {
  const into = new Uint8Array(bytes);
  return host.dmaRead(iova, into) ? new DataView(into.buffer) : undefined;
}

function read16(host: ModelHost, iova: number): number {
  return read(host, iova, 2)?.getUint16(0, true) ?? 0;
}

function pieceOf(desc: DataView, at: number, flags: number): Piece {
  const iova = Number(desc.getBigUint64(at, true));
  return { iova, length: desc.getUint32(at + 8, true), write: (flags & VIRTQ_WRITE) !== 0 };
}

/** All pieces of a table: chained in a split ring, one after another in a packed one. */
function readTable(host: ModelHost, queue: ModelQueue, piece: Piece): Piece[] {
  const table = read(host, piece.iova, Math.min(piece.length, 16 * LONGEST_CHAIN) & ~15);
  const pieces: Piece[] = [];
  if (table === undefined) return pieces;
  for (let index = 0; 16 * index + 16 <= table.byteLength && pieces.length < LONGEST_CHAIN; ) {
    const flags = table.getUint16(16 * index + (queue.packed ? 14 : 12), true);
    pieces.push(pieceOf(table, 16 * index, flags));
    if (queue.packed) index++;
    else if ((flags & VIRTQ_NEXT) === 0) break;
    else index = table.getUint16(16 * index + 14, true);
  }
  return pieces;
}

/** The next chain, without taking it. */
export function peekChain(host: ModelHost, queue: ModelQueue): Chain | undefined {
  return queue.packed ? peekPacked(host, queue) : peekSplit(host, queue);
}

function peekSplit(host: ModelHost, queue: ModelQueue): Chain | undefined {
  if (read16(host, queue.driver + 2) === (queue.next & 0xffff)) return undefined;
  const id = read16(host, queue.driver + 4 + 2 * (queue.next & (queue.size - 1)));
  const pieces: Piece[] = [];
  for (let index = id; pieces.length < LONGEST_CHAIN; ) {
    const desc = read(host, queue.descs + 16 * index, 16);
    if (desc === undefined) break;
    const flags = desc.getUint16(12, true);
    const piece = pieceOf(desc, 0, flags);
    if ((flags & VIRTQ_INDIRECT) !== 0) pieces.push(...readTable(host, queue, piece));
    else pieces.push(piece);
    if ((flags & VIRTQ_NEXT) === 0) break;
    index = desc.getUint16(14, true);
  }
  return { id, pieces, slots: 1 };
}

function peekPacked(host: ModelHost, queue: ModelQueue): Chain | undefined {
  const available = (flags: number, wrap: boolean) =>
    ((flags & VIRTQ_AVAIL) !== 0) === wrap && ((flags & VIRTQ_USED) !== 0) !== wrap;
  if (!available(read16(host, queue.descs + 16 * queue.next + 14), queue.nextWrap)) return undefined;
  const pieces: Piece[] = [];
  let slots = 0;
  while (slots < queue.size) {
    const desc = read(host, queue.descs + 16 * ((queue.next + slots) % queue.size), 16);
    slots++;
    if (desc === undefined) return { id: 0, pieces: [], slots };
    const flags = desc.getUint16(14, true);
    const piece = pieceOf(desc, 0, flags);
    if ((flags & VIRTQ_INDIRECT) !== 0) pieces.push(...readTable(host, queue, piece));
    else pieces.push(piece);
    if ((flags & VIRTQ_NEXT) === 0) return { id: desc.getUint16(12, true), pieces, slots };
  }
  return { id: 0, pieces, slots };
}

/** Takes the chain that was peeked. */
export function takeChain(queue: ModelQueue, chain: Chain): void {
  if (!queue.packed) {
    queue.next = (queue.next + 1) & 0xffff;
    return;
  }
  queue.next += chain.slots;
  if (queue.next >= queue.size) {
    queue.next -= queue.size;
    queue.nextWrap = !queue.nextWrap;
  }
}

/** Hands a chain back with `length` bytes written in it. `publish` false: with the next one that is published. */
export function pushUsed(host: ModelHost, queue: ModelQueue, chain: Chain, length: number): void {
  if (queue.packed) {
    const flags = queue.usedWrap ? VIRTQ_AVAIL | VIRTQ_USED : 0;
    const at = queue.descs + 16 * queue.used;
    host.dmaWrite(at + 8, new Uint8Array(Uint32Array.of(length).buffer));
    host.dmaFlag(at + 12, (chain.id | (flags << 16)) >>> 0);
    queue.used += chain.slots;
    if (queue.used >= queue.size) {
      queue.used -= queue.size;
      queue.usedWrap = !queue.usedWrap;
    }
    queue.added += chain.slots;
    return;
  }
  const at = queue.device + 4 + 8 * (queue.used & (queue.size - 1));
  host.dmaWrite(at, new Uint8Array(Uint32Array.of(chain.id, length).buffer));
  queue.used = (queue.used + 1) & 0xffff;
  queue.added++;
}

/** Split: makes what was pushed visible, the first word of the used ring being flags and index. */
export function publishUsed(host: ModelHost, queue: ModelQueue): void {
  if (!queue.packed && queue.added > 0) host.dmaFlag(queue.device, (queue.used << 16) >>> 0);
}

/** Whether the driver wants to be interrupted for what was published since this was last asked. */
export function wantsInterrupt(host: ModelHost, queue: ModelQueue): boolean {
  const { added } = queue;
  if (added === 0) return false;
  queue.added = 0;
  if (queue.packed) {
    const flags = read16(host, queue.driver + 2);
    if (flags !== VIRTQ_EVENT_AT) return flags !== VIRTQ_EVENT_DISABLE;
    const wanted = read16(host, queue.driver);
    const wrapped = wanted >>> 15 === 1 ? queue.usedWrap : !queue.usedWrap;
    const event = (wanted & 0x7fff) - (wrapped ? 0 : queue.size);
    return ((queue.used - event - 1) & 0xffff) < added;
  }
  if (!queue.events) return (read16(host, queue.driver) & 1) === 0;
  const event = read16(host, queue.driver + 4 + 2 * queue.size);
  return ((queue.used - event - 1) & 0xffff) < added;
}

/** Asks for the doorbell at the next chain. To be followed by another look, lest one came in between. */
export function armDoorbell(host: ModelHost, queue: ModelQueue): void {
  if (queue.packed) {
    const place = queue.next | (queue.nextWrap ? 0x8000 : 0);
    host.dmaFlag(queue.device, ((queue.events ? VIRTQ_EVENT_AT << 16 : 0) | place) >>> 0);
  } else if (queue.events)
    host.dmaWrite(queue.device + 4 + 8 * queue.size, new Uint8Array(Uint16Array.of(queue.next).buffer));
}
