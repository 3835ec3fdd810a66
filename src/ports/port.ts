import type { ArenaMemory } from "../memory/arena.js";
import type { LinkType } from "../packet/types.js";
import type { Locator } from "./locator.js";

export type { LinkType } from "../packet/types.js";

/** What a port can do by itself; what it lacks the engine does in software, at the edge, and counts. */
export interface Capabilities {
  readonly linkType: LinkType;
  /** Largest packet in bytes that it takes, link header included. */
  readonly mtu: number;
  readonly queues: number;
  /** True: packets come at their own pace and overrun who is slow. False: it waits. */
  readonly live: boolean;
  /** The most fragments a packet may have on its way out, beside its linear part; 0: the port takes linear packets only. */
  readonly fragments: number;
  readonly checksum: { readonly rx: boolean; readonly tx: boolean };
  readonly segmentation: boolean;
  readonly headerSplit: boolean;
  readonly hash: boolean;
  readonly timestamps: "hardware" | "software" | "none";
  /** The port's own addresses, for header templates that leave them out. */
  readonly addresses?: { readonly mac?: string; readonly ipv4?: string; readonly ipv6?: string };
  readonly mode: "zero-copy" | "copy";
  /** Why it is `copy`, or whatever else was asked for and not obtained. */
  readonly why?: string;
}

export interface Count {
  readonly packets: number;
  readonly bytes: number;
}

/** Where bytes were copied, in bytes. */
export interface Copies {
  readonly linearize: number;
  readonly copybreak: number;
  readonly chunk: number;
  readonly kernel: number;
}

/** What a port counts by itself, since it was opened. Reasons are short lower-case words. */
export interface DriverCounters {
  /** Packets handed to bursts or dropped by the port after it had them. */
  readonly received: Count;
  readonly transmitted: Count;
  /** Packets the port dropped, by reason; `kernel` and `kernel-…`: those the kernel reports, never received. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Packets the port made of others, by name. */
  readonly created?: Readonly<Record<string, number>>;
  readonly copies: Partial<Copies>;
  /** Packets taken by send() that are not yet on their way, or not yet given back by the kernel. */
  readonly held: number;
  /** What others reported about packets sent (ICMP errors of a socket, by errno). No packets, and not to be added to them. */
  readonly errors?: Readonly<Record<string, number>>;
}

/** One instruction of classic BPF (struct sock_filter, linux/filter.h). */
export type ClassicInstruction = readonly [code: number, jt: number, jf: number, k: number];

export interface DriverOptions {
  readonly direction: "in" | "out" | "both";
  readonly wait: "busy" | "interrupt" | "adaptive";
  readonly signal: AbortSignal;
  /** Link type of the packets that will be sent, for a port that has none of its own (a capture file). */
  readonly linkType?: LinkType;
  /** A large capture file may be mapped once it has a filter: that takes 24 MiB of what the arena has for rings. */
  readonly maps?: boolean;
  /** Packets are only kept or shown as they came: what their sender left open (checksums, segments) need not be told. */
  readonly raw?: boolean;
}

/**
 * A port as the engine drives it: one queue, owned by one worker. No call blocks. Bursts are named by their
 * offset in the arena.
 */
export interface PortDriver {
  readonly can: Capabilities;
  /** Appends whole packets to the burst; their frames become this worker's. Returns how many; 0: nothing there now. */
  receive(burst: number): number;
  /**
   * Takes packets with verdict PASS from number `first` on, in order, and marks them VERDICT_MOVED. Returns the
   * first number it did not look at; fewer than all means that the port is full.
   */
  send(burst: number, first: number): number;
  /**
   * send() with the edge before it, in one go, for packets to which the edge has little to do: as the EDGE_ structure
   * at `edge` says it rewrites hardware addresses, and ends at a packet that needs more than that, which it leaves
   * as it is, and all behind it. A burst that goes as a whole is left empty.
   */
  sendOrdinary?(burst: number, edge: number): number;
  /**
   * Instead of receive(): makes records of up to `most` packets for the capture file whose OUTPUT_ structure (little
   * endian, snap length 64 at least) is at `output`, and names them in the RECORDS_ structure at `records`. They are
   * to be written before the next call, which frees what they lie in. Returns how many; 0: nothing there now. Only
   * where nobody else looks at the packets.
   */
  record?(output: number, records: number, most: number): number;
  /**
   * Marks what has come in so far: the function that it returns says whether receive() or record() has had all of that.
   * Only where packets wait for others before they are handed over.
   */
  mark?(): () => boolean;
  /** Resolves when receive() may return something, or when `ended` has become true. Rejects with the signal's reason. */
  readable(signal: AbortSignal): Promise<void>;
  /** Resolves when send() may take something. Rejects with the signal's reason. */
  writable(signal: AbortSignal): Promise<void>;
  /** True once nothing will ever come again (end of a file, the other end closed). Live ports never end. */
  readonly ended: boolean;
  counters(): DriverCounters;
  /** `can.mtu` as it is now, where it may change under an open port. Throws when the interface is gone. */
  mtu?(): number;
  /** True when the other side has taken all that was sent and has asked again since: loops only. */
  settled?(): boolean;
  /** The other side's thread is gone without closing its end: closes that for it. Loops only. */
  bury?(): void;
  /**
   * Puts a classic BPF program at the deepest place the port has; undefined: it has none. What a `wasm` one does
   * not take is counted under `filter`. To be called before start().
   */
  attachFilter?(program: readonly ClassicInstruction[]): "socket" | "xdp" | "wasm" | undefined;
  /** Lets packets in, once the filter is in its place: to be called once, after opening. Ports without it need no word. */
  start?(): void;
  /** Addresses behind META_PEER, as `10.0.0.2:5000` or `[::1]:5000`. */
  peer?(number: number): string;
  /** Sends out what was taken, then gives every frame and descriptor back. Idempotent. */
  close(): Promise<void>;
}

export type OpenDriver = (
  arena: ArenaMemory,
  locator: Locator,
  options: DriverOptions,
) => Promise<PortDriver>;
