// Packets within a burst: descriptors taken out and put in, references, bytes copied across fragments.
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SHIFT,
  META_SHIFT,
  META_SIZE,
  META_VERDICT,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import { addReference, releaseFrame } from "./arena";

/** Index of the packet's first descriptor. */
export function packetStart(burst: u32, packet: u32): u32 {
  return load<u32>(load<u32>(burst, BURST_STARTS) + (packet << 2));
}

/** Index just past the packet's last descriptor. */
export function packetEnd(burst: u32, packet: u32): u32 {
  return packet + 1 < load<u32>(burst, BURST_PACKETS)
    ? load<u32>(load<u32>(burst, BURST_STARTS) + ((packet + 1) << 2))
    : load<u32>(burst, BURST_COUNT);
}

/** The same of the burst's words in registers: where its starts lie, how many packets and descriptors it has. */
export function endAmong(starts: u32, packet: u32, packets: u32, count: u32): u32 {
  return packet + 1 < packets ? load<u32>(starts + ((packet + 1) << 2)) : count;
}

/** Address of descriptor `index` of the burst. */
export function descriptorAt(burst: u32, index: u32): u32 {
  return load<u32>(burst, BURST_DESCS) + (index << DESC_SHIFT);
}

/** Bytes of the packet. */
export function packetLength(burst: u32, packet: u32): u32 {
  const end = descriptorAt(burst, packetEnd(burst, packet));
  let length: u32 = 0;
  for (let at = descriptorAt(burst, packetStart(burst, packet)); at < end; at += 1 << DESC_SHIFT)
    length += load<u32>(at, DESC_LEN);
  return length;
}

/** Copies up to `length` bytes from offset `from` of the packet to address `to`; says how many there were. */
export function packetCopy(burst: u32, packet: u32, from: u32, length: u32, to: u32): u32 {
  const end = descriptorAt(burst, packetEnd(burst, packet));
  let done: u32 = 0;
  for (let at = descriptorAt(burst, packetStart(burst, packet)); at < end; at += 1 << DESC_SHIFT) {
    const piece = load<u32>(at, DESC_LEN);
    if (from >= piece) {
      from -= piece;
      continue;
    }
    const part = min(piece - from, length - done);
    memory.copy(<usize>(to + done), <usize>(load<u32>(at, DESC_ADDR) + from), <usize>part);
    done += part;
    from = 0;
    if (done == length) break;
  }
  return done;
}

/** Copies `length` bytes at address `source` over the packet's bytes from offset `to` on; says how many fit. */
export function packetWrite(burst: u32, packet: u32, to: u32, length: u32, source: u32): u32 {
  const end = descriptorAt(burst, packetEnd(burst, packet));
  let done: u32 = 0;
  for (let at = descriptorAt(burst, packetStart(burst, packet)); at < end; at += 1 << DESC_SHIFT) {
    const piece = load<u32>(at, DESC_LEN);
    if (to >= piece) {
      to -= piece;
      continue;
    }
    const part = min(piece - to, length - done);
    memory.copy(<usize>(load<u32>(at, DESC_ADDR) + to), <usize>(source + done), <usize>part);
    done += part;
    to = 0;
    if (done == length) break;
  }
  return done;
}

/** Sets "continued" on all of the packet's descriptors but the last, clears it there. */
export function packetSeal(burst: u32, packet: u32): void {
  const end = packetEnd(burst, packet);
  for (let index = packetStart(burst, packet); index < end; index++)
    store<u32>(descriptorAt(burst, index), index + 1 < end ? CONTINUED : 0, DESC_OPTIONS);
}

/**
 * Takes `remove` descriptors out of the packet at its descriptor number `position` and makes room for `insert`
 * (zeroed); later packets move along. Frames are not touched. False: the burst has no room.
 */
export function packetSplice(burst: u32, packet: u32, position: u32, remove: u32, insert: u32): bool {
  const count = load<u32>(burst, BURST_COUNT);
  if (count - remove + insert > load<u32>(burst, BURST_CAPACITY)) return false;
  const at = packetStart(burst, packet) + position;
  const from = descriptorAt(burst, at + remove);
  const to = descriptorAt(burst, at + insert);
  memory.copy(<usize>to, <usize>from, <usize>((count - at - remove) << DESC_SHIFT));
  memory.fill(<usize>descriptorAt(burst, at), 0, <usize>(insert << DESC_SHIFT));
  const packets = load<u32>(burst, BURST_PACKETS);
  const starts = load<u32>(burst, BURST_STARTS);
  for (let later = packet + 1; later < packets; later++)
    store<u32>(starts + (later << 2), load<u32>(starts + (later << 2)) + insert - remove);
  store<u32>(burst, count + insert - remove, BURST_COUNT);
  return true;
}

/** Gives up this worker's reference to `count` frames, from descriptor `position` of the packet on. False: one was not held. */
export function packetRelease(burst: u32, packet: u32, position: u32, count: u32): bool {
  const first = packetStart(burst, packet) + position;
  let held = true;
  for (let index = first; index < first + count; index++)
    if (!releaseFrame(load<u32>(descriptorAt(burst, index), DESC_ADDR))) held = false;
  return held;
}

/**
 * Appends to the burst `to` a packet that shares descriptors `position` to the end of the packet: metadata
 * and descriptors are copied, each frame gets one more reference. False: no room, or a frame cannot be shared.
 */
export function packetShare(burst: u32, packet: u32, position: u32, to: u32): bool {
  const first = packetStart(burst, packet) + position;
  const end = packetEnd(burst, packet);
  const count = load<u32>(to, BURST_COUNT);
  if (count + end - first > load<u32>(to, BURST_CAPACITY)) return false;
  for (let index = first; index < end; index++) {
    if (addReference(load<u32>(descriptorAt(burst, index), DESC_ADDR))) continue;
    while (index > first) releaseFrame(load<u32>(descriptorAt(burst, --index), DESC_ADDR));
    return false;
  }
  appendCopy(burst, packet, first, end, to);
  return true;
}

/** Moves the packet to the end of the burst `to`, references and all, and marks it moved here. False: no room there. */
export function packetMove(burst: u32, packet: u32, to: u32): bool {
  const first = packetStart(burst, packet);
  const end = packetEnd(burst, packet);
  if (load<u32>(to, BURST_COUNT) + end - first > load<u32>(to, BURST_CAPACITY)) return false;
  appendCopy(burst, packet, first, end, to);
  store<u8>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
  return true;
}

function appendCopy(burst: u32, packet: u32, first: u32, end: u32, to: u32): void {
  const count = load<u32>(to, BURST_COUNT);
  const packets = load<u32>(to, BURST_PACKETS);
  memory.copy(
    <usize>descriptorAt(to, count),
    <usize>descriptorAt(burst, first),
    <usize>((end - first) << DESC_SHIFT),
  );
  const meta = load<u32>(to, BURST_METAS) + (packets << META_SHIFT);
  memory.copy(<usize>meta, <usize>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT)), META_SIZE);
  store<u8>(meta, VERDICT_PASS, META_VERDICT);
  store<u32>(load<u32>(to, BURST_STARTS) + (packets << 2), count);
  store<u32>(to, packets + 1, BURST_PACKETS);
  store<u32>(to, count + end - first, BURST_COUNT);
}
