// Mutated frames through everything that reads or rewrites packets. Each burst is tried twice, in arenas whose other
// bytes differ: what comes out must be the same, or something looked outside its packet.
import assert from "node:assert/strict";
import { MillraceError } from "../../src/errors.js";
import {
  BURST_METAS,
  BURST_PACKETS,
  CONTROL_POISON,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_LENGTH,
  DATAGRAM_SIZE,
  DATAGRAM_TAIL,
  LAYERS_SIZE,
  META_FLAGS,
  META_SEGMENT,
  META_SIZE,
} from "../../src/kernels/structs.js";
import { createArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst } from "../../src/memory/burst.js";
import { allocateRegion } from "../../src/memory/region.js";
import { createBurstView } from "../../src/packet/burst.js";
import { finishChecksums, verifyChecksums } from "../../src/packet/checksum.js";
import { coalesceBurst } from "../../src/packet/coalesce.js";
import { packetContext, SCRATCH_BYTES } from "../../src/packet/context.js";
import { createDatagramScan, type DatagramScan } from "../../src/packet/datagrams.js";
import { createEdgeCounters, finishBurst } from "../../src/packet/edge.js";
import { layersOf } from "../../src/packet/header.js";
import * as headers from "../../src/packet/headers/index.js";
import { linkTypeNumber } from "../../src/packet/linktype.js";
import { createReassembler } from "../../src/packet/reassemble.js";
import { fragmentPacket } from "../../src/packet/segment.js";
import { summarize } from "../../src/packet/summary.js";
import type { Header, LinkType, Packet } from "../../src/packet/types.js";
import { freeFrames } from "../packet/arena.js";
import type { Fuzzer } from "./fuzzer.js";
import { compareRecordings, createRecorder } from "./recorder.js";
import { createRounds, describeRound, type Input, type Round } from "./rounds.js";

const CAPACITY = 4096;
const DATAGRAMS = 600;
const TYPES = (Object.values(headers) as unknown[]).filter(
  (value): value is Header<object> => typeof value === "object" && value !== null && "parse" in value,
);

/** One side of the comparison: an arena whose bytes beside the packets have one value. */
function makeSide(fill: number) {
  const arena = createArenaMemory({ bytes: 64 * 2 ** 20, frameSize: 2048 });
  // No poison: it would make alike what is to differ.
  arena.u32[(arena.control + CONTROL_POISON) >>> 2] = 0;
  arena.kernels.attach(arena.control, arena.worker);
  arena.u8.fill(fill, arena.frameSize, arena.frames * arena.frameSize);
  const context = packetContext(arena);
  const [burst, ...others] = [0, 1, 2].map(() => createBurst(arena, CAPACITY));
  return {
    ...{ arena, context, fill, burst, others },
    layers: allocateRegion(arena, CAPACITY * LAYERS_SIZE),
    record: allocateRegion(arena, LAYERS_SIZE),
    recorder: createRecorder(arena),
    total: freeFrames(arena),
    scans: new Map<LinkType, DatagramScan>(),
    rounds: 0,
  };
}
type Side = ReturnType<typeof makeSide>;

const places: number[] = [];

/** Puts the round's packets into the side's burst. */
function load({ arena, burst, fill, context }: Side, { inputs, room }: Round): void {
  const { kernels, u8, u16, u32, frameSize } = arena;
  u8.fill(fill, context.scratch, context.scratch + SCRATCH_BYTES);
  const metas = u32[(burst + BURST_METAS) >>> 2];
  for (const input of inputs) {
    const { bytes, piece } = input;
    places.length = 0;
    for (let from = 0; from < bytes.length || from === 0; from += piece) {
      const length = Math.min(piece, bytes.length - from);
      const frame = kernels.takeFrame() >>> 0;
      assert.notEqual(frame, 0, "the pool is empty");
      const at = frame + Math.min(room, frameSize - length);
      u8.fill(fill, frame, frame + frameSize);
      u8.set(length === bytes.length ? bytes : bytes.subarray(from, from + length), at);
      places.push(at, length);
    }
    const meta = metas + appendPacket(arena, burst, places) * META_SIZE;
    u16[(meta + META_SEGMENT) >>> 1] = input.segment;
    u16[(meta + META_FLAGS) >>> 1] = input.flags;
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

function packetsIn({ arena }: Side, burst: number): number {
  return arena.u32[(burst + BURST_PACKETS) >>> 2];
}

function empty({ arena, burst, others }: Side): void {
  for (const one of [burst, ...others]) assert.equal(arena.kernels.burstRelease(one, 0), 0);
}

function recordObject({ recorder }: Side, value: object | undefined): void {
  recorder.value(value === undefined);
  for (const field of Object.values(value ?? {}))
    if (field instanceof Uint8Array) recorder.bytes(field);
    else recorder.value(field);
}

/** All headers: where the walk finds them, and one type of all by turns, which may not be there. */
function readHeaders(side: Side, packet: Packet, turn: number): void {
  const { recorder } = side;
  const { headers: found, payload, end, broken } = layersOf(packet, packet.linkType);
  for (const { type, at, size } of found) {
    recorder.value(at);
    recorder.value(size);
    recordObject(side, type.parseAt(packet, at));
  }
  recorder.value(payload);
  recorder.value(end);
  recorder.value(broken);
  recordObject(side, packet.header(TYPES[turn % TYPES.length]));
}

function dissect(side: Side, round: Round): void {
  const { arena, burst, layers, record, context, recorder } = side;
  const { kernels } = arena;
  const link = linkTypeNumber(round.linkType);
  kernels.dissectBurst(burst, link, layers, context.scratch);
  for (let packet = 0; packet < round.inputs.length; packet++) {
    arena.u8.fill(0, record, record + LAYERS_SIZE);
    kernels.dissectPacket(burst, packet, link, record, context.scratch);
    const alike = kernels.equalBytes(record, layers + packet * LAYERS_SIZE, LAYERS_SIZE);
    assert.equal(alike, 1, `packet ${packet} is dissected in a burst otherwise than alone`);
  }
  recorder.memory(layers, round.inputs.length * LAYERS_SIZE);
  for (const packet of createBurstView(arena, burst, round.linkType)) {
    recorder.value(summarize(packet));
    readHeaders(side, packet, side.rounds + packet.length);
  }
}

function scanDatagrams(side: Side, { linkType }: Round): void {
  const { arena, burst, recorder, scans } = side;
  if (side.rounds % 1000 === 0) {
    for (const scan of scans.values()) scan.close();
    scans.clear();
  }
  let scan = scans.get(linkType);
  if (scan === undefined) {
    scan = createDatagramScan(arena, { linkType, capacity: CAPACITY, limit: DATAGRAMS, need: 64, peers: 64 });
    scans.set(linkType, scan);
  }
  for (let next = 0; next < packetsIn(side, burst); ) {
    const found = scan.scan(burst, next);
    for (let i = 0; i < found.count; i++) {
      const record = (scan.out + i * DATAGRAM_SIZE) >>> 2;
      const field = (offset: number) => arena.u32[record + (offset >>> 2)];
      const length = field(DATAGRAM_LENGTH);
      const tail = Math.min(8, length);
      recorder.value(length);
      recorder.memory(field(DATAGRAM_HEAD), field(DATAGRAM_HEAD_LENGTH));
      recorder.memory(field(DATAGRAM_TAIL) - tail, tail);
    }
    assert.ok(found.next > next, "a scan goes on");
    recorder.memory(scan.states + next, found.next - next);
    next = found.next;
  }
}

function checksums(side: Side, { linkType }: Round): void {
  const { arena, burst, context, recorder } = side;
  recorder.value(verifyChecksums(context, burst, linkType));
  recorder.memory(arena.u32[(burst + BURST_METAS) >>> 2], packetsIn(side, burst) * META_SIZE);
  const { finished, unfinished } = finishChecksums(context, burst, linkType, "all");
  recorder.value(finished);
  recorder.value(unfinished);
  recorder.burst(burst, packetsIn(side, burst));
}

function edge(side: Side, { linkType, mtu }: Round): void {
  const { burst, context, others, recorder } = side;
  const needs = { linkType, fragments: mtu % 5, checksum: { tx: false }, segmentation: false };
  const counters = createEdgeCounters();
  recorder.value(attempt(() => finishBurst(context, burst, needs, others[0], counters)));
  recordObject(side, counters);
  recorder.burst(burst, packetsIn(side, burst));
  recorder.burst(others[0], packetsIn(side, others[0]));
}

function joinAndCut(side: Side, { linkType, mtu }: Round): void {
  const { arena, burst, context, others, recorder } = side;
  const [joined, pieces] = others;
  recorder.value(attempt(() => coalesceBurst(context, burst, { linkType }, joined)));
  const packets = packetsIn(side, joined);
  for (let packet = 0; packet < packets; packet++) {
    const cut = fragmentPacket(context, joined, packet, { linkType, mtu }, pieces);
    recorder.value("why" in cut ? cut.why : cut.pieces);
  }
  recorder.burst(joined, packets);
  const reassembler = createReassembler(context, { linkType, fragments: 16 });
  // A datagram that became whole takes at most as many descriptors again as its fragments had.
  assert.equal(arena.kernels.burstRelease(burst, 0), 0);
  for (let packet = packetsIn(side, pieces) - 1; packet >= 0; packet--)
    recorder.value(attempt(() => reassembler.feed(pieces, packet, burst, packet)));
  recorder.burst(burst, packetsIn(side, burst));
  recordObject(side, reassembler.counters);
  reassembler.close();
}

/** Everything that reads and rewrites; what came of it stands in the side's recorder. */
function tryAll(side: Side, round: Round): void {
  side.recorder.clear();
  load(side, round);
  dissect(side, round);
  scanDatagrams(side, round);
  checksums(side, round);
  empty(side);
  load(side, round);
  edge(side, round);
  empty(side);
  load(side, round);
  joinAndCut(side, round);
  empty(side);
  assert.equal(side.context.ledger.held, 0, "a held packet was lost");
  if (side.rounds++ % 16 === 0) assert.equal(freeFrames(side.arena), side.total, "a frame was lost");
}

function tryBoth(one: Side, other: Side, round: Round): void {
  tryAll(one, round);
  tryAll(other, round);
  compareRecordings(one.recorder, other.recorder);
}

/** The inputs of a failing round that fail by themselves, or all of them. */
function culprits(round: Round): readonly Input[] {
  const guilty = round.inputs.filter((input) => {
    try {
      tryBoth(makeSide(0x00), makeSide(0xff), { ...round, inputs: [input] });
      return false;
    } catch {
      return true;
    }
  });
  return guilty.length === 0 ? round.inputs : guilty.slice(0, 1);
}

export const fuzzer: Fuzzer = {
  name: "packets",
  turn: 100_000,
  start(random) {
    const next = createRounds(random);
    const one = makeSide(0x00);
    const other = makeSide(0xff);
    return () => {
      const round = next();
      try {
        tryBoth(one, other, round);
      } catch (error) {
        console.error(describeRound({ ...round, inputs: culprits(round) }));
        throw error;
      }
      return round.inputs.length;
    };
  },
};
