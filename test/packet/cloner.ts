// A worker that clones, cuts and releases the packets it gets over a link, then lets go of everything.
import { workerData } from "node:worker_threads";
import { type ArenaShare, attachArena } from "../../src/memory/arena.js";
import { createBurst } from "../../src/memory/burst.js";
import { createBurstView } from "../../src/packet/burst.js";
import type { HeldPacket } from "../../src/packet/types.js";

export interface ClonerData {
  readonly share: ArenaShare;
  readonly consumer: number;
  readonly rounds: number;
  readonly seed: number;
  readonly expected: string;
}

const { share, consumer, rounds, seed, expected } = workerData as ClonerData;
const arena = attachArena(share);
const burst = createBurst(arena, 256);
while (arena.kernels.ringReceive(consumer, burst, 256) === 0);
let random = seed;
const next = (below: number) => {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
  return random % below;
};
const held: HeldPacket[] = [];
const view = createBurstView(arena, burst);
for (let round = 0; round < rounds; round++) {
  const packet = view.at(next(view.length));
  if (Buffer.from(packet.copy()).toString("latin1") !== expected) throw new Error("the bytes changed");
  held.push(packet.clone());
  if (held.length > 20) held.splice(next(held.length), 1)[0].release();
  if (round % 7 === 0) {
    const front = packet.clone();
    held.push(front.split(next(packet.length)));
    front.release();
  }
  if (round % 50 === 0) {
    const own = packet.clone();
    own.setU8(0, 0x77); // copies the shared frame first
    own.release();
  }
}
for (const packet of held) packet.release();
if (arena.kernels.burstRelease(burst, 0) !== 0) throw new Error("a frame was not ours");
