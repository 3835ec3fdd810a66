import { MillraceError } from "../errors.js";
import type { Filter } from "../filter/compile.js";
import {
  N_COMPLETE,
  N_CONTROL,
  N_CONTROL_BYTES,
  N_COPIED,
  N_DATA,
  N_DROPPED_CHUNKS,
  N_DUPLICATE,
  N_GAP,
  N_GAP_BYTES,
  N_GAP_DATAGRAMS,
  N_HELD,
  N_INCOMPLETE,
  N_LATE,
  N_LOST_CHUNKS,
  N_MALFORMED,
  N_MEMORY,
  N_MOVED,
  N_OPENED,
  N_OTHER,
  N_OUTPUT,
  N_REORDERED,
  N_RESYNC,
  N_STREAMS,
} from "../kernels/gather-structs.js";
import { VERDICT_PASS } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { packetContext, reasonsOf } from "../packet/context.js";
import { add, addAll, addEdge, isKernelDrop } from "./account.js";
import type { Chunk, ChunkView } from "./chunk.js";
import { type End, openEnds } from "./ends.js";
import { createGather, type Gather } from "./gather.js";
import type { GatherOptions } from "./gather-options.js";
import type { OpenPort } from "./port.js";
import { emptySums, type Sums } from "./report.js";
import type { ChunkSink } from "./sink.js";
import { nextTurn, type Source } from "./source.js";

/** A flow under way: its ports, its gather, its sinks and its sums. */
export interface Run {
  readonly arena: ArenaMemory;
  readonly ports: readonly OpenPort[];
  readonly sources: readonly Source[];
  /** Aborts when the user's signal does, or when the flow is stopped. */
  readonly signal: AbortSignal;
  /** Aborts only when the user's signal does: for what still has to go out after a stop. */
  readonly userSignal: AbortSignal;
  /** Ends the flow as if its source had ended: what is under way still goes out. */
  stop(): void;
  readonly stopped: boolean;
  gather: Gather | undefined;
  readonly sinks: ChunkSink[];
  /** Datagrams of the streams that each source brought, duplicates among them. */
  readonly brought: number[];
  readonly outs: OpenPort[];
  /** Chunks that left the gather and are with the program. */
  heldByProgram: number;
  /** Datagrams dropped by the flow itself, by reason. */
  readonly dropped: Record<string, number>;
  readonly program: { datagrams: number; bytes: number };
  sums(): Sums;
  close(): Promise<void>;
}

/** Drops reported by the gather, under the names of the report. */
const DROPS: readonly (readonly [string, number])[] = [
  ["duplicate", N_DUPLICATE],
  ["late", N_LATE],
  ["malformed", N_MALFORMED],
  ["other", N_OTHER],
  ["streams", N_STREAMS],
  ["memory", N_MEMORY],
  ["output", N_OUTPUT],
  ["gap", N_GAP],
];

/** Drops of a source that it counts as received, though they come into no burst. */
const LEFT_OUT = new Set(["filter", "linktype"]);

/** Opens the sources of a flow. */
export async function startRun(
  from: readonly End[],
  signal: AbortSignal | undefined,
  filter?: string | Filter,
): Promise<Run> {
  signal?.throwIfAborted();
  const ends = await openEnds(from, "in", filter === undefined ? {} : { filter });
  const [first] = ends.ports;
  if (first === undefined) throw new MillraceError("ERR_USAGE", "a flow needs a source");
  const arena = first.memory;
  if (ends.ports.some(({ memory }) => memory !== arena)) {
    await ends.close();
    throw new MillraceError("ERR_USAGE", "the ports of a flow work on different arenas", {
      hint: "open them with the same arena",
    });
  }
  const stopper = new AbortController();
  const started = performance.now();
  let ended: number | undefined;
  let closing: Promise<void> | undefined;
  const run: Run = {
    arena,
    ports: ends.ports,
    sources: ends.ports.map((port) => port.reader()),
    signal: signal === undefined ? stopper.signal : AbortSignal.any([signal, stopper.signal]),
    userSignal: signal ?? new AbortController().signal,
    stop: () => stopper.abort(new MillraceError("ERR_CLOSED", "the flow was stopped")),
    get stopped() {
      return stopper.signal.aborted;
    },
    gather: undefined,
    sinks: [],
    brought: ends.ports.map(() => 0),
    outs: [],
    heldByProgram: 0,
    dropped: {},
    program: { datagrams: 0, bytes: 0 },
    sums: () => sumUp(run, (ended ?? performance.now()) - started),
    close() {
      ended ??= performance.now();
      closing ??= (async () => {
        for (const source of run.sources) source.release();
        run.gather?.close();
        await ends.close();
      })();
      return closing;
    },
  };
  return run;
}

function sumUp(run: Run, milliseconds: number): Sums {
  const sums = emptySums();
  const copied = (copies: Readonly<Partial<Sums["copies"]>>) => {
    for (const key of ["linearize", "copybreak", "chunk", "kernel"] as const)
      sums.copies[key] += copies[key] ?? 0;
  };
  run.ports.forEach((port, index) => {
    const counters = port.driver.counters();
    const tally = run.sources[index].tally;
    sums.received.packets += counters.received.packets;
    sums.received.bytes += counters.received.bytes;
    for (const [reason, packets] of Object.entries(counters.dropped)) {
      if (isKernelDrop(reason)) sums.received.packets += packets;
      else if (!LEFT_OUT.has(reason)) continue;
      add(sums.dropped, reason, packets);
    }
    addAll(sums.dropped, tally.dropped());
    const passed = tally.passed();
    sums.delivered.packets += passed.packets;
    sums.delivered.bytes += passed.bytes;
    copied(counters.copies);
    sums.mode.push(port.mode);
  });
  for (const port of run.outs) {
    const counters = port.driver.counters();
    sums.transmitted.packets += counters.transmitted.packets;
    sums.transmitted.bytes += counters.transmitted.bytes;
    addAll(sums.dropped, counters.dropped);
    addAll(sums.created, counters.created ?? {});
    sums.held += counters.held;
    copied(counters.copies);
    sums.mode.push(port.mode);
  }
  const { ledger } = packetContext(run.arena);
  if (run.gather !== undefined) {
    sumGather(run.gather, sums);
    const whole = run.gather.counter(N_DATA) + run.gather.counter(N_GAP_DATAGRAMS);
    sums.sources = run.ports.map(({ locator }, index) => ({
      locator,
      datagrams: run.brought[index],
      lost: Math.max(0, whole - run.brought[index]),
    }));
  }
  for (const sink of run.sinks) {
    if (sink.outlet !== undefined) addEdge(sums, sink.outlet.counters);
    sums.delivered.packets += sink.delivered.datagrams;
    sums.delivered.bytes += sink.delivered.bytes;
    sums.held += sink.held;
    add(sums.created, "scatter", sink.created);
    sums.copies.linearize += sink.linearized;
  }
  sums.delivered.packets += run.program.datagrams;
  sums.delivered.bytes += run.program.bytes;
  sums.held += run.heldByProgram;
  addAll(sums.dropped, run.dropped);
  if (run.gather === undefined) {
    addAll(sums.created, ledger.created);
    addAll(sums.consumed, ledger.consumed);
  }
  sums.seconds = milliseconds / 1000;
  return sums;
}

function sumGather(gather: Gather, sums: Sums): void {
  const { counter } = gather;
  sums.control.packets += counter(N_CONTROL);
  sums.control.bytes += counter(N_CONTROL_BYTES);
  for (const [reason, which] of DROPS) add(sums.dropped, reason, counter(which));
  sums.held += counter(N_HELD);
  sums.chunks.complete += counter(N_COMPLETE);
  sums.chunks.incomplete += counter(N_INCOMPLETE);
  sums.chunks.lost += counter(N_LOST_CHUNKS);
  sums.chunks.dropped += counter(N_DROPPED_CHUNKS);
  sums.gaps.datagrams += counter(N_GAP_DATAGRAMS);
  sums.gaps.bytes += counter(N_GAP_BYTES);
  sums.reordered += counter(N_REORDERED);
  sums.resync += counter(N_RESYNC);
  sums.streams += counter(N_OPENED);
  sums.copies.chunk += counter(N_COPIED) + counter(N_MOVED);
  sums.copies.linearize += gather.linearized;
  const fragments = gather.reassembly;
  if (fragments === undefined) return;
  add(sums.consumed, "reassemble", fragments.joined);
  add(sums.created, "reassemble", fragments.reassembled);
  add(sums.dropped, "duplicate", fragments.duplicates);
  add(sums.dropped, "overlap", fragments.overlaps);
  add(sums.dropped, "expired", fragments.expired);
  add(sums.dropped, "malformed", fragments.malformed);
  sums.held += fragments.held;
}

// ── Bursts.

/** The sources in turn, each time one has a burst; ends with the last of them, or when the run is stopped. */
export async function* receive(run: Run): AsyncGenerator<Source | undefined, void, undefined> {
  const { sources } = run;
  const aborted = (error: unknown) => {
    if (run.stopped) return;
    throw error;
  };
  while (!run.stopped) {
    let any = false;
    for (const source of sources) {
      if (source.poll() === 0) continue;
      any = true;
      source.keep();
      yield source;
      if (run.stopped) return;
      if (source.overdue) await source.turn();
    }
    run.signal.throwIfAborted();
    if (any) continue;
    if (sources.every(({ ended }) => ended)) return;
    yield undefined; // nothing there: whoever asked may look after its timeouts
    try {
      await waitForAny(run);
    } catch (error) {
      aborted(error);
    }
  }
}

/** How long a wait for packets lasts at most, so that timeouts are seen to, in milliseconds. */
const IDLE_MS = 20;

async function waitForAny(run: Run): Promise<void> {
  const open = run.sources.filter(({ ended }) => !ended);
  if (open.length === 0) return; // they ended since they were looked at
  const idle = new AbortController();
  const timer = setTimeout(() => idle.abort(), IDLE_MS);
  const signal = AbortSignal.any([run.signal, idle.signal]);
  try {
    await Promise.race(open.map((source) => source.wait(signal)));
  } catch (error) {
    if (run.signal.aborted) throw run.signal.reason;
    if (!idle.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    idle.abort();
  }
}

// ── Chunks.

/** Data datagrams taken, and those that another source or the sender had brought before. */
function broughtSoFar({ counter }: Gather): number {
  return counter(N_DATA) + counter(N_DUPLICATE) + counter(N_LATE);
}

/** Finished chunks, each the receiver's to release. */
export async function* gatherChunks(
  run: Run,
  options: GatherOptions,
  stages: readonly ((source: Source) => void)[],
  transforms: readonly ((chunk: Chunk) => void)[],
): AsyncGenerator<ChunkView, void, undefined> {
  const [port] = run.ports;
  const gather = createGather(run.arena, options, {
    linkType: port.can.linkType,
    live: run.ports.some(({ can }) => can.live),
    merged: run.ports.length > 1,
    peer: port.driver.peer?.bind(port.driver),
  });
  run.gather = gather;
  let released: (() => void) | undefined;
  gather.onRelease = () => released?.();
  const comeBack = () =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, IDLE_MS);
      released = () => {
        clearTimeout(timer);
        released = undefined;
        resolve();
      };
    });
  const reasons = reasonsOf(run.arena);
  const finished = function* () {
    for (let chunk = gather.take(); chunk !== undefined; chunk = gather.take()) {
      try {
        for (const transform of transforms) transform(chunk);
      } catch (cause) {
        const where = `chunk ${chunk.id} of ${chunk.stream}`;
        add(run.dropped, "transform", chunk.datagrams);
        chunk.release();
        throw new MillraceError(
          "ERR_TRANSFORM",
          `the transform failed on ${where}: ${(cause as Error)?.message ?? cause}`,
          {
            cause,
          },
        );
      }
      yield chunk;
    }
  };
  let ticked = performance.now();
  for await (const source of receive(run)) {
    if (source !== undefined) {
      for (const stage of stages) stage(source);
      gather.begin(source.burst);
      const before = broughtSoFar(gather);
      let whole = false;
      try {
        for (let state = gather.work(); state !== "whole"; state = gather.work()) {
          yield* finished();
          if (state !== "memory") continue;
          await comeBack();
          run.signal.throwIfAborted();
        }
        whole = true;
      } finally {
        // Who leaves in the middle of a burst leaves packets behind that went nowhere.
        if (!whole) run.arena.kernels.burstVerdict(source.burst, VERDICT_PASS, reasons.number("stopped"));
      }
      run.brought[run.sources.indexOf(source)] += broughtSoFar(gather) - before;
      source.release();
    }
    const now = performance.now();
    if (source === undefined || now - ticked > IDLE_MS) {
      gather.tick();
      ticked = now;
    }
    yield* finished();
  }
  while (!gather.flush()) {
    yield* finished();
    await comeBack();
  }
  yield* finished();
  await nextTurn();
}
