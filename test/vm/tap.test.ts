// The virtio card with everything on: four queue pairs, RSS with its hash, checksums and segments left to the
// device. At the other end is a tap of the host, behind it the host's kernel.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openBus } from "../../src/device/bus/open.js";
import {
  CHECKSUM_PARTIAL,
  META_FLAGS,
  META_HASH,
  META_HASHED,
  META_SEGMENT,
  META_TCP_SEGMENTS,
} from "../../src/kernels/structs.js";
import { DEFAULT_RSS_KEY, toeplitz } from "../../src/packet/toeplitz.js";
import { drainBurst, freeFrames, metaAt, newBurst, putPacket, type Received } from "../device/cards.js";
import { ethernet, tcpFrame, udpFrame } from "../device/ipv4-frames.js";
import { makeArena, type VirtioNic, virtioNic } from "../device/virtio-rig.js";
import { eventually, PATIENCE } from "./peers.js";
import { isUdpTo, macBytes } from "./rig.js";

const CARD = "0000:00:12.0";
const MAC = macBytes("52:54:00:00:12:01");
const OWN = "10.9.3.2";
const HOST = "10.9.3.1";
const reason = process.env.MILLRACE_NO_TAP;
const skip = reason === undefined ? false : `the guest has no card on a tap: ${reason}`;

/** Sends what is in the burst, and waits until the device reports it. */
async function sendAll(nic: VirtioNic, out: number, queue = 0): Promise<void> {
  const before = nic.counts().sent;
  const packets = nic.send(queue, out, 0);
  drainBurst(nic.arena, out);
  await eventually("the device reports it", () => {
    nic.clean();
    return nic.counts().sent === before + packets;
  });
}

/** Asks who has the host's address, and waits for the answer. */
async function resolveHost(nic: VirtioNic, out: number): Promise<Uint8Array> {
  const ask = Buffer.alloc(28);
  Buffer.from("0001080006040001", "hex").copy(ask);
  ask.set([...MAC, ...OWN.split(".").map(Number)], 8);
  ask.set(HOST.split(".").map(Number), 24);
  putPacket(nic.arena, out, ethernet({ from: MAC, to: new Uint8Array(6).fill(255) }, 0x0806, ask));
  await sendAll(nic, out);
  const isAnswer = ({ bytes }: Received) => bytes.readUInt16BE(12) === 0x0806 && bytes[21] === 2;
  const [[answer]] = await receiveOn(nic, 1, isAnswer);
  return Uint8Array.from(answer.bytes.subarray(22, 28));
}

/** Receives `wanted` packets, told apart by the queue they came in on. */
async function receiveOn(
  nic: VirtioNic,
  wanted: number,
  accept: (packet: Received) => boolean,
): Promise<Received[][]> {
  const queues: Received[][] = Array.from({ length: nic.queues }, () => []);
  const limit = performance.now() + PATIENCE;
  while (queues.flat().length < wanted) {
    assert.ok(performance.now() < limit, "nothing comes");
    for (const [queue, got] of queues.entries()) {
      nic.receive(queue, 64);
      got.push(...drainBurst(nic.arena, nic.burst).filter(accept));
    }
    await sleep(1);
  }
  return [...queues].sort((a, b) => (wanted === 1 ? b.length - a.length : 0));
}

test("virtio on a tap: replies land on the queue that Toeplitz says, with their hash", { skip }, async () => {
  const arena = makeArena();
  const out = newBurst(arena);
  const free = freeFrames(arena, out);
  const nic = virtioNic(await openBus(arena, CARD), { pairs: 4 });
  try {
    assert.equal(nic.queues, 4);
    assert.ok(nic.card.features.has("rss") && nic.card.features.has("hashReport"));
    const host = await resolveHost(nic, out);
    const addresses = { from: MAC, to: host, source: OWN, destination: HOST };
    for (let port = 3000; port < 3032; port++) {
      putPacket(arena, out, udpFrame(addresses, port, 7, Buffer.from(`from ${port}`)));
      await sendAll(nic, out, port % 4);
    }
    const isEcho = ({ bytes }: Received) =>
      bytes.readUInt16BE(12) === 0x0800 && bytes[23] === 17 && bytes.readUInt16BE(34) === 7;
    const queues = await receiveOn(nic, 32, isEcho);
    for (const [queue, packets] of queues.entries()) {
      assert.ok(packets.length > 0, `queue ${queue} gets nothing`);
      for (const { bytes, meta } of packets) {
        const hash = toeplitz(DEFAULT_RSS_KEY, bytes.subarray(26, 38));
        assert.equal(queue, (hash & 127) % 4);
        assert.ok((meta.getUint16(META_FLAGS, true) & META_HASHED) !== 0);
        assert.equal(meta.getUint32(META_HASH, true), hash);
        assert.equal(bytes.toString("latin1", 42, 51), `from ${bytes.readUInt16BE(36)}`);
      }
    }
  } finally {
    await nic.close();
  }
  assert.equal(freeFrames(arena, out), free);
});

test("virtio on a tap: checksums and segments are left to the device", { skip }, async () => {
  const arena = makeArena();
  const out = newBurst(arena);
  const free = freeFrames(arena, out);
  const nic = virtioNic(await openBus(arena, CARD));
  try {
    for (const feature of ["checksum", "hostTso4"] as const) assert.ok(nic.card.features.has(feature));
    const host = await resolveHost(nic, out);
    const addresses = { from: MAC, to: host, source: OWN, destination: HOST };
    const send = async (frame: Buffer, lengths: readonly number[], flags: number, segment: number) => {
      const meta = metaAt(
        arena,
        out,
        putPacket(arena, out, frame, lengths, (piece) => 20 + 3 * piece),
      );
      arena.u16[(meta + META_FLAGS) >>> 1] = flags;
      arena.u16[(meta + META_SEGMENT) >>> 1] = segment;
      await sendAll(nic, out);
    };
    // The host's kernel takes it only with a checksum that is right, or known to be left over.
    const left = udpFrame(addresses, 4000, 7, Buffer.from("left to the device"), true);
    await send(left, [50, left.length - 50], CHECKSUM_PARTIAL, 0);
    const [[echo]] = await receiveOn(nic, 1, isUdpTo(4000));
    assert.equal(echo.bytes.toString("latin1", 42, 60), "left to the device");
    // To nobody, so that the bridge floods them: they leave over the pair of veth, where tcpdump listens.
    const nobody = { ...addresses, to: macBytes("52:54:00:00:12:99"), destination: "10.9.3.9" };
    const payload = Buffer.from(Array.from({ length: 12_000 }, (_, i) => (i % 1000) & 0xff));
    await send(udpFrame(nobody, 9, 4001, payload.subarray(0, 1000), true), [1042], CHECKSUM_PARTIAL, 0);
    await send(tcpFrame(nobody, 9, 4002, 1, payload.subarray(0, 1000)), [500, 554], CHECKSUM_PARTIAL, 0);
    const long = tcpFrame(nobody, 9, 4003, 0xffffff00, payload);
    const pieces = [54, ...Array.from({ length: 8 }, () => 1493)];
    const lengths = [...pieces, long.length - pieces.reduce((sum, length) => sum + length, 0)];
    await send(long, lengths, CHECKSUM_PARTIAL | META_TCP_SEGMENTS, 1400);
    writeFileSync("/run/out/tap.offloads", JSON.stringify({ checksum: true, segmentation: true }));
  } finally {
    await nic.close();
  }
  assert.equal(freeFrames(arena, out), free);
});
