// What can be done to a packet within a burst: plain functions over its descriptors. Frames are written only
// where this worker holds them alone; a shared one is replaced by a fresh copy first.
import { MillraceError } from "../errors.js";
import { BURST_DESCS, BURST_METAS, DESC_SIZE, META_VERDICT, VERDICT_MOVED } from "../kernels/structs.js";
import { count, type PacketContext } from "./context.js";

/** Headroom that a fresh head frame gets, for headers still to come. */
const FRESH_HEADROOM = 256;

/** Index in `arena.u32` of the packet's descriptor number `position`: address, 0, length, options. */
export function descriptorWord(context: PacketContext, burst: number, packet: number, position = 0): number {
  const { u32, kernels } = context.arena;
  const start = kernels.packetStart(burst, packet) + position;
  return (u32[(burst + BURST_DESCS) >>> 2] + start * DESC_SIZE) >>> 2;
}

/** How many descriptors the packet has. */
export function descriptorCount(context: PacketContext, burst: number, packet: number): number {
  const { kernels } = context.arena;
  return kernels.packetEnd(burst, packet) - kernels.packetStart(burst, packet);
}

/** A frame of the pool. Throws ERR_MEMORY when there is none. */
function freshFrame(context: PacketContext): number {
  const address = context.arena.kernels.takeFrame() >>> 0;
  if (address === 0)
    throw new MillraceError("ERR_MEMORY", "the arena has no free frame left", {
      hint: "release packets that are held, or make a larger arena",
    });
  return address;
}

function outOfPacket(what: string, length: number): MillraceError {
  return new MillraceError("ERR_BOUNDS", `${what} goes past a packet of ${length} bytes`);
}

function splice(
  context: PacketContext,
  burst: number,
  packet: number,
  position: number,
  remove: number,
  insert: number,
): void {
  if (context.arena.kernels.packetSplice(burst, packet, position, remove, insert) === 0)
    throw new MillraceError("ERR_BOUNDS", "the burst has no descriptor left for another fragment", {
      hint: "linearize the packet, or hold it first",
    });
}

/** Where offset `at` of the packet lies: descriptor number and bytes into it. The end lies in the last piece. */
export function locate(
  context: PacketContext,
  burst: number,
  packet: number,
  at: number,
): { readonly position: number; readonly within: number } {
  const { u32 } = context.arena;
  const word = descriptorWord(context, burst, packet);
  const pieces = descriptorCount(context, burst, packet);
  let within = at;
  for (let position = 0; ; position++) {
    const length = u32[word + 4 * position + 2];
    if (within < length || (position === pieces - 1 && within === length)) return { position, within };
    if (position === pieces - 1) throw outOfPacket(`offset ${at}`, at - within + length);
    within -= length;
  }
}

/** Makes the frame behind a descriptor exclusively this worker's; copies what the packet has there where it is not. */
export function own(context: PacketContext, burst: number, packet: number, position: number): void {
  const { u32, u8, kernels, frameSize } = context.arena;
  const word = descriptorWord(context, burst, packet, position);
  const address = u32[word];
  if (kernels.exclusive(address) !== 0) return;
  const length = u32[word + 2];
  const frame = freshFrame(context);
  const to = frame + Math.min(position === 0 ? FRESH_HEADROOM : 0, frameSize - length);
  u8.copyWithin(to, address, address + length);
  context.ledger.linearized += length;
  u32[word] = to;
  kernels.releaseFrame(address);
}

/** As `own`, for every descriptor of the packet. */
export function ownAll(context: PacketContext, burst: number, packet: number): void {
  const pieces = descriptorCount(context, burst, packet);
  for (let position = 0; position < pieces; position++) own(context, burst, packet, position);
}

/** Free bytes before the linear part, in its own frame; 0 when others hold the frame too. */
export function headroom(context: PacketContext, burst: number, packet: number): number {
  const { u32, kernels, frameSize } = context.arena;
  const address = u32[descriptorWord(context, burst, packet)];
  return kernels.exclusive(address) === 0 ? 0 : address % frameSize;
}

/** Free bytes behind the last piece, in its own frame; 0 when others hold the frame too. */
export function tailroom(context: PacketContext, burst: number, packet: number): number {
  const { u32, kernels, frameSize } = context.arena;
  const last = descriptorCount(context, burst, packet) - 1;
  const word = descriptorWord(context, burst, packet, last);
  return kernels.exclusive(u32[word]) === 0 ? 0 : frameSize - (u32[word] % frameSize) - u32[word + 2];
}

/** Removes `bytes` from the front; emptied descriptors go, but for one. */
export function pull(context: PacketContext, burst: number, packet: number, bytes: number): void {
  const { kernels } = context.arena;
  const length = kernels.packetLength(burst, packet);
  if (!(bytes >= 0 && bytes <= length)) throw outOfPacket(`pulling ${bytes} bytes`, length);
  const word = descriptorWord(context, burst, packet);
  const { position, within } = locate(context, burst, packet, bytes);
  advance(context, word + 4 * position, within);
  if (position === 0) return;
  kernels.packetRelease(burst, packet, 0, position);
  splice(context, burst, packet, 0, position, 0);
}

/** Moves a descriptor's start on. One that is empty then stays within its frame: at its end it would name the next. */
function advance(context: PacketContext, word: number, bytes: number): void {
  const { u32, frameSize } = context.arena;
  u32[word] += bytes;
  u32[word + 2] -= bytes;
  if (bytes > 0 && u32[word] % frameSize === 0) u32[word]--;
}

/** Adds `bytes` zeroed bytes at the front, at most a frame. */
export function push(context: PacketContext, burst: number, packet: number, bytes: number): void {
  const { u32, u8, kernels, frameSize } = context.arena;
  if (!(bytes >= 0 && bytes <= frameSize))
    throw new MillraceError("ERR_BOUNDS", `${bytes} bytes cannot be pushed: a frame has ${frameSize}`);
  if (bytes === 0) return;
  if (headroom(context, burst, packet) < bytes) {
    splice(context, burst, packet, 0, 0, 1);
    const fresh = descriptorWord(context, burst, packet);
    try {
      const frame = freshFrame(context);
      u32[fresh] = frame + Math.min(FRESH_HEADROOM, frameSize - bytes) + bytes;
    } catch (error) {
      splice(context, burst, packet, 0, 1, 0);
      throw error;
    }
    dropEmpty(context, burst, packet, 1);
  }
  const word = descriptorWord(context, burst, packet);
  u32[word] -= bytes;
  u32[word + 2] += bytes;
  u8.fill(0, u32[word], u32[word] + bytes);
  kernels.packetSeal(burst, packet);
}

/** Removes `bytes` from the end; emptied descriptors go, but for one. */
export function trim(context: PacketContext, burst: number, packet: number, bytes: number): void {
  const { u32, kernels } = context.arena;
  const length = kernels.packetLength(burst, packet);
  if (!(bytes >= 0 && bytes <= length)) throw outOfPacket(`trimming ${bytes} bytes`, length);
  let pieces = descriptorCount(context, burst, packet);
  let left = bytes;
  const word = descriptorWord(context, burst, packet);
  const before = pieces;
  while (pieces > 1 && u32[word + 4 * (pieces - 1) + 2] <= left) left -= u32[word + 4 * --pieces + 2];
  u32[word + 4 * (pieces - 1) + 2] -= left;
  if (pieces < before) {
    kernels.packetRelease(burst, packet, pieces, before - pieces);
    splice(context, burst, packet, pieces, before - pieces, 0);
  }
  kernels.packetSeal(burst, packet);
}

/** Adds `bytes` zeroed bytes at the end. */
export function extend(context: PacketContext, burst: number, packet: number, bytes: number): void {
  const { u32, u8, kernels, frameSize } = context.arena;
  if (!(bytes >= 0 && bytes <= 0xffff_ffff)) throw new MillraceError("ERR_BOUNDS", `${bytes} is no length`);
  const here = Math.min(bytes, tailroom(context, burst, packet));
  const pieces = descriptorCount(context, burst, packet);
  const fresh = Math.ceil((bytes - here) / frameSize);
  splice(context, burst, packet, pieces, 0, fresh);
  const word = descriptorWord(context, burst, packet);
  for (let i = 0; i < fresh; i++) {
    const frame = kernels.takeFrame() >>> 0;
    if (frame === 0) {
      kernels.packetRelease(burst, packet, pieces, i);
      splice(context, burst, packet, pieces, fresh, 0);
      freshFrame(context);
    }
    const length = Math.min(frameSize, bytes - here - i * frameSize);
    u32[word + 4 * (pieces + i)] = frame;
    u32[word + 4 * (pieces + i) + 2] = length;
    u8.fill(0, frame, frame + length);
  }
  const last = word + 4 * (pieces - 1);
  u8.fill(0, u32[last] + u32[last + 2], u32[last] + u32[last + 2] + here);
  u32[last + 2] += here;
  kernels.packetSeal(burst, packet);
}

// A packet may have been pulled or trimmed to nothing; such a descriptor must not become a fragment.
function dropEmpty(context: PacketContext, burst: number, packet: number, position: number): void {
  if (context.arena.u32[descriptorWord(context, burst, packet, position) + 2] !== 0) return;
  context.arena.kernels.packetRelease(burst, packet, position, 1);
  splice(context, burst, packet, position, 1, 0);
}

/** Sees to it that the linear part has `bytes` of headroom. */
export function reserve(context: PacketContext, burst: number, packet: number, bytes: number): void {
  const { u32, u8, kernels, frameSize } = context.arena;
  const word = descriptorWord(context, burst, packet);
  const length = u32[word + 2];
  if (!(bytes >= 0 && bytes <= frameSize - length))
    throw new MillraceError(
      "ERR_BOUNDS",
      `${bytes} bytes of headroom and a linear part of ${length} do not fit a frame of ${frameSize}`,
    );
  if (headroom(context, burst, packet) >= bytes) return;
  const frame = freshFrame(context);
  u8.copyWithin(frame + bytes, u32[word], u32[word] + length);
  context.ledger.linearized += length;
  kernels.releaseFrame(u32[word]);
  u32[word] = frame + bytes;
}

/** Brings all bytes into one frame. */
export function linearize(context: PacketContext, burst: number, packet: number): void {
  const { u32, kernels, frameSize } = context.arena;
  const pieces = descriptorCount(context, burst, packet);
  if (pieces === 1) return;
  const length = kernels.packetLength(burst, packet);
  const word = descriptorWord(context, burst, packet);
  const linear = u32[word + 2];
  if (length > frameSize)
    throw new MillraceError(
      "ERR_BOUNDS",
      `a packet of ${length} bytes does not fit a frame of ${frameSize}`,
      {
        hint: "copy() makes it contiguous outside the arena",
      },
    );
  const address = u32[word];
  if (kernels.exclusive(address) !== 0 && frameSize - (address % frameSize) >= length) {
    kernels.packetCopy(burst, packet, linear, length - linear, address + linear);
    kernels.packetRelease(burst, packet, 1, pieces - 1);
    context.ledger.linearized += length - linear;
  } else {
    const frame = freshFrame(context);
    const to = frame + Math.min(FRESH_HEADROOM, frameSize - length);
    kernels.packetCopy(burst, packet, 0, length, to);
    kernels.packetRelease(burst, packet, 0, pieces);
    context.ledger.linearized += length;
    u32[word] = to;
  }
  u32[word + 2] = length;
  splice(context, burst, packet, 1, pieces - 1, 0);
  kernels.packetSeal(burst, packet);
}

/**
 * Copies the packet into at most `most` frames, one behind the other, filled up. False: it does not fit, or there
 * are no free frames; then nothing has changed.
 */
export function compact(context: PacketContext, burst: number, packet: number, most: number): boolean {
  const { u32, kernels, frameSize } = context.arena;
  const length = kernels.packetLength(burst, packet);
  const pieces = descriptorCount(context, burst, packet);
  const fresh = Math.max(1, Math.ceil(length / frameSize));
  if (fresh > most) return false;
  const frames: number[] = [];
  for (let i = 0; i < fresh; i++) {
    const frame = kernels.takeFrame() >>> 0;
    if (frame === 0) {
      for (const taken of frames) kernels.releaseFrame(taken);
      return false;
    }
    frames.push(frame);
  }
  const room = fresh === 1 ? Math.min(FRESH_HEADROOM, frameSize - length) : 0;
  const parts = frames.map((_, i) => Math.min(frameSize, length - i * frameSize));
  frames.forEach((frame, i) => {
    kernels.packetCopy(burst, packet, i * frameSize, parts[i], frame + room);
  });
  kernels.packetRelease(burst, packet, 0, pieces);
  splice(context, burst, packet, 0, pieces, fresh);
  const word = descriptorWord(context, burst, packet);
  frames.forEach((frame, i) => {
    u32[word + 4 * i] = frame + room;
    u32[word + 4 * i + 2] = parts[i];
  });
  context.ledger.linearized += length;
  kernels.packetSeal(burst, packet);
  return true;
}

/** Moves another packet's descriptors into this one at its descriptor number `position`; that packet is then gone. */
export function join(
  context: PacketContext,
  burst: number,
  packet: number,
  position: number,
  other: { readonly burst: number; readonly packet: number },
): void {
  const { u32, kernels } = context.arena;
  const pieces = descriptorCount(context, other.burst, other.packet);
  if (kernels.packetLength(other.burst, other.packet) === 0) {
    kernels.packetRelease(other.burst, other.packet, 0, pieces);
    return;
  }
  splice(context, burst, packet, position, 0, pieces);
  const from = descriptorWord(context, other.burst, other.packet);
  u32.copyWithin(descriptorWord(context, burst, packet, position), from, from + 4 * pieces);
  const own = descriptorCount(context, burst, packet) - pieces;
  if (own === 1) dropEmpty(context, burst, packet, position === 0 ? pieces : 0);
  kernels.packetSeal(burst, packet);
}

/** Cuts the packet at `at`: returns a slot with what follows. The frame at the cut is shared by both. */
export function split(context: PacketContext, burst: number, packet: number, at: number): number {
  const { kernels } = context.arena;
  const length = kernels.packetLength(burst, packet);
  if (!(at >= 0 && at <= length)) throw outOfPacket(`a cut at ${at}`, length);
  const { position, within } = locate(context, burst, packet, at);
  const slot = share(context, burst, packet, position);
  const head = descriptorWord(context, slot, 0);
  advance(context, head, within);
  trim(context, burst, packet, length - at);
  count(context.ledger.created, "split");
  return slot;
}

/** One more packet over the same frames: returns a slot that holds it. */
export function clone(context: PacketContext, burst: number, packet: number): number {
  const slot = share(context, burst, packet, 0);
  count(context.ledger.created, "clone");
  return slot;
}

function share(context: PacketContext, burst: number, packet: number, position: number): number {
  const slot = context.takeSlot(descriptorCount(context, burst, packet) - position);
  if (context.arena.kernels.packetShare(burst, packet, position, slot) !== 0) return slot;
  context.freeSlot(slot);
  throw new MillraceError("ERR_MEMORY", "the packet cannot be shared: it has too many fragments or holders");
}

/** Gives a slot back whose packet has moved on. */
export function vacate(context: PacketContext, slot: number): void {
  const { u8, u32, kernels } = context.arena;
  u8[u32[(slot + BURST_METAS) >>> 2] + META_VERDICT] = VERDICT_MOVED;
  kernels.burstRelease(slot, 0);
  context.freeSlot(slot);
}

/** Takes the packet out of its burst: returns a slot that holds it now. */
export function hold(context: PacketContext, burst: number, packet: number): number {
  const slot = context.takeSlot(descriptorCount(context, burst, packet));
  if (context.arena.kernels.packetMove(burst, packet, slot) !== 0) return slot;
  context.freeSlot(slot);
  throw new MillraceError("ERR_MEMORY", "the packet has too many fragments to be held");
}
