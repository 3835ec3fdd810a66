import { MillraceError } from "../errors.js";
import {
  BURST_GENERATION,
  BURST_METAS,
  BURST_PACKETS,
  META_QUEUE,
  META_SIZE,
  META_VERDICT,
  VERDICT_MOVED,
  VERDICT_PASS,
  VERDICT_ROUTE,
} from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { type PacketContext, packetContext } from "./context.js";
import { PacketView } from "./packet.js";
import type { Burst, LinkType, Packet } from "./types.js";

/** A burst of the arena as users see it, for as long as it is not emptied. */
export class BurstView implements Burst {
  /** Offset of the arena burst. */
  readonly offset: number;
  private readonly context: PacketContext;
  private readonly generation: number;
  private readonly packet: PacketView;

  constructor(context: PacketContext, offset: number, linkType: LinkType) {
    this.context = context;
    this.offset = offset;
    this.generation = context.arena.u32[(offset + BURST_GENERATION) >>> 2];
    this.packet = new PacketView(context, offset, linkType);
  }

  private alive(): void {
    if (this.context.arena.u32[(this.offset + BURST_GENERATION) >>> 2] !== this.generation)
      throw new MillraceError("ERR_RELEASED", "this burst was released", {
        hint: "a burst is valid until its loop asks for the next one",
      });
  }

  get length(): number {
    this.alive();
    return this.context.arena.u32[(this.offset + BURST_PACKETS) >>> 2];
  }

  get queue(): number {
    if (this.length === 0) return 0;
    const { u8, u32 } = this.context.arena;
    return u8[u32[(this.offset + BURST_METAS) >>> 2] + META_QUEUE];
  }

  at(index: number): Packet {
    const length = this.length;
    if (!Number.isInteger(index) || index < 0 || index >= length)
      throw new MillraceError("ERR_BOUNDS", `a burst of ${length} packets has no packet ${index}`);
    this.packet.moveTo(index);
    return this.packet;
  }

  [Symbol.iterator](): Iterator<Packet> {
    const { u8, u32 } = this.context.arena;
    const verdicts = u32[(this.offset + BURST_METAS) >>> 2] + META_VERDICT;
    const { packet } = this;
    const result: { done: boolean; value: Packet } = { done: false, value: packet };
    let index = 0;
    const next = (): IteratorResult<Packet> => {
      const { length } = this;
      for (; index < length; index++) {
        const verdict = u8[verdicts + index * META_SIZE];
        if (verdict !== VERDICT_PASS && (verdict < VERDICT_ROUTE || verdict === VERDICT_MOVED)) continue;
        packet.moveTo(index++);
        return result as IteratorYieldResult<Packet>;
      }
      result.done = true;
      return result as IteratorReturnResult<undefined> | IteratorYieldResult<Packet>;
    };
    return { next };
  }
}

/**
 * The public view of the arena burst at `offset`, of packets of one link type. It dies when the burst is
 * emptied: make one for each filling, which costs two small objects a burst and none a packet.
 */
export function createBurstView(
  arena: ArenaMemory,
  offset: number,
  linkType: LinkType = "EN10MB",
): BurstView {
  return new BurstView(packetContext(arena), offset, linkType);
}
