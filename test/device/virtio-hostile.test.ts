// A virtio card that breaks every rule it can: the driver counts, resets or gives up, and every frame comes back.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createStillMachine } from "../../src/device/model/inthread.js";
import { finish, type ModelVirtio } from "../../src/device/model/virtio/card.js";
import { createModelVirtio } from "../../src/device/model/virtio/model.js";
import { peekChain, pushUsed } from "../../src/device/model/virtio/ring.js";
import { createWire } from "../../src/device/model/wire.js";
import type { VirtioFeature } from "../../src/device/virtio/features.js";
import { MillraceError } from "../../src/errors.js";
import { createBurst } from "../../src/memory/burst.js";
import { freeFrames } from "../packet/arena.js";
import { appendCut, drain } from "./packets.js";
import { makeArena, virtioNic } from "./virtio-rig.js";

const MAC = Uint8Array.of(0x52, 0x54, 0, 0, 0, 2);

/** One act of the card. `queue` 0 receives, 1 transmits. */
const act = fc.oneof(
  fc.record({ kind: fc.constant("traffic" as const), packets: fc.integer({ min: 1, max: 8 }) }),
  fc.record({
    kind: fc.constant("completes" as const), // something it was given, or never was, with any length
    queue: fc.integer({ min: 0, max: 1 }),
    id: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 65535 })),
    length: fc.oneof(fc.integer({ min: 0, max: 2100 }), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  }),
  fc.record({
    kind: fc.constant("jumps" as const), // its index, or a descriptor, becomes anything
    queue: fc.integer({ min: 0, max: 1 }),
    place: fc.integer({ min: 0, max: 31 }),
    words: fc.array(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { minLength: 4, maxLength: 4 }),
  }),
  fc.record({
    kind: fc.constant("scribbles" as const),
    bytes: fc.uint8Array({ minLength: 12, maxLength: 64 }),
  }),
  fc.record({ kind: fc.constant("falls silent" as const), on: fc.boolean() }),
  fc.record({ kind: fc.constant("storms" as const) }),
  fc.record({ kind: fc.constant("asks for a reset" as const) }),
  fc.record({ kind: fc.constant("is pulled" as const) }),
);
type Act = typeof act extends fc.Arbitrary<infer Value> ? Value : never;

function perform(card: ModelVirtio, what: Act): void {
  const { host } = card;
  if (what.kind === "completes") {
    const queue = card.queues[what.queue];
    if (queue.enabled) {
      pushUsed(host, queue, { id: what.id, pieces: [], slots: 1 }, what.length);
      finish(card, queue);
    }
  } else if (what.kind === "jumps") {
    const queue = card.queues[what.queue];
    const bytes = new Uint8Array(Uint32Array.from(what.words).buffer);
    if (queue.packed) host.dmaWrite(queue.descs + 16 * what.place, bytes);
    else host.dmaFlag(queue.device, what.words[0]);
  } else if (what.kind === "scribbles") {
    const chain = card.queues[0].enabled ? peekChain(host, card.queues[0]) : undefined;
    if (chain?.pieces[0] !== undefined) host.dmaWrite(chain.pieces[0].iova, what.bytes);
  } else if (what.kind === "falls silent") card.silent = what.on;
  else if (what.kind === "storms") for (let i = 0; i < 100; i++) host.interrupt(i % 5);
  else if (what.kind === "asks for a reset") card.status |= 64;
  else if (what.kind === "is pulled") card.pulled = true;
}

for (const without of [[], ["packed"]] as const satisfies readonly (readonly VirtioFeature[])[])
  test(`a hostile virtio card (${without.length === 0 ? "packed" : "split"}) harms nobody`, async () => {
    const arena = makeArena();
    const out = createBurst(arena, 64);
    freeFrames(arena);
    // Frames of someone else's, which nobody may free or take.
    const kept = Array.from({ length: 16 }, () => arena.kernels.takeFrame() >>> 0);
    const free = freeFrames(arena);
    let failures = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(act, { minLength: 1, maxLength: 30 }), async (acts) => {
        const machine = createStillMachine(arena);
        let card: ModelVirtio | undefined;
        const bus = machine.fit("virtio@model", (host) => {
          const made = createModelVirtio(host, createWire(true), MAC, 1);
          card = made.card;
          return made.device;
        });
        const nic = virtioNic(bus, { queueSize: 32, without });
        let now = performance.now();
        try {
          for (const what of acts) {
            if (what.kind === "traffic")
              for (let i = 0; i < what.packets; i++) appendCut(arena, out, Buffer.alloc(100, i), [20, 60]);
            perform(card!, what);
            nic.send(0, out, 0);
            arena.kernels.burstRelease(out, 0);
            machine.settle();
            nic.receive(0, 32);
            for (const packet of drain(arena, nic.burst)) assert.ok(packet.length <= 32 * 2048);
            now += 1500;
            nic.watch(now);
          }
        } catch (error) {
          assert.ok(error instanceof MillraceError && error.code === "ERR_DEVICE", String(error));
          assert.match(error.message, /virtio@model is given up: /);
          failures++;
        }
        arena.kernels.burstRelease(out, 0);
        arena.kernels.burstRelease(nic.burst, 0);
        await nic.close(0);
        machine.close();
        assert.equal(freeFrames(arena), free);
        for (const frame of kept) assert.ok(arena.kernels.holds(frame));
      }),
      { numRuns: 300 },
    );
    assert.ok(failures > 0, "no card was ever given up");
  });
