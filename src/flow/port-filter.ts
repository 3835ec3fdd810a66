import { compileFilter, type Filter } from "../filter/compile.js";
import { compileModule, instantiateClassifier } from "../filter/wasm.js";
import type { ArenaMemory } from "../memory/arena.js";
import { reasonsOf } from "../packet/context.js";
import type { PortDriver } from "../ports/port.js";

/** A filter in its place before a reader. */
export interface PortFilter {
  readonly expression: string;
  /** Where it runs: in the kernel's socket, in XDP, or here. */
  readonly place: "socket" | "xdp" | "wasm";
  /** Drops what does not match from a burst, under `filter`; nothing where the port has done it already. */
  apply(burst: number): void;
}

/** Puts a filter at the deepest place that the port has. Throws ERR_FILTER. */
export function attachPortFilter(
  memory: ArenaMemory,
  driver: PortDriver,
  filter: string | Filter,
): PortFilter {
  const compiled =
    typeof filter === "string"
      ? compileFilter(filter, { linkType: driver.can.linkType, tagsBeside: driver.can.live })
      : filter;
  const place = driver.attachFilter?.(compiled.program);
  if (place !== undefined) return { expression: compiled.expression, place, apply() {} };
  return burstFilter(memory, compiled);
}

/** The filter in WebAssembly, over bursts. */
export function burstFilter(memory: ArenaMemory, { expression, program }: Filter): PortFilter {
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
