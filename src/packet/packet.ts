import { MillraceError } from "../errors.js";
import { BURST_METAS, META_SIZE, META_VERDICT, VERDICT_MOVED, VERDICT_ROUTE } from "../kernels/structs.js";
import { throwFault } from "../memory/burst.js";
import { count, type PacketContext } from "./context.js";
import * as operations from "./operations.js";
import { PacketReading } from "./reading.js";
import type { HeaderType, HeldPacket, LinkType, Packet } from "./types.js";

/** The flyweight over an arena burst, as users have it: what can be read, and what can be done. */
export class PacketView extends PacketReading implements Packet {
  // For whatever changes the packet: one that was sent, held or joined belongs to someone else.
  private mine(): void {
    this.alive();
    if (this.memory[this.meta + META_VERDICT] === VERDICT_MOVED)
      throw new MillraceError("ERR_RELEASED", "this packet was sent, held or joined to another");
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
      const to = inside ? this.address + at + i : this.writableAddress(at + i);
      this.memory[to] = value >>> (8 * (bytes - 1 - i));
    }
    if (!inside) this.refresh();
  }

  private writableAddress(at: number): number {
    const { position, within } = operations.locate(this.context, this.burst, this.index, at);
    operations.own(this.context, this.burst, this.index, position);
    return this.words[operations.descriptorWord(this.context, this.burst, this.index, position)] + within;
  }

  header<T>(type: HeaderType<T>): T | undefined {
    this.alive();
    return type.parse(this);
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
