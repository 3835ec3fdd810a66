import { BURST_PACKETS } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../memory/burst.js";
import type { PortDriver } from "../ports/port.js";
import type { PortFilter } from "./port-filter.js";
import { createTally, type Tally } from "./tally.js";

/** Descriptors a burst has room for: some 40 GRO buffers' worth, small enough to stay in the second-level cache. */
export const BURST_DESCRIPTORS = 2048;

// How receive waits: it looks again a few times, lets the event loop turn, and then sleeps until there is more.
const SPINS = 64;
const TURNS = 20;
/** No turn of the event loop takes more than this, in milliseconds. */
export const TURN_BUDGET_MS = 4;

export type Wait = "busy" | "interrupt" | "adaptive";

/** Receives bursts from one driver, one at a time, into memory of its own. */
export interface Source {
  readonly driver: PortDriver;
  /** Offset of the arena burst that poll() fills. */
  readonly burst: number;
  readonly tally: Tally;
  /** Frees the burst before and receives the next; how many packets came. */
  poll(): number;
  /** Frees what is left of the burst now, and counts it by verdict. */
  release(): void;
  /** Keeps the burst until release() for whoever is at work on it, although the port may be closed meanwhile. */
  keep(): void;
  /** True once poll() will find nothing any more: the driver has ended, or the port was closed. */
  readonly ended: boolean;
  /** Resolves when poll() may find something, or the driver has ended. Rejects with the signal's reason. */
  wait(signal: AbortSignal): Promise<void>;
  /** True when this turn of the event loop has lasted long enough: then await turn(). */
  readonly overdue: boolean;
  turn(): Promise<void>;
  close(): void;
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function createSource(
  arena: ArenaMemory,
  driver: PortDriver,
  wait: Wait,
  filter?: PortFilter,
): Source {
  const burst = createBurst(arena, BURST_DESCRIPTORS);
  const tally = createTally(arena);
  const { kernels } = arena;
  // What is handed over late anyway is not there sooner for being looked for.
  const looksAgain = wait === "busy" || (wait === "adaptive" && driver.mark === undefined);
  let turnStarted = performance.now();
  let polls = 0;
  let ready = 0; // packets that wait() has received already
  let kept = false;
  let state: "open" | "closed" | "freed" = "open";
  const receive = () => {
    const packets = driver.receive(burst);
    if (packets > 0) filter?.apply(burst);
    return packets;
  };
  const look = () => {
    ready = receive();
    return ready > 0 || driver.ended;
  };
  const free = () => {
    destroyBurst(arena, burst);
    tally.close();
    state = "freed";
  };
  const turn = async () => {
    await nextTurn();
    turnStarted = performance.now();
  };
  const source: Source = {
    driver,
    burst,
    tally,
    poll() {
      if (state !== "open") return 0;
      if (ready > 0) {
        const packets = ready;
        ready = 0;
        return packets;
      }
      source.release();
      return receive();
    },
    release() {
      if (state === "freed") return;
      kept = false;
      if (arena.u32[(burst + BURST_PACKETS) >>> 2] !== 0)
        throwFault(arena, burst, kernels.burstRelease(burst, tally.offset));
      if (state === "closed") free();
    },
    keep() {
      kept = true;
    },
    get ended() {
      return state !== "open" || driver.ended;
    },
    async wait(signal) {
      signal.throwIfAborted();
      if (state !== "open") return;
      source.release();
      if (looksAgain) {
        for (let spin = 0; spin < SPINS; spin++) {
          if (look()) return;
          if ((spin & 7) === 7 && performance.now() - turnStarted > TURN_BUDGET_MS) break;
        }
        for (let turns = 0; wait === "busy" || turns < TURNS; turns++) {
          await turn();
          signal.throwIfAborted();
          if (source.ended || look()) return;
        }
      }
      await driver.readable(signal);
      turnStarted = performance.now();
    },
    get overdue() {
      // The clock is looked at every eighth burst.
      return (++polls & 7) === 0 && performance.now() - turnStarted > TURN_BUDGET_MS;
    },
    turn,
    close() {
      if (state !== "open") return;
      state = "closed";
      if (!kept) source.release();
    },
  };
  return source;
}
