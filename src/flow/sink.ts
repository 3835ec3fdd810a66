import type { ArenaMemory } from "../memory/arena.js";
import type { PortDriver } from "../ports/port.js";
import { burstBytesOf } from "./account.js";
import type { ChunkView } from "./chunk.js";
import { createOutlet, type Outlet } from "./outlet.js";
import { createPacer, type Pacer, parseRate } from "./pace.js";
import { createPacketizer, type Packetizer, piecesOf, type ScatterOptions } from "./packetize.js";

/** Where chunks go. A sink takes a chunk over and releases it when it is done with it. */
export interface ChunkSink {
  /** Queues the chunk. Throws what went wrong with those before. */
  accept(chunk: ChunkView): void;
  /** Resolves when fewer than `chunks` are queued. Rejects with what went wrong. */
  below(chunks: number): Promise<void>;
  /** Datagrams, chunks and bytes that have reached the sink's end. */
  readonly delivered: { readonly datagrams: number; readonly chunks: number; readonly bytes: number };
  /** Datagrams in chunks that are queued. */
  readonly held: number;
  /** Packets made of chunks, and bytes copied for that. */
  readonly created: number;
  readonly linearized: number;
  readonly outlet?: Outlet;
  /** Waits for what is queued, then closes what the sink opened itself. */
  end(): Promise<void>;
  /** Drops what is queued. */
  abort(): Promise<void>;
}

/** The queue that every sink has in common: chunks in order, one worker loop, the first error kept. */
export function createQueue(
  write: (chunks: ChunkView[]) => Promise<void>,
  batch: number,
): Omit<ChunkSink, "created" | "linearized" | "outlet" | "end" | "abort"> & {
  drain(): Promise<void>;
  discard(): Promise<void>;
} {
  const queue: ChunkView[] = [];
  const delivered = { datagrams: 0, chunks: 0, bytes: 0 };
  let held = 0;
  let writing: Promise<void> | undefined;
  let failure: { readonly error: unknown } | undefined;
  let inFlight = 0;
  let waiters: (() => void)[] = [];
  const wake = () => {
    const all = waiters;
    waiters = [];
    for (const waiter of all) waiter();
  };
  const run = async () => {
    while (queue.length > 0 && failure === undefined) {
      const chunks = queue.splice(0, batch);
      inFlight = chunks.length;
      try {
        await write(chunks);
        for (const chunk of chunks) {
          delivered.datagrams += chunk.datagrams;
          delivered.chunks += 1;
          delivered.bytes += chunk.length;
        }
      } catch (error) {
        failure = { error };
      } finally {
        for (const chunk of chunks) {
          held -= chunk.datagrams;
          chunk.release();
        }
        inFlight = 0;
        wake();
      }
    }
    writing = undefined;
    wake();
  };
  const check = () => {
    if (failure !== undefined) throw failure.error;
  };
  const drain = async () => {
    while (writing !== undefined) await writing;
    check();
  };
  return {
    delivered,
    get held() {
      return held;
    },
    accept(chunk) {
      if (failure !== undefined) {
        chunk.release();
        check();
      }
      held += chunk.datagrams;
      queue.push(chunk);
      writing ??= run();
    },
    async below(chunks) {
      while (queue.length + inFlight >= chunks && failure === undefined)
        await new Promise<void>((resolve) => waiters.push(resolve));
      check();
    },
    drain,
    async discard() {
      for (const chunk of queue.splice(0)) {
        held -= chunk.datagrams;
        chunk.release();
      }
      while (writing !== undefined) await writing;
    },
  };
}

export interface PortSinkOptions {
  readonly scatter: ScatterOptions;
  readonly signal: AbortSignal;
  /** True: the sink opened the port and closes it. */
  readonly owns: boolean;
}

/** Sends chunks out of a port as packets over the chunk's own memory. */
export function createPortSink(arena: ArenaMemory, driver: PortDriver, options: PortSinkOptions): ChunkSink {
  const packetizer: Packetizer = createPacketizer(arena, driver, options.scatter);
  const outlet = createOutlet(arena, driver);
  const pacer: Pacer | undefined =
    options.scatter.rate === undefined ? undefined : createPacer(parseRate(options.scatter.rate));
  const sendAll = async () => {
    for (let packets = packetizer.next(); packets > 0; packets = packetizer.next()) {
      const bytes = pacer === undefined ? 0 : burstBytesOf(arena, packetizer.burst);
      await outlet.send(packetizer.burst, options.signal);
      const wait = pacer?.sent(packets, bytes, options.signal);
      if (wait !== undefined) await wait;
    }
  };
  const queue = createQueue(async (chunks) => {
    for (const chunk of chunks) {
      const linked = chunk.linearAddress === 0 ? piecesOf(arena, chunk.record) : undefined;
      packetizer.begin(
        linked === undefined
          ? packetizer.single(chunk.linear(), chunk.length)
          : { ...linked, length: chunk.length },
      );
      await sendAll();
    }
  }, 1);
  let finished = false;
  const finish = async () => {
    if (finished) return;
    finished = true;
    packetizer.close();
    outlet.close();
    if (options.owns) await driver.close();
  };
  return {
    accept: queue.accept,
    below: queue.below,
    delivered: queue.delivered,
    get held() {
      return queue.held;
    },
    get created() {
      return packetizer.made;
    },
    get linearized() {
      return packetizer.linearized;
    },
    outlet,
    async end() {
      try {
        await queue.drain();
        packetizer.beginStop();
        await sendAll();
      } finally {
        await finish();
      }
    },
    async abort() {
      await queue.discard();
      await finish();
    },
  };
}
