import { performance } from "node:perf_hooks";
import { MillraceError } from "../errors.js";
import { BURST_PACKETS, VERDICT_ASIDE, VERDICT_PASS } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../memory/burst.js";
import { createBurstView } from "../packet/burst.js";
import { packetContext, reasonsOf } from "../packet/context.js";
import type { Burst } from "../packet/types.js";
import type { PortDriver } from "../ports/port.js";
import { addAll, isKernelDrop } from "./account.js";
import { createEdge, type ForwardEdge, type MacRewrite } from "./forward-edge.js";
import { createSleeper } from "./forward-sleep.js";
import type { OpenPort } from "./port.js";
import { emptySums, type Sums } from "./report.js";
import { nextTurn, TURN_BUDGET_MS, type Wait } from "./source.js";
import { createTally, type Tally } from "./tally.js";

/** A user's code between two ports: it may drop, rewrite, clone; what it leaves alone is sent on. */
export type ForwardStage = (burst: Burst) => void;

export interface ForwardOptions {
  readonly oneWay: boolean;
  readonly wait: Wait;
  readonly rewrite: MacRewrite;
  readonly stage?: ForwardStage | undefined;
  /** Ends the forwarding in good order. */
  readonly until: AbortSignal;
}

/** Packets on their way from one port to the other. */
interface Direction {
  readonly from: OpenPort;
  readonly to: OpenPort;
  readonly source: PortDriver;
  readonly sink: PortDriver;
  readonly burst: number;
  readonly tally: Tally;
  readonly edge: ForwardEdge;
  /** The first packet of the burst, then of the edge's spare one, that the sink has not looked at. */
  next: number;
  nextSpare: number;
  /** Part of the burst stands aside until the spare one has been sent. */
  again: boolean;
}

/** Two ports joined in this worker, until told otherwise. */
export interface Forwarding {
  /** Passes packets on until `until` aborts, or every source has ended. Throws what a port throws. */
  run(): Promise<void>;
  sums(): Sums;
  /** Frees what is under way. The ports stay open. */
  close(): void;
}

const DESCRIPTORS = 2048;
/** How long a changed MTU may go unnoticed. */
const MTU_LOOK_MS = 1000;
// Between two looks at the clock, each of which leaves the garbage collector a number:
const EMPTY_ROUNDS = 64; // some 6 µs; a round in which packets come counts for eight
const FULL_ROUND = 8;
const MOST_PACKETS = 512;
/** How long nothing may come until an adaptive worker sleeps: about as long as it takes to be woken. */
const PATIENCE_MS = 0.05;
/**
 * The same until a busy one lets the event loop turn: a turn takes microseconds and leaves half a kilobyte of garbage,
 * which at turns without end would be collected, for a tenth of a millisecond, a hundred times a second.
 */
const BUSY_PATIENCE_MS = 0.25;
/** What is read from a file or a pipe comes with a turn: none is waited for without one, and an adaptive worker sleeps after so many. */
const EMPTY_TURNS = 20;

export function createForwarding(a: OpenPort, b: OpenPort, options: ForwardOptions): Forwarding {
  const arena = a.memory;
  if (b.memory !== arena)
    throw new MillraceError("ERR_USAGE", `${a.locator} and ${b.locator} work on different arenas`);
  if (a.can.linkType !== b.can.linkType)
    throw new MillraceError(
      "ERR_USAGE",
      `${a.locator} has packets of link type ${a.can.linkType}, ${b.locator} of ${b.can.linkType}`,
      { hint: "both ports must have the same link type" },
    );
  const directions = [direction(arena, a, b, options)];
  if (!options.oneWay) directions.push(direction(arena, b, a, options));
  const started = performance.now();
  let ended: number | undefined;
  let closed = false;
  const step = stepper(arena, options.stage);

  async function run(): Promise<void> {
    const sleeper = createSleeper(directions, awaited, options.until);
    const following = setInterval(() => directions.forEach(followMtu), MTU_LOOK_MS);
    try {
      let woken = false;
      for (let next = turn(); next !== "end"; next = turn()) {
        // Who is woken is in the middle of a turn, at the end of which the first of these comes.
        if (next === "turn" && woken) await nextTurn();
        await (next === "turn" ? nextTurn() : sleeper.sleep());
        woken = next === "sleep";
      }
    } finally {
      clearInterval(following);
      sleeper.close();
      ended = performance.now();
    }
  }

  const live = directions.every(({ from }) => from.can.live);
  const patience = !live ? 0 : options.wait === "busy" ? BUSY_PATIENCE_MS : PATIENCE_MS;
  let emptyTurns = 0;

  /** Passes packets on for as long as a turn of the event loop may last; says what is to follow. */
  function turn(): "turn" | "sleep" | "end" {
    const { until, wait } = options;
    const began = performance.now();
    let lastCame = began;
    let rounds = 0;
    let packets = 0;
    while (!until.aborted) {
      let moved = 0;
      for (const one of directions) moved += step(one);
      packets += moved;
      if (moved === 0) {
        if (directions.every(finished)) return "end";
        if (wait === "interrupt") return "sleep";
      }
      rounds += moved === 0 ? 1 : FULL_ROUND;
      if (rounds < EMPTY_ROUNDS && packets < MOST_PACKETS) continue;
      const now = performance.now();
      if (packets > 0) {
        lastCame = now;
        emptyTurns = 0;
      } else if (now - lastCame > patience) {
        return wait === "busy" || (!live && ++emptyTurns < EMPTY_TURNS) ? "turn" : "sleep";
      }
      if (now - began > TURN_BUDGET_MS) return "turn";
      rounds = packets = 0;
    }
    return "end";
  }

  return {
    run,
    sums: () =>
      sumUp(arena, [a, b], closed ? [] : directions, directions, (ended ?? performance.now()) - started),
    close() {
      if (closed) return;
      closed = true;
      const stopped = reasonsOf(arena).number("stopped");
      for (const one of directions) {
        for (const burst of one.edge.spare === 0 ? [one.burst] : [one.burst, one.edge.spare]) {
          arena.kernels.burstVerdict(burst, VERDICT_PASS, stopped);
          arena.kernels.burstVerdict(burst, VERDICT_ASIDE, stopped);
          throwFault(arena, burst, arena.kernels.burstRelease(burst, one.tally.offset));
        }
        destroyBurst(arena, one.burst);
        one.edge.close();
      }
    },
  };
}

function direction(arena: ArenaMemory, from: OpenPort, to: OpenPort, options: ForwardOptions): Direction {
  return {
    from,
    to,
    source: from.driver,
    sink: to.driver,
    burst: createBurst(arena, DESCRIPTORS),
    tally: createTally(arena),
    edge: createEdge(arena, to.can, options.rewrite),
    next: 0,
    nextSpare: 0,
    again: false,
  };
}

/** One burst a call: what the sink did not take stays, and nothing more is received before it has gone. */
function stepper(arena: ArenaMemory, stage: ForwardStage | undefined): (one: Direction) => number {
  const { kernels, u32 } = arena;
  const failed = reasonsOf(arena).number("stage");
  let told = false;

  function runStage(one: Direction, run: ForwardStage): void {
    try {
      run(createBurstView(arena, one.burst, one.from.can.linkType));
    } catch (error) {
      // The burst is lost, the ports go on: each such packet is counted, the first error is shown.
      kernels.burstVerdict(one.burst, VERDICT_PASS, failed);
      if (!told) process.emitWarning(error instanceof Error ? error : String(error), "MillraceStageWarning");
      told = true;
    }
  }

  /** Sends what needs no preparing, mostly all there is: then true. The edge prepares the rest. */
  function sendOrdinary(one: Direction): boolean {
    const { burst, edge, sink } = one;
    if (sink.sendOrdinary !== undefined) one.next = sink.sendOrdinary(burst, edge.at);
    const packets = u32[(burst + BURST_PACKETS) >>> 2];
    if (one.next < packets) one.again = edge.prepare(burst);
    if (packets > 0) return false;
    one.next = 0;
    return true;
  }

  /** Sends what the edge has prepared; false when the sink has not looked at all of it. */
  function sendPrepared(one: Direction): boolean {
    const { burst, edge, sink } = one;
    one.next = sink.send(burst, one.next);
    if (one.next < u32[(burst + BURST_PACKETS) >>> 2]) return false;
    if (edge.spare === 0) return true;
    const cut = u32[(edge.spare + BURST_PACKETS) >>> 2];
    if (cut === 0) return true;
    one.nextSpare = sink.send(edge.spare, one.nextSpare);
    if (one.nextSpare < cut) return false;
    throwFault(arena, edge.spare, kernels.burstRelease(edge.spare, one.tally.offset));
    one.nextSpare = 0;
    return true;
  }

  return (one) => {
    const { burst, edge } = one;
    let packets = u32[(burst + BURST_PACKETS) >>> 2];
    const before = one.next + one.nextSpare;
    if (packets === 0) {
      packets = one.source.receive(burst);
      if (packets === 0) return 0;
      one.from.filter?.apply(burst);
      if (stage !== undefined) runStage(one, stage);
      if (sendOrdinary(one)) return packets;
    }
    while (sendPrepared(one)) {
      one.next = 0;
      if (one.again) one.again = edge.prepare(burst);
      else {
        if (u32[(burst + BURST_PACKETS) >>> 2] > 0)
          throwFault(arena, burst, kernels.burstRelease(burst, one.tally.offset));
        return packets;
      }
    }
    return one.next + one.nextSpare - before;
  };
}

/** Packets are held to the MTU that the interface has now, not to the one it was opened with. */
function followMtu({ sink, edge }: Direction): void {
  if (sink.mtu === undefined) return;
  try {
    edge.follow(sink.mtu());
  } catch {
    // An interface that is gone ends the forwarding where it is sent to or waited for.
  }
}

function finished(one: Direction): boolean {
  return one.source.ended && one.from.memory.u32[(one.burst + BURST_PACKETS) >>> 2] === 0;
}

/** What a direction with nothing to do waits for; undefined: for nothing any more. */
function awaited(one: Direction): "readable" | "writable" | undefined {
  if (finished(one)) return undefined;
  return one.from.memory.u32[(one.burst + BURST_PACKETS) >>> 2] > 0 ? "writable" : "readable";
}

function sumUp(
  arena: ArenaMemory,
  ports: readonly OpenPort[],
  running: readonly Direction[],
  directions: readonly Direction[],
  milliseconds: number,
): Sums {
  const sums = emptySums();
  for (const port of ports) {
    const { driver } = port;
    const counters = driver.counters();
    sums.received.packets += counters.received.packets;
    sums.received.bytes += counters.received.bytes;
    // What the kernel lost never came to the port: here it is among what came and what was dropped.
    for (const [reason, packets] of Object.entries(counters.dropped))
      if (isKernelDrop(reason)) sums.received.packets += packets;
    sums.transmitted.packets += counters.transmitted.packets;
    sums.transmitted.bytes += counters.transmitted.bytes;
    addAll(sums.dropped, counters.dropped);
    addAll(sums.created, counters.created ?? {});
    sums.held += counters.held;
    for (const key of ["linearize", "copybreak", "chunk", "kernel"] as const)
      sums.copies[key] += counters.copies[key] ?? 0;
    sums.mode.push(port.mode);
  }
  for (const { burst, edge } of running)
    for (const one of edge.spare === 0 ? [burst] : [burst, edge.spare])
      sums.held += arena.kernels.burstCount(one, VERDICT_PASS) + arena.kernels.burstCount(one, VERDICT_ASIDE);
  for (const { tally } of directions) {
    addAll(sums.dropped, tally.dropped());
    const passed = tally.passed();
    sums.delivered.packets += passed.packets;
    sums.delivered.bytes += passed.bytes;
  }
  const { ledger } = packetContext(arena);
  addAll(sums.created, ledger.created);
  addAll(sums.consumed, ledger.consumed);
  addAll(sums.dropped, ledger.dropped);
  sums.held += ledger.held;
  sums.copies.linearize += ledger.linearized;
  sums.seconds = milliseconds / 1000;
  return sums;
}
