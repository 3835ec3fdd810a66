// The structures of one UDP port in the arena.
import { randomBytes } from "node:crypto";
import {
  INBOX_HEADERS,
  OUTBOX_CONNECTED,
  OUTBOX_HEADERS,
  OUTBOX_LIMIT,
  OUTBOX_SEGMENT_LIMIT,
  OUTBOX_SENDERS,
  SENDER_SIZE,
  SENDERS_BYTES,
  SENDERS_ENTRIES,
  SENDERS_LIMIT,
  SENDERS_MASK,
  SENDERS_SEED,
  SENDERS_SLOTS,
} from "../../kernels/structs-messages.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { recordDescriptor, releaseOwner } from "../../memory/owners.js";
import {
  closeInbox,
  closeOutbox,
  createInbox,
  createOutbox,
  createRegions,
  type Regions,
  setWords,
} from "../messages.js";
import type { UdpSocket } from "./socket.js";

/** Where the structures of one UDP port lie. */
export interface UdpState {
  readonly receive: number;
  readonly send: number;
  readonly senders: number;
  readonly headers: { readonly receive: number; readonly send: number };
  /** Gives back every frame, then the structures. To be called before the socket is closed. */
  free(): void;
}

const MOST_MESSAGES = 64;
const SEND_VECTORS = 2048;

/** The longest payload of one datagram: what the IP header's length field leaves. */
export function longestDatagram(six: boolean): number {
  return six ? 65535 - 8 : 65535 - 20 - 8;
}

/** Lays out one port's structures. */
export function createUdpState(arena: ArenaMemory, socket: UdpSocket): UdpState {
  const regions = createRegions(arena);
  try {
    const senders = createSenders(arena, regions);
    const receive = createInbox(arena, regions, MOST_MESSAGES, senders);
    const send = createOutbox(arena, regions, {
      messages: MOST_MESSAGES,
      vectors: SEND_VECTORS,
      zeroCopy: socket.zeroCopy,
      words: [
        [OUTBOX_CONNECTED, socket.connected ? 1 : 0],
        [OUTBOX_SENDERS, senders],
        [OUTBOX_SEGMENT_LIMIT, socket.segmentLimit],
        [OUTBOX_LIMIT, longestDatagram(socket.six)],
      ],
    });
    const word = (at: number) => arena.u32[at >>> 2];
    const descriptor = recordDescriptor(arena, socket.fd);
    const free = () => {
      releaseOwner(arena, descriptor);
      closeInbox(arena, receive);
      closeOutbox(arena, send);
      regions.free();
    };
    const headers = { receive: word(receive + INBOX_HEADERS), send: word(send + OUTBOX_HEADERS) };
    return { receive, send, senders, headers, free };
  } catch (error) {
    regions.free();
    throw error;
  }
}

function createSenders(arena: ArenaMemory, regions: Regions): number {
  const limit = arena.buffer.byteLength >= 128 * 2 ** 20 ? 16384 : 2048;
  const slots = limit * 2;
  const senders = regions.take(SENDERS_BYTES + 4 * slots + SENDER_SIZE * (limit + 1));
  setWords(arena, senders, [
    [SENDERS_MASK, slots - 1],
    [SENDERS_LIMIT, limit],
    [SENDERS_SLOTS, senders + SENDERS_BYTES],
    [SENDERS_ENTRIES, senders + SENDERS_BYTES + 4 * slots],
    [SENDERS_SEED, randomBytes(4).readUInt32LE()],
  ]);
  return senders;
}
