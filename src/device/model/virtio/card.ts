import { VNET_HASHED_SIZE, VNET_SIZE } from "../../../kernels/virtio-structs.js";
import type { VirtioFeature } from "../../virtio/features.js";
import { NO_VECTOR, STATUS_DRIVER_OK } from "../../virtio/registers.js";
import type { ModelHost } from "../device.js";
import { type Plug, peerTakes, sendOver, type Wire, wireUp } from "../wire.js";
import { framesOf, hashOf, headerOf } from "./net.js";
import {
  armDoorbell,
  type Chain,
  type ModelQueue,
  peekChain,
  publishUsed,
  pushUsed,
  takeChain,
  wantsInterrupt,
} from "./ring.js";

/** The inside of a modelled virtio network card. */
export interface ModelVirtio {
  readonly host: ModelHost;
  readonly wire: Wire;
  readonly plug: Plug;
  readonly mac: Uint8Array;
  readonly pairs: number;
  /** Receive and transmit by turns, the control queue last. */
  readonly queues: ModelQueue[];
  readonly features: Set<VirtioFeature>;
  status: number;
  configVector: number;
  isr: number;
  readonly arrived: Uint8Array[];
  readonly leaving: Uint8Array[];
  activePairs: number;
  promiscuous: boolean;
  rss: { readonly types: number; readonly key: Uint8Array; readonly table: readonly number[] } | undefined;
  /** Pulled from its slot: reads all ones, does nothing. */
  pulled: boolean;
  /** Takes what it is given and completes nothing, until it is reset. */
  silent: boolean;
}

const CHAINS_A_STEP = 64;
const SHORTEST = 60;

/** One bounded piece of work. True: there was something to do. */
export function work(card: ModelVirtio): boolean {
  if (card.pulled || card.silent || (card.status & STATUS_DRIVER_OK) === 0) return false;
  let busy = flush(card);
  for (let pair = 0; pair < card.pairs; pair++) busy = transmit(card, card.queues[2 * pair + 1]) || busy;
  busy = control(card) || busy;
  return receive(card) || busy;
}

/** Hands back what a queue's chains came to and interrupts, if the driver wants that. */
export function finish(card: ModelVirtio, queue: ModelQueue): void {
  publishUsed(card.host, queue);
  if (!wantsInterrupt(card.host, queue)) return;
  card.isr |= 1;
  notify(card, queue.vector);
}

/** Signals a vector that the driver has chosen; without MSI-X there is one line for everything [4.1.5.1.2]. */
export function notify({ host }: ModelVirtio, vector: number): void {
  if (host.interruptKind !== "msix") host.interrupt(0);
  else if (vector !== NO_VECTOR) host.interrupt(vector);
}

/** The bytes that a chain's readable pieces name, one after another; undefined where one cannot be read. */
function readChain(card: ModelVirtio, chain: Chain): Uint8Array | undefined {
  const pieces = chain.pieces.filter(({ write }) => !write);
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (length > 1 << 17) return undefined;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    if (!card.host.dmaRead(piece.iova, bytes.subarray(at, at + piece.length))) return undefined;
    at += piece.length;
  }
  return bytes;
}

/** Goes through the chains of a queue whose doorbell rang, until `handle` says stop or there are no more. */
function serve(card: ModelVirtio, queue: ModelQueue, handle: (chain: Chain) => boolean): boolean {
  if (!queue.enabled || !queue.rung) return false;
  let done = 0;
  for (; done < CHAINS_A_STEP; done++) {
    const chain = peekChain(card.host, queue);
    if (chain === undefined) {
      armDoorbell(card.host, queue);
      if (peekChain(card.host, queue) !== undefined) continue;
      queue.rung = false;
      break;
    }
    if (!handle(chain)) break;
  }
  if (done > 0) finish(card, queue);
  return done > 0;
}

function transmit(card: ModelVirtio, queue: ModelQueue): boolean {
  const header = card.features.has("hashReport") ? VNET_HASHED_SIZE : VNET_SIZE;
  return serve(card, queue, (chain) => {
    if (card.leaving.length > 0) return false; // the other side has asked for a pause
    const bytes = readChain(card, chain);
    takeChain(queue, chain);
    if (bytes !== undefined && bytes.length >= header + 14)
      for (const frame of framesOf(bytes.subarray(0, header), bytes.slice(header)))
        card.leaving.push(padded(frame));
    flush(card);
    pushUsed(card.host, queue, chain, 0);
    return true;
  });
}

function padded(frame: Uint8Array): Uint8Array {
  if (frame.length >= SHORTEST) return frame;
  const whole = new Uint8Array(SHORTEST);
  whole.set(frame);
  return whole;
}

function flush(card: ModelVirtio): boolean {
  let busy = false;
  // A card without a link drops what it is given, as QEMU's does.
  if (!wireUp(card.wire, card.plug)) card.leaving.length = 0;
  while (card.leaving.length > 0 && peerTakes(card.wire, card.plug)) {
    sendOver(card.wire, card.plug, card.leaving.shift()!);
    busy = true;
  }
  return busy;
}

/** Whether the receive filter lets a frame in. */
function passes(card: ModelVirtio, frame: Uint8Array): boolean {
  return card.promiscuous || (frame[0] & 1) === 1 || card.mac.every((byte, i) => byte === frame[i]);
}

function receive(card: ModelVirtio): boolean {
  let busy = false;
  for (let done = 0; done < CHAINS_A_STEP && card.arrived.length > 0; done++) {
    const frame = card.arrived[0];
    if (passes(card, frame)) {
      const hash = card.rss === undefined ? undefined : hashOf(frame, card.rss.key, card.rss.types);
      const { rss } = card;
      const spread = rss === undefined || hash === undefined || hash.report === 0 || rss.table.length === 0;
      const pair = spread ? 0 : rss.table[hash.value & (rss.table.length - 1)];
      if (!store(card, card.queues[2 * Math.min(pair, card.pairs - 1)], frame, hash)) break;
    }
    card.arrived.shift();
    busy = true;
  }
  return busy;
}

/** Writes one frame into as many buffers as it takes. False: there are not enough yet. */
function store(
  card: ModelVirtio,
  queue: ModelQueue,
  frame: Uint8Array,
  hash: ReturnType<typeof hashOf> | undefined,
): boolean {
  if (!queue.enabled) return true;
  const bytes = card.features.has("hashReport") ? VNET_HASHED_SIZE : VNET_SIZE;
  const before = { next: queue.next, nextWrap: queue.nextWrap };
  const chains: Chain[] = [];
  let room = 0;
  while (room < bytes + frame.length) {
    const chain = peekChain(card.host, queue);
    if (chain === undefined || (chains.length === 1 && !card.features.has("mergeBuffers"))) {
      Object.assign(queue, before);
      armDoorbell(card.host, queue);
      return chain !== undefined; // a frame that one buffer cannot hold is dropped
    }
    takeChain(queue, chain);
    chains.push(chain);
    room += chain.pieces.reduce((sum, piece) => sum + (piece.write ? piece.length : 0), 0);
  }
  const whole = new Uint8Array(bytes + frame.length);
  whole.set(headerOf(frame, bytes, chains.length, card.features.has("guestChecksum"), hash));
  whole.set(frame, bytes);
  let at = 0;
  const filled = chains.map((chain) => {
    const start = at;
    for (const piece of chain.pieces) {
      const part = whole.subarray(at, at + piece.length);
      if (!piece.write || part.length === 0) continue;
      card.host.dmaWrite(piece.iova, part);
      at += part.length;
    }
    return at - start;
  });
  // The driver must not see the first before the rest is there: a packed ring is written back to front.
  if (queue.packed) pushPacked(card, queue, chains, filled);
  else for (const [index, chain] of chains.entries()) pushUsed(card.host, queue, chain, filled[index]);
  finish(card, queue);
  return true;
}

function pushPacked(
  card: ModelVirtio,
  queue: ModelQueue,
  chains: readonly Chain[],
  filled: readonly number[],
): void {
  const start = { used: queue.used, usedWrap: queue.usedWrap };
  const places = chains.map((chain) => {
    const place = { used: queue.used, usedWrap: queue.usedWrap };
    queue.used += chain.slots;
    if (queue.used >= queue.size) {
      queue.used -= queue.size;
      queue.usedWrap = !queue.usedWrap;
    }
    return place;
  });
  const end = { used: queue.used, usedWrap: queue.usedWrap };
  for (let index = chains.length - 1; index >= 0; index--) {
    Object.assign(queue, places[index]);
    pushUsed(card.host, queue, chains[index], filled[index]);
  }
  Object.assign(queue, chains.length === 0 ? start : end);
}

/** Commands [5.1.6.5]: receive mode, queue pairs, RSS. */
function control(card: ModelVirtio): boolean {
  const queue = card.queues[2 * card.pairs];
  return serve(card, queue, (chain) => {
    const command = readChain(card, chain);
    takeChain(queue, chain);
    const answer = chain.pieces.find(({ write }) => write);
    const done = command !== undefined && obey(card, command);
    if (answer !== undefined) card.host.dmaWrite(answer.iova, Uint8Array.of(done ? 0 : 1));
    pushUsed(card.host, queue, chain, answer === undefined ? 0 : 1);
    return true;
  });
}

function obey(card: ModelVirtio, bytes: Uint8Array): boolean {
  if (bytes.length < 3) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset + 2);
  const name = `${bytes[0]}.${bytes[1]}`;
  if (name === "0.0") card.promiscuous = bytes[2] === 1;
  else if (name === "4.0") card.activePairs = Math.min(view.getUint16(0, true), card.pairs);
  else if (name === "4.1") {
    const entries = view.getUint16(4, true) + 1;
    const at = 8 + 2 * entries;
    if (view.byteLength < at + 3) return false;
    card.rss = {
      types: view.getUint32(0, true),
      table: Array.from({ length: entries }, (_, index) => view.getUint16(8 + 2 * index, true)),
      key: bytes.slice(2 + at + 3, 2 + at + 3 + view.getUint8(at + 2)),
    };
  } else if (name === "4.2") {
    if (view.byteLength < 13) return false;
    card.rss = {
      types: view.getUint32(0, true),
      table: [],
      key: bytes.slice(2 + 13, 2 + 13 + view.getUint8(12)),
    };
  } else return name === "0.1";
  return true;
}
