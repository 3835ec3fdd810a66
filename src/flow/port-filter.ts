import { MillraceError } from "../errors.js";
import { ABS, ANCILLARY, LD } from "../filter/classic.js";
import { compileFilter, DEFAULT_SNAPLEN, type Filter, type FilterOptions } from "../filter/compile.js";
import { verify } from "../filter/verify.js";
import { compileModule, instantiateClassifier } from "../filter/wasm.js";
import type { ArenaMemory } from "../memory/arena.js";
import { reasonsOf } from "../packet/context.js";
import type { Capabilities, PortDriver } from "../ports/port.js";

/** A filter in its place before a reader. */
export interface PortFilter {
  readonly expression: string;
  /** Where it runs: in the kernel's socket, in XDP, or here. */
  readonly place: "socket" | "xdp" | "wasm";
  /** Drops what does not match from a burst, under `filter`; nothing where the port has done it already. */
  apply(burst: number): void;
}

const INTERFACE = ANCILLARY + 8; // SKF_AD_IFINDEX

/** How filters are compiled for a port's packets; for a socket that sees their IP headers although readers do not. */
function filterOptions({ linkType, live }: Capabilities, attaches: boolean): FilterOptions {
  if (linkType === "DATAGRAM" && attaches) return { linkType: "RAW" };
  return live ? { linkType, tagsBeside: true } : { linkType, fromFile: true };
}

/** Puts a filter at the deepest place that the port has; `snaplen`: bytes that it keeps of a packet. Throws ERR_FILTER. */
export function attachPortFilter(
  memory: ArenaMemory,
  driver: PortDriver,
  filter: string | Filter,
  snaplen: number = DEFAULT_SNAPLEN,
): PortFilter {
  const compiled =
    typeof filter === "string"
      ? compileFilter(filter, { ...filterOptions(driver.can, driver.attachFilter !== undefined), snaplen })
      : filter;
  verify(compiled.program); // a Filter may be of the caller's own making
  const place = driver.attachFilter?.(compiled.program);
  if (place !== undefined) return { expression: compiled.expression, place, apply() {} };
  return burstFilter(memory, compiled);
}

/** The filter in WebAssembly, over bursts. Throws ERR_FILTER for one that asks for what only the kernel knows. */
export function burstFilter(memory: ArenaMemory, { expression, program }: Filter): PortFilter {
  if (program.some(([code, , , k]) => (code & 0xe7) === (LD | ABS) && k === INTERFACE))
    throw new MillraceError("ERR_FILTER", "filter: ifindex is not known where this filter has to run", {
      hint: "it is on packet: ports, and on xdp: ports with all queues of their interface",
    });
  const classifier = instantiateClassifier(compileModule([program]), memory.memory);
  const verdict = reasonsOf(memory).number("filter");
  return {
    expression,
    place: "wasm",
    apply(burst) {
      classifier.classify(0, burst, verdict, 0);
    },
  };
}
