import { createRequire } from "node:module";
import { MillraceError } from "../errors.js";
import type { Filter } from "../filter/compile.js";
import { BURST_METAS, META_SIZE, META_VERDICT, VERDICT_ASIDE, VERDICT_PASS } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { BurstView, createBurstView } from "../packet/burst.js";
import { PacketView } from "../packet/packet.js";
import type { Burst, Packet } from "../packet/types.js";
import { parseLocator } from "../ports/locator.js";
import type { Capabilities, Count, LinkType, PortDriver } from "../ports/port.js";
import { findOpener } from "../ports/registry.js";
import { type Arena, defaultArena, memoryOf } from "./arena.js";
import { type Chunk, ChunkView, DATAGRAM_BYTES } from "./chunk.js";
import { attachPortFilter, type PortFilter } from "./port-filter.js";
import type { ChunkSink } from "./sink.js";
import { createSource, type Source, type Wait } from "./source.js";

export interface OpenOptions {
  /** `udp:` binds (`in`) or sends (`out`); `pcap:` and `file:` read or create. Default `in`; other kinds go both ways. */
  readonly direction?: "in" | "out";
  /** Only packets that match are received; it runs in the deepest place the port offers, and stats() says where. */
  readonly filter?: string | Filter;
  /** How receiving waits; `adaptive`, the default, looks again for a while and then sleeps. */
  readonly wait?: Wait;
  /** Of what will be sent, for a port that has none of its own (a capture file); EN10MB unless given. */
  readonly linkType?: LinkType;
  /** The memory to work in; by default one a process, made by the first open(). */
  readonly arena?: Arena;
  /** Once it aborts, what waits rejects with `signal.reason` and the port closes. */
  readonly signal?: AbortSignal;
}

/**
 * Opens a port: `udp://239.1.1.1:5004?iface=eth1`, `xdp:eth0`, `eth0` (an interface), `in.pcapng` (a file),
 * `loop:a`. Throws ERR_LOCATOR for a name that makes no sense, ERR_CAPABILITY or an errno's name where the
 * system refuses.
 */
export async function open(locator: string, options: OpenOptions = {}): Promise<Port> {
  return openPort(locator, options);
}

/** A port as users hold it: bursts come by iteration, packets and chunks go by send(). */
export interface Port extends AsyncIterable<Burst>, AsyncDisposable {
  readonly locator: string;
  readonly can: Capabilities;
  /**
   * Hands packets to the port, in order, and says how many it took; the rest stay the caller's. Never blocks.
   * What was taken is no longer in its burst. Throws ERR_CLOSED.
   */
  send(what: Burst | Packet | Chunk): number;
  /** Resolves when send() may take more. Rejects with the signal's reason. */
  writable(signal?: AbortSignal): Promise<void>;
  stats(): PortStats;
  /** Sends out what was taken, then closes; idempotent; what `await using` calls. */
  close(): Promise<void>;
}

/** Counters of one port since it was opened. received = delivered + Σ dropped + held, in packets. */
export interface PortStats {
  readonly received: Count;
  readonly transmitted: Count;
  /** Packets that came to their reader and were neither dropped nor sent on. */
  readonly delivered: Count;
  readonly held: number;
  readonly dropped: Readonly<Record<string, number>>;
  /** Bytes copied, by reason. */
  readonly copied: Readonly<Record<string, number>>;
  /** Where the port's filter runs. */
  readonly filteredIn?: "socket" | "xdp" | "wasm";
}

const require = createRequire(import.meta.url);

/** Loaded with the first chunk that is sent: it needs the layouts, which most programs that only receive do not. */
function sinks(): typeof import("./sink.js") {
  return require("./sink.js");
}

/** The port behind a public one, for the engine. */
export class OpenPort implements Port {
  readonly locator: string;
  readonly memory: ArenaMemory;
  readonly driver: PortDriver;
  readonly wait: Wait;
  readonly filter: PortFilter | undefined;
  private readonly signal: AbortSignal;
  private readonly abortion = new AbortController();
  private source: Source | undefined;
  private chunks: ChunkSink | undefined;
  private closing: Promise<void> | undefined;

  constructor(
    locator: string,
    memory: ArenaMemory,
    driver: PortDriver,
    wait: Wait,
    filter: PortFilter | undefined,
    signal: AbortSignal | undefined,
  ) {
    this.locator = locator;
    this.memory = memory;
    this.driver = driver;
    this.wait = wait;
    this.filter = filter;
    this.signal =
      signal === undefined ? this.abortion.signal : AbortSignal.any([signal, this.abortion.signal]);
    signal?.addEventListener("abort", () => void this.close(), { once: true });
  }

  get can(): Capabilities {
    return this.driver.can;
  }

  /** How its packets move and where they are filtered, for reports. */
  get mode(): string {
    const { mode, why } = this.can;
    const filtered = this.filter === undefined ? "" : `, filter in ${this.filter.place}`;
    return `${this.locator}: ${mode}${why === undefined ? "" : ` (${why})`}${filtered}`;
  }

  /** The port's receiving side: made once, shared by all who read. */
  reader(): Source {
    this.assertOpen();
    this.source ??= createSource(this.memory, this.driver, this.wait, this.filter);
    return this.source;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Burst, void, undefined> {
    const source = this.reader();
    try {
      for (;;) {
        if (source.poll() > 0) {
          yield createBurstView(this.memory, source.burst, this.can.linkType);
          if (this.closing !== undefined) return;
          if (source.overdue) await source.turn();
        } else if (this.driver.ended) return;
        else await source.wait(this.signal);
      }
    } finally {
      if (this.closing === undefined) source.release();
    }
  }

  send(what: Burst | Packet | Chunk): number {
    this.assertOpen();
    if (what instanceof BurstView) return this.sendFrom(what.offset, 0);
    if (what instanceof PacketView) return this.sendPacket(what);
    if (what instanceof ChunkView) return this.sendWhole(what);
    throw new MillraceError("ERR_USAGE", "send() takes a burst, a packet or a chunk of millrace's own");
  }

  /** Queues a chunk, of which the port keeps a reference until its datagrams are sent; one at a time. */
  private sendWhole(chunk: ChunkView): number {
    const size = Math.min(DATAGRAM_BYTES, this.can.mtu);
    this.chunks ??= sinks().createPortSink(this.memory, this.driver, {
      scatter: { datagramSize: size },
      signal: this.signal,
      owns: false,
    });
    if (this.chunks.held > 0) return 0;
    this.chunks.accept(chunk.hold());
    return Math.ceil(chunk.length / size);
  }

  /** Sends packets with verdict PASS of the arena burst from `first` on; how many it took. */
  private sendFrom(burst: number, first: number): number {
    const { kernels } = this.memory;
    const before = kernels.burstCount(burst, VERDICT_PASS);
    this.driver.send(burst, first);
    return before - kernels.burstCount(burst, VERDICT_PASS);
  }

  private sendPacket(packet: PacketView): number {
    const { burst, index } = packet;
    const { kernels, u8, u32 } = this.memory;
    const verdict = u32[(burst + BURST_METAS) >>> 2] + index * META_SIZE + META_VERDICT;
    if (u8[verdict] !== VERDICT_PASS) return 0;
    // Everything but this packet steps aside for a moment.
    kernels.burstVerdict(burst, VERDICT_PASS, VERDICT_ASIDE);
    u8[verdict] = VERDICT_PASS;
    try {
      return this.sendFrom(burst, index);
    } finally {
      kernels.burstVerdict(burst, VERDICT_ASIDE, VERDICT_PASS);
    }
  }

  async writable(signal?: AbortSignal): Promise<void> {
    this.assertOpen();
    await this.chunks?.below(1);
    await this.driver.writable(signal === undefined ? this.signal : AbortSignal.any([signal, this.signal]));
  }

  stats(): PortStats {
    const counters = this.driver.counters();
    const dropped: Record<string, number> = { ...counters.dropped };
    for (const [reason, packets] of Object.entries(this.source?.tally.dropped() ?? {}))
      dropped[reason] = (dropped[reason] ?? 0) + packets;
    return {
      received: counters.received,
      transmitted: counters.transmitted,
      delivered: this.source?.tally.passed() ?? { packets: 0, bytes: 0 },
      held: counters.held,
      dropped,
      copied: { ...counters.copies },
      ...(this.filter === undefined ? {} : { filteredIn: this.filter.place }),
    };
  }

  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private async shut(): Promise<void> {
    try {
      await this.chunks?.end();
    } finally {
      this.abortion.abort(new MillraceError("ERR_CLOSED", `${this.locator} was closed`));
      this.source?.close();
      await this.driver.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private assertOpen(): void {
    if (this.closing !== undefined) throw new MillraceError("ERR_CLOSED", `${this.locator} is closed`);
  }
}

/** Opens a port for the engine; `direction` undefined: the kind's own default. */
export async function openPort(
  locator: string,
  options: Omit<OpenOptions, "direction"> & {
    readonly direction?: "in" | "out" | "both";
    readonly maps?: boolean;
    /** Bytes that the filter keeps of a packet, where it runs in the kernel. */
    readonly snaplen?: number;
    readonly raw?: boolean;
  } = {},
): Promise<OpenPort> {
  options.signal?.throwIfAborted();
  const parsed = parseLocator(locator);
  const opener = await findOpener(parsed.kind);
  const memory = memoryOf(options.arena ?? defaultArena());
  const wait = options.wait ?? "adaptive";
  const driver = await opener(memory, parsed, {
    direction: options.direction ?? "in",
    wait,
    signal: options.signal ?? new AbortController().signal,
    ...(options.linkType === undefined ? {} : { linkType: options.linkType }),
    ...(options.maps === undefined ? {} : { maps: options.maps }),
    ...(options.raw === undefined ? {} : { raw: options.raw }),
  });
  try {
    const filter =
      options.filter === undefined
        ? undefined
        : attachPortFilter(memory, driver, options.filter, options.snaplen);
    driver.start?.();
    return new OpenPort(locator, memory, driver, wait, filter, options.signal);
  } catch (error) {
    await driver.close();
    throw error;
  }
}
