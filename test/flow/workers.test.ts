import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { createArena, memoryOf } from "../../src/flow/arena.js";
import { openPort } from "../../src/flow/port.js";
import { imbalance } from "../../src/flow/report.js";
import { workers } from "../../src/flow/workers.js";
import { BURST_METAS, META_HASH } from "../../src/kernels/structs.js";
import type { ArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst, destroyBurst } from "../../src/memory/burst.js";
import { parseAddress } from "../../src/packet/address.js";
import { createRss, SYMMETRIC_RSS_KEY } from "../../src/packet/rss.js";
import { DEFAULT_RSS_KEY } from "../../src/packet/toeplitz.js";
import { framesInUse, sendDatagrams } from "../kit/datagrams.js";

const FLOWS = 200;

/** Raw IPv4 packets of many UDP flows, numbered within each flow; the flow stands in the source port. */
function packets(count: number, from: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => {
    const packet = new Uint8Array(60);
    const view = new DataView(packet.buffer);
    packet[0] = 0x45;
    view.setUint16(2, 60);
    packet[8] = 64;
    packet[9] = 17;
    packet.set([10, 0, 0, 1], 12);
    packet.set([10, 0, 0, 2], 16);
    view.setUint16(20, (from + i) % FLOWS);
    view.setUint16(22, 5000);
    view.setUint16(24, 40);
    view.setUint32(28, Math.floor((from + i) / FLOWS));
    return packet;
  });
}

const module = new URL("./worker/count-ip.js", import.meta.url);

interface Tuple {
  /** Both ends' addresses, one behind the other: 8 bytes or 32. */
  readonly addresses: readonly number[];
  readonly ports: readonly [source: number, destination: number];
}

/** The hash that software RSS writes beside an IP packet with this protocol and these first words behind its header. */
function hashOf(memory: ArenaMemory, key: Uint8Array, { addresses, ports }: Tuple, protocol: number): number {
  const rss = createRss(memory, "RAW", 1, key);
  const ip =
    addresses.length === 32
      ? [0x60, 0, 0, 0, 0, 20, protocol, 64, ...addresses]
      : [0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0, ...addresses];
  const [from, to] = ports;
  const tcp = [from >> 8, from & 255, to >> 8, to & 255, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0];
  const burst = createBurst(memory, 4);
  const frame = memory.kernels.takeFrame() >>> 0;
  memory.u8.set([...ip, ...tcp], frame);
  appendPacket(memory, burst, [frame, ip.length + tcp.length]);
  rss.steer(burst);
  const hash = memory.u32[(memory.u32[(burst + BURST_METAS) >>> 2] + META_HASH) >>> 2];
  memory.kernels.burstRelease(burst, 0);
  destroyBurst(memory, burst);
  rss.close();
  return hash;
}

const TCP = 6;
const ESP = 50;

test("the software hash is the one on Microsoft's list, with ports and without", () => {
  const { key, vectors } = JSON.parse(readFileSync("test/data/rss.json", "utf8")) as {
    key: string;
    vectors: {
      source: string;
      destination: string;
      sourcePort: number;
      destinationPort: number;
      hashAddresses: string;
      hashAddressesAndPorts: string;
    }[];
  };
  const memory = memoryOf(createArena({ bytes: 32 * 2 ** 20 }));
  const bytes = Uint8Array.from(Buffer.from(key, "hex"));
  for (const { source, destination, sourcePort, destinationPort, ...hashes } of vectors) {
    const addresses = [...(parseAddress(source) ?? []), ...(parseAddress(destination) ?? [])];
    const tuple: Tuple = { addresses, ports: [sourcePort, destinationPort] };
    assert.equal(hashOf(memory, bytes, tuple, TCP), Number(hashes.hashAddressesAndPorts), source);
    assert.equal(hashOf(memory, bytes, tuple, ESP), Number(hashes.hashAddresses), source);
  }
});

test("the symmetric key gives both directions of a flow one hash, the default key does not", () => {
  const memory = memoryOf(createArena({ bytes: 32 * 2 ** 20 }));
  const port = fc.integer({ min: 0, max: 65535 });
  const ends = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  let differ = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(4, 16).chain((n) => fc.tuple(ends(n), ends(n))),
      port,
      port,
      ([a, b], p, q) => {
        const there: Tuple = { addresses: [...a, ...b], ports: [p, q] };
        const back: Tuple = { addresses: [...b, ...a], ports: [q, p] };
        for (const protocol of [TCP, ESP])
          assert.equal(
            hashOf(memory, SYMMETRIC_RSS_KEY, there, protocol),
            hashOf(memory, SYMMETRIC_RSS_KEY, back, protocol),
          );
        if (hashOf(memory, DEFAULT_RSS_KEY, there, TCP) !== hashOf(memory, DEFAULT_RSS_KEY, back, TCP))
          differ++;
      },
    ),
    { numRuns: 50 },
  );
  assert.ok(differ > 0);
});

test("flows are spread over workers, each stays in order, also while the table changes", async () => {
  const arena = createArena({ bytes: 96 * 2 ** 20 });
  const words = new SharedArrayBuffer(8192);
  const seen = new Uint32Array(words);
  const out = await openPort("loop:spread?link=raw", { arena });
  const pool = await workers("loop:spread?link=raw", module, { count: 3, arena, data: { words } });
  for (let round = 0; round < 20; round++) {
    await sendDatagrams(out, packets(1000, round * 1000));
    if (round === 7) pool.steer([2, 1, 0]);
    if (round === 13) pool.steer([0, 0, 1, 2]);
  }
  await out.close();
  const report = await pool.done;
  assert.equal(report.received.packets, 20_000);
  assert.equal(report.delivered.packets, 20_000, JSON.stringify(report));
  assert.equal(imbalance(report), 0);
  assert.equal(seen[999], 0, "a flow was put out of order");
  for (let flow = 0; flow < FLOWS; flow++) assert.equal(seen[flow], 100, `flow ${flow}`);
  assert.ok(new Set(seen.slice(1000, 1000 + FLOWS)).size === 3, "every worker had flows");
  assert.equal(framesInUse(memoryOf(arena)), 0);
});

test("a worker that is killed takes nothing with it: the others get its flows, its frames come back", async () => {
  const arena = createArena({ bytes: 96 * 2 ** 20 });
  const words = new SharedArrayBuffer(8192);
  const out = await openPort("loop:kill?link=raw", { arena });
  const pool = await workers("loop:kill?link=raw", module, { count: 2, arena, data: { words } });
  await sendDatagrams(out, packets(3000, 0));
  await pool.terminate(1);
  assert.deepEqual(pool.alive, [true, false]);
  for (let round = 1; round < 10; round++) await sendDatagrams(out, packets(1000, round * 1000 + 2000));
  await out.close();
  await assert.rejects(pool.done, /worker 1 ended/);
  assert.equal(framesInUse(memoryOf(arena)), 0, "frames were lost with the worker");
});

test("a module without run() fails with its name", async () => {
  const arena = createArena({ bytes: 64 * 2 ** 20 });
  const out = await openPort("loop:norun?link=raw", { arena });
  const wrong = new URL("../kit/datagrams.js", import.meta.url);
  await assert.rejects(workers("loop:norun?link=raw", wrong, { count: 2, arena }), /exports no function run/);
  await out.close();
});
