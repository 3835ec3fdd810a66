import assert from "node:assert/strict";
import { test } from "node:test";
import {
  multicastBit,
  setMulticast,
  setPromiscuous,
  setVlans,
  writeMac,
} from "../../src/device/e1000e/filters.js";
import { openE1000eNic } from "../../src/device/e1000e/nic.js";
import { steer } from "../../src/device/e1000e/rss.js";
import { arm, receive, recover, send, serveLink, watch } from "../../src/device/e1000e/run.js";
import { collect } from "../../src/device/e1000e/statistics.js";
import type { ModelCard } from "../../src/device/model/e1000e/card.js";
import { createModelE1000e } from "../../src/device/model/e1000e/model.js";
import { createStillMachine } from "../../src/device/model/inthread.js";
import { connectWire, createWire } from "../../src/device/model/wire.js";
import { META_FLAGS, META_HASH, META_HASHED, META_QUEUE } from "../../src/kernels/structs.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { DEFAULT_RSS_KEY, toeplitz } from "../../src/packet/toeplitz.js";
import { drainBurst, metaAt, newBurst, openPair, type Pair, putPacket } from "./cards.js";
import { pattern, wholeFrame } from "./frames.js";

// Microsoft, "Verifying the RSS Hash Calculation": addresses, ports, hash without and with ports.
const VECTORS = [
  ["66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e8fc2, 0x51ccc178],
  ["199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718262a, 0xc626b0ea],
  ["24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0a5de, 0x5c2b394a],
  ["38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xafc7327f],
  ["153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d1809c5, 0x10e828a2],
  ["3ffe:2501:200:1fff:0:0:0:7", 2794, "3ffe:2501:200:3:0:0:0:1", 1766, 0x2cc18cd5, 0x40207d3d],
  ["3ffe:501:8:0:260:97ff:fe40:efab", 14230, "ff02:0:0:0:0:0:0:1", 4739, 0x0f0c461c, 0xdde51bbf],
  [
    "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
    44251,
    "fe80:0:0:0:200:f8ff:fe21:67cf",
    38024,
    0x4b61e985,
    0x02d1feef,
  ],
] as const;

function addressBytes(text: string): number[] {
  if (text.includes(".")) return text.split(".").map(Number);
  return text.split(":").flatMap((part) => {
    const value = Number.parseInt(part, 16);
    return [value >>> 8, value & 0xff];
  });
}

test("Toeplitz gives the hashes of the published vectors", () => {
  for (const [source, sourcePort, destination, destinationPort, addresses, withPorts] of VECTORS) {
    const input = [...addressBytes(source), ...addressBytes(destination)];
    assert.equal(toeplitz(DEFAULT_RSS_KEY, Uint8Array.from(input)), addresses);
    const ports = [sourcePort >>> 8, sourcePort & 255, destinationPort >>> 8, destinationPort & 255];
    assert.equal(toeplitz(DEFAULT_RSS_KEY, Uint8Array.from([...input, ...ports])), withPorts);
  }
});

function collectQueues(pair: Pair, burst: number) {
  return [0, 1].flatMap((queue) => {
    receive(pair.b.card, queue, burst, 256);
    return drainBurst(pair.arena, burst).map(({ meta }) => ({
      queue,
      told: meta.getUint8(META_QUEUE),
      hash: meta.getUint32(META_HASH, true),
      hashed: (meta.getUint16(META_FLAGS, true) & META_HASHED) !== 0,
    }));
  });
}

test("flows land on the queue that Toeplitz and the table say, with the hash in their metadata", async () => {
  const pair = openPair({ b: { queues: 2 } });
  const { arena, a, b, settle } = pair;
  const burst = newBurst(arena);
  const sendVectors = (protocol: "tcp" | "udp") => {
    for (const [source, sourcePort, destination, destinationPort] of VECTORS) {
      const family = source.includes(".") ? 4 : 6;
      const flow = {
        family,
        protocol,
        source: addressBytes(source),
        destination: addressBytes(destination),
        sourcePort,
        destinationPort,
      } as const;
      putPacket(arena, burst, wholeFrame(flow, pattern(30)));
    }
    send(a.card, 0, burst, 0);
    drainBurst(arena, burst);
    settle();
    return collectQueues(pair, burst);
  };
  const sorted = (hashes: number[]) => hashes.sort((x, y) => x - y);

  const tcp = sendVectors("tcp");
  assert.deepEqual(sorted(tcp.map(({ hash }) => hash)), sorted(VECTORS.map((vector) => vector[5])));
  for (const { queue, told, hash, hashed } of tcp) {
    assert.ok(hashed);
    assert.equal(queue, hash & 1, "the default table alternates");
    assert.equal(told, queue);
  }
  const udp = sendVectors("udp");
  assert.deepEqual(
    sorted(udp.map(({ hash }) => hash)),
    sorted(VECTORS.map((vector) => vector[4])),
    "this card hashes addresses only where there is no TCP",
  );
  steer(
    b.card,
    Array.from({ length: 128 }, () => 1),
  );
  assert.ok(sendVectors("tcp").every(({ queue }) => queue === 1));
  steer(
    b.card,
    Array.from({ length: 128 }, (_, entry) => (entry < 64 ? 0 : 1)),
  );
  for (const { queue, hash } of sendVectors("tcp")) assert.equal(queue, (hash & 127) < 64 ? 0 : 1);
  await pair.close();
});

test("a card of two queues sends each packet over the one it came in by, and no flow out of order", async () => {
  const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
  const machine = createStillMachine(arena);
  const wire = createWire(true);
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  let model: ModelCard | undefined;
  const bus = machine.fit("e1000e@model", (host) => {
    const made = createModelE1000e(host, wire, mac);
    model = made.card;
    return made.device;
  });
  const nic = await openE1000eNic(
    bus,
    new Map([
      ["queues", "2"],
      ["ring", "64"],
    ]),
  );
  machine.settle();
  const seen: (readonly [queue: number, number: number])[] = [];
  wire.tap = (frame) => seen.push([frame[20], frame[21]]);
  const burst = newBurst(arena);
  const cameIn = Array.from({ length: 100 }, (_, i) => (i % 7 < 3 ? 0 : i % 7 < 5 ? 1 : 2));
  cameIn.forEach((queue, i) => {
    const frame = pattern(100);
    frame.set([queue % 2, i], 20);
    arena.u8[metaAt(arena, burst, putPacket(arena, burst, frame)) + META_QUEUE] = queue;
  });
  for (let first = 0; first < 100; machine.settle()) first = nic.send(burst, first);
  drainBurst(arena, burst);
  for (const queue of [0, 1]) {
    const numbers = cameIn.flatMap((from, i) => (from % 2 === queue ? [i] : []));
    assert.deepEqual(
      seen.filter(([over]) => over === queue).map(([, number]) => number),
      numbers,
    );
    assert.equal(model!.regs[(0x3818 + 0x100 * queue) >>> 2], numbers.length % 64, "its own tail");
  }
  nic.clean();
  assert.equal(nic.counters().transmitted.packets, 100);
  await nic.close();
});

test("the filters let in what they are set to: own address, groups by hash, broadcast, VLANs", async () => {
  const pair = openPair({ b: { promiscuous: false } });
  const { arena, a, b, settle } = pair;
  const burst = newBurst(arena);
  const arrives = (destination: readonly number[], vlan?: number) => {
    const frame = pattern(100);
    frame.set([...destination, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    if (vlan !== undefined) frame.set([0x81, 0x00, vlan >>> 8, vlan & 0xff], 12);
    putPacket(arena, burst, frame);
    send(a.card, 0, burst, 0);
    drainBurst(arena, burst);
    settle();
    receive(b.card, 0, burst, 64);
    return drainBurst(arena, burst).length === 1;
  };
  const own = [2, 0, 0, 0, 0, 2];
  const second = [2, 0, 0, 0, 7, 7];
  const group = Uint8Array.of(0x01, 0x00, 0x5e, 0x01, 0x02, 0x03);
  // Shares the 12 bits that the table looks at, differs before them.
  const sameHash = [0x33, 0x33, 0, 0, group[4] & 0xf0, group[5]];
  assert.equal(multicastBit(Uint8Array.from(sameHash)), multicastBit(group));
  assert.equal(arrives(own), true);
  assert.equal(arrives([255, 255, 255, 255, 255, 255]), true);
  assert.equal(arrives(second), false);
  assert.equal(arrives([...group]), false);
  writeMac(b.card, 3, Uint8Array.from(second));
  setMulticast(b.card, [group]);
  assert.equal(arrives(second), true);
  assert.equal(arrives([...group]), true);
  assert.equal(arrives(sameHash), true, "the table is not exact");
  assert.equal(arrives([0x01, 0, 0x5e, 9, 9, 9]), false);
  setVlans(b.card, [100, 4095]);
  assert.equal(arrives(own, 100), true);
  assert.equal(arrives(own, 101), false);
  assert.equal(arrives(own), true, "untagged frames are not filtered by VLAN");
  setVlans(b.card);
  setPromiscuous(b.card, true);
  assert.equal(arrives([2, 9, 9, 9, 9, 9], 101), true);
  await pair.close();
});

test("interrupts mask themselves, keep their distance, and none is lost", async () => {
  const pair = openPair({ b: { moderation: 100 } });
  const { arena, a, b, settle, advance } = pair;
  const burst = newBurst(arena);
  const fired = () => Atomics.load(arena.u32, b.bus.counter(0) >>> 2);
  const one = () => {
    putPacket(arena, burst, pattern(100));
    send(a.card, 0, burst, 0);
    drainBurst(arena, burst);
    settle();
  };
  const before = fired();
  one();
  assert.equal(fired(), before, "not armed");
  arm(b.card, { receive: true, transmit: false });
  settle();
  assert.equal(fired(), before + 1, "what came before is told when armed");
  one();
  assert.equal(fired(), before + 1, "masked until armed again");
  arm(b.card, { receive: true, transmit: false });
  settle();
  assert.equal(fired(), before + 1, "too soon after the last");
  advance(101);
  settle();
  assert.equal(fired(), before + 2);
  receive(b.card, 0, burst, 64);
  assert.equal(drainBurst(arena, burst).length, 2);
  await pair.close();
});

for (const interrupts of ["msi", "intx"] as const)
  test(`with one vector for everything, no packet goes untold either (${interrupts})`, async () => {
    const pair = openPair({ interrupts, b: { moderation: 0 } });
    const { arena, a, b, settle } = pair;
    assert.equal(b.card.ownVectors, false);
    const burst = newBurst(arena);
    const fired = () => Atomics.load(arena.u32, b.bus.counter(0) >>> 2);
    const one = () => {
      putPacket(arena, burst, pattern(100));
      send(a.card, 0, burst, 0);
      drainBurst(arena, burst);
      settle();
    };
    one();
    let before = fired();
    arm(b.card, { receive: true, transmit: false });
    settle();
    assert.equal(fired(), before + 1, "it had arrived before, and is told");
    receive(b.card, 0, burst, 64);
    drainBurst(arena, burst);
    before = fired();
    arm(b.card, { receive: true, transmit: false });
    settle();
    assert.equal(fired(), before, "nothing there, nothing told");
    one();
    assert.equal(fired(), before + 1);
    if (interrupts === "intx") {
      one();
      assert.equal(fired(), before + 1, "the line is masked until the driver lets it fire again");
    }
    receive(b.card, 0, burst, 64);
    assert.equal(drainBurst(arena, burst).length, interrupts === "intx" ? 2 : 1);
    await pair.close();
  });

test("the link goes down and comes up, and what waited is sent then", async () => {
  const pair = openPair();
  const { arena, a, b, settle, advance, wire } = pair;
  const burst = newBurst(arena);
  const linkVector = a.bus.counter(4) >>> 2;
  const before = Atomics.load(arena.u32, linkVector);
  connectWire(wire, false);
  settle();
  assert.equal(Atomics.load(arena.u32, linkVector), before + 1);
  serveLink(a.card);
  assert.equal(a.card.linkUp, false);
  putPacket(arena, burst, pattern(100));
  send(a.card, 0, burst, 0);
  drainBurst(arena, burst);
  settle();
  assert.equal(receive(b.card, 0, burst, 64), 0);
  assert.equal(watch(a.card, performance.now() + 60_000), "fine", "a card without a link does not hang");
  advance(1000);
  connectWire(wire, true);
  settle();
  assert.equal(Atomics.load(arena.u32, linkVector), before + 2);
  serveLink(a.card);
  assert.equal(a.card.linkUp, true);
  assert.equal(receive(b.card, 0, burst, 64), 1);
  drainBurst(arena, burst);
  await pair.close();
});

test("a hung transmitter is noticed, the card reset, its packets counted as lost, and it works again", async () => {
  const pair = openPair();
  const { arena, a, b, settle } = pair;
  const burst = newBurst(arena);
  const go = (count: number) => {
    for (let i = 0; i < count; i++) putPacket(arena, burst, pattern(100, i));
    send(a.card, 0, burst, 0);
    drainBurst(arena, burst);
    settle();
    receive(b.card, 0, burst, 64);
    return drainBurst(arena, burst).length;
  };
  assert.equal(go(5), 5);
  a.model.hung = true;
  assert.equal(go(7), 0);
  const now = performance.now();
  for (const later of [0, 600, 1200, 1800]) assert.equal(watch(a.card, now + later), "fine");
  assert.equal(watch(a.card, now + 2400), "reset");
  a.model.hung = false;
  assert.equal(a.card.lost, 7);
  settle();
  assert.equal(go(9), 9);
  assert.equal(collect(a.card).get("tx_good"), 14);
  assert.equal(a.card.resets, 1);
  await pair.close();
});

test("a card is not blamed for time in which this process stood still with it", async () => {
  const pair = openPair();
  const { arena, a } = pair;
  const burst = newBurst(arena);
  putPacket(arena, burst, pattern(100));
  a.model.hung = true;
  send(a.card, 0, burst, 0);
  drainBurst(arena, burst);
  const now = performance.now();
  assert.equal(watch(a.card, now), "fine");
  assert.equal(watch(a.card, now + 3_600_000), "fine", "the lid was closed for an hour");
  assert.equal(watch(a.card, now + 3_600_500), "fine");
  assert.equal(watch(a.card, now + 3_601_100), "reset", "two seconds that it was watched in");
  await pair.close();
});

test("a reset under load loses nothing that is not counted", async () => {
  const pair = openPair({ a: { txRing: 256 }, b: { rxRing: 256 } });
  const { arena, a, b, settle } = pair;
  const burst = newBurst(arena);
  let sent = 0;
  let got = 0;
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 32; i++) putPacket(arena, burst, pattern(300, i));
    sent += send(a.card, 0, burst, 0);
    drainBurst(arena, burst);
    a.model.hung = round % 14 === 3;
    if (round % 7 === 3) recover(a.card);
    a.model.hung = false;
    settle();
    receive(b.card, 0, burst, 512);
    got += drainBurst(arena, burst).length;
  }
  assert.equal(got + a.card.lost, sent);
  assert.ok(a.card.lost > 0);
  await pair.close();
});
