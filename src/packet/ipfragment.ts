// Fragments of an IP packet: where they are cut, and how they become one packet again.
import { MillraceError } from "../errors.js";
import {
  BURST_METAS,
  LAYERS_END,
  LAYERS_FAMILY,
  LAYERS_FRAGMENT,
  LAYERS_IS_FRAGMENT,
  LAYERS_NETWORK,
  LAYERS_PROTOCOL,
  LAYERS_SIZE,
  LAYERS_TRANSPORT,
  META_WIRE_LENGTH,
} from "../kernels/structs.js";
import { complement, sumBytes } from "./checksum.js";
import { type PacketContext, SLOT_LIMIT } from "./context.js";
import * as operations from "./operations.js";

/** What the dissection says of one fragment. All are offsets from the packet's first byte. */
export interface IpFragment {
  readonly family: number;
  readonly protocol: number;
  readonly network: number;
  /** Where the fragment header (IPv6) stands; IPv4: the IP header itself. */
  readonly header: number;
  readonly payload: number;
  readonly end: number;
}

/** Undefined: the packet is no fragment. `link` is a LINKTYPE_ value. */
export function readFragment(
  context: PacketContext,
  burst: number,
  packet: number,
  link: number,
): IpFragment | undefined {
  const { u8, u32, kernels } = context.arena;
  const out = context.scratch;
  const state = kernels.dissectPacket(burst, packet, link, out, out + LAYERS_SIZE);
  if (state !== LAYERS_IS_FRAGMENT) return undefined;
  const word = (offset: number) => u32[(out + offset) >>> 2];
  return {
    family: u8[out + LAYERS_FAMILY],
    protocol: u8[out + LAYERS_PROTOCOL],
    network: word(LAYERS_NETWORK),
    header: word(LAYERS_FRAGMENT),
    payload: word(LAYERS_TRANSPORT),
    end: word(LAYERS_END),
  };
}

/** A copy of a held packet's first bytes, at most a frame. */
export function firstBytes(context: PacketContext, slot: number, length: number): Uint8Array {
  const { u8, kernels } = context.arena;
  const got = kernels.packetCopy(slot, 0, 0, Math.min(length, 4096), context.scratch);
  return u8.slice(context.scratch, context.scratch + got);
}

/**
 * Joins all fragments of a datagram, in order, into one held packet with the headers of the first; their slots are
 * given back. `total` is the length of the payload. Undefined: it is longer than an IP packet can be, or in more
 * pieces than a held packet may have, or there is no frame for its header; then all fragments are freed.
 */
export function joinFragments(
  context: PacketContext,
  slots: readonly number[],
  link: number,
  total: number,
): number | undefined {
  const { kernels } = context.arena;
  const pieces = slots.reduce((sum, slot) => sum + operations.descriptorCount(context, slot, 0), 1);
  if (pieces > SLOT_LIMIT) {
    for (const slot of slots) discard(context, slot);
    return undefined;
  }
  const whole = context.takeSlot(pieces);
  kernels.packetMove(slots[0], 0, whole);
  operations.vacate(context, slots[0]);
  const first = readFragment(context, whole, 0, link) as IpFragment;
  operations.trim(context, whole, 0, kernels.packetLength(whole, 0) - first.end);
  for (const slot of slots.slice(1)) {
    const { end, payload } = readFragment(context, slot, 0, link) as IpFragment;
    operations.trim(context, slot, 0, kernels.packetLength(slot, 0) - end);
    operations.pull(context, slot, 0, payload);
    operations.join(context, whole, 0, operations.descriptorCount(context, whole, 0), {
      burst: slot,
      packet: 0,
    });
    operations.vacate(context, slot);
  }
  if (!mend(context, whole, first, total)) {
    discard(context, whole);
    return undefined;
  }
  const { u32 } = context.arena;
  u32[(u32[(whole + BURST_METAS) >>> 2] + META_WIRE_LENGTH) >>> 2] = 0; // no packet on the wire was so long
  return whole;
}

function discard(context: PacketContext, slot: number): void {
  context.arena.kernels.burstRelease(slot, 0);
  context.freeSlot(slot);
}

/** Makes the first fragment's headers those of the whole. False: they cannot be. */
function mend(context: PacketContext, slot: number, first: IpFragment, total: number): boolean {
  try {
    return first.family === 4 ? mend4(context, slot, first, total) : mend6(context, slot, first, total);
  } catch (error) {
    if (error instanceof MillraceError && error.code === "ERR_MEMORY") return false; // no frame to copy a shared header to
    throw error;
  }
}

/** Writes bytes over the packet's first ones, in frames of its own. */
function rewrite(context: PacketContext, slot: number, bytes: Uint8Array): void {
  const { u8, kernels } = context.arena;
  const { position } = operations.locate(context, slot, 0, bytes.length - 1);
  for (let i = 0; i <= position; i++) operations.own(context, slot, 0, i);
  u8.set(bytes, context.scratch);
  kernels.packetWrite(slot, 0, 0, bytes.length, context.scratch);
}

function mend4(
  context: PacketContext,
  slot: number,
  { network, payload }: IpFragment,
  total: number,
): boolean {
  const length = payload - network + total;
  if (length > 65_535) return false;
  const bytes = firstBytes(context, slot, payload);
  const view = new DataView(bytes.buffer);
  view.setUint16(network + 2, length);
  view.setUint16(network + 6, view.getUint16(network + 6) & 0x4000);
  view.setUint16(network + 10, 0);
  view.setUint16(network + 10, complement(sumBytes(bytes.subarray(network))));
  rewrite(context, slot, bytes);
  return true;
}

/** Takes the fragment header out: what stands before it moves up to what stands behind it. */
function mend6(
  context: PacketContext,
  slot: number,
  { network, header, protocol }: IpFragment,
  total: number,
): boolean {
  const length = header - network - 40 + total;
  if (length > 65_535) return false;
  const bytes = firstBytes(context, slot, header);
  bytes[network + 4] = length >>> 8;
  bytes[network + 5] = length;
  let next = network + 6;
  for (let at = network + 40; at < header; ) {
    const words = bytes[next] === 51 ? 4 * (bytes[at + 1] + 2) : 8 * (bytes[at + 1] + 1);
    next = at;
    at += words;
  }
  bytes[next] = protocol;
  operations.pull(context, slot, 0, 8);
  rewrite(context, slot, bytes);
  return true;
}
