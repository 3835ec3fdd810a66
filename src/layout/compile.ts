import type { WasmMemory, WasmModule } from "../kernels/webassembly.js";
import { compileModule, instantiate } from "../wasm/encoder.js";
import { emitCutProgram } from "./emit-cut.js";
import { holds, OutsideDatagram, readExtent, readItems, readValue, viewDatagram } from "./evaluate.js";
import { type CasePlan, type ChunkIdKind, type Condition, KIND_CASE, type LayoutPlan } from "./plan.js";
import { resolveLayout } from "./resolve.js";
import type { Layout } from "./types.js";

/** Where the data of datagrams belongs: in order of arrival, by a sequence number that wraps, or by an offset in its chunk. */
export type Placement =
  | { readonly by: "arrival" }
  | { readonly by: "sequence"; readonly bits: number }
  | { readonly by: "offset" };

/** The cut program over one memory. */
export interface CutProgram {
  /**
   * Says of `count` datagrams (a table of DATAGRAM_SIZE each, at `datagrams`) what they are: writes their cuts
   * (CUT_BYTES each, at `out`, room for `capacity`) and returns how many. Each datagram has one cut or, with
   * CUT_MORE on all but the last, several; all or none are written. So the last cut's CUT_DATAGRAM + 1 is the
   * number of datagrams consumed; it is below `count` only where the next did not fit.
   */
  cut(datagrams: number, count: number, out: number, capacity: number): number;
}

/** A layout with its parameters, compiled to WebAssembly. */
export interface CompiledLayout {
  readonly name: string;
  readonly plan: LayoutPlan;
  readonly placement: Placement;
  /** The most cuts one datagram can have: the least room for cut(). */
  readonly cutsPerDatagram: number;
  /** The module, which can be handed to workers. */
  readonly module: WasmModule;
  /** What the chunk ids of the layout itself mean. */
  readonly chunkIds: ChunkIdKind["kind"];
  /** First and last chunk id of each case, by its number. */
  readonly idBounds: readonly (readonly [first: bigint, last: bigint])[];
  /** Datagrams name their chunk. */
  readonly hasChunk: boolean;
  /** Some datagram, or a changed field, says that a chunk ends with it. */
  readonly hasEnd: boolean;
  /** Some datagram opens its chunk: without it a chunk is not complete. */
  readonly hasStart: boolean;
  instantiate(memory: WasmMemory): CutProgram;
  /**
   * The fields a chunk shows, out of the first bytes of a datagram whose cut had this CUT_KIND. A field that
   * `head` does not reach is left out.
   */
  readFields(head: Uint8Array, kind: number): Record<string, bigint>;
  /** A stream as people read it: its named fields, or nothing where the sender alone makes the stream. */
  streamText(low: bigint, high: bigint): string;
}

/** Compiles a layout, checked by parseLayout(), with its parameters. Throws ERR_LAYOUT naming the JSON path at fault. */
export function compileLayout(
  layout: Layout,
  parameters: Readonly<Record<string, number>> = {},
): CompiledLayout {
  const plan = resolveLayout(layout, parameters);
  const module = compileModule(emitCutProgram(plan));
  const byNumber = new Map(plan.cases.map((one) => [one.number, one]));
  const base = plan.cases[plan.cases.length - 1];
  return {
    name: plan.name,
    plan,
    module,
    placement: placementOf(plan),
    cutsPerDatagram: Math.max(...plan.cases.map(({ slices }) => slices?.most ?? 1)),
    chunkIds: plan.cases.find(({ ids }) => ids.kind !== "none")?.ids.kind ?? "none",
    idBounds: [...byNumber.keys()].sort((a, b) => a - b).map((number) => idBounds(byNumber.get(number))),
    hasChunk: plan.cases.some(({ chunk }) => chunk !== undefined),
    hasEnd: plan.cases.some(({ end, changed }) => changed !== undefined || !isNever(end)),
    hasStart: plan.cases.some(({ start }) => !isNever(start)),
    instantiate: (memory) => instantiate<CutProgram>(module, memory),
    readFields: (head, kind) => readFields(byNumber.get(kind & KIND_CASE) ?? base, head),
    streamText: (low, high) => streamText(base, low | (high << 64n)),
  };
}

function idBounds(one: CasePlan | undefined): [first: bigint, last: bigint] {
  return one?.ids.kind === "counter" ? [one.ids.first, one.ids.last] : [0n, 2n ** 64n - 1n];
}

function isNever(condition: Condition): boolean {
  return condition.kind === "constant" && !condition.value;
}

function placementOf(plan: LayoutPlan): Placement {
  for (const { place, slices } of plan.cases) {
    if (place.by === "sequence") return { by: "sequence", bits: place.bits };
    if (place.by === "offset" || slices !== undefined) return { by: "offset" };
  }
  return { by: "arrival" };
}

function readFields(one: CasePlan, head: Uint8Array): Record<string, bigint> {
  const view = viewDatagram(head, head.length);
  const shown: Record<string, bigint> = {};
  const reached = (read: () => void) => {
    try {
      read();
    } catch (error) {
      if (!(error instanceof OutsideDatagram)) throw error;
    }
  };
  reached(() => {
    view.header = readExtent(view, one.header);
    if (one.items !== undefined) readItems(view, one.items);
  });
  for (const { name, field, when } of one.fields)
    reached(() => {
      if (when !== undefined && !holds(view, when)) return;
      shown[name] = readValue(view, field);
    });
  return shown;
}

function streamText(one: CasePlan, key: bigint): string {
  let rest = key;
  const parts = one.stream.map(({ name, bits }) => {
    const bytes = BigInt(Math.ceil(bits / 8));
    const value = rest & ((1n << (8n * bytes)) - 1n);
    rest >>= 8n * bytes;
    return name === undefined ? `${value}` : `${name}=${value}`;
  });
  return parts.join(",");
}
