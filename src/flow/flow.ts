import { MillraceError } from "../errors.js";
import type { Filter } from "../filter/compile.js";
import { BURST_PACKETS, VERDICT_PASS, VERDICT_ROUTE } from "../kernels/structs.js";
import { createBurstView } from "../packet/burst.js";
import type { Burst } from "../packet/types.js";
import { parseLocator } from "../ports/locator.js";
import { burstBytesOf } from "./account.js";
import { type Chunk, type ChunkView, DATAGRAM_BYTES } from "./chunk.js";
import { type End, openEnds } from "./ends.js";
import { createFileSink } from "./file-sink.js";
import type { GatherOptions } from "./gather-options.js";
import { createOutlet } from "./outlet.js";
import { createPacer, parseRate } from "./pace.js";
import type { ScatterOptions } from "./packetize.js";
import type { OpenPort } from "./port.js";
import { emptySums, type Report, reportOf } from "./report.js";
import { gatherChunks, type Run, receive, startRun } from "./run.js";
import { type ChunkSink, createPortSink } from "./sink.js";
import { nextTurn, type Source } from "./source.js";

export interface ToOptions {
  /** Ends after so many chunks or packets. */
  readonly count?: number;
  /** Ends after so many seconds. */
  readonly duration?: number;
  /** Ends the flow at once: what is under way is dropped, and to() rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Ends the flow in good order when it aborts: what is under way still goes out, and to() resolves. */
  readonly until?: AbortSignal;
}

/** The words of the command line: where from, what is done on the way, where to. Nothing runs before `to()` or the first iteration. */
export interface Flow<T> extends AsyncIterable<T> {
  /** Keeps what matches; it runs in the deepest place that each source offers. Before any stage. */
  filter(this: Flow<Burst>, filter: string | Filter): Flow<Burst>;
  /** Calls `stage` with each burst, in place: it may drop, route, rewrite. */
  stage(this: Flow<Burst>, stage: (burst: Burst) => void): Flow<Burst>;
  /** Makes contiguous chunks of the payloads' pieces. */
  gather(this: Flow<Burst>, options: GatherOptions): Flow<Chunk>;
  /** Calls `transform` with each chunk, in place. */
  transform(this: Flow<Chunk>, transform: (chunk: Chunk) => void): Flow<Chunk>;
  /** How chunks become datagrams again; without it they are data from end to end. */
  scatter(this: Flow<Chunk>, options: ScatterOptions): Flow<Chunk>;
  /**
   * Runs the flow into its sinks and resolves with its report when the source has ended. Packets and chunks go
   * to the first sink unless routed. The flow opens and closes the locators it is given.
   */
  to(sink: End | readonly End[], options?: ToOptions): Promise<Report>;
  /** What the flow has done so far. */
  report(): Report;
}

/**
 * A flow from one port or several; of several the streams are merged and their duplicates dropped, as
 * SMPTE ST 2022-7 has it.
 */
export function flow(from: End | readonly End[]): Flow<Burst> {
  const sources: readonly End[] = Array.isArray(from) ? from : [from as End];
  return new FlowOf<Burst>({
    sources,
    filter: undefined,
    stages: [],
    gather: undefined,
    transforms: [],
    scatter: {},
  });
}

interface Plan {
  readonly sources: readonly End[];
  readonly filter: string | Filter | undefined;
  readonly stages: readonly ((burst: Burst) => void)[];
  readonly gather: GatherOptions | undefined;
  readonly transforms: readonly ((chunk: Chunk) => void)[];
  readonly scatter: ScatterOptions;
}

class FlowOf<T> implements Flow<T> {
  private readonly plan: Plan;
  private run: Run | undefined;

  constructor(plan: Plan) {
    this.plan = plan;
  }

  filter(this: FlowOf<Burst>, filter: string | Filter): Flow<Burst> {
    if (this.plan.filter !== undefined || this.plan.stages.length > 0 || this.plan.gather !== undefined)
      throw new MillraceError("ERR_USAGE", "a flow has one filter, before everything else", {
        hint: "join conditions with and",
      });
    return new FlowOf<Burst>({ ...this.plan, filter });
  }

  stage(this: FlowOf<Burst>, stage: (burst: Burst) => void): Flow<Burst> {
    if (this.plan.gather !== undefined)
      throw new MillraceError("ERR_USAGE", "a stage works on packets, and this flow has gathered them", {
        hint: "stage() before gather(), transform() after it",
      });
    return new FlowOf<Burst>({ ...this.plan, stages: [...this.plan.stages, stage] });
  }

  gather(this: FlowOf<Burst>, options: GatherOptions): Flow<Chunk> {
    if (this.plan.gather !== undefined)
      throw new MillraceError("ERR_USAGE", "this flow has gathered already");
    return new FlowOf<Chunk>({ ...this.plan, gather: options });
  }

  transform(this: FlowOf<Chunk>, transform: (chunk: Chunk) => void): Flow<Chunk> {
    if (this.plan.gather === undefined)
      throw new MillraceError("ERR_USAGE", "transform() works on chunks: gather() first");
    return new FlowOf<Chunk>({ ...this.plan, transforms: [...this.plan.transforms, transform] });
  }

  scatter(this: FlowOf<Chunk>, options: ScatterOptions): Flow<Chunk> {
    if (this.plan.gather === undefined)
      throw new MillraceError("ERR_USAGE", "scatter() cuts chunks: gather() first");
    return new FlowOf<Chunk>({ ...this.plan, scatter: options });
  }

  report(): Report {
    return reportOf(this.run?.sums() ?? emptySums());
  }

  private async start(signal?: AbortSignal): Promise<Run> {
    if (this.run !== undefined)
      throw new MillraceError("ERR_USAGE", "this flow has run already", { hint: "make another with flow()" });
    this.run = await startRun(this.plan.sources, signal, this.plan.filter);
    return this.run;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    const run = await this.start();
    try {
      if (this.plan.gather === undefined) yield* this.bursts(run) as AsyncIterable<T>;
      else yield* this.chunks(run) as AsyncIterable<T>;
    } finally {
      await run.close();
    }
  }

  private async *bursts(run: Run): AsyncGenerator<Burst, void, undefined> {
    const stage = this.stager(run);
    for await (const source of receive(run)) {
      if (source === undefined) continue;
      yield stage(source);
      source.release();
    }
  }

  private async *chunks(run: Run): AsyncGenerator<Chunk, void, undefined> {
    for await (const chunk of this.gathered(run)) {
      const { datagrams, length } = chunk;
      run.heldByProgram += datagrams;
      try {
        yield chunk;
      } finally {
        run.heldByProgram -= datagrams;
        run.program.datagrams += datagrams;
        run.program.bytes += length;
        chunk.release();
      }
    }
  }

  private gathered(run: Run): AsyncGenerator<ChunkView, void, undefined> {
    const { gather, stages, transforms } = this.plan;
    const stage = this.stager(run);
    const each = stages.length === 0 ? [] : [(source: Source) => void stage(source)];
    return gatherChunks(run, gather as GatherOptions, each, transforms);
  }

  /** Runs the user's stages over a burst. A stage that throws loses the burst's packets, under `stage`. */
  private stager(run: Run): (source: Source) => Burst {
    const { stages } = this.plan;
    const linkTypes = new Map(run.sources.map((source, index) => [source, run.ports[index].can.linkType]));
    return (source) => {
      const view = createBurstView(run.arena, source.burst, linkTypes.get(source));
      for (const stage of stages) stage(view);
      return view;
    };
  }

  async to(sink: End | readonly End[], options: ToOptions = {}): Promise<Report> {
    const run = await this.start(options.signal);
    const stop = () => run.stop();
    options.until?.addEventListener("abort", stop, { once: true });
    if (options.until?.aborted) stop();
    const timer = options.duration === undefined ? undefined : setTimeout(stop, options.duration * 1000);
    const ends = Array.isArray(sink) ? (sink as readonly End[]) : [sink as End];
    try {
      if (this.plan.gather === undefined) await this.burstsTo(run, ends, options);
      else await this.chunksTo(run, ends, options);
    } finally {
      clearTimeout(timer);
      options.until?.removeEventListener("abort", stop);
      await run.close();
    }
    return this.report();
  }

  private async burstsTo(run: Run, sinks: readonly End[], options: ToOptions): Promise<void> {
    const ends = await openEnds(sinks, "out", { linkType: run.ports[0].can.linkType });
    run.outs.push(...ends.ports);
    const stage = this.stager(run);
    const pacers = ends.ports.map(pacerOf);
    const outlets = ends.ports.map((port) => createOutlet(run.arena, port.driver));
    let left = options.count ?? Number.POSITIVE_INFINITY;
    try {
      for await (const source of receive(run)) {
        if (source === undefined) continue;
        stage(source);
        const { burst } = source;
        for (let sink = 0; sink < ends.ports.length; sink++) {
          if (sink > 0) run.arena.kernels.burstVerdict(burst, VERDICT_ROUTE + sink, VERDICT_PASS);
          else run.arena.kernels.burstVerdict(burst, VERDICT_ROUTE, VERDICT_PASS);
          const bytes = pacers[sink] === undefined ? 0 : burstBytesOf(run.arena, burst);
          const packets = run.arena.u32[(burst + BURST_PACKETS) >>> 2];
          await outlets[sink].send(burst, run.userSignal);
          await pacers[sink]?.sent(packets, bytes, run.userSignal);
          left -= packets;
        }
        source.release();
        if (left <= 0) run.stop();
      }
    } catch (error) {
      if (!run.stopped) throw error;
    } finally {
      for (const outlet of outlets) outlet.close();
      await ends.close();
    }
  }

  private async chunksTo(run: Run, ends: readonly End[], options: ToOptions): Promise<void> {
    const sinks: ChunkSink[] = [];
    for (const end of ends) sinks.push(await openChunkSink(run, end, this.plan.scatter));
    run.sinks.push(...sinks);
    let left = options.count ?? Number.POSITIVE_INFINITY;
    let queued = 0; // bytes since the last turn
    try {
      for await (const chunk of this.gathered(run)) {
        if (left <= 0) {
          // Past the count: what the gather still gives up is dropped, under its own name.
          run.dropped.stopped = (run.dropped.stopped ?? 0) + chunk.datagrams;
          chunk.release();
          continue;
        }
        queued += chunk.length;
        sinks[0].accept(chunk);
        if (--left === 0) run.stop();
        await sinks[0].below(QUEUE);
        if (queued < WARM_BYTES) continue;
        queued = 0;
        await nextTurn();
      }
      for (const sink of sinks) await sink.end();
    } catch (error) {
      for (const sink of sinks) await sink.abort();
      throw error;
    }
  }
}

/** Chunks that may queue before a sink. Live sources go on beyond it until memory is short, and drop then. */
const QUEUE = 4096;
/** After so many bytes sinks get a turn to give chunks back: the next ones are then made of memory still in a cache. */
const WARM_BYTES = 2 ** 20;

function pacerOf(port: OpenPort) {
  const rate = parseLocator(port.locator).parameters.get("rate");
  return rate === undefined ? undefined : createPacer(parseRate(rate));
}

/** Opens where chunks go: `file:PATH`, `-`, or a port that takes packets. */
async function openChunkSink(run: Run, end: End, scatter: ScatterOptions): Promise<ChunkSink> {
  const path = typeof end === "string" ? filePath(end) : undefined;
  if (path !== undefined) return createFileSink(path);
  const ends = await openEnds([end], "out");
  const [port] = ends.ports;
  run.outs.push(port);
  const rate = scatter.rate ?? parseLocator(port.locator).parameters.get("rate");
  const size = scatter.datagramSize ?? Math.min(DATAGRAM_BYTES, port.can.mtu);
  return createPortSink(run.arena, port.driver, {
    scatter: { ...scatter, datagramSize: size, ...(rate === undefined ? {} : { rate }) },
    signal: run.userSignal,
    owns: typeof end === "string",
  });
}

function filePath(locator: string): string | undefined {
  if (locator === "-") return "-";
  const match = /^file:(.*)$/s.exec(locator);
  if (match === null) return undefined;
  if (match[1] === "") throw new MillraceError("ERR_LOCATOR", '"file:" names no file');
  return match[1];
}
