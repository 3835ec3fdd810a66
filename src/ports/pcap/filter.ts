import { ABS, ANCILLARY, type ClassicProgram, LD } from "../../filter/classic.js";
import { compileModule, instantiateClassifier } from "../../filter/wasm.js";
import { CAPTURE_FILTER, CAPTURE_REJECTED, CAPTURE_REJECTED_BYTES } from "../../kernels/captures.js";
import { startMapping } from "./readahead.js";
import { type CaptureReader, get, set } from "./state.js";

/**
 * Has the walk over the file run a filter, so that only what it takes comes into a burst. False for a program that
 * asks for what stands beside a packet's bytes, which the walk does not know yet. With `maps`, a large file is mapped
 * from here on.
 */
export function attachReaderFilter(reader: CaptureReader, program: ClassicProgram, maps = false): boolean {
  if (program.some(([code, , , k]) => (code & 0xe7) === (LD | ABS) && k >= ANCILLARY)) return false;
  const { kernels, memory } = reader.arena;
  const { table } = kernels;
  if (maps) startMapping(reader.ahead); // threads are at it while the program is compiled
  const place = get(reader, CAPTURE_FILTER) || freePlace(reader);
  table.set(place, instantiateClassifier(compileModule([program]), memory).matchers[0]);
  set(reader, CAPTURE_FILTER, place);
  return true;
}

const FREE = new WeakMap<object, number[]>();

/** A place in the table that a closed reader has left, or a new one. */
function freePlace({ arena: { kernels } }: CaptureReader): number {
  return FREE.get(kernels)?.pop() ?? kernels.table.grow(1);
}

export function detachReaderFilter(reader: CaptureReader): void {
  const { kernels } = reader.arena;
  const place = get(reader, CAPTURE_FILTER);
  if (place === 0) return;
  set(reader, CAPTURE_FILTER, 0);
  kernels.table.set(place, null);
  const free = FREE.get(kernels);
  if (free === undefined) FREE.set(kernels, [place]);
  else free.push(place);
}

/** Packets that the filter did not take. */
export function rejectedOf({ arena, state }: CaptureReader): { packets: number; bytes: number } {
  const count = (offset: number) => Number(arena.u64[(state + offset) / 8]);
  return { packets: count(CAPTURE_REJECTED), bytes: count(CAPTURE_REJECTED_BYTES) };
}
