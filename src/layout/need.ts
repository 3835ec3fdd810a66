import { DATAGRAM_HEAD_LIMIT } from "../kernels/structs.js";
import type { CasePlan, Condition, Extent, LayoutPlan, Read } from "./plan.js";
import { largest } from "./plan.js";

/**
 * How many bytes from a datagram's start a layout's program may look at: what has to be readable at its head
 * when fragments cut it. At most DATAGRAM_HEAD_LIMIT, also where lengths in the datagram leave it open.
 */
export function headNeed(plan: LayoutPlan): number {
  let need = conditionNeed(plan.when, undefined);
  for (const one of plan.cases) need = Math.max(need, caseNeed(one));
  return Math.min(need, DATAGRAM_HEAD_LIMIT);
}

function caseNeed(one: CasePlan): number {
  if (one.items !== undefined || one.slices !== undefined) return DATAGRAM_HEAD_LIMIT;
  const reads: (Read | undefined)[] = [
    ...one.stream.map(({ field }) => field),
    ...one.fields.map(({ field }) => field),
    ...(one.size?.product ?? []),
    one.length?.field,
    typeof one.trim?.by === "object" ? one.trim.by : undefined,
    one.chunk,
    one.changed,
    one.place.by === "arrival" ? undefined : one.place.field,
  ];
  const conditions = [
    one.when,
    one.end,
    one.start,
    one.control,
    one.lost,
    one.size?.when,
    one.trim?.when,
    ...one.fields.map(({ when }) => when),
  ];
  return Math.max(
    extentReads(one.header, one),
    ...reads.map((read) => readNeed(read, one)),
    ...conditions.map((condition) => (condition === undefined ? 0 : conditionNeed(condition, one))),
  );
}

/** The largest value that a length can have. */
function extentMost({ base, terms }: Extent): number {
  return terms.reduce(
    (sum, { field, times, plus }) => sum + plus + (field === undefined ? 0 : Number(largest(field)) * times),
    base,
  );
}

/** Bytes that have to be readable to compute a length. */
function extentReads({ terms }: Extent, one: CasePlan | undefined): number {
  return Math.max(
    0,
    ...terms.map(({ field, when }) =>
      Math.max(readNeed(field, one), when === undefined ? 0 : conditionNeed(when, one)),
    ),
  );
}

function readNeed(read: Read | undefined, one: CasePlan | undefined): number {
  if (read === undefined || read.kind === "fixed") return 0;
  if (read.kind === "item") return DATAGRAM_HEAD_LIMIT;
  if (read.from === "end") return 0; // read at the tail
  const start = read.from === "data" && one !== undefined ? extentMost(one.header) : 0;
  return Math.max(extentReads(read.at, one), start + extentMost(read.at) + read.bytes);
}

function conditionNeed(condition: Condition, one: CasePlan | undefined): number {
  switch (condition.kind) {
    case "constant":
      return 0;
    case "is":
      return readNeed(condition.field, one);
    case "not":
      return conditionNeed(condition.of, one);
    default:
      return Math.max(0, ...condition.of.map((each) => conditionNeed(each, one)));
  }
}
