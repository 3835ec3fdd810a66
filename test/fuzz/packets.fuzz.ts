// Mutated frames through everything that reads or rewrites packets. Each burst is tried twice, in frames whose other
// bytes differ: what comes out must be the same, or something looked outside its packet.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MillraceError } from "../../src/errors.js";
import {
  CHECKSUM_GOOD,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_LENGTH,
  DATAGRAM_SIZE,
  DATAGRAM_TAIL,
  LAYERS_SIZE,
  META_FLAGS,
  META_SEGMENT,
  META_TCP_SEGMENTS,
  META_UDP_SEGMENTS,
} from "../../src/kernels/structs.js";
import { createBurst } from "../../src/memory/burst.js";
import { allocateRegion } from "../../src/memory/region.js";
import { createBurstView } from "../../src/packet/burst.js";
import { finishChecksums, verifyChecksums } from "../../src/packet/checksum.js";
import { coalesceBurst } from "../../src/packet/coalesce.js";
import { packetContext } from "../../src/packet/context.js";
import { createDatagramScan } from "../../src/packet/datagrams.js";
import { createEdgeCounters, finishBurst } from "../../src/packet/edge.js";
import * as headers from "../../src/packet/headers/index.js";
import { linkTypeNumber } from "../../src/packet/linktype.js";
import { createReassembler } from "../../src/packet/reassemble.js";
import { fragmentPacket } from "../../src/packet/segment.js";
import { summarize } from "../../src/packet/summary.js";
import type { Header, LinkType } from "../../src/packet/types.js";
import { addPacket, type Bench, cut, emptyBurst, freeFrames, makeBench, metaOf } from "../packet/arena.js";
import { readPcap } from "../packet/captures.js";
import { type Fuzzer, mutate, type Random } from "./fuzzer.js";

interface Input {
  readonly bytes: Uint8Array;
  readonly piece: number;
  readonly segment: number;
  readonly flags: number;
}

interface Round {
  readonly linkType: LinkType;
  readonly inputs: readonly Input[];
  readonly mtu: number;
  readonly room: number;
}

const LINKS = [0, 1, 9, 101, 108, 113, 228, 229, 276];
const TYPES = (Object.values(headers) as unknown[]).filter(
  (value): value is Header<object> => typeof value === "object" && value !== null && "parse" in value,
);

function readSeeds(): { linkType: number; bytes: Uint8Array }[] {
  const folder = fileURLToPath(new URL("../../../test/data/captures/", import.meta.url));
  const seeds: { linkType: number; bytes: Uint8Array }[] = [];
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".pcap"))) {
    try {
      const { linkType, packets } = readPcap(join(folder, name));
      for (const bytes of packets.slice(0, 20)) if (bytes.length <= 3000) seeds.push({ linkType, bytes });
    } catch (error) {
      if (!(error instanceof assert.AssertionError)) throw error; // of a kind that this reader does not know
    }
  }
  return seeds;
}

function makeRound(random: Random, seeds: readonly { linkType: number; bytes: Uint8Array }[]): Round {
  const seed = random.pick(seeds);
  const linkType =
    random.below(10) === 0 || !LINKS.includes(seed.linkType) ? random.pick(LINKS) : seed.linkType;
  const inputs = Array.from({ length: 1 + random.below(8) }, () => {
    const bytes = random.below(2) === 0 ? seed.bytes : random.pick(seeds).bytes;
    return {
      bytes: random.below(8) === 0 ? bytes : mutate(random, bytes),
      piece: random.below(3) === 0 ? 8 + random.below(80) : 2048,
      segment: random.below(4) === 0 ? 1 + random.below(1500) : 0,
      flags: random.pick([0, CHECKSUM_GOOD, CHECKSUM_GOOD, META_TCP_SEGMENTS, META_UDP_SEGMENTS, 3]),
    };
  });
  return { linkType, inputs, mtu: 60 + random.below(1500), room: random.below(300) };
}

/** One side of the comparison: an arena whose free frames are all filled with one byte. */
function makeSide(fill: number) {
  const bench = makeBench(1024);
  const { arena } = bench;
  const context = packetContext(arena);
  const others = [createBurst(arena, 1024), createBurst(arena, 1024)];
  const layers = allocateRegion(arena, 1024 * LAYERS_SIZE);
  const total = freeFrames(arena);
  const load = ({ inputs, room }: Round) => {
    for (const input of inputs) {
      const number = addPacket(bench, cut(input.bytes, input.piece), room);
      arena.u16[(metaOf(bench, number) + META_SEGMENT) >>> 1] = input.segment;
      arena.u16[(metaOf(bench, number) + META_FLAGS) >>> 1] = input.flags;
    }
    surround(bench, fill);
  };
  return { bench, context, others, layers, total, load };
}
type Side = ReturnType<typeof makeSide>;

/** Fills what the burst's frames hold beside its packets. */
function surround({ arena, burst }: Bench, fill: number): void {
  const descs = arena.u32[(burst + 12) >>> 2];
  const count = arena.u32[(burst + 4) >>> 2];
  for (let i = 0; i < count; i++) {
    const at = arena.u32[(descs + 16 * i) >>> 2];
    const length = arena.u32[(descs + 16 * i + 8) >>> 2];
    const frame = at - (at % arena.frameSize);
    arena.u8.fill(fill, frame, at);
    arena.u8.fill(fill, at + length, frame + arena.frameSize);
  }
}

/** Runs `work`, and makes a value of a declared error; any other goes on. */
function attempt<T>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    if (error instanceof MillraceError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

function bytesOf(side: Side, burst: number, linkType: LinkType): string[] {
  return Array.from(createBurstView(side.bench.arena, burst, linkType), (packet) =>
    Buffer.from(packet.copy()).toString("base64"),
  );
}

function empty(side: Side): void {
  emptyBurst(side.bench);
  for (const burst of side.others) emptyBurst({ arena: side.bench.arena, burst });
}

/** Everything that reads and rewrites, and what came of it. */
function tryAll(side: Side, round: Round): unknown[] {
  const { bench, context, layers, others } = side;
  const { arena, burst } = bench;
  const { linkType, mtu } = round;
  const link = linkTypeNumber(linkType);
  const count = round.inputs.length;
  const results: unknown[] = [];

  side.load(round);
  arena.kernels.dissectBurst(burst, link, layers, context.scratch);
  const record = (at: number) => Buffer.from(arena.u8.slice(at, at + LAYERS_SIZE)).toString("hex");
  for (let packet = 0; packet < count; packet++) {
    const fast = record(layers + packet * LAYERS_SIZE);
    arena.u8.fill(0, layers, layers + LAYERS_SIZE);
    arena.kernels.dissectPacket(burst, packet, link, layers, context.scratch);
    assert.equal(fast, record(layers), "a burst and a packet are dissected alike");
    results.push(fast);
  }
  for (const packet of createBurstView(arena, burst, linkType)) {
    results.push(attempt(() => summarize(packet)));
    for (const type of TYPES) results.push(attempt(() => JSON.stringify(packet.header(type) ?? null)));
  }
  const scan = createDatagramScan(arena, { linkType, capacity: 64, limit: 600, need: 64, peers: 64 });
  const found = scan.scan(burst, 0);
  for (let i = 0; i < found.count; i++) {
    const field = (offset: number) => arena.u32[(scan.out + i * DATAGRAM_SIZE + offset) >>> 2];
    const length = field(DATAGRAM_LENGTH);
    const head = arena.u8.slice(field(DATAGRAM_HEAD), field(DATAGRAM_HEAD) + field(DATAGRAM_HEAD_LENGTH));
    const tail = arena.u8.slice(field(DATAGRAM_TAIL) - Math.min(8, length), field(DATAGRAM_TAIL));
    results.push(length, Buffer.from(head).toString("hex"), Buffer.from(tail).toString("hex"));
  }
  results.push([...arena.u8.subarray(scan.states, scan.states + count)]);
  scan.close();
  results.push(verifyChecksums(context, burst, linkType));
  results.push(finishChecksums(context, burst, linkType, "all"), bytesOf(side, burst, linkType));
  empty(side);

  side.load(round);
  const needs = { linkType, fragments: mtu % 5, checksum: { tx: false }, segmentation: false };
  const counters = createEdgeCounters();
  results.push(
    attempt(() => finishBurst(context, burst, needs, others[0], counters)),
    counters,
  );
  results.push(bytesOf(side, burst, linkType), bytesOf(side, others[0], linkType));
  empty(side);

  side.load(round);
  results.push(attempt(() => coalesceBurst(context, burst, { linkType }, others[0])));
  const reassembler = createReassembler(context, { linkType, fragments: 16 });
  const packets = createBurstView(arena, others[0], linkType).length;
  for (let packet = 0; packet < packets; packet++) {
    results.push(attempt(() => fragmentPacket(context, others[0], packet, { linkType, mtu }, others[1])));
  }
  results.push(bytesOf(side, others[0], linkType));
  const fragments = createBurstView(arena, others[1], linkType).length;
  for (let packet = fragments - 1; packet >= 0; packet--)
    results.push(attempt(() => reassembler.feed(others[1], packet, burst, packet)));
  results.push(bytesOf(side, burst, linkType), { ...reassembler.counters });
  reassembler.close();
  empty(side);
  assert.equal(freeFrames(arena), side.total, "a frame was lost");
  assert.equal(context.ledger.held, 0, "a held packet was lost");
  return results;
}

export const fuzzer: Fuzzer = {
  name: "packets",
  start(random) {
    const seeds = readSeeds();
    assert.ok(seeds.length > 0, "there are no captures to start from");
    const one = makeSide(0x00);
    const other = makeSide(0xff);
    return () => {
      const round = makeRound(random, seeds);
      try {
        assert.deepEqual(tryAll(one, round), tryAll(other, round));
      } catch (error) {
        const inputs = round.inputs.map(({ bytes }) => Buffer.from(bytes).toString("hex"));
        console.error(
          JSON.stringify({
            ...round,
            inputs: round.inputs.map((input, i) => ({ ...input, bytes: inputs[i] })),
          }),
        );
        throw error;
      }
      return round.inputs.length;
    };
  },
};
