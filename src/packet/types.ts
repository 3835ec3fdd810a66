/// <reference lib="esnext.disposable" preserve="true" />
// The public face of packets. Its .d.ts stands in users' programs: no internal type may appear here.

/** Link types by the names that pcap-filter and tcpdump use; a number is a LINKTYPE_ value of the tcpdump.org list. */
export type LinkType =
  | "EN10MB"
  | "RAW"
  | "IPV4"
  | "IPV6"
  | "LINUX_SLL"
  | "LINUX_SLL2"
  | "NULL"
  | "LOOP"
  | "DATAGRAM" // a socket's payload: no header at all
  | number;

/**
 * Packets that came together. The burst and what it shows are valid until its loop asks for the next one;
 * then its frames go back and every access throws ERR_RELEASED.
 */
export interface Burst extends Iterable<Packet> {
  /** Packets in it, those dropped or sent among them. */
  readonly length: number;
  /** Receive queue of its port, from 0. */
  readonly queue: number;
  /** Moves the burst's one flyweight to packet `index` and returns it. Throws ERR_BOUNDS. */
  at(index: number): Packet;
  /** Packets in order, all through one flyweight; those dropped, sent or held before are passed over. */
  [Symbol.iterator](): Iterator<Packet>;
}

/**
 * One packet: a linear part and fragments, in place. A burst has one flyweight that moves from packet to
 * packet; keep a packet with `copy()`, `clone()` or `hold()`, never by keeping the flyweight.
 * All offsets count bytes from the packet's first; every access is checked against the packet (ERR_BOUNDS) and
 * against its burst's life (ERR_RELEASED).
 */
export interface Packet {
  /** Bytes in the linear part and all fragments. */
  readonly length: number;
  /** Bytes the packet had on the wire, before a snap length cut it. */
  readonly wireLength: number;
  /** Pieces beside the linear part; 0: the packet is linear. */
  readonly fragments: number;
  readonly linkType: LinkType;
  readonly queue: number;
  /** RSS hash; 0 where the port gives none. */
  readonly hash: number;
  /**
   * What is known of the checksums, of packets within tunnels too once they were verified. `partial`: only the
   * pseudo-header's sum is in the field yet.
   */
  readonly checksum: "good" | "bad" | "partial" | "unknown";
  /** Whole seconds since the epoch; 0 where the port has no timestamps. */
  readonly seconds: number;
  /** Nanoseconds within the second. */
  readonly nanoseconds: number;
  /** Nanoseconds since the epoch. Makes a BigInt: in a hot loop read the two numbers instead. */
  timestamp(): bigint;
  /** Reads in network order, across fragments. */
  u8(at: number): number;
  u16(at: number): number;
  u32(at: number): number;
  /** Writes in network order, across fragments. A frame that others hold too is copied first. */
  setU8(at: number, value: number): void;
  setU16(at: number, value: number): void;
  setU32(at: number, value: number): void;
  /** The outermost header of this kind as a plain object of the user's own; undefined: there is none, or it is cut. */
  header<T>(type: HeaderType<T>): T | undefined;
  /** The linear part, in place, valid as long as the burst. Takes some 60 ns to make: not for hot loops. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** Each piece, in place: the linear part, then the fragments. */
  pieces(): Iterable<Uint8Array<SharedArrayBuffer>>;
  /** The packet's bytes one by one, across fragments. */
  stream(from?: number): Iterable<number>;
  /** All bytes, contiguous, the user's own. */
  copy(): Uint8Array<ArrayBuffer>;
  /** Bytes free before the linear part and behind the last piece, in frames that no one else holds. */
  readonly headroom: number;
  readonly tailroom: number;
  /** Removes bytes from the front. */
  pull(bytes: number): void;
  /** Adds zeroed bytes (at most a frame) at the front: in the headroom, or in a fresh head frame. */
  push(bytes: number): void;
  /** Removes bytes from the end. */
  trim(bytes: number): void;
  /** Adds zeroed bytes at the end: in the tailroom, or in fresh frames. */
  extend(bytes: number): void;
  /** Sees to it that the linear part has this much headroom; copies the linear part into a fresh frame where it must. */
  reserve(headroom: number): void;
  /** Brings all bytes into one frame. Throws ERR_BOUNDS when the packet is larger than a frame. */
  linearize(): void;
  /** Puts another packet's bytes behind this one's, without a copy. That packet is then gone. */
  append(tail: Packet): void;
  /** Puts another packet's bytes before this one's, without a copy. That packet is then gone. */
  prepend(head: Packet): void;
  /** Cuts the packet at `at`, without a copy: this keeps what is before, the result is what follows. */
  split(at: number): HeldPacket;
  /** One more packet over the same frames, without a copy. */
  clone(): HeldPacket;
  /** Takes the packet out of its burst, to be kept. */
  hold(): HeldPacket;
  /** Has the engine drop the packet and count it under `reason`, a short lower-case word. */
  drop(reason: string): void;
  /** Has the engine send the packet to its sink number `sink`, 0 to 126, instead of the first. */
  route(sink: number): void;
}

/** A packet that the user holds until `release()`, outside any burst. */
export interface HeldPacket extends Packet, Disposable {
  /** Gives its frames back. Idempotent; every other access throws ERR_RELEASED afterwards. */
  release(): void;
}

/** One kind of header: from packets to plain objects and back. */
export interface HeaderType<T> {
  readonly name: string;
  /** The packet's outermost header of this kind; undefined: there is none, or it is malformed or cut off. */
  parse(packet: Packet): T | undefined;
  /** Writes the given fields into the packet's outermost header of this kind. Throws ERR_HEADER where there is none. */
  emit(value: Partial<T>, into: Packet): void;
}

/** A header type that millrace ships: it can also be read at a place of one's own, viewed, and made from nothing. */
export interface Header<T> extends HeaderType<T> {
  /** The header at offset `at`, where the caller knows it to be; undefined: it is malformed or cut off. */
  parseAt(packet: Packet, at: number): T | undefined;
  /** A fresh header's bytes: the given fields, defaults for the others. Lengths and checksums stay as given. */
  encode(value: Partial<T>): Uint8Array<ArrayBuffer>;
  /** A view that moves from packet to packet and reads fields in place: for hot loops. */
  view(): HeaderView<T>;
}

/** A header in place. Each field is read from, and written to, the packet when it is touched. */
export type HeaderView<T> = { -readonly [K in keyof T]: T[K] } & {
  /** Where the header starts in its packet, and how many bytes it has with its options. */
  readonly at: number;
  readonly size: number;
  /** Moves to the packet's outermost header of this kind, or to the one at `at`. False: there is none. */
  moveTo(packet: Packet, at?: number): boolean;
};
