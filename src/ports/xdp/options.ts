import { MillraceError } from "../../errors.js";
import { CONTROL_POOL_FRAMES } from "../../kernels/structs.js";
import type { XdpMode } from "../../linux/bpf.js";
import { readChannels } from "../../linux/ethtool.js";
import type { Link } from "../../linux/links.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { checkParameters, type Locator, numberParameter } from "../locator.js";

/** What the options of `xdp:IFACE?…` ask for. */
export interface XdpOptions {
  /** The receive and transmit queues to open. */
  readonly queues: readonly number[];
  /** undefined: native where the driver has it, else generic. */
  readonly mode: XdpMode | undefined;
  /** undefined: zero-copy where the driver has it, else copy. */
  readonly bind: "zero-copy" | "copy" | undefined;
  /** Entries of each ring. */
  readonly ring: number;
  /** Microseconds that a receive call may poll the driver for; undefined: it does not. */
  readonly busyPoll: number | undefined;
  readonly promiscuous: boolean;
}

const KNOWN = ["queue", "queues", "mode", "bind", "ring", "busy-poll", "promisc"];

export function xdpOptions(arena: ArenaMemory, locator: Locator, link: Link): XdpOptions {
  checkParameters(locator, KNOWN);
  const available = queuesInUse(link);
  const queue = numberParameter(locator, "queue", 0, available - 1);
  const queues = numberParameter(locator, "queues", 1, available);
  if (queue !== undefined && queues !== undefined)
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": queue and queues cannot stand together`, {
      hint: "queue=N opens the one queue N, queues=N the first N",
    });
  const ring = numberParameter(locator, "ring", 64, 32768) ?? defaultRing(arena);
  if ((ring & (ring - 1)) !== 0)
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": ring=${ring} is not a power of two`);
  return {
    queues: queue === undefined ? Array.from({ length: queues ?? available }, (_, index) => index) : [queue],
    mode: choice(locator, "mode", ["native", "generic"]),
    bind: choice(locator, "bind", ["zero-copy", "copy"]),
    ring,
    busyPoll: numberParameter(locator, "busy-poll", 0, 1_000_000),
    promiscuous: choice(locator, "promisc", ["1", "0"]) !== "0",
  };
}

// rtnetlink tells how many queues an interface could have; its driver, how many it has.
function queuesInUse(link: Link): number {
  const channels = readChannels(link.name);
  return Math.max(1, channels === undefined ? 1 : channels.rx + channels.combined);
}

// A queue keeps a ring of frames filled and may have as many under way; several queues share one pool.
function defaultRing(arena: ArenaMemory): number {
  const pool = arena.u32[(arena.control + CONTROL_POOL_FRAMES) >>> 2];
  return Math.min(2048, Math.max(64, 2 ** Math.floor(Math.log2(pool / 6))));
}

function choice<T extends string>(locator: Locator, key: string, values: readonly T[]): T | undefined {
  const text = locator.parameters.get(key);
  const found = values.find((value) => value === text);
  if (text !== undefined && found === undefined)
    throw new MillraceError(
      "ERR_LOCATOR",
      `"${locator.text}": ${key}=${text} is not one of ${values.join(", ")}`,
    );
  return found;
}
