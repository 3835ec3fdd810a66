import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createStillMachine } from "../../src/device/model/inthread.js";
import type { ModelVirtio } from "../../src/device/model/virtio/card.js";
import { createModelVirtio } from "../../src/device/model/virtio/model.js";
import { createWire, type Wire } from "../../src/device/model/wire.js";
import type { VirtioOptions } from "../../src/device/virtio/card.js";
import type { VirtioFeature } from "../../src/device/virtio/features.js";
import {
  CHECKSUM_GOOD,
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  META_FLAGS,
  META_HASH,
  META_SEGMENT,
  META_TCP_SEGMENTS,
} from "../../src/kernels/structs.js";
import type { ArenaMemory } from "../../src/memory/arena.js";
import { createBurst } from "../../src/memory/burst.js";
import { DEFAULT_RSS_KEY, toeplitz } from "../../src/packet/toeplitz.js";
import { freeFrames } from "../packet/arena.js";
import { addressBytes, tcpFrame, udpFrame } from "./ipv4-frames.js";
import { appendCut, drain, metaOf } from "./packets.js";
import { makeArena, type VirtioNic, virtioNic } from "./virtio-rig.js";

const MAC = Uint8Array.of(0x52, 0x54, 0, 0, 0, 2);
const HOSTS = {
  from: MAC,
  to: Uint8Array.of(0x52, 0x54, 0, 0, 0, 3),
  source: "10.0.0.2",
  destination: "10.0.0.1",
};

interface Rig {
  readonly arena: ArenaMemory;
  readonly nic: VirtioNic;
  readonly model: ModelVirtio;
  readonly wire: Wire;
  readonly out: number;
  readonly settle: () => void;
  /** Closes the card; every frame must be back then. */
  readonly close: () => Promise<void>;
}

/** A modelled card with a loopback plug, in this thread: nothing moves but when told. */
function makeRig(options: VirtioOptions = {}): Rig {
  const arena = makeArena();
  const out = createBurst(arena, 256);
  freeFrames(arena); // makes its scratch
  const free = freeFrames(arena);
  const machine = createStillMachine(arena);
  const wire = createWire(true);
  let model: ModelVirtio | undefined;
  const bus = machine.fit("virtio@model", (host) => {
    const made = createModelVirtio(host, wire, MAC, 4);
    model = made.card;
    return made.device;
  });
  const nic = virtioNic(bus, options);
  const close = async () => {
    arena.kernels.burstRelease(nic.burst, 0);
    arena.kernels.burstRelease(out, 0);
    await nic.close();
    assert.equal(freeFrames(arena), free);
  };
  return { arena, nic, model: model!, wire, out, settle: machine.settle, close };
}

const shapes: readonly (readonly [string, readonly VirtioFeature[]])[] = [
  ["packed", []],
  ["packed, direct, no event index", ["indirect", "eventIndex"]],
  ["split", ["packed"]],
  ["split, direct, no event index, no merged buffers", ["packed", "indirect", "eventIndex", "mergeBuffers"]],
];

for (const [name, without] of shapes)
  test(`virtio model (${name}): what is sent comes back whole, in order, around the rings many times`, async () => {
    const { arena, nic, out, settle, close } = makeRig({ without, queueSize: 32 });
    const piece = fc.record({
      bytes: fc.uint8Array({ minLength: 60, maxLength: 1500 }),
      cuts: fc.uniqueArray(fc.integer({ min: 14, max: 1499 }), { maxLength: 17 }),
      offsets: fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 18, maxLength: 18 }),
    });
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 6 }), (packets) => {
        for (const { bytes, cuts, offsets } of packets)
          appendCut(
            arena,
            out,
            bytes,
            cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b),
            offsets,
          );
        const back: Buffer[] = [];
        for (let first = 0, turns = 0; back.length < packets.length; turns++) {
          assert.ok(turns < 100, "packets get lost");
          if (first < packets.length) first = nic.send(0, out, first);
          settle();
          nic.receive(0, 64);
          back.push(...drain(arena, nic.burst));
        }
        arena.kernels.burstRelease(out, 0);
        assert.deepEqual(
          back,
          packets.map(({ bytes }) => Buffer.from(bytes)),
        );
      }),
      { numRuns: 100 },
    );
    nic.clean();
    const { sent, received } = nic.counts();
    assert.ok(sent > 100 && sent === received);
    await close();
  });

test("virtio model: packets larger than a frame are spread over merged buffers", async () => {
  const { arena, nic, out, settle, close } = makeRig({ without: ["mtu"] });
  for (const length of [1700, 2500, 6000]) {
    const bytes = Buffer.alloc(length, length & 0xff);
    const cuts = Array.from({ length: Math.floor((length - 1) / 1000) }, (_, i) => 1000 * (i + 1));
    appendCut(arena, out, bytes, cuts, [64, 0, 0, 0, 0, 0]);
    nic.send(0, out, 0);
    arena.kernels.burstRelease(out, 0);
    settle();
    nic.receive(0, 64);
    assert.deepEqual(drain(arena, nic.burst), [bytes]);
  }
  await close();
});

test("virtio model: a checksum left to the card is finished, and vouched for on the way in", async () => {
  const { arena, nic, out, wire, settle, close } = makeRig();
  const seen: Buffer[] = [];
  wire.tap = (frame) => seen.push(Buffer.from(frame));
  const payload = Buffer.from("left to the card");
  const right = udpFrame(HOSTS, 1, 2, payload);
  // Whole, cut within a header, and each header in several pieces.
  for (const cuts of [[], [40], [13, 20, 34, 37, 41]]) {
    const packet = appendCut(arena, out, udpFrame(HOSTS, 1, 2, payload, true), cuts);
    arena.u16[(metaOf(arena, out, packet) + META_FLAGS) >>> 1] = CHECKSUM_PARTIAL;
    nic.send(0, out, 0);
    arena.kernels.burstRelease(out, 0);
    settle();
    const [frame] = seen.splice(0);
    assert.deepEqual(frame.subarray(34, right.length), right.subarray(34));
    nic.receive(0, 64);
    assert.equal(arena.u16[(metaOf(arena, nic.burst, 0) + META_FLAGS) >>> 1] & CHECKSUM_MASK, CHECKSUM_GOOD);
    drain(arena, nic.burst);
  }
  await close();
});

test("virtio model: a super-frame leaves as segments, with right lengths, numbers and checksums", async () => {
  const { arena, nic, out, wire, settle, close } = makeRig();
  const seen: Buffer[] = [];
  wire.tap = (frame) => seen.push(Buffer.from(frame));
  const payload = Buffer.from(Array.from({ length: 5000 }, (_, i) => i & 0xff));
  const packet = appendCut(arena, out, tcpFrame(HOSTS, 1, 2, 0xfffffc00, payload), [54, 1500, 3000, 4500]);
  const meta = metaOf(arena, out, packet);
  arena.u16[(meta + META_FLAGS) >>> 1] = CHECKSUM_PARTIAL | META_TCP_SEGMENTS;
  arena.u16[(meta + META_SEGMENT) >>> 1] = 1400;
  assert.equal(nic.send(0, out, 0), 1);
  settle();
  assert.deepEqual(
    seen.map((frame) => [frame.length - 54, frame.readUInt32BE(38)]),
    [0, 1400, 2800, 4200].map((from) => [Math.min(1400, 5000 - from), (0xfffffc00 + from) >>> 0]),
  );
  assert.deepEqual(Buffer.concat(seen.map((frame) => frame.subarray(54))), payload);
  for (const [index, frame] of seen.entries()) {
    // A frame made by hand, from the same parts, with its checksum finished.
    const whole = tcpFrame(HOSTS, 1, 2, frame.readUInt32BE(38), frame.subarray(54));
    const sum = (bytes: Buffer) => {
      let total = 0;
      for (let i = 0; i < bytes.length; i += 2) total += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
      while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
      return total;
    };
    assert.equal(frame.readUInt16BE(50), ~sum(whole.subarray(34)) & 0xffff, `checksum of segment ${index}`);
    assert.equal(sum(frame.subarray(14, 34)), 0xffff, `header checksum of segment ${index}`);
  }
  await close();
});

test("virtio model: flows land on the queue that Toeplitz says, and their hash comes with them", async () => {
  const { arena, nic, out, settle, close } = makeRig({ pairs: 4 });
  assert.equal(nic.queues, 4);
  for (let port = 1000; port < 1064; port++) {
    appendCut(arena, out, udpFrame(HOSTS, port, 80, Buffer.from("x".repeat(20))));
    nic.send(port % 4, out, 0);
    arena.kernels.burstRelease(out, 0);
    settle();
    const input = [
      ...addressBytes(HOSTS.source),
      ...addressBytes(HOSTS.destination),
      port >> 8,
      port & 255,
      0,
      80,
    ];
    const hash = toeplitz(DEFAULT_RSS_KEY, Uint8Array.from(input));
    const queue = (hash & 127) % 4;
    for (let other = 0; other < 4; other++) assert.equal(nic.receive(other, 64), other === queue ? 1 : 0);
    assert.equal(arena.u32[(metaOf(arena, nic.burst, 0) + META_HASH) >>> 2], hash);
    drain(arena, nic.burst);
  }
  await close();
});

test("virtio model: a device that takes machine addresses, past the IOMMU, is refused", () => {
  assert.throws(() => makeRig({ without: ["accessPlatform"] }), {
    code: "ERR_DEVICE",
    message: /past the IOMMU/,
  });
});
