// Packets cut into segments and fragments, and put together again: the two are inverse, and nothing is lost.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import {
  META_FLAGS,
  META_SEGMENT,
  META_TCP_SEGMENTS,
  META_UDP_SEGMENTS,
  VERDICT_PASS,
} from "../../src/kernels/structs.js";
import { createBurst } from "../../src/memory/burst.js";
import { buildPacket } from "../../src/packet/build.js";
import { createBurstView } from "../../src/packet/burst.js";
import { finishChecksums, verifyChecksums } from "../../src/packet/checksum.js";
import { coalesceBurst } from "../../src/packet/coalesce.js";
import { packetContext } from "../../src/packet/context.js";
import { createEdgeCounters, finishBurst } from "../../src/packet/edge.js";
import { ipv4, ipv6Fragment, tcp, udp } from "../../src/packet/headers/index.js";
import { createReassembler } from "../../src/packet/reassemble.js";
import { fragmentPacket, segmentPacket } from "../../src/packet/segment.js";
import { parseTemplate } from "../../src/packet/template.js";
import { addPacket, type Bench, cut, emptyBurst, freeFrames, makeBench, metaOf, viewBurst } from "./arena.js";
import { encodePcap, find, tsharkLayers } from "./captures.js";
import { needs } from "./oracle.js";

const ETHERNET = { linkType: "EN10MB" } as const;

function bytesOf({ arena }: Bench, burst: number): Buffer[] {
  return Array.from(createBurstView(arena, burst), (packet) => Buffer.from(packet.copy()));
}

function body(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));
}

const templates = {
  tcp4: "eth/vlan(id=3)/ipv4(id=65534)/tcp(seq=4294967000,flags=0x99)",
  tcp6: "eth/ipv6/tcp(seq=1,flags=0x18)",
  udp4: "eth/ipv4(id=9)/udp",
  udp6: "eth/ipv6/udp",
} as const;

test("a super-frame is cut into the segments its sender would have sent, and coalescing gives it back", () => {
  const bench = makeBench(512);
  const { arena } = bench;
  const context = packetContext(arena);
  const segments = createBurst(arena, 512);
  const again = createBurst(arena, 512);
  const total = freeFrames(arena);
  fc.assert(
    fc.property(
      fc.constantFrom<keyof typeof templates>("tcp4", "tcp6", "udp4", "udp6"),
      fc.integer({ min: 0, max: 9000 }),
      fc.integer({ min: 200, max: 1460 }),
      fc.integer({ min: 700, max: 2048 }),
      (kind, length, size, frame) => {
        const template = parseTemplate(templates[kind]);
        const whole = buildPacket(template, body(length));
        addPacket(bench, cut(whole, frame));
        const isTcp = kind.startsWith("tcp");
        arena.u16[(metaOf(bench, 0) + META_SEGMENT) >>> 1] = size;
        arena.u16[(metaOf(bench, 0) + META_FLAGS) >>> 1] = isTcp ? META_TCP_SEGMENTS : META_UDP_SEGMENTS;
        const pieces = Math.max(1, Math.ceil(length / size));
        assert.deepEqual(segmentPacket(context, bench.burst, 0, "EN10MB", segments), { pieces });
        emptyBurst(bench);
        finishChecksums(context, segments, "EN10MB", "partial");
        const view = createBurstView(arena, segments);
        assert.equal(view.length, pieces);
        const header = template.bytes.length;
        const payload: Buffer[] = [];
        for (let i = 0; i < pieces; i++) {
          const packet = view.at(i);
          payload.push(Buffer.from(packet.copy()).subarray(header));
          assert.equal(packet.length, header + Math.min(size, length - i * size));
          if (isTcp) {
            const { sequence, flags } = packet.header(tcp) ?? { sequence: -1, flags: -1 };
            const first = kind === "tcp4" ? 4294967000 : 1;
            assert.equal(sequence, (first + i * size) % 2 ** 32);
            const last = i === pieces - 1;
            const expected = kind === "tcp4" ? 0x99 : 0x18;
            assert.equal(flags, expected & ~(last ? 0 : 0x09) & ~(i === 0 ? 0 : 0x80));
          } else assert.equal(packet.header(udp)?.length, 8 + Math.min(size, length - i * size));
          if (kind.endsWith("4"))
            assert.equal(packet.header(ipv4)?.identification, ((kind === "tcp4" ? 65534 : 9) + i) & 0xffff);
          arena.u16[(arena.u32[(segments + 16) >>> 2] + 32 * i + META_FLAGS) >>> 1] &= ~3; // forget what is known
        }
        assert.deepEqual(Buffer.concat(payload), body(length));
        assert.equal(verifyChecksums(context, segments, "EN10MB"), 0);

        const before = bytesOf(bench, segments);
        const merged = coalesceBurst(context, segments, { ...ETHERNET, fragments: 200 }, again);
        // CWR has to arrive by itself, so of tcp4's segments the first stays alone.
        const joined = kind === "tcp4" ? Math.max(0, pieces - 2) : pieces - 1;
        if (pieces <= 9 && length > 0) assert.equal(merged, joined);
        emptyBurst({ arena, burst: segments });
        const restored: Buffer[] = [];
        const count = createBurstView(arena, again).length;
        for (let i = 0; i < count; i++) {
          const meta = arena.u32[(again + 16) >>> 2] + 32 * i;
          if (arena.u16[(meta + META_SEGMENT) >>> 1] === 0) {
            restored.push(Buffer.from(createBurstView(arena, again).at(i).copy()));
            continue;
          }
          const result = segmentPacket(context, again, i, "EN10MB", segments);
          assert.ok(result.pieces > 1);
          finishChecksums(context, segments, "EN10MB", "partial");
          restored.push(...bytesOf(bench, segments));
          emptyBurst({ arena, burst: segments });
        }
        assert.deepEqual(restored, before);
        emptyBurst({ arena, burst: again });
        assert.equal(freeFrames(arena), total);
      },
    ),
    { numRuns: Number(process.env.MILLRACE_RUNS ?? 200), endOnFailure: true, includeErrorInReport: true },
  );
});

test("fragments reassemble to the packet they were cut from, in any order, with duplicates", () => {
  const bench = makeBench(512);
  const { arena } = bench;
  const context = packetContext(arena);
  const fragments = createBurst(arena, 512);
  const out = createBurst(arena, 512);
  const total = freeFrames(arena);
  const text = ["eth/ipv4(id=77)/udp", "eth/vlan(id=9)/ipv6/udp", "ipv4(id=5)/udp"];
  fc.assert(
    fc.property(
      fc.constantFrom(...text),
      fc.integer({ min: 1500, max: 9000 }),
      fc.integer({ min: 300, max: 1500 }),
      fc.integer({ min: 700, max: 2048 }),
      fc.integer({ min: 0, max: 2 ** 30 }),
      (words, length, mtu, frame, shuffle) => {
        const template = parseTemplate(words);
        const { linkType } = template;
        const whole = buildPacket(template, body(length));
        addPacket(bench, cut(whole, frame));
        const options = { linkType, mtu, identification: 0xabcdef01 };
        const { pieces } = fragmentPacket(context, bench.burst, 0, options, fragments);
        assert.ok(pieces > 1);
        emptyBurst(bench);
        const view = createBurstView(arena, fragments, linkType);
        for (let i = 0; i < pieces; i++) {
          const link = linkType === "RAW" ? 0 : words.includes("vlan") ? 18 : 14;
          assert.ok(view.at(i).length - link <= mtu);
          if (words.includes("ipv6"))
            assert.equal(view.at(i).header(ipv6Fragment)?.identification, 0xabcdef01);
        }
        const reassembler = createReassembler(context, { linkType });
        const order = Array.from({ length: pieces }, (_, i) => i);
        let random = shuffle;
        for (let i = order.length - 1; i > 0; i--) {
          random = (random * 1103515245 + 12345) % 2 ** 31;
          const j = random % (i + 1);
          [order[i], order[j]] = [order[j], order[i]];
        }
        const twice = view.at(order[0]).clone();
        order.forEach((packet, i) => {
          const done = reassembler.feed(fragments, packet, out, 0);
          assert.equal(done, i === order.length - 1);
          if (i === 0) {
            const { burst, index } = twice as unknown as { burst: number; index: number };
            assert.equal(reassembler.feed(burst, index, out, 0), false);
            twice.release();
          }
        });
        assert.deepEqual(bytesOf(bench, out), [Buffer.from(whole)]);
        assert.equal(reassembler.counters.duplicates, 1);
        assert.equal(reassembler.counters.reassembled, 1);
        assert.equal(reassembler.counters.held, 0);
        emptyBurst({ arena, burst: fragments });
        emptyBurst({ arena, burst: out });
        reassembler.close();
        assert.equal(freeFrames(arena), total);
      },
    ),
    { numRuns: Number(process.env.MILLRACE_RUNS ?? 150), endOnFailure: true, includeErrorInReport: true },
  );
  assert.equal(context.ledger.held, 0);
});

test("fragments that overlap, lie or never end are refused, counted and freed", () => {
  const bench = makeBench(512);
  const context = packetContext(bench.arena);
  const total = freeFrames(bench.arena);
  const fragment = (offset: number, length: number, more: boolean, id = 1) => {
    const header = ipv4.encode({
      totalLength: 20 + length,
      fragmentOffset: offset,
      moreFragments: more,
      identification: id,
      protocol: 17,
    });
    return Buffer.concat([header, body(length)]);
  };
  const feed = (list: Buffer[], options: { timeout?: number; fragments?: number } = {}, step = 0) => {
    const reassembler = createReassembler(context, { linkType: "RAW", ...options });
    list.forEach((packet, i) => {
      addPacket(bench, [packet]);
      reassembler.feed(bench.burst, 0, bench.burst, i * step);
      emptyBurst(bench);
    });
    const { counters } = reassembler;
    const result = { ...counters };
    reassembler.close();
    assert.equal(freeFrames(bench.arena), total);
    return result;
  };
  const none = { reassembled: 0, joined: 0, duplicates: 0, overlaps: 0, expired: 0, malformed: 0, held: 0 };
  assert.deepEqual(feed([fragment(0, 16, true), fragment(8, 16, true)]), { ...none, overlaps: 2 });
  assert.deepEqual(feed([fragment(0, 32, true), fragment(8, 8, true)]), { ...none, overlaps: 2 });
  assert.deepEqual(feed([fragment(16, 8, false), fragment(0, 32, true)]), { ...none, overlaps: 2 });
  assert.deepEqual(feed([fragment(16, 8, false), fragment(32, 8, false)]), { ...none, overlaps: 2 });
  assert.deepEqual(feed([fragment(0, 16, true), fragment(0, 16, true)]), { ...none, duplicates: 1, held: 1 });
  assert.deepEqual(feed([fragment(0, 15, true)]), { ...none, malformed: 1 });
  assert.deepEqual(feed([fragment(65_528, 16, false)]), { ...none, malformed: 1 });
  assert.deepEqual(feed([fragment(0, 16, true), fragment(16, 8, false)], { timeout: 10 }, 10), {
    ...none,
    expired: 1,
    held: 1,
  });
  const crumbs = Array.from({ length: 1024 }, (_, i) => fragment(8 * i, 8, i < 1023));
  assert.deepEqual(feed(crumbs, { fragments: 2000 }), { ...none, malformed: 1024 });
  const many = Array.from({ length: 10 }, (_, i) => fragment(0, 8, true, i));
  assert.deepEqual(feed(many, { fragments: 4 }), { ...none, expired: 6, held: 4 });
  assert.deepEqual(feed([fragment(0, 16, true), fragment(16, 8, false)]), {
    ...none,
    reassembled: 1,
    joined: 2,
  });
  assert.deepEqual(feed([buildPacket(parseTemplate("ipv4/udp"), body(9)) as Buffer]), {
    ...none,
    malformed: 1,
  });
  assert.equal(context.ledger.held, 0);
});

test("tshark reassembles the fragments that we make", (t) => {
  if (!needs(t, "tshark")) return;
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const bench = makeBench();
  const out = createBurst(bench.arena, 64);
  for (const [text, layer] of [
    ["eth/ipv4(id=77)/udp(dport=40000)", "ip.fragments"],
    ["eth/ipv6/udp(dport=40000)", "ipv6.fragments"],
  ]) {
    addPacket(bench, cut(buildPacket(parseTemplate(text), body(4000)), 2000));
    const options = { linkType: "EN10MB", mtu: 1280, identification: 5 } as const;
    const { pieces } = fragmentPacket(packetContext(bench.arena), bench.burst, 0, options, out);
    const file = join(directory, "fragments.pcap");
    writeFileSync(file, encodePcap(1, bytesOf(bench, out)));
    const last = tsharkLayers(file, [
      "ip.defragment:TRUE",
      "ipv6.defragment:TRUE",
      "udp.check_checksum:TRUE",
    ]).at(-1);
    assert.equal(find(last, layer.replace("fragments", "fragment.count")), String(pieces));
    assert.equal(find(last?.udp, "udp.length"), "4008");
    assert.equal(find(last?.udp, "udp.checksum.status"), "1", text);
    emptyBurst(bench);
    emptyBurst({ arena: bench.arena, burst: out });
  }
});

test("a packet that must not be fragmented is not", () => {
  const bench = makeBench();
  const out = createBurst(bench.arena, 64);
  addPacket(bench, cut(buildPacket(parseTemplate("ipv4(df=1)/udp"), body(3000)), 2048));
  const context = packetContext(bench.arena);
  const options = { linkType: "RAW", mtu: 1500 } as const;
  assert.deepEqual(fragmentPacket(context, bench.burst, 0, options, out), { pieces: 0, why: "refused" });
  assert.equal(viewBurst(bench, "RAW").at(0).length, 3028, "it is as it was");
  emptyBurst(bench);
});

test("the edge cuts, finishes and linearizes what a port cannot, in order, and counts it", () => {
  const bench = makeBench(512);
  const { arena } = bench;
  const context = packetContext(arena);
  const spare = createBurst(arena, 512);
  const total = freeFrames(arena);
  const small = buildPacket(parseTemplate("eth/ipv4/udp(dport=1)"), body(100));
  const large = buildPacket(parseTemplate("eth/ipv4/udp(dport=2)"), body(3000));
  addPacket(bench, cut(small, 40));
  addPacket(bench, cut(large, 2048));
  addPacket(bench, cut(small, 2048));
  arena.u16[(metaOf(bench, 1) + META_SEGMENT) >>> 1] = 1000;
  arena.u16[(metaOf(bench, 1) + META_FLAGS) >>> 1] = META_UDP_SEGMENTS;
  const counters = createEdgeCounters();
  const needs = { linkType: "EN10MB", fragments: 0, checksum: { tx: false }, segmentation: false } as const;
  assert.equal(finishBurst(context, bench.burst, needs, spare, counters), 3);
  const sent = [...bytesOf(bench, bench.burst), ...bytesOf(bench, spare)];
  assert.deepEqual(
    sent.map((packet) => packet.readUInt16BE(36)),
    [1, 2, 2, 2, 1],
  );
  assert.deepEqual(counters, { segmented: 1, segments: 3, checksums: 3, linearized: 4, unsendable: 0 });
  for (const packet of createBurstView(arena, spare)) assert.equal(packet.fragments, 0);
  assert.equal(verifyChecksums(context, spare, "EN10MB"), 0);
  assert.equal(VERDICT_PASS, 0);
  emptyBurst(bench);
  emptyBurst({ arena, burst: spare });
  assert.equal(freeFrames(arena), total);
});
