// The structures of one UDP port in the arena, as src/kernels/structs-udp.ts draws them.
import { randomBytes } from "node:crypto";
import { CONTROL_POOL_FRAMES } from "../../kernels/structs.js";
import {
  MESSAGE_CONTROL,
  MESSAGE_NAME,
  MESSAGE_SIZE,
  MESSAGE_VECTOR_COUNT,
  MESSAGE_VECTORS,
  SENDER_SIZE,
  SENDERS_BYTES,
  SENDERS_ENTRIES,
  SENDERS_LIMIT,
  SENDERS_MASK,
  SENDERS_SEED,
  SENDERS_SLOTS,
  UDP_MOST_VECTORS,
  UDP_RX_BASE,
  UDP_RX_CONTROL_SIZE,
  UDP_RX_CONTROLS,
  UDP_RX_DIRTY,
  UDP_RX_HEADERS,
  UDP_RX_IOVECS,
  UDP_RX_MESSAGES,
  UDP_RX_NAMES,
  UDP_RX_OWNER,
  UDP_RX_SENDERS,
  UDP_RX_SIZE,
  UDP_RX_SLOTS,
  UDP_RX_VECTORS,
  UDP_TX_BASE,
  UDP_TX_CONNECTED,
  UDP_TX_CONTROL_SIZE,
  UDP_TX_CONTROLS,
  UDP_TX_FRAME_MASK,
  UDP_TX_FRAMES,
  UDP_TX_HEADERS,
  UDP_TX_HELD_BY,
  UDP_TX_ID_MASK,
  UDP_TX_IDS,
  UDP_TX_IOVEC_LIMIT,
  UDP_TX_IOVECS,
  UDP_TX_LIMIT,
  UDP_TX_MESSAGES,
  UDP_TX_OWNER,
  UDP_TX_PIECE_LIMIT,
  UDP_TX_RANGES,
  UDP_TX_SEGMENT_LIMIT,
  UDP_TX_SENDERS,
  UDP_TX_SIZE,
  VECTOR_SIZE,
} from "../../kernels/structs-udp.js";
import { arenaBase } from "../../linux/mapping.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { claimOwner } from "../../memory/owners.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import type { UdpSocket } from "./socket.js";

/** Where the structures lie and what is to be given back. */
export interface UdpState {
  readonly receive: number;
  readonly send: number;
  readonly senders: number;
  readonly headers: { readonly receive: number; readonly send: number };
  readonly receiveOwner: number;
  /** 0: the kernel copies what is sent. */
  readonly sendOwner: number;
  free(): void;
}

const LONGEST = 65536; // a GRO buffer or the longest datagram
const MOST_MESSAGES = 64;
const SEND_VECTORS = 2048;
const ZERO_COPY_CALLS = 1024;
const ZERO_COPY_FRAMES = 8192;
const ZERO_COPY_PIECES = 17; // MAX_SKB_FRAGS: the kernel holds no more pages for one packet

/** The longest payload of one datagram: what the IP header's length field leaves. */
export function longestDatagram(six: boolean): number {
  return six ? 65535 - 8 : 65535 - 20 - 8;
}

/** Lays out one port's structures. Frames are posted by the first udpPost. */
export function createUdpState(arena: ArenaMemory, socket: UdpSocket): UdpState {
  const regions: [offset: number, bytes: number][] = [];
  const take = (bytes: number): number => {
    const offset = allocateRegion(arena, bytes);
    regions.push([offset, bytes]);
    return offset;
  };
  const free = () => {
    for (const [offset, bytes] of regions) freeRegion(arena, offset, bytes);
  };
  try {
    const senders = createSenders(arena, take);
    const receive = createReceive(arena, take, senders);
    const send = createSend(arena, take, senders, socket);
    const word = (at: number) => arena.u32[at >>> 2];
    return {
      receive,
      send,
      senders,
      headers: { receive: word(receive + UDP_RX_HEADERS), send: word(send + UDP_TX_HEADERS) },
      receiveOwner: word(receive + UDP_RX_OWNER),
      sendOwner: word(send + UDP_TX_OWNER),
      free,
    };
  } catch (error) {
    free();
    throw error;
  }
}

type Take = (bytes: number) => number;

function createSenders(arena: ArenaMemory, take: Take): number {
  const limit = arena.buffer.byteLength >= 128 * 2 ** 20 ? 16384 : 2048;
  const slots = limit * 2;
  const senders = take(SENDERS_BYTES + 4 * slots + SENDER_SIZE * (limit + 1));
  setWords(arena, senders, [
    [SENDERS_MASK, slots - 1],
    [SENDERS_LIMIT, limit],
    [SENDERS_SLOTS, senders + SENDERS_BYTES],
    [SENDERS_ENTRIES, senders + SENDERS_BYTES + 4 * slots],
    [SENDERS_SEED, randomBytes(4).readUInt32LE()],
  ]);
  return senders;
}

function createReceive(arena: ArenaMemory, take: Take, senders: number): number {
  const vectors = LONGEST / arena.frameSize;
  const poolFrames = arena.u32[(arena.control + CONTROL_POOL_FRAMES) >>> 2];
  // Posted frames are out of the pool: at most an eighth of it.
  const messages = Math.max(1, Math.min(MOST_MESSAGES, Math.floor(poolFrames / 8 / vectors)));
  const all = messages * vectors;
  const perMessage = MESSAGE_SIZE + SENDER_SIZE + UDP_RX_CONTROL_SIZE;
  const state = take(UDP_RX_SIZE + messages * perMessage + all * (VECTOR_SIZE + 4));
  const headers = state + UDP_RX_SIZE;
  const iovecs = headers + messages * MESSAGE_SIZE;
  const names = iovecs + all * VECTOR_SIZE;
  const controls = names + messages * SENDER_SIZE;
  const base = arenaBase(arena);
  setAddress(arena, state + UDP_RX_BASE, base);
  setWords(arena, state, [
    [UDP_RX_MESSAGES, messages],
    [UDP_RX_VECTORS, vectors],
    [UDP_RX_HEADERS, headers],
    [UDP_RX_IOVECS, iovecs],
    [UDP_RX_NAMES, names],
    [UDP_RX_CONTROLS, controls],
    [UDP_RX_SLOTS, controls + messages * UDP_RX_CONTROL_SIZE],
    [UDP_RX_OWNER, claimOwner(arena, { counts: false })],
    [UDP_RX_DIRTY, messages],
    [UDP_RX_SENDERS, senders],
  ]);
  for (let vector = 0; vector < all; vector++)
    setAddress(arena, iovecs + vector * VECTOR_SIZE + 8, arena.frameSize);
  for (let message = 0; message < messages; message++) {
    const header = headers + message * MESSAGE_SIZE;
    setAddress(arena, header + MESSAGE_NAME, base + names + message * SENDER_SIZE);
    setAddress(arena, header + MESSAGE_VECTORS, base + iovecs + message * vectors * VECTOR_SIZE);
    setAddress(arena, header + MESSAGE_VECTOR_COUNT, vectors);
    setAddress(arena, header + MESSAGE_CONTROL, base + controls + message * UDP_RX_CONTROL_SIZE);
  }
  return state;
}

function createSend(arena: ArenaMemory, take: Take, senders: number, socket: UdpSocket): number {
  const perMessage = MESSAGE_SIZE + UDP_TX_CONTROL_SIZE + 8;
  const kept = socket.zeroCopy ? 8 * ZERO_COPY_CALLS + 4 * ZERO_COPY_FRAMES : 0;
  const state = take(UDP_TX_SIZE + MOST_MESSAGES * perMessage + SEND_VECTORS * VECTOR_SIZE + kept);
  const headers = state + UDP_TX_SIZE;
  const iovecs = headers + MOST_MESSAGES * MESSAGE_SIZE;
  const controls = iovecs + SEND_VECTORS * VECTOR_SIZE;
  const ranges = controls + MOST_MESSAGES * UDP_TX_CONTROL_SIZE;
  const ids = ranges + MOST_MESSAGES * 8;
  setAddress(arena, state + UDP_TX_BASE, arenaBase(arena));
  setWords(arena, state, [
    [UDP_TX_MESSAGES, MOST_MESSAGES],
    [UDP_TX_HEADERS, headers],
    [UDP_TX_IOVECS, iovecs],
    [UDP_TX_IOVEC_LIMIT, SEND_VECTORS],
    [UDP_TX_CONTROLS, controls],
    [UDP_TX_RANGES, ranges],
    [UDP_TX_CONNECTED, socket.connected ? 1 : 0],
    [UDP_TX_SENDERS, senders],
    [UDP_TX_SEGMENT_LIMIT, socket.segmentLimit],
    [UDP_TX_PIECE_LIMIT, socket.zeroCopy ? ZERO_COPY_PIECES : UDP_MOST_VECTORS],
    [UDP_TX_LIMIT, longestDatagram(socket.six)],
  ]);
  if (!socket.zeroCopy) return state;
  setWords(arena, state, [
    [UDP_TX_OWNER, claimOwner(arena, { counts: false })],
    [UDP_TX_IDS, ids],
    [UDP_TX_ID_MASK, ZERO_COPY_CALLS - 1],
    [UDP_TX_HELD_BY, ids + 4 * ZERO_COPY_CALLS],
    [UDP_TX_FRAMES, ids + 8 * ZERO_COPY_CALLS],
    [UDP_TX_FRAME_MASK, ZERO_COPY_FRAMES - 1],
  ]);
  return state;
}

function setWords(arena: ArenaMemory, at: number, words: readonly (readonly [number, number])[]): void {
  for (const [offset, value] of words) arena.u32[(at + offset) >>> 2] = value;
}

function setAddress(arena: ArenaMemory, at: number, value: number): void {
  arena.u64[at / 8] = BigInt(value);
}
