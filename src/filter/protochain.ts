import {
  all,
  and,
  binary,
  type Condition,
  constant,
  equals,
  headerLength,
  load,
  not,
  or,
  slotValue,
  type Value,
} from "./ir.js";
import { carries, IPV4, IPV6 } from "./link.js";
import { type FilterState, fault, loadNetwork, takeSlot } from "./state.js";

const NO_NEXT_HEADER = 59;
const AUTHENTICATION = 51;
/** Extension headers of IPv6 whose length is in units of eight bytes: hop-by-hop, destination, routing, fragment. */
const EXTENSIONS = [0, 60, 43, 44];
/** How many headers are followed. The kernel takes no loops, so the walk is written out. */
const STEPS = 10;

/**
 * Whether a protocol is anywhere in the chain of headers. Like libpcap's, the walk takes the length of an
 * authentication header for the place where the next header starts.
 */
export function protochain(state: FilterState, protocol: number, within: string): Condition {
  if (within === "") return or(chain(state, protocol, "ip"), chain(state, protocol, "ip6"));
  if (within !== "ip" && within !== "ip6")
    throw fault(
      state,
      `"${within} protochain" does not exist`,
      `"protochain" can follow ip and ip6, or stand alone`,
    );
  return chain(state, protocol, within);
}

function chain(state: FilterState, protocol: number, within: "ip" | "ip6"): Condition {
  if (state.payload.base !== undefined)
    throw fault(state, `"protochain" cannot follow headers of variable length`, "use it before the tunnel");
  const { values } = state;
  const current = takeSlot(state);
  const place = takeSlot(state);
  const next = takeSlot(state);
  const start = state.payload.bytes + state.network;
  const set = (slot: number, value: Value): Condition => ({ kind: "assign", slot, value });
  const byteAt = (offset: number) => load(values, 1, slotValue(values, place), start + offset);
  const units = (bytes: Value, plus: number, times: number) =>
    binary(values, "mul", binary(values, "add", bytes, constant(values, plus)), constant(values, times));
  const is = (number: number) => equals(values, slotValue(values, current), number);

  let rest: Condition = is(protocol);
  for (let step = 0; step < STEPS; step++) {
    const authenticated = all(is(AUTHENTICATION), set(next, byteAt(0)), set(place, units(byteAt(1), 2, 4)));
    const extended = all(
      or(or(is(EXTENSIONS[0]), is(EXTENSIONS[1])), or(is(EXTENSIONS[2]), is(EXTENSIONS[3]))),
      set(next, byteAt(0)),
      set(place, binary(values, "add", units(byteAt(1), 1, 8), slotValue(values, place))),
    );
    const goesOn = within === "ip6" ? or(extended, authenticated) : authenticated;
    const further = and(set(current, slotValue(values, next)), rest);
    rest = or(is(protocol), all(not(is(NO_NEXT_HEADER)), goesOn, further));
  }
  const isIp = carries(state, within === "ip" ? IPV4 : IPV6);
  const first =
    within === "ip"
      ? and(set(current, loadNetwork(state, 9, 1)), set(place, headerLength(values, start)))
      : and(set(current, loadNetwork(state, 6, 1)), set(place, constant(values, 40)));
  state.slots -= 3;
  return all(isIp, first, rest);
}
