// How a header is described once, and read and written four ways: as a moving view, as a plain object, in place
// and into fresh bytes. A header says which number it is found under and which number comes after it, so that
// no header file knows another.
import { MillraceError } from "../errors.js";
import { linkTypeNumber } from "./linktype.js";
import type { Header, HeaderView, LinkType, Packet } from "./types.js";

/** Bytes as headers see them: a packet, or plain memory. Network order, checked. */
export interface Bytes {
  readonly length: number;
  u8(at: number): number;
  u16(at: number): number;
  u32(at: number): number;
  setU8(at: number, value: number): void;
  setU16(at: number, value: number): void;
  setU32(at: number, value: number): void;
}

/** One field: `at` is the header's start, `size` the header's bytes with its options. */
export interface Field<V> {
  read(bytes: Bytes, at: number, size: number): V;
  write(bytes: Bytes, at: number, value: V, size: number): void;
}

/** Under which number a header is found in the one before it: a space of numbers, and the number. */
export type HeaderNumber = number;
const space =
  (index: number) =>
  (value: number): HeaderNumber =>
    index * 0x20000 + value;
export const linkNumber = space(1);
export const etherNumber = space(2);
export const ipNumber = space(3);
export const udpNumber = space(4);
export const pppNumber = space(5);
/** Nothing that has a header here comes next. */
export const NOTHING: HeaderNumber = 0;

export interface HeaderDefinition<T> {
  readonly name: string;
  /** Bytes without options. */
  readonly bytes: number;
  readonly found: readonly HeaderNumber[];
  readonly fields: { readonly [K in keyof T]: Field<T[K]> };
  /** Bytes with options; -1: malformed. Called when `bytes` bytes are there. */
  size?(bytes: Bytes, at: number): number;
  /** Where the next header is found; `payload` is where it starts. */
  next?(bytes: Bytes, at: number, payload: number): HeaderNumber;
  /** Offset just past what the header says belongs to it; what follows is padding. */
  end?(bytes: Bytes, at: number, size: number): number;
  /** Bytes of a header made from this value, where it can have options. */
  sizeOf?(value: Partial<T>): number;
  /** What a made header has unless it is said otherwise. */
  readonly defaults?: Partial<T>;
}

/** A header's definition, its public type and its registration. */
export interface KnownHeader {
  readonly type: Header<object>;
  readonly name: string;
  next(bytes: Bytes, at: number, payload: number): HeaderNumber;
  end(bytes: Bytes, at: number, size: number): number;
  /** Bytes of the header at `at` within `limit`; -1: malformed or cut off. */
  size(bytes: Bytes, at: number, limit: number): number;
}

const registry = new Map<HeaderNumber, KnownHeader>();
const nothing = (): HeaderNumber => NOTHING;
const endless = (): number => Number.MAX_SAFE_INTEGER;

/** Where the outermost header of a type starts; -1: there is none, or it is malformed or cut off. Allocates nothing. */
function findHeader(bytes: Bytes, linkType: LinkType, type: object): number {
  let header = registry.get(linkNumber(linkTypeNumber(linkType)));
  let at = 0;
  let end = bytes.length;
  while (header !== undefined) {
    const size = header.size(bytes, at, end);
    if (size < 0) return -1;
    if (header.type === type) return at;
    const number = header.next(bytes, at, at + size);
    if (number === NOTHING) return -1;
    const last = header.end(bytes, at, size);
    if (last < end) end = last;
    at += size;
    header = registry.get(number);
  }
  return -1;
}

/** One header of a packet: where it starts and its bytes, options included. */
export interface Layer {
  readonly type: Header<object>;
  readonly at: number;
  readonly size: number;
}

/** A packet's headers from the outside in, and what is behind them. */
export interface Layers {
  readonly headers: readonly Layer[];
  /** Where the payload starts, and where it ends: behind it there is only padding. */
  readonly payload: number;
  readonly end: number;
  /** The header that should stand at `payload` but is malformed or cut off. */
  readonly broken: string | undefined;
}

/** Walks from header to header. Allocates: for one packet at a time, not for hot loops. */
export function layersOf(bytes: Bytes, linkType: LinkType): Layers {
  const headers: Layer[] = [];
  let header = registry.get(linkNumber(linkTypeNumber(linkType)));
  let at = 0;
  let end = bytes.length;
  while (header !== undefined) {
    const size = header.size(bytes, at, end);
    if (size < 0) return { headers, payload: at, end, broken: header.name };
    headers.push({ type: header.type, at, size });
    const number = header.next(bytes, at, at + size);
    end = Math.min(end, header.end(bytes, at, size));
    at += size;
    header = registry.get(number);
  }
  return { headers, payload: Math.min(at, end), end, broken: undefined };
}

/** Memory outside the arena as headers see it. */
export class PlainBytes implements Bytes {
  private readonly view: DataView;
  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  get length(): number {
    return this.view.byteLength;
  }
  u8(at: number): number {
    return this.view.getUint8(at);
  }
  u16(at: number): number {
    return this.view.getUint16(at);
  }
  u32(at: number): number {
    return this.view.getUint32(at);
  }
  setU8(at: number, value: number): void {
    this.view.setUint8(at, value);
  }
  setU16(at: number, value: number): void {
    this.view.setUint16(at, value);
  }
  setU32(at: number, value: number): void {
    this.view.setUint32(at, value);
  }
}

export function defineHeader<T extends object>(definition: HeaderDefinition<T>): Header<T> {
  const names = Object.keys(definition.fields) as (keyof T & string)[];
  const least = definition.bytes;
  const sizeOf = definition.size?.bind(definition);
  const size = (bytes: Bytes, at: number, limit = bytes.length): number => {
    if (at + least > limit) return -1;
    if (sizeOf === undefined) return least;
    const size = sizeOf(bytes, at);
    return size < least || at + size > limit ? -1 : size;
  };
  const readAll = (bytes: Bytes, at: number): T => {
    const total = size(bytes, at);
    const value: Partial<T> = {};
    for (const name of names) value[name] = definition.fields[name].read(bytes, at, total);
    return value as T;
  };
  const writeAll = (bytes: Bytes, at: number, value: Partial<T>, total: number): void => {
    for (const name of names) {
      const field = value[name];
      if (field !== undefined) definition.fields[name].write(bytes, at, field as T[typeof name], total);
    }
  };
  const locate = (packet: Packet): number => findHeader(packet, packet.linkType, type);
  const type: Header<T> = {
    name: definition.name,
    parse(packet) {
      const at = locate(packet);
      return at < 0 ? undefined : readAll(packet, at);
    },
    parseAt(packet, at) {
      return size(packet, at) < 0 ? undefined : readAll(packet, at);
    },
    emit(value, into) {
      const at = locate(into);
      if (at < 0)
        throw new MillraceError("ERR_HEADER", `the packet has no ${definition.name} header`, {
          hint: "push() makes room for one, and encode() makes its bytes",
        });
      writeAll(into, at, value, size(into, at));
    },
    encode(value) {
      const whole = { ...definition.defaults, ...value };
      const total = definition.sizeOf?.(whole) ?? definition.bytes;
      const bytes = new Uint8Array(total);
      writeAll(new PlainBytes(bytes), 0, whole, total);
      return bytes;
    },
    view: () => makeView(definition, type, names, size),
  };
  const entry: KnownHeader = {
    type: type as unknown as Header<object>,
    name: definition.name,
    size,
    next: definition.next?.bind(definition) ?? nothing,
    end: definition.end?.bind(definition) ?? endless,
  };
  for (const number of definition.found) registry.set(number, entry);
  return type;
}

const NOWHERE: Bytes = new PlainBytes(new Uint8Array(0));

function makeView<T extends object>(
  definition: HeaderDefinition<T>,
  type: Header<T>,
  names: readonly (keyof T & string)[],
  sizeAt: (bytes: Bytes, at: number) => number,
): HeaderView<T> {
  let bytes: Bytes = NOWHERE;
  let at = -1;
  let size = 0;
  const view = {
    get at() {
      return at;
    },
    get size() {
      return size;
    },
    moveTo(packet: Packet, to?: number): boolean {
      bytes = packet;
      at = to ?? findHeader(packet, packet.linkType, type);
      size = at < 0 ? -1 : sizeAt(packet, at);
      if (size < 0) at = -1;
      return at >= 0;
    },
  };
  const here = (): number => {
    if (at >= 0) return at;
    throw new MillraceError("ERR_HEADER", `this view stands on no ${definition.name} header`, {
      hint: "moveTo() returns false where the packet has none",
    });
  };
  for (const name of names) {
    const field = definition.fields[name];
    Object.defineProperty(view, name, {
      enumerable: true,
      get: () => field.read(bytes, here(), size),
      set: (value) => field.write(bytes, here(), value, size),
    });
  }
  return view as unknown as HeaderView<T>;
}
