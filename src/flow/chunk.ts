import { MillraceError } from "../errors.js";
import {
  C_ADDRESS,
  C_FIRST_NANOSECONDS,
  C_FIRST_SECONDS,
  C_FLAGS,
  C_ID,
  C_LAST_NANOSECONDS,
  C_LAST_SECONDS,
  C_LENGTH,
  C_MISSING,
  C_PACKETS,
  C_RANGES,
  C_SUM,
  CHUNK_COMPLETE,
  CHUNK_LINKED,
  LIST_ADDRESS,
  LIST_COUNT,
  RANGE_ADDRESS,
  RANGE_END,
  RANGE_SIZE,
  RANGE_START,
} from "../kernels/gather-structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import type { Gap } from "./gap.js";

/** Bytes of a datagram unless told otherwise: what fits an Ethernet frame over IPv6 and UDP. */
export const DATAGRAM_BYTES = 1440;

/**
 * The contiguous result of a gather. What it shows is valid until its loop asks for the next chunk; `copy()` is
 * the user's own, `hold()` keeps it longer.
 */
export interface Chunk {
  /** Who sent it, and the layout's own name for the stream, as `10.0.0.9:5004/ssrc=7`. */
  readonly stream: string;
  /** The layout's number for the chunk, or its count within the stream, from 0. */
  readonly id: bigint;
  /** Bytes. */
  readonly length: number;
  readonly complete: boolean;
  /** What never came, in order. */
  readonly missing: readonly Gap[];
  /** What the layout's headers say of the chunk: width, height, pixelFormat, timestamp … */
  readonly fields: Readonly<Record<string, bigint>>;
  /** Datagrams in it. */
  readonly datagrams: number;
  /** When its first and its last datagram came, nanoseconds since the epoch. */
  readonly firstAt: bigint;
  readonly lastAt: bigint;
  /** Internet checksum of its bytes (RFC 1071), where gather was asked for it; else undefined. */
  readonly checksum: number | undefined;
  /** The data in place, contiguous; a linked chunk is copied together once, and that is counted. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** The data in place as it lies: one piece, or the payload slices of a linked chunk. */
  readonly slices: readonly Uint8Array<SharedArrayBuffer>[];
  /** Reverses the bytes of every 16, 32 or 64-bit word, in place; a shorter rest stays as it is. */
  swap(bits: 16 | 32 | 64): void;
  /** All bytes, contiguous, the user's own. */
  copy(): Uint8Array<ArrayBuffer>;
  /** One more reference to the chunk, to be given back with release(). */
  hold(): HeldChunk;
}

/** A chunk that the user holds until `release()`. */
export interface HeldChunk extends Chunk, Disposable {
  /** Gives the reference back. Idempotent; every other access throws ERR_RELEASED afterwards. */
  release(): void;
}

/** What a chunk needs of the gather it came from. */
export interface ChunkHome {
  readonly arena: ArenaMemory;
  readonly sums: boolean;
  readonly byOffset: boolean;
  streamName(chunk: number): string;
  fields(chunk: number): Record<string, bigint>;
  /** Contiguous memory for a linked chunk of `bytes` bytes; counts the copy. Throws ERR_MEMORY. */
  claim(bytes: number): number;
  unclaim(address: number, bytes: number): void;
  /** The last reference was given up. */
  released(chunk: number): void;
}

/** One reference to a finished chunk. */
export class ChunkView implements HeldChunk {
  readonly home: ChunkHome;
  readonly record: number;
  /** Of all views of the record together: how many there are, and where it was copied together. */
  private readonly shared: { references: number; linear: number };
  private alive = true;

  constructor(home: ChunkHome, record: number, shared = { references: 1, linear: 0 }) {
    this.home = home;
    this.record = record;
    this.shared = shared;
  }

  private assertAlive(): void {
    if (!this.alive)
      throw new MillraceError("ERR_RELEASED", "this chunk was released", {
        hint: "copy() or hold() keeps a chunk beyond its turn",
      });
  }

  private word(field: number): number {
    this.assertAlive();
    return this.home.arena.u32[(this.record + field) >>> 2];
  }

  get stream(): string {
    this.assertAlive();
    return this.home.streamName(this.record);
  }
  get id(): bigint {
    this.assertAlive();
    return this.home.arena.u64[(this.record + C_ID) >>> 3];
  }
  get length(): number {
    return this.word(C_LENGTH);
  }
  get datagrams(): number {
    return this.word(C_PACKETS);
  }
  get complete(): boolean {
    return (this.word(C_FLAGS) & CHUNK_COMPLETE) !== 0;
  }
  get fields(): Record<string, bigint> {
    this.assertAlive();
    return this.home.fields(this.record);
  }
  get firstAt(): bigint {
    return this.time(C_FIRST_SECONDS, C_FIRST_NANOSECONDS);
  }
  get lastAt(): bigint {
    return this.time(C_LAST_SECONDS, C_LAST_NANOSECONDS);
  }
  private time(seconds: number, nanoseconds: number): bigint {
    const nanos = this.word(nanoseconds);
    return BigInt(this.home.arena.f64[(this.record + seconds) >>> 3]) * 1_000_000_000n + BigInt(nanos);
  }

  get missing(): readonly Gap[] {
    const { u64 } = this.home.arena;
    const first = this.word(C_MISSING + LIST_ADDRESS);
    const end = first + this.word(C_MISSING + LIST_COUNT) * RANGE_SIZE;
    const unit = this.home.byOffset ? "bytes" : "datagrams";
    const missing: Gap[] = [];
    for (let at = first; at < end; at += RANGE_SIZE)
      missing.push({ first: Number(u64[at >>> 3]), count: Number(u64[(at + 8) >>> 3]), unit });
    return missing;
  }

  get checksum(): number | undefined {
    this.assertAlive();
    if (!this.home.sums) return undefined;
    let sum = this.home.arena.u64[(this.record + C_SUM) >>> 3];
    while (sum >> 16n !== 0n) sum = (sum & 0xffffn) + (sum >> 16n);
    return Number(~sum & 0xffffn);
  }

  /** Address and length of each piece, in order: what a port sends. */
  pieces(): number[] {
    const { u32 } = this.home.arena;
    if (this.shared.linear !== 0) return [this.shared.linear, this.length];
    if ((this.word(C_FLAGS) & CHUNK_LINKED) === 0) return [this.word(C_ADDRESS), this.length];
    const list = this.word(C_RANGES + LIST_ADDRESS);
    const end = list + this.word(C_RANGES + LIST_COUNT) * RANGE_SIZE;
    const pieces: number[] = [];
    for (let at = list; at < end; at += RANGE_SIZE) {
      const word = at >>> 2;
      pieces.push(u32[word + RANGE_ADDRESS / 4], u32[word + RANGE_END / 4] - u32[word + RANGE_START / 4]);
    }
    return pieces;
  }

  get slices(): readonly Uint8Array<SharedArrayBuffer>[] {
    const pieces = this.pieces();
    const slices: Uint8Array<SharedArrayBuffer>[] = [];
    for (let i = 0; i < pieces.length; i += 2)
      slices.push(new Uint8Array(this.home.arena.buffer, pieces[i], pieces[i + 1]));
    return slices;
  }

  /** Where a linked chunk was brought together; 0: nowhere so far. */
  get linearAddress(): number {
    return this.shared.linear;
  }

  /** Where the chunk lies contiguously; brings a linked one together first. */
  linear(): number {
    if ((this.word(C_FLAGS) & CHUNK_LINKED) === 0) return this.word(C_ADDRESS);
    if (this.shared.linear === 0) {
      const address = this.home.claim(this.length);
      let at = address;
      const pieces = this.pieces();
      for (let i = 0; i < pieces.length; i += 2) {
        this.home.arena.kernels.copyBytes(at, pieces[i], pieces[i + 1]);
        at += pieces[i + 1];
      }
      this.shared.linear = address;
    }
    return this.shared.linear;
  }

  get bytes(): Uint8Array<SharedArrayBuffer> {
    return new Uint8Array(this.home.arena.buffer, this.linear(), this.length);
  }

  swap(bits: 16 | 32 | 64): void {
    if (bits !== 16 && bits !== 32 && bits !== 64)
      throw new MillraceError("ERR_USAGE", `words of ${String(bits)} bits cannot be swapped`, {
        hint: "words have 16, 32 or 64 bits",
      });
    this.home.arena.kernels.swapBytes(this.linear(), this.length, bits);
  }

  copy(): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(this.length);
    let at = 0;
    for (const slice of this.slices) {
      copy.set(slice, at);
      at += slice.length;
    }
    return copy;
  }

  hold(): ChunkView {
    this.assertAlive();
    this.shared.references++;
    return new ChunkView(this.home, this.record, this.shared);
  }

  release(): void {
    if (!this.alive) return;
    this.alive = false;
    if (--this.shared.references > 0) return;
    if (this.shared.linear !== 0) this.home.unclaim(this.shared.linear, this.homeLength());
    this.home.released(this.record);
  }

  private homeLength(): number {
    return this.home.arena.u32[(this.record + C_LENGTH) >>> 2];
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
