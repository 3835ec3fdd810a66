// How place fields follow from where the data is: by count, by bytes, by row and column.
import { type CasePlan, largest, type Ratio, type Read } from "./plan.js";
import type { Patch, Varying } from "./scatter-emit.js";
import { unwritable } from "./scatter-errors.js";

export interface PlacePatch {
  readonly read: Read;
  readonly source: Varying;
  readonly scale?: Partial<Patch>;
  /** Data must be cut at multiples of so many bytes. */
  readonly unit?: bigint;
}

export function placePatches(one: CasePlan, sliceAt: number): PlacePatch[] {
  const { place, slices } = one;
  if (slices !== undefined) return rowPatches(one, sliceAt);
  if (place.by === "arrival" || place.field.kind === "fixed") return [];
  const { field } = place;
  if (place.by === "sequence") return [{ read: field, source: "sequence" }];
  if (place.unit === "datagram") return [{ read: field, source: "index", scale: { base: place.base } }];
  const { times, over } = place.unit;
  return [
    { read: field, source: "position", scale: { times: over, over: times, base: place.base }, unit: times },
  ];
}

/** Row and column, as multiples of two units, the larger first. */
function rowPatches(one: CasePlan, sliceAt: number): PlacePatch[] {
  const terms = [...(one.slices?.place ?? [])].sort((a, b) => compareRatio(b.unit, a.unit));
  const [row, column] = terms;
  if (terms.length > 2) throw unwritable("it places a slice by more than two fields");
  const scale = { times: row.unit.over, over: row.unit.times };
  const whole: PlacePatch = { read: movedRead(row.field, sliceAt), source: "position", scale };
  if (column === undefined) return [{ ...whole, unit: row.unit.times }];
  if (row.unit.over !== 1n) throw unwritable("its rows are not a whole number of bytes");
  return [
    whole,
    {
      read: movedRead(column.field, sliceAt),
      source: "position",
      scale: { modulo: row.unit.times, times: column.unit.over, over: column.unit.times },
      // Four pixels, the largest group of RFC 4175, 4.3: cut at their borders, no group is.
      unit: (column.unit.times * 4n) / gcd(4n, column.unit.over),
    },
  ];
}

export function rowUnit(one: CasePlan): bigint {
  const units = (one.slices?.place ?? []).map(({ unit }) => unit).sort((a, b) => compareRatio(b, a));
  return units.length < 2 ? 0n : units[0].times;
}

/** How much data a datagram carries, in at most how many slices. */
export interface Packing {
  readonly most: number;
  readonly dataBytes: number;
}

/** ST 2110-20 allows a datagram three headers of sample row data. */
const MOST_SLICES = 3;

/**
 * The way that takes the fewest datagrams: each within a row, or each with the end of one row, perhaps a whole
 * one, and the start of the next. All but a chunk's last then carry the same bytes, whole `granule`s. `room` says
 * for how many bytes of data there is room beside so many slice headers.
 */
export function packRows(
  rowBytes: number,
  granule: number,
  most: number,
  room: (slices: number) => number,
): Packing {
  const fit = (slices: number) => Math.floor(Math.max(0, room(slices)) / granule) * granule;
  const within = room(1) >= rowBytes ? rowBytes : fit(1);
  let best: Packing = { most: 1, dataBytes: within };
  let carried = within > 0 ? rowBytes / Math.ceil(rowBytes / within) : 0;
  if (rowBytes % granule !== 0) return best;
  for (let slices = 2; slices <= Math.min(most, MOST_SLICES); slices++) {
    // Whole rows start where rows do; else the first slice may be as short as a granule.
    const whole = slices * rowBytes;
    const bytes = room(slices) >= whole ? whole : Math.min(fit(slices), whole - rowBytes + granule);
    if (bytes <= carried) continue;
    best = { most: slices, dataBytes: bytes };
    carried = bytes;
  }
  return best;
}

function compareRatio(a: Ratio, b: Ratio): number {
  return Number(a.times * b.over - b.times * a.over);
}

export function movedRead(read: Read, by: number): Read {
  return read.kind === "bytes" ? { ...read, at: { ...read.at, base: read.at.base + by } } : read;
}

/** How far the place field can count. */
export function reach(one: CasePlan): { mostDatagrams: bigint; mostPosition: bigint } {
  const endless = { mostDatagrams: 2n ** 32n - 1n, mostPosition: 2n ** 32n - 1n };
  const { place, slices } = one;
  if (slices !== undefined) {
    const last = slices.place.reduce(
      (sum, { field, unit }) => sum + (largest(field) * unit.times) / unit.over,
      0n,
    );
    return { ...endless, mostPosition: last };
  }
  if (place.by !== "offset") return endless;
  const count = largest(place.field) - place.base;
  if (place.field.kind === "fixed") return { mostDatagrams: 1n, mostPosition: endless.mostPosition };
  if (place.unit === "datagram") return { ...endless, mostDatagrams: count + 1n };
  return { ...endless, mostPosition: (count * place.unit.times) / place.unit.over };
}

export function gcd(a: bigint, b: bigint): bigint {
  return b === 0n ? a : gcd(b, a % b);
}

export function lcm(a: bigint, b: bigint): bigint {
  return (a / gcd(a, b)) * b;
}
