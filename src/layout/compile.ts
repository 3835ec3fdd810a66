import type { WasmMemory, WasmModule } from "../kernels/webassembly.js";
import { compileModule, instantiate } from "../wasm/encoder.js";
import { emitCutProgram } from "./emit-cut.js";
import { holds, readExtent, readItems, readValue, viewDatagram } from "./evaluate.js";
import type { CasePlan, ChunkIdKind, Condition, LayoutPlan } from "./plan.js";
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
  /** What the chunk ids mean in datagrams of this CUT_KIND. */
  ids(kind: number): ChunkIdKind;
  /** What the chunk ids of the layout itself mean. */
  readonly chunkIds: ChunkIdKind;
  /** Datagrams name their chunk. */
  readonly hasChunk: boolean;
  /** Some datagram, or a changed field, says that a chunk ends with it. */
  readonly hasEnd: boolean;
  /** Some datagram opens its chunk: without it a chunk is not complete. */
  readonly hasStart: boolean;
  /** Whether data datagrams of this CUT_KIND carry fields that hold for the whole chunk: the first one's are its user's. */
  hasFields(kind: number): boolean;
  instantiate(memory: WasmMemory): CutProgram;
  /**
   * The fields a chunk shows, out of one datagram of `length` bytes: `head` is its first bytes, `tail` its last 8
   * (needed only where `head` does not reach them). Of a datagram that did not come out malformed.
   */
  readFields(head: Uint8Array, length: number, kind: number, tail?: Uint8Array): Record<string, bigint>;
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
    ids: (kind) => byNumber.get(kind)?.ids ?? { kind: "none" },
    chunkIds: base.ids,
    hasChunk: plan.cases.some(({ chunk }) => chunk !== undefined),
    hasEnd: plan.cases.some(({ end, changed }) => changed !== undefined || !isNever(end)),
    hasStart: false,
    hasFields: (kind) => byNumber.get(kind)?.fields.some(({ when }) => when === undefined) ?? false,
    instantiate: (memory) => instantiate<CutProgram>(module, memory),
    readFields: (head, length, kind, tail) => readFields(byNumber.get(kind) ?? base, head, length, tail),
    streamText: (low, high) => streamText(base, low | (high << 64n)),
  };
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

function readFields(
  one: CasePlan,
  head: Uint8Array,
  length: number,
  tail?: Uint8Array,
): Record<string, bigint> {
  const view = viewDatagram(head, length, tail);
  const shown: Record<string, bigint> = {};
  view.header = readExtent(view, one.header);
  if (one.items !== undefined) readItems(view, one.items);
  for (const { name, field, when } of one.fields) {
    if (when !== undefined && !holds(view, when)) continue;
    if (field.kind === "item" && !view.items.has(field.item)) continue;
    shown[name] = readValue(view, field);
  }
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
