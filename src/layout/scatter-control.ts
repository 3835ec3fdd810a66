import type { WasmMemory } from "../kernels/webassembly.js";
import { layoutError } from "./parse.js";
import { largest } from "./plan.js";
import type { PlannedControl } from "./resolve-scatter.js";
import { wordOf } from "./scatter-plan.js";

/** A control datagram that scatter sends, and when. */
export interface ControlPlan extends PlannedControl {
  readonly given: string | undefined;
  readonly absent: string | undefined;
}

/** What the words of a control datagram stand for. */
export interface ControlWords {
  readonly id: bigint;
  readonly size: bigint;
  readonly datagrams: bigint;
  readonly sequence: bigint;
  readonly fields: ReadonlyMap<string, bigint>;
}

export function planControl(controls: readonly PlannedControl[]): ControlPlan[] {
  return controls.map((control) => ({ ...control, given: control.form.if, absent: control.form.unless }));
}

/** Writes one control datagram at an address; returns its bytes. */
export function writeControl(
  control: ControlPlan,
  memory: WasmMemory,
  address: number,
  words: ControlWords,
): number {
  const bytes = new Uint8Array(memory.buffer, address, control.form.bytes).fill(0);
  for (const { setting, read } of control.set) {
    if (read.kind !== "bytes") continue;
    const value =
      (wordValue(setting.to, wordOf(setting), words) + BigInt(setting.plus ?? 0)) / BigInt(setting.over ?? 1);
    if (value > largest(read))
      throw layoutError([], `${setting.to} is ${value}, more than its field can hold`);
    const bits = (value / read.times) << read.shift;
    for (let k = 0; k < read.bytes; k++) {
      const mask = Number((read.mask >> BigInt(8 * k)) & 0xffn);
      const index = read.at.base + (read.little ? k : read.bytes - 1 - k);
      bytes[index] = (bytes[index] & ~mask) | (Number((bits >> BigInt(8 * k)) & 0xffn) & mask);
    }
  }
  return control.form.bytes;
}

function wordValue(to: number | string, word: string | undefined, words: ControlWords): bigint {
  if (word === undefined) return BigInt(to);
  const given = words.fields.get(word);
  if (given !== undefined) return given;
  if (word === "chunk") return words.id;
  if (word === "size") return words.size;
  if (word === "datagrams") return words.datagrams;
  return word === "sequence" ? words.sequence : 0n;
}
