import type { WasmMemory } from "../kernels/webassembly.js";
import { compileModule, instantiate } from "../wasm/encoder.js";
import { layoutError } from "./parse.js";
import { type CasePlan, type LayoutPlan, largest, type Read } from "./plan.js";
import { resolveLayout } from "./resolve.js";
import { planSettings } from "./resolve-scatter.js";
import { type ControlPlan, planControl, writeControl } from "./scatter-control.js";
import {
  emitHeaderProgram,
  STATE_BYTES,
  STATE_LAST,
  STATE_LAST_TEMPLATE,
  STATE_SEQUENCE,
  STATE_SIZE,
  STATE_TEMPLATE,
  templateStride,
} from "./scatter-emit.js";
import { unwritable } from "./scatter-errors.js";
import { type Drafts, planForm, type ScatterForm } from "./scatter-plan.js";
import { type Draft, locate } from "./scatter-solve.js";
import { verifyScatter } from "./scatter-verify.js";
import type { Layout } from "./types.js";

export interface ScatterLayoutOptions {
  readonly parameters?: Readonly<Record<string, number>>;
  /** Bytes of a full datagram's payload: header, data and tail. 1,400 if absent. */
  readonly datagramSize?: number;
  /** Values for the layout's fields and for the words of its control datagrams. */
  readonly fields?: Readonly<Record<string, number | bigint>>;
  /** The case to send, by its name; the layout itself if absent. */
  readonly variant?: string;
}

/** A layout turned round: it makes the headers of the datagrams that carry a chunk. */
export interface ScatterPlan {
  readonly name: string;
  /** Bytes before the data of a datagram, at most: fewer where it has fewer slices (SEND_HEADER_LENGTH). */
  readonly headerBytes: number;
  /** Bytes behind the data of each datagram; written behind the header. */
  readonly tailBytes: number;
  /** Data of a full datagram. */
  readonly dataBytes: number;
  /** Bytes of arena that a scatterer needs, 8-aligned. */
  readonly regionBytes: number;
  /** A sender's state over one memory, in `regionBytes` of it at `region`. */
  instantiate(memory: WasmMemory, region: number): Scatterer;
}

/** How a chunk is sent: control datagrams, then data, then control datagrams. */
export interface ChunkShape {
  readonly before: number;
  readonly datagrams: number;
  readonly after: number;
  readonly id: bigint;
}

export interface Scatterer {
  /**
   * Starts a chunk of so many bytes. `ordinal` counts chunks from 0; its id follows from it. Throws ERR_LAYOUT
   * if the layout cannot say what so large a chunk needs.
   */
  begin(bytes: number, ordinal: number | bigint): ChunkShape;
  /** Writes the headers of data datagrams where a SEND table says (SEND_HEADER is given, the rest is filled in), and which slice of the chunk each carries. */
  headers(table: number, first: number, count: number): void;
  /** Writes control datagram number `index` (those before the data first) at an address; returns its bytes. */
  control(index: number, address: number): number;
  /** Datagrams that say that the stream stops. */
  readonly stops: number;
  stop(index: number, address: number): number;
}

/** Compiles the sending side of a layout. Throws ERR_LAYOUT where the layout's rules cannot be met by any header. */
export function compileScatter(layout: Layout, options: ScatterLayoutOptions = {}): ScatterPlan {
  const plan = resolveLayout(layout, options.parameters);
  const one = chosenCase(layout, plan, options.variant);
  const scatter = planSettings(layout, one.number, options.parameters);
  const fields = new Map(Object.entries(options.fields ?? {}).map(([name, value]) => [name, BigInt(value)]));
  checkNames(layout, one, scatter.words, fields);
  const form = planForm(plan, one, scatter.set, { datagramSize: options.datagramSize ?? 1400, fields });
  const wanted = (controls: readonly ControlPlan[]) =>
    controls.filter(
      ({ given, absent }) =>
        (given === undefined || fields.has(given)) && (absent === undefined || !fields.has(absent)),
    );
  const before = wanted(planControl(scatter.before));
  const after = wanted(planControl(scatter.after));
  const stop = wanted(planControl(scatter.stop));
  const module = compileModule(emitHeaderProgram(form));
  const templateBytes = form.most * templateStride(form);
  const scatterPlan: ScatterPlan = {
    name: plan.name,
    headerBytes: form.headerBytes,
    tailBytes: form.tailBytes,
    dataBytes: form.dataBytes,
    regionBytes: STATE_SIZE + 2 * templateBytes,
    instantiate(memory, region) {
      const program = instantiate<HeaderProgram>(module, memory);
      const state: State = {
        form,
        memory,
        region,
        templateBytes,
        step: BigInt(scatter.step),
        sequence: 0n,
        chunk: undefined,
      };
      const controls = [...before, ...after];
      return {
        begin(bytes, ordinal) {
          const { id, datagrams } = beginChunk(state, bytes, BigInt(ordinal));
          return { before: before.length, datagrams, after: after.length, id };
        },
        headers: (table, first, count) => program.headers(table, first, count, region),
        control: (index, address) =>
          writeControl(controls[index], memory, address, { ...chunkOf(state), fields }),
        stops: stop.length,
        stop: (index, address) => writeControl(stop[index], memory, address, { ...chunkOf(state), fields }),
      };
    },
  };
  verifyScatter(layout, options.parameters, scatterPlan, form);
  return scatterPlan;
}

interface HeaderProgram {
  headers(table: number, first: number, count: number, state: number): void;
}

interface State {
  readonly form: ScatterForm;
  readonly memory: WasmMemory;
  readonly region: number;
  readonly templateBytes: number;
  readonly step: bigint;
  /** Sequence number of the next chunk's first datagram. */
  sequence: bigint;
  chunk:
    | { readonly id: bigint; readonly size: bigint; readonly datagrams: bigint; readonly sequence: bigint }
    | undefined;
}

function chunkOf(state: State): NonNullable<State["chunk"]> {
  return state.chunk ?? { id: 1n, size: 0n, datagrams: 0n, sequence: state.sequence };
}

function chosenCase(layout: Layout, plan: LayoutPlan, variant: string | undefined): CasePlan {
  const found = plan.cases.find(({ name, number }) =>
    variant === undefined ? number === 0 : name === variant,
  );
  if (found !== undefined) return found;
  const names = plan.cases.flatMap(({ name }) => (name === undefined ? [] : [name]));
  throw layoutError(["cases"], `layout ${layout.name} has no variant ${variant}; it has ${names.join(", ")}`);
}

function checkNames(
  layout: Layout,
  one: CasePlan,
  words: readonly string[],
  fields: ReadonlyMap<string, bigint>,
): void {
  const known = new Set([
    ...one.fields.map(({ name }) => name),
    ...one.stream.flatMap(({ name }) => (name === undefined ? [] : [name])),
    ...words,
  ]);
  for (const name of fields.keys())
    if (!known.has(name))
      throw layoutError(
        ["fields"],
        `layout ${layout.name} has no field ${name} to set; it has ${[...known].join(", ")}`,
      );
}

/** The id of a chunk by its number: round the counter, or in steps. */
function idOf(form: ScatterForm, ordinal: bigint, step: bigint): bigint {
  const { ids, chunk } = form.one;
  if (ids.kind === "counter") return ids.first + (ordinal % (ids.last - ids.first + 1n));
  const mask = chunk === undefined ? (1n << 64n) - 1n : largest(chunk);
  return ((ordinal + 1n) * step) & mask;
}

function beginChunk(state: State, bytes: number, ordinal: bigint): { id: bigint; datagrams: number } {
  const { form, memory, region, templateBytes } = state;
  const datagrams = countDatagrams(form, bytes);
  checkReach(form, bytes, datagrams);
  const id = idOf(form, ordinal, state.step);
  const words = { id, step: (ordinal + 1n) * state.step, bytes: BigInt(bytes), datagrams: BigInt(datagrams) };
  state.chunk = { id, size: words.bytes, datagrams: words.datagrams, sequence: state.sequence };
  const view = new DataView(memory.buffer);
  const all = new Uint8Array(memory.buffer);
  (["all", "last"] as const).forEach((which, index) => {
    const drafts = [form.drafts, form.continued ?? form.drafts].map((each) => each[which]);
    for (const { read, to, plus, over } of form.chunkFields) {
      const value = (words[to] + plus) / over;
      const fits = to === "step" || to === "id" ? value & largest(read) : value;
      if (fits > largest(read))
        throw layoutError([], `a chunk of ${bytes} bytes is larger than this layout can say`);
      for (const draft of drafts) writeBits(draft, read, fits);
    }
    const at = region + STATE_SIZE + index * templateBytes;
    for (let slices = 1; slices <= form.most; slices++)
      all.set(templateOf(form, which, slices), at + (slices - 1) * templateStride(form));
    view.setUint32(region + (index === 0 ? STATE_TEMPLATE : STATE_LAST_TEMPLATE), at, true);
  });
  view.setUint32(region + STATE_LAST, datagrams - 1, true);
  view.setBigUint64(region + STATE_SEQUENCE, BigInt.asUintN(64, state.sequence), true);
  view.setBigUint64(region + STATE_BYTES, words.bytes, true);
  state.sequence += words.datagrams;
  return { id, datagrams };
}

/** Header and tail of a datagram with so many slices; all but the last slice's header say that another follows. */
function templateOf(form: ScatterForm, which: keyof Drafts, slices: number): Uint8Array {
  const { headerBytes, sliceBytes, tailBytes, bytes, most } = form;
  const last = form.drafts[which];
  const { head } = slices === 1 ? last : (form.continued ?? form.drafts)[which];
  const sliceAt = headerBytes - most * sliceBytes;
  const template = new Uint8Array(bytes);
  template.set(head.subarray(0, sliceAt + sliceBytes));
  for (let slice = 1; slice < slices; slice++) {
    const from = slice === slices - 1 ? last.head : head;
    template.set(from.subarray(sliceAt, sliceAt + sliceBytes), sliceAt + slice * sliceBytes);
  }
  template.set(last.tail.subarray(8 - tailBytes), headerBytes);
  return template;
}

function countDatagrams(form: ScatterForm, bytes: number): number {
  const { dataBytes, rowBytes, most } = form;
  if (rowBytes === 0 || most > 1) return Math.max(1, Math.ceil(bytes / dataBytes));
  const rows = Math.floor(bytes / rowBytes);
  return Math.max(1, rows * Math.ceil(rowBytes / dataBytes) + Math.ceil((bytes % rowBytes) / dataBytes));
}

function checkReach(form: ScatterForm, bytes: number, datagrams: number): void {
  const refuse = (why: string) => layoutError([], `a chunk of ${bytes} bytes cannot be sent: ${why}`);
  if (!(bytes >= 0 && bytes <= 2 ** 32 - 1)) throw refuse("it is larger than 4 GiB");
  if (form.single && datagrams > 1)
    throw refuse(`it takes ${datagrams} datagrams, and every datagram ends its chunk`);
  if (BigInt(datagrams) > form.mostDatagrams)
    throw refuse(`it takes ${datagrams} datagrams, and the place field counts ${form.mostDatagrams}`);
  if (BigInt(bytes) - 1n > form.mostPosition)
    throw refuse(`the place field reaches ${form.mostPosition} bytes`);
  if (BigInt(bytes) % lengthGranule(form) !== 0n)
    throw refuse(`its length field counts ${lengthGranule(form)} bytes`);
}

function lengthGranule(form: ScatterForm): bigint {
  const { length, slices } = form.one;
  const read = slices?.length ?? length?.field;
  return read?.kind === "bytes" ? read.times : 1n;
}

/** Overwrites a field in a template; its bits were claimed when the form was planned. */
function writeBits(draft: Draft, read: Read, value: bigint): void {
  const spot = locate(draft, read);
  if (spot === undefined) throw unwritable("a field stands where scatter cannot write");
  const data = spot.inTail ? draft.tail : draft.head;
  const bits = (value / spot.read.times) << spot.read.shift;
  for (let k = 0; k < spot.read.bytes; k++) {
    const mask = Number((spot.read.mask >> BigInt(8 * k)) & 0xffn);
    const index = spot.at + (spot.read.little ? k : spot.read.bytes - 1 - k);
    data[index] = (data[index] & ~mask) | (Number((bits >> BigInt(8 * k)) & 0xffn) & mask);
  }
}
