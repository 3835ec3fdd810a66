import type { BytesRead, Condition, Extent, ItemsPlan, Read } from "./plan.js";

/** A datagram as JavaScript sees it, for what is read once a chunk and not once a datagram. */
export interface DatagramView {
  /** Its first bytes: all of it, or what a layout may look at. */
  readonly head: Uint8Array;
  /** Its last bytes, 8 or all if it has fewer. */
  readonly tail: Uint8Array;
  readonly length: number;
  /** Bytes before the data. */
  header: number;
  readonly items: Map<number, bigint>;
}

/** Thrown when a read leaves the datagram. */
export class OutsideDatagram extends Error {}

export function viewDatagram(head: Uint8Array, length: number, tail?: Uint8Array): DatagramView {
  const last = tail ?? head.subarray(Math.max(0, length - 8), length);
  return { head, tail: last, length, header: 0, items: new Map() };
}

function readBytes(view: DatagramView, read: BytesRead, base: number): bigint {
  if (read.from === "end") {
    const start = view.tail.length - read.at.base;
    if (start < 0) throw new OutsideDatagram();
    return compose(view.tail.subarray(start, start + read.bytes), read.little);
  }
  const at = base + readExtent(view, read.at) + (read.from === "data" ? view.header : 0);
  if (at + read.bytes > Math.min(view.head.length, view.length)) throw new OutsideDatagram();
  return compose(view.head.subarray(at, at + read.bytes), read.little);
}

function compose(bytes: Uint8Array, little: boolean): bigint {
  const ordered = little ? [...bytes].reverse() : [...bytes];
  return ordered.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** A field's value; `base` is where a slice header starts. */
export function readValue(view: DatagramView, read: Read, base = 0): bigint {
  if (read.kind === "fixed") return read.value;
  if (read.kind === "bytes") return ((readBytes(view, read, base) & read.mask) >> read.shift) * read.times;
  const value = view.items.get(read.item);
  if (value === undefined) throw new OutsideDatagram();
  return value;
}

export function readExtent(view: DatagramView, extent: Extent): number {
  let bytes = extent.base;
  for (const { field, times, plus, when } of extent.terms)
    if (when === undefined || holds(view, when))
      bytes += plus + (field === undefined ? 0 : Number(readValue(view, field)) * times);
  return bytes;
}

export function holds(view: DatagramView, condition: Condition, base = 0): boolean {
  if (condition.kind === "constant") return condition.value;
  if (condition.kind === "not") return !holds(view, condition.of, base);
  if (condition.kind !== "is") {
    const each = (one: Condition) => holds(view, one, base);
    return condition.kind === "any" ? condition.of.some(each) : condition.of.every(each);
  }
  const { field, values } = condition;
  if (field.kind === "fixed") return values.includes(field.value);
  if (field.kind === "bytes") return values.includes(readBytes(view, field, base) & field.mask);
  const value = view.items.get(field.item);
  if (value === undefined && !field.optional) throw new OutsideDatagram();
  return value !== undefined && values.includes(value);
}

/** Finds the items that are asked for; of those with one id the last counts. */
export function readItems(view: DatagramView, items: ItemsPlan): void {
  const count = readValue(view, items.count);
  if (BigInt(items.at) + 8n * count > BigInt(Math.min(view.head.length, view.length)))
    throw new OutsideDatagram();
  for (let index = 0; index < Number(count); index++) {
    const at = items.at + 8 * index;
    const item = compose(view.head.subarray(at, at + 8), false);
    if (items.when !== 0n && (item & items.when) === 0n) continue;
    const id = Number((item & items.id) >> items.idShift);
    if (items.wanted.includes(id)) view.items.set(id, (item & items.value) >> items.valueShift);
  }
}
