import { MillraceError } from "../errors.js";
import {
  BURST_DESCS,
  BURST_GENERATION,
  BURST_METAS,
  BURST_STARTS,
  CHECKSUM_MASK,
  CONTINUED,
  META_FLAGS,
  META_HASH,
  META_HASHED,
  META_NANOSECONDS,
  META_QUEUE,
  META_SECONDS,
  META_SIZE,
  META_WIRE_LENGTH,
} from "../kernels/structs.js";
import type { PacketContext } from "./context.js";
import { descriptorCount, descriptorWord, locate } from "./operations.js";
import type { LinkType } from "./types.js";

const CHECKSUMS = ["unknown", "good", "bad", "partial"] as const;

/** One packet of an arena burst, to be read. Moves with `moveTo`; reads within the linear part make no call. */
export class PacketReading {
  readonly context: PacketContext;
  /** Offset of the arena burst. */
  readonly burst: number;
  readonly linkType: LinkType;
  /** Number of the packet within the burst. */
  index = 0;
  protected readonly memory: Uint8Array<SharedArrayBuffer>;
  protected readonly words: Uint32Array<SharedArrayBuffer>;
  private readonly generationWord: number;
  private readonly generation: number;
  private readonly metas: number;
  private readonly startWords: number;
  private readonly descWords: number;
  protected meta = 0;
  protected address = 0;
  protected linear = 0;
  private total = -1; // bytes of the whole packet; -1: not asked for yet
  /** The frame of the linear part is known to be ours alone. */
  protected writable = false;

  constructor(context: PacketContext, burst: number, linkType: LinkType) {
    const { u8, u32 } = context.arena;
    this.context = context;
    this.burst = burst;
    this.linkType = linkType;
    this.memory = u8;
    this.words = u32;
    this.generationWord = (burst + BURST_GENERATION) >>> 2;
    this.generation = u32[this.generationWord];
    this.metas = u32[(burst + BURST_METAS) >>> 2];
    this.startWords = u32[(burst + BURST_STARTS) >>> 2] >>> 2;
    this.descWords = u32[(burst + BURST_DESCS) >>> 2] >>> 2;
  }

  /** Points at packet `index`, which must be within the burst. */
  moveTo(index: number): void {
    this.index = index;
    this.meta = this.metas + index * META_SIZE;
    this.refresh();
  }

  protected refresh(): void {
    const word = this.descWords + 4 * this.words[this.startWords + this.index];
    this.address = this.words[word];
    this.linear = this.words[word + 2];
    // Bit 0 of the options: the packet goes on in the next descriptor.
    this.total = (this.words[word + 3] & CONTINUED) === 0 ? this.linear : -1;
    this.writable = false;
  }

  protected alive(): void {
    if (this.words[this.generationWord] !== this.generation)
      throw new MillraceError("ERR_RELEASED", "this packet's burst was released", {
        hint: "copy(), clone() or hold() keeps a packet beyond its burst",
      });
  }

  get length(): number {
    this.alive();
    if (this.total < 0) this.total = this.context.arena.kernels.packetLength(this.burst, this.index);
    return this.total;
  }
  get wireLength(): number {
    this.alive();
    return this.words[(this.meta + META_WIRE_LENGTH) >>> 2] || this.length;
  }
  get fragments(): number {
    this.alive();
    return descriptorCount(this.context, this.burst, this.index) - 1;
  }
  get queue(): number {
    this.alive();
    return this.memory[this.meta + META_QUEUE];
  }
  get hash(): number {
    return (this.flags() & META_HASHED) === 0 ? 0 : this.words[(this.meta + META_HASH) >>> 2];
  }
  get checksum(): "good" | "bad" | "partial" | "unknown" {
    return CHECKSUMS[this.flags() & CHECKSUM_MASK];
  }
  private flags(): number {
    this.alive();
    return this.context.arena.u16[(this.meta + META_FLAGS) >>> 1];
  }
  get seconds(): number {
    this.alive();
    return this.context.arena.f64[(this.meta + META_SECONDS) / 8];
  }
  get nanoseconds(): number {
    this.alive();
    return this.words[(this.meta + META_NANOSECONDS) >>> 2];
  }
  timestamp(): bigint {
    return BigInt(this.seconds) * 1_000_000_000n + BigInt(this.nanoseconds);
  }

  u8(at: number): number {
    if (at >>> 0 === at && at < this.linear && this.words[this.generationWord] === this.generation)
      return this.memory[this.address + at];
    return this.read(at, 1);
  }
  u16(at: number): number {
    if (at >>> 0 === at && at + 2 <= this.linear && this.words[this.generationWord] === this.generation) {
      const from = this.address + at;
      return (this.memory[from] << 8) | this.memory[from + 1];
    }
    return this.read(at, 2);
  }
  u32(at: number): number {
    if (at >>> 0 === at && at + 4 <= this.linear && this.words[this.generationWord] === this.generation) {
      const from = this.address + at;
      const { memory } = this;
      return (
        ((memory[from] << 24) | (memory[from + 1] << 16) | (memory[from + 2] << 8) | memory[from + 3]) >>> 0
      );
    }
    return this.read(at, 4);
  }

  private read(at: number, bytes: number): number {
    this.alive();
    this.check(at, bytes);
    let value = 0;
    for (let i = 0; i < bytes; i++) value = value * 256 + this.memory[this.addressOf(at + i)];
    return value;
  }

  protected check(at: number, bytes: number): void {
    const length = this.length;
    if (!Number.isInteger(at) || at < 0 || at + bytes > length)
      throw new MillraceError(
        "ERR_BOUNDS",
        `${bytes} ${bytes === 1 ? "byte" : "bytes"} at offset ${at} go past a packet of ${length} bytes`,
      );
  }

  private addressOf(at: number): number {
    const { position, within } = locate(this.context, this.burst, this.index, at);
    return this.words[descriptorWord(this.context, this.burst, this.index, position)] + within;
  }

  get bytes(): Uint8Array<SharedArrayBuffer> {
    this.alive();
    return this.memory.subarray(this.address, this.address + this.linear);
  }
  *pieces(): Generator<Uint8Array<SharedArrayBuffer>, void, void> {
    for (let position = 0; position <= this.fragments; position++) {
      const word = descriptorWord(this.context, this.burst, this.index, position);
      yield this.memory.subarray(this.words[word], this.words[word] + this.words[word + 2]);
    }
  }
  *stream(from = 0): Generator<number, void, void> {
    let skip = from;
    for (const piece of this.pieces()) {
      for (let at = skip; at < piece.length; at++) {
        this.alive();
        yield piece[at];
      }
      skip = Math.max(0, skip - piece.length);
    }
  }
  copy(): Uint8Array<ArrayBuffer> {
    const whole = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.pieces()) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }
}
