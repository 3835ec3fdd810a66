// What replay and generate share: a burst goes out of a port in parts, and everything is counted.
import { VERDICT_PASS } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../memory/burst.js";
import { reasonsOf } from "../packet/context.js";
import type { PortDriver } from "../ports/port.js";
import { createEdge, type ForwardEdge } from "./forward-edge.js";
import type { PortFilter } from "./port-filter.js";
import { nextTurn, TURN_BUDGET_MS } from "./source.js";
import { createTally, type Tally } from "./tally.js";

/** Packets that a command sends of its own accord. created = transmitted + Σ dropped + held. */
export interface SendReport {
  readonly created: number;
  readonly transmitted: { readonly packets: number; readonly bytes: number };
  readonly dropped: Readonly<Record<string, number>>;
  readonly held: number;
  readonly seconds: number;
  readonly packetsPerSecond: number;
  readonly bitsPerSecond: number;
  /** Where the filter runs, of a capture that is sent through one. */
  readonly filteredIn?: PortFilter["place"];
}

/** A burst and the port it goes out of. */
export interface Sending {
  readonly arena: ArenaMemory;
  readonly driver: PortDriver;
  readonly burst: number;
  readonly tally: Tally;
  /** To be asked to fit() packets before they are sent; what the port cannot take is dropped under a reason. */
  readonly edge: ForwardEdge;
  readonly until: AbortSignal;
  created: number;
  readonly started: number;
  turn: number;
}

export function createSending(arena: ArenaMemory, driver: PortDriver, until: AbortSignal): Sending {
  return {
    ...{ arena, driver, until, burst: createBurst(arena, DESCRIPTORS), tally: createTally(arena) },
    ...{ edge: createEdge(arena, driver.can, { swap: false }), created: 0 },
    ...{ started: performance.now(), turn: performance.now() },
  };
}
const DESCRIPTORS = 2048;

/** Sends packets with the verdict PASS before number `stop`, waiting where the port is full. Rejects when aborted. */
export async function sendUntil(sending: Sending, first: number, stop: number): Promise<void> {
  const { driver, burst, until } = sending;
  for (let at = driver.send(burst, first); at < stop; at = driver.send(burst, at)) {
    until.throwIfAborted();
    await driver.writable(until);
    sending.turn = performance.now();
  }
  if (performance.now() - sending.turn > TURN_BUDGET_MS) {
    await nextTurn();
    sending.turn = performance.now();
    until.throwIfAborted();
  }
}

/** Frees what is left in the burst, under the reasons it was dropped for. */
export function releaseSending({ arena, burst, tally }: Sending): void {
  arena.kernels.burstVerdict(burst, VERDICT_PASS, reasonsOf(arena).number("stopped"));
  throwFault(arena, burst, arena.kernels.burstRelease(burst, tally.offset));
}

export function sendReport(sending: Sending): SendReport {
  const { driver, tally, started, created } = sending;
  const { transmitted, dropped, held } = driver.counters();
  const seconds = Math.max((performance.now() - started) / 1000, 1e-9);
  const all: Record<string, number> = { ...tally.dropped() };
  for (const [reason, packets] of Object.entries(dropped)) all[reason] = (all[reason] ?? 0) + packets;
  return {
    ...{ created, transmitted, dropped: all, held, seconds },
    packetsPerSecond: transmitted.packets / seconds,
    bitsPerSecond: (transmitted.bytes * 8) / seconds,
  };
}

export function closeSending(sending: Sending): void {
  releaseSending(sending);
  destroyBurst(sending.arena, sending.burst);
  sending.edge.close();
  sending.tally.close();
}
