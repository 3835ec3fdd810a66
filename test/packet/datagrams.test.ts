// Gather's question: where are the UDP payloads of this burst? Asked of packets in every wrapping.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  DATAGRAM_DESC,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_LENGTH,
  DATAGRAM_OFFSET,
  DATAGRAM_PEER,
  DATAGRAM_SIZE,
  DATAGRAM_TAIL,
  SCAN_IS_DATAGRAM,
  SCAN_IS_ELSEWHERE,
  SCAN_IS_FRAGMENT,
  SCAN_IS_MALFORMED,
  SCAN_IS_OTHER,
} from "../../src/kernels/structs.js";
import { createDatagramScan } from "../../src/packet/datagrams.js";
import { peerEndpoints, peerName, refusedPeers } from "../../src/packet/peers.js";
import type { LinkType } from "../../src/packet/types.js";
import { addPacket, type Bench, cut, emptyBurst, makeBench, metaOf } from "./arena.js";

const u16 = (value: number) => [value >> 8, value & 255];

function udp4(
  payload: Uint8Array,
  change: { options?: number; fragment?: number; port?: number; length?: number } = {},
) {
  const ihl = 5 + (change.options ?? 0);
  const udp = 8 + payload.length;
  return Buffer.from([
    ...[0x40 | ihl, 0, ...u16(4 * ihl + udp), 0, 1, ...u16(change.fragment ?? 0), 64, 17, 0, 0],
    ...[10, 0, 0, 2, 239, 1, 1, 1],
    ...Array<number>(4 * (ihl - 5)).fill(1),
    ...[...u16(4000), ...u16(change.port ?? 5000), ...u16(change.length ?? udp), 0, 0],
    ...payload,
  ]);
}

function udp6(payload: Uint8Array, extensions: number[][] = []) {
  const kinds = extensions.map(([kind]) => kind);
  const udp = 8 + payload.length;
  const chain = extensions.flatMap(([, ...body], i) => [kinds[i + 1] ?? 17, ...body]);
  return Buffer.from([
    ...[0x60, 0, 0, 0, ...u16(chain.length + udp), kinds[0] ?? 17, 64],
    ...[0xfd, ...Array<number>(14).fill(0), 2, 0xfd, ...Array<number>(14).fill(0), 3],
    ...chain,
    ...[...u16(4000), ...u16(5000), ...u16(udp), 0, 0],
    ...payload,
  ]);
}

const mac = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const wrappings: { link: LinkType; make: (payload: Uint8Array) => Buffer }[] = [
  { link: "EN10MB", make: (p) => Buffer.from([...mac, 8, 0, ...udp4(p), 0, 0, 0]) },
  {
    link: "EN10MB",
    make: (p) => Buffer.from([...mac, 0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 8, 0, ...udp4(p, { options: 10 })]),
  },
  {
    link: "EN10MB",
    make: (p) =>
      Buffer.from([
        ...mac,
        0x86,
        0xdd,
        ...udp6(p, [
          [0, 0, 0, 0, 0, 0, 0, 0],
          [60, 0, 1, 4, 0, 0, 0, 0],
        ]),
      ]),
  },
  { link: "EN10MB", make: (p) => Buffer.from([...mac, 0x86, 0xdd, ...udp6(p, [[44, 0, 0, 0, 0, 0, 0, 7]])]) },
  { link: "RAW", make: (p) => udp4(p) },
  { link: "RAW", make: (p) => udp6(p) },
  { link: "IPV4", make: (p) => udp4(p) },
  { link: "IPV6", make: (p) => udp6(p) },
  {
    link: "LINUX_SLL",
    make: (p) => Buffer.from([0, 4, 0, 1, 0, 6, ...mac.slice(0, 6), 0, 0, 8, 0, ...udp4(p)]),
  },
  {
    link: "LINUX_SLL2",
    make: (p) => Buffer.from([8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 4, 6, ...mac.slice(0, 6), 0, 0, ...udp4(p)]),
  },
  { link: "NULL", make: (p) => Buffer.from([2, 0, 0, 0, ...udp4(p)]) },
  { link: "NULL", make: (p) => Buffer.from([0, 0, 0, 30, ...udp6(p)]) },
  { link: "LOOP", make: (p) => Buffer.from([0, 0, 0, 2, ...udp4(p)]) },
  { link: "DATAGRAM", make: (p) => Buffer.from(p) },
];

function record({ arena }: Bench, out: number, number: number) {
  const field = (offset: number) => arena.u32[(out + number * DATAGRAM_SIZE + offset) >>> 2];
  return {
    head: arena.u8.slice(field(DATAGRAM_HEAD), field(DATAGRAM_HEAD) + field(DATAGRAM_HEAD_LENGTH)),
    length: field(DATAGRAM_LENGTH),
    tail: arena.u8.slice(field(DATAGRAM_TAIL) - Math.min(8, field(DATAGRAM_LENGTH)), field(DATAGRAM_TAIL)),
    peer: field(DATAGRAM_PEER),
    desc: field(DATAGRAM_DESC),
    offset: field(DATAGRAM_OFFSET),
  };
}

test("the payload is found in every wrapping, however fragments cut it", () => {
  const bench = makeBench(256);
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 400 }),
      fc.constantFrom(...wrappings),
      fc.integer({ min: 3, max: 500 }),
      fc.constantFrom(1, 16, 64, 2048),
      (payload, { link, make }, size, need) => {
        addPacket(bench, cut(make(payload), size));
        const scan = createDatagramScan(bench.arena, { linkType: link, capacity: 256, need, peers: 16 });
        assert.deepEqual({ ...scan.scan(bench.burst, 0) }, { count: 1, next: 1 });
        const found = record(bench, scan.out, 0);
        assert.equal(found.length, payload.length);
        assert.ok(found.head.length >= Math.min(need, payload.length));
        assert.deepEqual(Buffer.from(found.head), Buffer.from(payload.subarray(0, found.head.length)));
        assert.deepEqual(
          Buffer.from(found.tail),
          Buffer.from(payload.subarray(-Math.min(8, payload.length))),
        );
        const desc = bench.arena.u32[(bench.burst + 12) >>> 2] + 16 * found.desc;
        assert.equal(bench.arena.u8[bench.arena.u32[desc >>> 2] + found.offset], payload[0]);
        const sender = peerName(bench.arena, scan.peers, found.peer);
        assert.ok(link === "DATAGRAM" || sender === "10.0.0.2:4000" || sender === "[fd00::2]:4000", sender);
        scan.close();
        emptyBurst(bench);
      },
    ),
    { numRuns: 600, endOnFailure: true, includeErrorInReport: true },
  );
});

test("what is no whole datagram of the port is named for what it is", () => {
  const bench = makeBench();
  const add = (packet: Buffer) => addPacket(bench, [packet]);
  const p = Buffer.from("payload");
  add(udp4(p));
  add(udp4(p, { port: 5001 }));
  add(udp4(p, { length: 7 }));
  add(udp4(p, { length: 200 }));
  add(udp4(p, { fragment: 0x2000 }));
  add(udp4(p, { fragment: 3 }));
  add(udp4(p).subarray(0, 30));
  add(Buffer.from(udp4(p)).fill(6, 9, 10));
  add(udp6(p, [[44, 0, 0, 1, 0, 0, 0, 9]]));
  add(udp6(p, [[0, 255, 0, 0, 0, 0, 0, 0]]));
  const scan = createDatagramScan(bench.arena, { linkType: "RAW", port: 5000, capacity: 512 });
  assert.equal(scan.scan(bench.burst, 0).count, 1);
  assert.deepEqual(
    [...bench.arena.u8.subarray(scan.states, scan.states + 10)],
    [
      SCAN_IS_DATAGRAM,
      SCAN_IS_ELSEWHERE,
      SCAN_IS_MALFORMED,
      SCAN_IS_MALFORMED,
      SCAN_IS_FRAGMENT,
      SCAN_IS_FRAGMENT,
      SCAN_IS_MALFORMED,
      SCAN_IS_OTHER,
      SCAN_IS_FRAGMENT,
      SCAN_IS_MALFORMED,
    ],
  );
  scan.close();
  emptyBurst(bench);
});

test("a super-frame is as many datagrams as it has segments, and the records' limit only pauses the scan", () => {
  const bench = makeBench();
  const payload = Buffer.from(Array.from({ length: 1000 }, (_, i) => i & 255));
  for (let i = 0; i < 3; i++) {
    addPacket(bench, cut(udp4(payload), 333));
    bench.arena.u16[(metaOf(bench, i) + 28) >>> 1] = 300;
  }
  const scan = createDatagramScan(bench.arena, { linkType: "IPV4", capacity: 512, limit: 9 });
  assert.deepEqual({ ...scan.scan(bench.burst, 0) }, { count: 8, next: 2 });
  const lengths = [0, 1, 2, 3].map((number) => record(bench, scan.out, number).length);
  assert.deepEqual(lengths, [300, 300, 300, 100]);
  const third = record(bench, scan.out, 2);
  assert.deepEqual(Buffer.from(third.head), payload.subarray(600, 600 + third.head.length));
  assert.deepEqual({ ...scan.scan(bench.burst, 2) }, { count: 4, next: 3 });
  scan.close();
  emptyBurst(bench);
});

test("senders get numbers until there is none left, and then the refusals are counted", () => {
  const bench = makeBench();
  const scan = createDatagramScan(bench.arena, { linkType: "RAW", capacity: 512, peers: 4 });
  const numbers = [4000, 4001, 4000, 4002, 4003, 4001, 4004].map((port) => {
    const packet = udp4(Buffer.from("x"));
    packet.writeUInt16BE(port, 20);
    addPacket(bench, [packet]);
    scan.scan(bench.burst, 0);
    const { peer } = record(bench, scan.out, 0);
    emptyBurst(bench);
    return peer;
  });
  assert.deepEqual(numbers, [1, 2, 1, 3, 4, 2, 0]);
  assert.equal(refusedPeers(bench.arena, scan.peers), 1);
  assert.deepEqual(peerEndpoints(bench.arena, scan.peers, 2), {
    source: "10.0.0.2:4001",
    destination: "239.1.1.1:5000",
  });
  scan.close();
});
