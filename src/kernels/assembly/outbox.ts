// Messages for sendmmsg over the frames of a burst: what is common to sockets of every family.
import {
  BURST_DESCS,
  BURST_METAS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  META_SHIFT,
  META_VERDICT,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../structs";
import {
  MESSAGE_CONTROL_LENGTH,
  OUTBOX_BYTES,
  OUTBOX_CONTROLS,
  OUTBOX_COPIED,
  OUTBOX_DONE,
  OUTBOX_FRAME_HEAD,
  OUTBOX_FRAME_MASK,
  OUTBOX_FRAME_TAIL,
  OUTBOX_FRAMES,
  OUTBOX_HEADERS,
  OUTBOX_HELD,
  OUTBOX_HELD_BY,
  OUTBOX_ID_HEAD,
  OUTBOX_ID_MASK,
  OUTBOX_ID_TAIL,
  OUTBOX_IDS,
  OUTBOX_LOOKED,
  OUTBOX_OWNER,
  OUTBOX_PACKETS,
  OUTBOX_RANGES,
  OUTBOX_REFUSED,
} from "../structs-messages";
import { frameShift, moveFrame, releaseFrame, releaseFrom, selfOwner } from "./arena";
import { packetEnd } from "./packet";

export function add(state: u32, counter: u32, value: u64): void {
  store<u64>(state + counter, load<u64>(state + counter) + value);
}

/** Marks a packet as taken and gives its frames back to the pool. */
export function letGo(burst: u32, packet: u32): void {
  const descs = load<u32>(burst, BURST_DESCS);
  const end = packetEnd(burst, packet);
  for (let index = load<u32>(load<u32>(burst, BURST_STARTS) + (packet << 2)); index < end; index++)
    releaseFrame(load<u32>(descs + index * DESC_SIZE, DESC_ADDR));
  store<u8>(load<u32>(burst, BURST_METAS) + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
}

/** The length of the first message's datagrams where it is a super-packet, else 0. */
export function outboxSegment(state: u32): u32 {
  if (load<u64>(load<u32>(state, OUTBOX_HEADERS), MESSAGE_CONTROL_LENGTH) == 0) return 0;
  return <u32>load<u16>(load<u32>(state, OUTBOX_CONTROLS), 16);
}

/**
 * The kernel took `sent` of the `messages` built: their packets are moved. Under `zeroCopy` it goes on reading
 * their frames, which are its own until outboxCompleted. Returns the first packet not sent.
 */
export function outboxSent(state: u32, burst: u32, messages: u32, sent: u32, zeroCopy: u32): u32 {
  const ranges = load<u32>(state, OUTBOX_RANGES);
  const metas = load<u32>(burst, BURST_METAS);
  const descs = load<u32>(burst, BURST_DESCS);
  const starts = load<u32>(burst, BURST_STARTS);
  const owner = load<u32>(state, OUTBOX_OWNER);
  const self = selfOwner();
  for (let message: u32 = 0; message < sent; message++) {
    const end = load<u32>(ranges + (message << 3), 4);
    let packets: u32 = 0;
    let bytes: u32 = 0;
    let frames: u32 = 0;
    for (let packet = load<u32>(ranges + (message << 3)); packet < end; packet++) {
      if (load<u8>(metas + (packet << META_SHIFT), META_VERDICT) != VERDICT_PASS) continue;
      packets++;
      const last = packetEnd(burst, packet);
      for (let index = load<u32>(starts + (packet << 2)); index < last; index++) {
        const from = load<u32>(descs + index * DESC_SIZE, DESC_ADDR);
        bytes += load<u32>(descs + index * DESC_SIZE, DESC_LEN);
        if (zeroCopy == 0) releaseFrame(from);
        else {
          moveFrame(from >> frameShift, self, owner);
          const head = load<u32>(state, OUTBOX_FRAME_HEAD) + frames;
          store<u32>(
            load<u32>(state, OUTBOX_FRAMES) + ((head & load<u32>(state, OUTBOX_FRAME_MASK)) << 2),
            from,
          );
          frames++;
        }
      }
      store<u8>(metas + (packet << META_SHIFT), VERDICT_MOVED, META_VERDICT);
    }
    add(state, OUTBOX_PACKETS, packets);
    add(state, OUTBOX_BYTES, bytes);
    if (zeroCopy == 0) add(state, OUTBOX_COPIED, bytes);
    else {
      const id = load<u32>(state, OUTBOX_ID_HEAD);
      const slot = (id & load<u32>(state, OUTBOX_ID_MASK)) << 2;
      store<u32>(load<u32>(state, OUTBOX_IDS) + slot, frames);
      store<u32>(load<u32>(state, OUTBOX_HELD_BY) + slot, packets);
      store<u32>(state, id + 1, OUTBOX_ID_HEAD);
      store<u32>(state, load<u32>(state, OUTBOX_FRAME_HEAD) + frames, OUTBOX_FRAME_HEAD);
      store<u32>(state, load<u32>(state, OUTBOX_HELD) + packets, OUTBOX_HELD);
    }
  }
  return sent == messages ? load<u32>(state, OUTBOX_LOOKED) : load<u32>(ranges + (sent << 3));
}

/** Drops the packets of the first message, which the kernel will never take. Returns the packet after them. */
export function outboxRefuse(state: u32, burst: u32): u32 {
  const ranges = load<u32>(state, OUTBOX_RANGES);
  const metas = load<u32>(burst, BURST_METAS);
  const end = load<u32>(ranges, 4);
  for (let packet = load<u32>(ranges); packet < end; packet++) {
    if (load<u8>(metas + (packet << META_SHIFT), META_VERDICT) != VERDICT_PASS) continue;
    letGo(burst, packet);
    add(state, OUTBOX_REFUSED, 1);
  }
  return end;
}

/** How many more zero-copy calls can be recorded. */
export function outboxCalls(state: u32): u32 {
  return (
    load<u32>(state, OUTBOX_ID_MASK) +
    1 -
    (load<u32>(state, OUTBOX_ID_HEAD) - load<u32>(state, OUTBOX_ID_TAIL))
  );
}

/**
 * The kernel has done with the zero-copy calls `low` to `high`: their frames go back to the pool, oldest first.
 * A range that was never called is not believed: then the result is 1, else 0.
 */
export function outboxCompleted(state: u32, low: u32, high: u32): u32 {
  const ids = load<u32>(state, OUTBOX_IDS);
  const mask = load<u32>(state, OUTBOX_ID_MASK);
  const head = load<u32>(state, OUTBOX_ID_HEAD);
  let tail = load<u32>(state, OUTBOX_ID_TAIL);
  if (low - tail >= head - tail || high - tail >= head - tail || high - tail < low - tail) return 1;
  for (let id = low; id != high + 1; id++) {
    const at = ids + ((id & mask) << 2);
    store<u32>(at, load<u32>(at) | <u32>OUTBOX_DONE);
  }
  const owner = load<u32>(state, OUTBOX_OWNER);
  const frames = load<u32>(state, OUTBOX_FRAMES);
  const frameMask = load<u32>(state, OUTBOX_FRAME_MASK);
  let frameTail = load<u32>(state, OUTBOX_FRAME_TAIL);
  while (tail != head) {
    const slot = (tail & mask) << 2;
    const entry = load<u32>(ids + slot);
    if ((entry & <u32>OUTBOX_DONE) == 0) break;
    const count = entry & ~(<u32>OUTBOX_DONE);
    for (let i: u32 = 0; i < count; i++) {
      releaseFrom(load<u32>(frames + ((frameTail & frameMask) << 2)), owner);
      frameTail++;
    }
    store<u32>(
      state,
      load<u32>(state, OUTBOX_HELD) - load<u32>(load<u32>(state, OUTBOX_HELD_BY) + slot),
      OUTBOX_HELD,
    );
    tail++;
  }
  store<u32>(state, tail, OUTBOX_ID_TAIL);
  store<u32>(state, frameTail, OUTBOX_FRAME_TAIL);
  return 0;
}
