import { frameCensus } from "../../src/flow/arena.js";
import { createOutlet } from "../../src/flow/outlet.js";
import type { OpenPort } from "../../src/flow/port.js";
import type { ArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst, destroyBurst } from "../../src/memory/burst.js";

/** Sends plain byte arrays as packets out of a port, each cut over as many frames as it needs. */
export async function sendDatagrams(port: OpenPort, datagrams: readonly Uint8Array[]): Promise<void> {
  const { memory, driver } = port;
  const burst = createBurst(memory, 256);
  const outlet = createOutlet(memory, driver);
  const signal = new AbortController().signal;
  const flush = async () => {
    await outlet.send(burst, signal);
    memory.kernels.burstRelease(burst, 0);
  };
  for (const datagram of datagrams) {
    const pieces: number[] = [];
    for (let at = 0; at < datagram.length || pieces.length === 0; ) {
      const frame = memory.kernels.takeFrame() >>> 0;
      if (frame === 0) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        continue;
      }
      const room = memory.frameSize - 128;
      const part = datagram.subarray(at, at + room);
      memory.u8.set(part, frame + 128);
      pieces.push(frame + 128, part.length);
      at += part.length;
      if (datagram.length === 0) break;
    }
    if (appendPacket(memory, burst, pieces) < 0) {
      await flush();
      appendPacket(memory, burst, pieces);
    }
  }
  await flush();
  outlet.close();
  destroyBurst(memory, burst);
}

/** An RTP datagram (RFC 3550 5.1). */
export function rtp(
  sequence: number,
  timestamp: number,
  payload: Uint8Array,
  options: { readonly marker?: boolean; readonly ssrc?: number } = {},
): Uint8Array {
  const datagram = new Uint8Array(12 + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint8(0, 0x80);
  view.setUint8(1, (options.marker ? 0x80 : 0) | 96);
  view.setUint16(2, sequence & 0xffff);
  view.setUint32(4, timestamp >>> 0);
  view.setUint32(8, options.ssrc ?? 7);
  datagram.set(payload, 12);
  return datagram;
}

/** Frames that are neither free nor held by a worker's idle structures: 0 when nothing leaks. */
export function framesInUse(memory: ArenaMemory): number {
  const census = frameCensus(memory);
  let used = 0;
  for (const [owner, frames] of census) if (owner !== 0) used += frames;
  return used;
}
