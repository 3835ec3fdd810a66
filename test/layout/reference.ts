// A second reading of a layout: a plain interpreter over BigInt that tests compare the WebAssembly with.
import {
  CUT_BY_DATAGRAM,
  CUT_END,
  CUT_FIELDS,
  CUT_HAS_CHANGED,
  CUT_HAS_CHUNK,
  CUT_IS_CONTROL,
  CUT_IS_DATA,
  CUT_IS_LOST,
  CUT_IS_MALFORMED,
  CUT_IS_OTHER,
  CUT_MORE,
  CUT_SIZED,
  CUT_START,
  DATAGRAM_HEAD_LIMIT,
} from "../../src/kernels/structs.js";
import {
  type DatagramView,
  holds,
  OutsideDatagram,
  readExtent,
  readItems,
  readValue,
  viewDatagram,
} from "../../src/layout/evaluate.js";
import {
  type CasePlan,
  fieldGroups,
  KIND_GROUP_SHIFT,
  LARGEST_POSITION,
  type LayoutPlan,
  type Placing,
  type Ratio,
} from "../../src/layout/plan.js";

export interface Cut {
  flags: number;
  stream: bigint;
  chunk: bigint;
  position: bigint;
  size: bigint;
  data: number;
  length: number;
  changed: bigint;
  kind: number;
}

const empty = { stream: 0n, chunk: 0n, position: 0n, size: 0n, data: 0, length: 0, changed: 0n, kind: 0 };

export function referenceCuts(
  plan: LayoutPlan,
  bytes: Uint8Array,
  headLength = Math.min(bytes.length, DATAGRAM_HEAD_LIMIT),
): Cut[] {
  const view = viewDatagram(
    bytes.subarray(0, headLength),
    bytes.length,
    bytes.subarray(Math.max(0, bytes.length - 8)),
  );
  try {
    if (!holds(view, plan.when)) return [{ ...empty, flags: CUT_IS_OTHER }];
    const one = plan.cases.find(({ when }) => holds(view, when));
    if (one === undefined) throw new Error("case 0 always matches");
    return cutsOf(view, one);
  } catch (error) {
    if (error instanceof OutsideDatagram) return [{ ...empty, flags: CUT_IS_MALFORMED }];
    throw error;
  }
}

function insist(condition: boolean): void {
  if (!condition) throw new OutsideDatagram();
}

function cutsOf(view: DatagramView, one: CasePlan): Cut[] {
  const cut: Cut = { ...empty, flags: CUT_IS_DATA, kind: one.number };
  view.header = readExtent(view, one.header);
  insist(view.header <= view.length);
  if (one.items !== undefined) readItems(view, one.items);
  let bit = 0n;
  for (const { field, bits } of one.stream) {
    cut.stream |= readValue(view, field) << bit;
    bit += 8n * BigInt(Math.ceil(bits / 8));
  }
  if (holds(view, one.stop)) return [{ ...cut, flags: CUT_IS_CONTROL }];
  if (one.chunk !== undefined) {
    cut.chunk = readValue(view, one.chunk);
    cut.flags |= CUT_HAS_CHUNK;
    if (one.ids.kind === "counter") insist(cut.chunk >= one.ids.first && cut.chunk <= one.ids.last);
  }
  if (one.changed !== undefined) {
    cut.changed = readValue(view, one.changed);
    cut.flags |= CUT_HAS_CHANGED;
  }
  if (holds(view, one.start)) cut.flags |= CUT_START;
  if (holds(view, one.end)) cut.flags |= CUT_END;
  const size = sizeOf(view, one);
  if (size !== undefined) {
    insist(size <= LARGEST_POSITION);
    cut.size = size;
    cut.flags |= CUT_SIZED;
  }
  cut.data = view.header;
  cut.length = view.length - view.header;
  fieldGroups(one).forEach(({ when, fields }, index) => {
    if (when !== undefined && !holds(view, when)) return;
    if (when !== undefined) cut.kind |= 1 << (KIND_GROUP_SHIFT + index);
    cut.flags |= CUT_FIELDS;
    for (const field of fields) if (field.kind === "bytes") readValue(view, field);
  });
  if (holds(view, one.control)) {
    cut.flags |= CUT_IS_CONTROL;
    place(view, cut, one.place, true);
    return [cut];
  }
  if (holds(view, one.lost)) cut.flags |= CUT_IS_LOST;
  if (one.slices !== undefined) return slicesOf(view, cut, one.slices);
  place(view, cut, one.place, false);
  bound(view, cut, one);
  if (one.place.by === "offset" && one.place.unit !== "datagram") fits(cut);
  return [cut];
}

function sizeOf(view: DatagramView, one: CasePlan): bigint | undefined {
  if (one.size === undefined || !holds(view, one.size.when)) return undefined;
  const [first] = one.size.product;
  if (first.kind === "item" && first.optional && !view.items.has(first.item)) return undefined;
  return one.size.product.reduce((all, factor) => all * readValue(view, factor), 1n) / one.size.over;
}

function place(view: DatagramView, cut: Cut, placing: Placing, control: boolean): void {
  if (placing.by === "arrival") return;
  cut.position = readValue(view, placing.field);
  if (placing.by === "sequence") return;
  if (control && cut.position < placing.base) cut.position = placing.base;
  insist(cut.position >= placing.base);
  cut.position -= placing.base;
  if (placing.unit === "datagram") {
    cut.flags |= CUT_BY_DATAGRAM;
    insist(cut.position <= LARGEST_POSITION);
  } else cut.position = scaled(cut.position, placing.unit);
}

function scaled(value: bigint, unit: Ratio): bigint {
  insist(value <= LARGEST_POSITION / unit.times);
  insist((value * unit.times) % unit.over === 0n);
  return (value * unit.times) / unit.over;
}

function bound(view: DatagramView, cut: Cut, one: CasePlan): void {
  if (one.length !== undefined) {
    const value =
      readValue(view, one.length.field) +
      one.length.plus -
      (one.length.includesHeader ? BigInt(view.header) : 0n);
    insist(value >= 0n && value <= BigInt(cut.length));
    cut.length = Number(value);
  }
  if (one.trim === undefined || !holds(view, one.trim.when)) return;
  const by = typeof one.trim.by === "number" ? BigInt(one.trim.by) : readValue(view, one.trim.by);
  insist(by <= BigInt(cut.length));
  cut.length -= Number(by);
}

function fits(cut: Cut): void {
  const last = cut.position + BigInt(cut.length);
  insist(last <= LARGEST_POSITION);
  insist((cut.flags & CUT_SIZED) === 0 || last <= cut.size);
}

function slicesOf(view: DatagramView, cut: Cut, slices: NonNullable<CasePlan["slices"]>): Cut[] {
  const first = readExtent(view, slices.at);
  const headers: number[] = [];
  for (let at = first; ; at += slices.bytes) {
    insist(at + slices.bytes <= Math.min(view.head.length, view.length));
    headers.push(at);
    insist(headers.length <= slices.most);
    if (!holds(view, slices.more, at)) break;
  }
  let data = first + headers.length * slices.bytes;
  return headers.map((at, index) => {
    const length = readValue(view, slices.length, at);
    insist(BigInt(data) + length <= BigInt(view.length));
    let position = 0n;
    for (const { field, unit } of slices.place) {
      position += scaled(readValue(view, field, at), unit);
      insist(position <= LARGEST_POSITION);
    }
    const more = index + 1 < headers.length;
    const flags = more ? (cut.flags & ~CUT_END) | CUT_MORE : cut.flags;
    const slice = { ...cut, flags, position, data, length: Number(length) };
    fits(slice);
    data += Number(length);
    return slice;
  });
}
