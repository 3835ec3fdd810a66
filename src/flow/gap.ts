/** A stretch that never came: bytes of the chunk where the header names the place, else datagrams by their number. */
export interface Gap {
  readonly first: number;
  readonly count: number;
  readonly unit: "bytes" | "datagrams";
}

/** A gap when it is first seen, early enough to ask the sender again: a resent datagram fills its place. */
export interface GapNotice extends Gap {
  readonly stream: string;
  readonly chunk: bigint;
}
