import assert from "node:assert/strict";
import { test } from "node:test";
import { createArena, memoryOf } from "../../src/flow/arena.js";
import { flow } from "../../src/flow/flow.js";
import { createOutlet } from "../../src/flow/outlet.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance } from "../../src/flow/report.js";
import {
  BURST_METAS,
  META_FLAGS,
  META_SEGMENT,
  META_SIZE,
  META_UDP_SEGMENTS,
} from "../../src/kernels/structs.js";
import type { ArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst, destroyBurst } from "../../src/memory/burst.js";
import { framesInUse } from "../kit/datagrams.js";

/** A UDP super-frame over IPv4: `segments` datagrams of `size` bytes behind one set of headers. */
function superFrame(segments: number, size: number, number: number): Uint8Array {
  const payload = segments * size;
  const packet = new Uint8Array(28 + payload);
  const view = new DataView(packet.buffer);
  packet[0] = 0x45;
  view.setUint16(2, 28 + payload);
  packet[8] = 64;
  packet[9] = 17;
  packet.set([10, 0, 0, 1, 10, 0, 0, 2], 12);
  view.setUint16(20, 4000);
  view.setUint16(22, 5000);
  view.setUint16(24, 8 + payload);
  for (let i = 0; i < segments; i++) view.setUint32(28 + i * size, number * segments + i);
  return packet;
}

/** Puts a burst of super-frames together. */
function superFrames(memory: ArenaMemory, frames: number, segments: number, size: number): number {
  const burst = createBurst(memory, 512);
  for (let i = 0; i < frames; i++) {
    const bytes = superFrame(segments, size, i);
    const frame = memory.kernels.takeFrame() >>> 0;
    memory.u8.set(bytes, frame + 256);
    const packet = appendPacket(memory, burst, [frame + 256, bytes.length]);
    const meta = memory.u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
    memory.u16[(meta + META_SEGMENT) >>> 1] = size;
    memory.u16[(meta + META_FLAGS) >>> 1] = META_UDP_SEGMENTS;
  }
  return burst;
}

test("a flow that cuts super-frames before its sink counts each of the packets it makes", async () => {
  const arena = createArena({ bytes: 256 * 2 ** 20 });
  const memory = memoryOf(arena);
  const sender = await openPort("loop:uncut?link=raw", { arena });
  const source = await openPort("loop:uncut?link=raw", { arena });
  const sink = await openPort("loop:cut?link=raw&checksum=off", { arena });
  const reader = await openPort("loop:cut?link=raw", { arena });
  const [frames, segments, size] = [20, 40, 50];
  const burst = superFrames(memory, frames, segments, size);
  assert.equal(sender.driver.send(burst, 0), frames);
  destroyBurst(memory, burst);
  await sender.close();
  const report = await flow(source).to(sink);
  assert.equal(imbalance(report), 0, JSON.stringify(report));
  assert.equal(report.transmitted.packets, frames * segments);
  await sink.close();
  let read = 0;
  for await (const packets of reader) read += packets.length;
  assert.equal(read, frames * segments);
  for (const port of [source, reader]) await port.close();
  assert.equal(framesInUse(memory), 0);
});

test("more segments than fit at once leave a port in order, and not one of them uncut", async () => {
  const arena = createArena({ bytes: 512 * 2 ** 20 });
  const memory = memoryOf(arena);
  const out = await openPort("loop:outlet?link=raw&checksum=off&depth=65536", { arena });
  const into = await openPort("loop:outlet?link=raw", { arena });
  const outlet = createOutlet(memory, out.driver);
  const [frames, segments, size] = [200, 40, 50];
  const burst = superFrames(memory, frames, segments, size);
  await outlet.send(burst, AbortSignal.timeout(10_000));
  outlet.close();
  destroyBurst(memory, burst);
  await out.close();
  let next = 0;
  for await (const packets of into)
    for (const packet of packets) {
      assert.equal(packet.length, 28 + size);
      assert.equal(packet.u32(28), next++);
    }
  assert.equal(next, frames * segments);
  assert.equal(outlet.counters.segments, frames * segments);
  await into.close();
  assert.equal(framesInUse(memory), 0);
});
