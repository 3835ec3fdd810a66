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
  META_VERDICT,
  META_WIRE_LENGTH,
  VERDICT_MOVED,
  VERDICT_ROUTE,
} from "../kernels/structs.js";
import { throwFault } from "../memory/burst.js";
import { count, type PacketContext } from "./context.js";
import * as operations from "./operations.js";
import type { HeaderType, HeldPacket, LinkType, Packet } from "./types.js";

const CHECKSUMS = ["unknown", "good", "bad", "partial"] as const;

/** The flyweight over an arena burst. Moves with `moveTo`; reads within the linear part make no call. */
export class PacketView implements Packet {
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
  private meta = 0;
  private address = 0;
  private linear = 0;
  private total = -1; // bytes of the whole packet; -1: not asked for yet
  private writable = false;

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

  private refresh(): void {
    const word = this.descWords + 4 * this.words[this.startWords + this.index];
    this.address = this.words[word];
    this.linear = this.words[word + 2];
    // Bit 0 of the options: the packet goes on in the next descriptor.
    this.total = (this.words[word + 3] & CONTINUED) === 0 ? this.linear : -1;
    this.writable = false;
  }

  private alive(): void {
    if (this.words[this.generationWord] !== this.generation)
      throw new MillraceError("ERR_RELEASED", "this packet's burst was released", {
        hint: "copy(), clone() or hold() keeps a packet beyond its burst",
      });
  }

  // For whatever changes the packet: one that was sent, held or joined belongs to someone else.
  private mine(): void {
    this.alive();
    if (this.memory[this.meta + META_VERDICT] === VERDICT_MOVED)
      throw new MillraceError("ERR_RELEASED", "this packet was sent, held or joined to another");
  }

  get length(): number {
    this.alive();
    if (this.total < 0) this.total = this.context.arena.kernels.packetLength(this.burst, this.index);
    return this.total;
  }
  get wireLength(): number {
    return this.words[(this.meta + META_WIRE_LENGTH) >>> 2] || this.length;
  }
  get fragments(): number {
    this.alive();
    return operations.descriptorCount(this.context, this.burst, this.index) - 1;
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

  setU8(at: number, value: number): void {
    this.write(at, 1, value);
  }
  setU16(at: number, value: number): void {
    this.write(at, 2, value);
  }
  setU32(at: number, value: number): void {
    this.write(at, 4, value);
  }

  private read(at: number, bytes: number): number {
    this.alive();
    this.check(at, bytes);
    let value = 0;
    for (let i = 0; i < bytes; i++) value = value * 256 + this.memory[this.addressOf(at + i, false)];
    return value;
  }

  private write(at: number, bytes: number, value: number): void {
    this.mine();
    const inside = at >>> 0 === at && at + bytes <= this.linear;
    if (!inside) this.check(at, bytes);
    else if (!this.writable) {
      operations.own(this.context, this.burst, this.index, 0);
      this.refresh();
      this.writable = true;
    }
    for (let i = 0; i < bytes; i++) {
      const to = inside ? this.address + at + i : this.addressOf(at + i, true);
      this.memory[to] = value >>> (8 * (bytes - 1 - i));
    }
    if (!inside) this.refresh();
  }

  private check(at: number, bytes: number): void {
    const length = this.length;
    if (!Number.isInteger(at) || at < 0 || at + bytes > length)
      throw new MillraceError(
        "ERR_BOUNDS",
        `${bytes} ${bytes === 1 ? "byte" : "bytes"} at offset ${at} go past a packet of ${length} bytes`,
      );
  }

  private addressOf(at: number, toWrite: boolean): number {
    const { position, within } = operations.locate(this.context, this.burst, this.index, at);
    if (toWrite) operations.own(this.context, this.burst, this.index, position);
    return this.words[operations.descriptorWord(this.context, this.burst, this.index, position)] + within;
  }

  header<T>(type: HeaderType<T>): T | undefined {
    this.alive();
    return type.parse(this);
  }

  get bytes(): Uint8Array<SharedArrayBuffer> {
    this.alive();
    return this.memory.subarray(this.address, this.address + this.linear);
  }
  *pieces(): Generator<Uint8Array<SharedArrayBuffer>, void, void> {
    for (let position = 0; position <= this.fragments; position++) {
      const word = operations.descriptorWord(this.context, this.burst, this.index, position);
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

  get headroom(): number {
    this.mine();
    return operations.headroom(this.context, this.burst, this.index);
  }
  get tailroom(): number {
    this.mine();
    return operations.tailroom(this.context, this.burst, this.index);
  }
  pull(bytes: number): void {
    this.mine();
    operations.pull(this.context, this.burst, this.index, wholeNumber(bytes));
    this.refresh();
  }
  push(bytes: number): void {
    this.mine();
    operations.push(this.context, this.burst, this.index, wholeNumber(bytes));
    this.refresh();
  }
  trim(bytes: number): void {
    this.mine();
    operations.trim(this.context, this.burst, this.index, wholeNumber(bytes));
    this.refresh();
  }
  extend(bytes: number): void {
    this.mine();
    operations.extend(this.context, this.burst, this.index, wholeNumber(bytes));
    this.refresh();
  }
  reserve(headroom: number): void {
    this.mine();
    operations.reserve(this.context, this.burst, this.index, wholeNumber(headroom));
    this.refresh();
  }
  linearize(): void {
    this.mine();
    operations.linearize(this.context, this.burst, this.index);
    this.refresh();
  }
  append(tail: Packet): void {
    this.joinAt(operations.descriptorCount(this.context, this.burst, this.index), tail);
  }
  prepend(head: Packet): void {
    this.joinAt(0, head);
  }
  private joinAt(position: number, packet: Packet): void {
    this.mine();
    const other = viewOf(packet);
    other.mine();
    if (other.burst === this.burst && other.index === this.index)
      throw new MillraceError("ERR_USAGE", "a packet cannot be joined to itself");
    if (other.context !== this.context)
      throw new MillraceError("ERR_USAGE", "packets of two arenas cannot be joined");
    operations.join(this.context, this.burst, this.index, position, {
      burst: other.burst,
      packet: other.index,
    });
    count(this.context.ledger.consumed, "append");
    this.memory[other.meta + META_VERDICT] = VERDICT_MOVED;
    if (other instanceof HeldView) other.vacate();
    this.refresh();
  }
  split(at: number): HeldPacket {
    this.mine();
    const slot = operations.split(this.context, this.burst, this.index, wholeNumber(at));
    this.refresh();
    return new HeldView(this.context, slot, this.linkType);
  }
  clone(): HeldPacket {
    this.mine();
    this.writable = false;
    return new HeldView(this.context, operations.clone(this.context, this.burst, this.index), this.linkType);
  }
  hold(): HeldPacket {
    this.mine();
    return new HeldView(this.context, operations.hold(this.context, this.burst, this.index), this.linkType);
  }

  drop(reason: string): void {
    this.mine();
    this.memory[this.meta + META_VERDICT] = this.context.reasons.number(reason);
  }
  route(sink: number): void {
    this.mine();
    if (!Number.isInteger(sink) || sink < 0 || sink >= VERDICT_MOVED - VERDICT_ROUTE)
      throw new MillraceError(
        "ERR_BOUNDS",
        `${sink} is not a sink from 0 to ${VERDICT_MOVED - VERDICT_ROUTE - 1}`,
      );
    this.memory[this.meta + META_VERDICT] = VERDICT_ROUTE + sink;
  }
}

/** A packet that is alone in an arena burst of its own (a slot), until it is released. */
export class HeldView extends PacketView implements HeldPacket {
  private released = false;

  constructor(context: PacketContext, slot: number, linkType: LinkType) {
    super(context, slot, linkType);
    context.ledger.held++;
    this.moveTo(0);
  }

  /** Gives the slot back once its packet has moved on. */
  vacate(): void {
    if (this.released) return;
    this.released = true;
    const { arena, ledger } = this.context;
    ledger.held--;
    throwFault(arena, this.burst, arena.kernels.burstRelease(this.burst, 0));
    this.context.freeSlot(this.burst);
  }

  release(): void {
    if (this.released) return;
    const { ledger, reasons } = this.context;
    const verdict = verdictOf(this);
    if (verdict > 0 && verdict < VERDICT_ROUTE) count(ledger.dropped, reasons.name(verdict));
    else if (verdict !== VERDICT_MOVED) count(ledger.consumed, "released");
    this.vacate();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** The flyweight behind a public packet: its arena burst and number. Throws ERR_USAGE for an object of another make. */
export function viewOf(packet: Packet): PacketView {
  if (packet instanceof PacketView) return packet;
  throw new MillraceError("ERR_USAGE", "this object is not one of millrace's packets");
}

/** What stands in the packet's META_VERDICT. */
export function verdictOf(view: PacketView): number {
  const { u8, u32 } = view.context.arena;
  return u8[u32[(view.burst + BURST_METAS) >>> 2] + view.index * META_SIZE + META_VERDICT];
}

function wholeNumber(bytes: number): number {
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw new MillraceError("ERR_BOUNDS", `${bytes} is no number of bytes`);
}
