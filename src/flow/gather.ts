import { MillraceError } from "../errors.js";
import {
  C_HEAD_DATA,
  C_HEADS,
  C_HIGH,
  C_LOW,
  C_PEER,
  CHUNK_HEAD_BYTES,
  E_CHUNK,
  E_COUNT,
  E_FIRST,
  E_SIZE,
  E_STREAM,
  E_UNIT,
  G_COUNTERS,
  G_DONE,
  G_DONE_HEAD,
  G_DONE_MASK,
  G_DONE_TAIL,
  G_EVENT_COUNT,
  G_EVENTS,
  G_LENT,
  G_NANOSECONDS,
  G_NOW,
  G_READY,
  G_SECONDS,
  MODE_ANY_PEER,
  MODE_OFFSET,
  MODE_SUM,
  READY_BYTES,
  S_HIGH,
  S_LOW,
  S_PEER,
} from "../kernels/gather-structs.js";
import {
  BURST_PACKETS,
  CUT_BYTES,
  CUT_DATAGRAM,
  DATAGRAM_GROUP,
  DATAGRAM_SIZE,
  SCAN_IS_FRAGMENT,
} from "../kernels/structs.js";
import { type CompiledLayout, compileLayout } from "../layout/compile.js";
import { findLayout } from "../layout/find.js";
import { headNeed } from "../layout/need.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { packetContext } from "../packet/context.js";
import { createDatagramScan } from "../packet/datagrams.js";
import { peerName } from "../packet/peers.js";
import { createReassembler, type ReassemblyCounters } from "../packet/reassemble.js";
import type { LinkType } from "../packet/types.js";
import { type ChunkHome, ChunkView } from "./chunk.js";
import { type GatherOptions, planGather } from "./gather-options.js";
import { createGatherState } from "./gather-state.js";
import { BURST_DESCRIPTORS } from "./source.js";

/** The sources of a gather, as far as it cares. */
export interface GatherSource {
  readonly linkType: LinkType;
  readonly live: boolean;
  /** Several sources carry the same streams. */
  readonly merged: boolean;
  /** Senders behind META_PEER, where the port numbers them itself. */
  readonly peer?: ((number: number) => string) | undefined;
}

/** One gather: bursts in, chunks out. */
export interface Gather {
  readonly layout: CompiledLayout;
  /** Begins with a burst, which stays the caller's and must not change until work() has returned `whole`. */
  begin(burst: number): void;
  /**
   * Goes on with the burst, up to its end or until enough chunks are finished: take them, and call again. `memory`:
   * all of it is lent out with chunks; call again when some have come back.
   */
  work(): "whole" | "chunks" | "memory";
  /** The next finished chunk, the caller's until released; undefined: there is none now. */
  take(): ChunkView | undefined;
  /** Ends the waiting where nothing came for the timeout. */
  tick(): void;
  /** The source has ended: everything goes out. False: memory is lent out, as above. */
  flush(): boolean;
  /** Chunks taken and not released yet. */
  readonly lent: number;
  /** Counter `which` (N_…) of the kernels. */
  counter(which: number): number;
  /** Bytes copied because a linked chunk had to be contiguous. */
  readonly linearized: number;
  /** What became of IP fragments, where packets come with their headers. */
  readonly reassembly: ReassemblyCounters | undefined;
  /** Called whenever a chunk comes back. */
  onRelease: (() => void) | undefined;
  close(): void;
}

const CUTS = 1024;

/** Makes a gather over the arena. Throws ERR_USAGE, ERR_LAYOUT, ERR_MEMORY. */
export function createGather(arena: ArenaMemory, options: GatherOptions, source: GatherSource): Gather {
  const { u32, u64, f64, kernels } = arena;
  const layout = compileLayout(
    typeof options.layout === "string" ? findLayout(options.layout) : options.layout,
    options.parameters,
  );
  const chunkMemory = Math.floor((arena.frames * 3) / 4) * arena.frameSize;
  const plan = planGather(options, layout, { live: source.live, merged: source.merged, chunkMemory });
  const program = layout.instantiate(arena.memory);
  const state = createGatherState(arena, plan);
  const scan = createDatagramScan(arena, {
    linkType: source.linkType,
    port: options.udpPort ?? 0,
    capacity: BURST_DESCRIPTORS,
    need: headNeed(layout.plan),
  });
  const reassembler =
    source.linkType === "DATAGRAM"
      ? undefined
      : createReassembler(packetContext(arena), { linkType: source.linkType });
  const capacity = CUTS + layout.cutsPerDatagram;
  const cutsAt = allocateRegion(arena, capacity * CUT_BYTES);
  const word = (field: number) => u32[(state.offset + field) >>> 2];
  const peerText = (number: number) => source.peer?.(number) ?? peerName(arena, scan.peers, number);
  const streamText = (peer: number, low: bigint, high: bigint) => {
    const name = layout.streamText(low, high);
    const sender = plan.mode & MODE_ANY_PEER ? "" : peerText(peer);
    return sender !== "" && name !== "" ? `${sender}/${name}` : sender + name;
  };
  let linearized = 0;

  const home: ChunkHome = {
    arena,
    sums: (plan.mode & MODE_SUM) !== 0,
    byOffset: (plan.mode & MODE_OFFSET) !== 0,
    streamName: (chunk) =>
      streamText(u32[(chunk + C_PEER) >>> 2], u64[(chunk + C_LOW) >>> 3], u64[(chunk + C_HIGH) >>> 3]),
    fields(chunk) {
      const fields: Record<string, bigint> = {};
      const heads = u32[(chunk + C_HEADS) >>> 2];
      for (let i = 0; i < heads; i++) {
        const at = chunk + C_HEAD_DATA + i * CHUNK_HEAD_BYTES;
        const length = u32[(at + 4) >>> 2];
        Object.assign(fields, layout.readFields(arena.u8.subarray(at + 8, at + 8 + length), u32[at >>> 2]));
      }
      return fields;
    },
    claim(bytes) {
      const address = kernels.claimFrames(Math.ceil(bytes / arena.frameSize)) >>> 0;
      if (address === 0)
        throw new MillraceError("ERR_MEMORY", `the arena has no ${bytes} contiguous bytes for a chunk`, {
          hint: "make a larger arena, or bound the gather's memory (--max-bytes)",
        });
      linearized += bytes;
      return address;
    },
    unclaim: (address, bytes) => void kernels.releaseFrames(address, Math.ceil(bytes / arena.frameSize)),
    released(chunk) {
      kernels.gatherRelease(state.offset, chunk);
      if (closed && word(G_LENT) === 0) state.free();
      else gather.onRelease?.();
    },
  };

  // Where the burst under way stands: packets scanned, datagrams cut, cuts placed.
  let burst = 0;
  let packets = 0;
  let nextPacket = 0;
  let datagrams = 0;
  let firstDatagram = 0;
  let cuts = 0;
  let nextCut = 0;
  let cutBase = 0;
  let closed = false;

  const tellGaps = () => {
    const events = word(G_EVENT_COUNT);
    u32[(state.offset + G_EVENT_COUNT) >>> 2] = 0;
    for (let at = word(G_EVENTS), end = at + events * E_SIZE; at < end; at += E_SIZE) {
      const stream = u32[(at + E_STREAM) >>> 2];
      options.onGap?.({
        stream: streamText(
          u32[(stream + S_PEER) >>> 2],
          u64[(stream + S_LOW) >>> 3],
          u64[(stream + S_HIGH) >>> 3],
        ),
        chunk: u64[(at + E_CHUNK) >>> 3],
        first: Number(u64[(at + E_FIRST) >>> 3]),
        count: Number(u64[(at + E_COUNT) >>> 3]),
        unit: u32[(at + E_UNIT) >>> 2] === 0 ? "bytes" : "datagrams",
      });
    }
    return events;
  };

  const setClock = () => {
    const now = performance.now();
    const wall = performance.timeOrigin + now;
    f64[(state.offset + G_NOW) >>> 3] = now;
    f64[(state.offset + G_SECONDS) >>> 3] = Math.floor(wall / 1000);
    u32[(state.offset + G_NANOSECONDS) >>> 2] = Math.floor((wall % 1000) * 1e6);
  };

  /** Places what has been cut. */
  const place = () => {
    while (nextCut < cuts) {
      const before = nextCut;
      const last = scan.out + datagrams * DATAGRAM_SIZE;
      nextCut = kernels.gatherRun(state.offset, burst, cutBase, last, cutsAt, nextCut, cuts);
      const told = word(G_EVENT_COUNT) > 0 ? tellGaps() : 0;
      if (word(G_READY) >= READY_BYTES) return "chunks";
      if (nextCut === before && told === 0) return "memory";
    }
    return "whole";
  };

  /** Hands fragments over; datagrams that are whole now stand at the burst's end, and are scanned in their turn. */
  const reassemble = (first: number, end: number) => {
    const now = performance.now();
    for (let packet = first; packet < end; packet++)
      if (arena.u8[scan.states + packet] === SCAN_IS_FRAGMENT) reassembler?.feed(burst, packet, burst, now);
    packets = u32[(burst + BURST_PACKETS) >>> 2];
  };

  const gather: Gather = {
    layout,
    onRelease: undefined,
    reassembly: reassembler?.counters,
    begin(offset) {
      burst = offset;
      packets = u32[(offset + BURST_PACKETS) >>> 2];
      nextPacket = 0;
      datagrams = firstDatagram = cuts = nextCut = 0;
    },
    work() {
      setClock();
      for (;;) {
        const placed = place();
        if (placed !== "whole") return placed;
        if (firstDatagram < datagrams) {
          cutBase = scan.out + firstDatagram * DATAGRAM_SIZE;
          const group = Math.min(datagrams - firstDatagram, DATAGRAM_GROUP);
          cuts = program.cut(cutBase, group, cutsAt, capacity);
          nextCut = 0;
          firstDatagram += u32[(cutsAt + (cuts - 1) * CUT_BYTES + CUT_DATAGRAM) >>> 2] + 1;
        } else if (nextPacket < packets) {
          const found = scan.scan(burst, nextPacket);
          if (
            reassembler !== undefined &&
            kernels.gatherOthers(state.offset, burst, scan.states, nextPacket, found.next) > 0
          )
            reassemble(nextPacket, found.next);
          datagrams = found.count;
          firstDatagram = 0;
          nextPacket = found.next;
        } else return "whole";
      }
    },
    take() {
      const tail = word(G_DONE_TAIL);
      if (tail === word(G_DONE_HEAD)) return undefined;
      u32[(state.offset + G_DONE_TAIL) >>> 2] = tail + 1;
      return new ChunkView(home, u32[(word(G_DONE) >>> 2) + (tail & word(G_DONE_MASK))]);
    },
    tick() {
      setClock();
      kernels.gatherTick(state.offset);
      reassembler?.expire(performance.now());
      if (word(G_EVENT_COUNT) > 0) tellGaps();
    },
    flush() {
      const done = kernels.gatherFlush(state.offset) !== 0;
      if (word(G_EVENT_COUNT) > 0) tellGaps();
      return done;
    },
    get lent() {
      return word(G_LENT) - ((word(G_DONE_HEAD) - word(G_DONE_TAIL)) >>> 0);
    },
    counter: (which) => Number(BigInt.asIntN(64, u64[(state.offset + G_COUNTERS) / 8 + which])),
    get linearized() {
      return linearized;
    },
    close() {
      if (closed) return;
      closed = true;
      // Everything under way goes out and is dropped here; chunks that users still hold keep their memory.
      for (;;) {
        const flushed = gather.flush();
        let any = false;
        for (let chunk = gather.take(); chunk !== undefined; chunk = gather.take()) {
          chunk.release();
          any = true;
        }
        if (flushed || !any) break;
      }
      scan.close();
      reassembler?.close();
      freeRegion(arena, cutsAt, capacity * CUT_BYTES);
      if (gather.lent === 0) state.free();
    },
  };
  return gather;
}
