// Tests of ports: of TCP, UDP and SCTP, in IPv4 and IPv6.
import { and, type Condition, constant, equals, not, or, test, type Value } from "./ir.js";
import { carries, type Direction, eachEnd, IPV4, IPV6 } from "./link.js";
import { firstFragment, loadTransport4 } from "./network.js";
import { type FilterState, loadNetwork } from "./state.js";

/** What ports are asked for: those from `first` to `last`, compared as a range or as one number. */
export interface PortTest {
  readonly first: number;
  readonly last: number;
  readonly range: boolean;
  /** tcp, udp, sctp or empty for any of them. */
  readonly protocol: string;
  readonly direction: Direction;
}

const TRANSPORTS: ReadonlyMap<string, readonly number[]> = new Map([
  ["tcp", [6]],
  ["udp", [17]],
  ["sctp", [132]],
  ["", [132, 6, 17]],
]);

export function takesPorts(protocol: string): boolean {
  return TRANSPORTS.has(protocol);
}

/** Ports in IPv6 and IPv4. */
export function ports(state: FilterState, wanted: PortTest): Condition {
  return or(ports6(state, wanted), ports4(state, wanted));
}

export function ports4(state: FilterState, wanted: PortTest): Condition {
  const carried = (transport: number) =>
    and(equals(state.values, loadNetwork(state, 9, 1), transport), firstFragment(state));
  const found = inTransports(state, wanted, carried, (offset) => loadTransport4(state, offset, 2));
  return and(carries(state, IPV4), found);
}

export function ports6(state: FilterState, wanted: PortTest): Condition {
  const carried = (transport: number) => equals(state.values, loadNetwork(state, 6, 1), transport);
  const found = inTransports(state, wanted, carried, (offset) => loadNetwork(state, 40 + offset, 2));
  return and(carries(state, IPV6), found);
}

function inTransports(
  state: FilterState,
  wanted: PortTest,
  carried: (transport: number) => Condition,
  portAt: (offset: number) => Value,
): Condition {
  const [first, ...more] = TRANSPORTS.get(wanted.protocol)!.map((transport) =>
    and(
      carried(transport),
      eachEnd(wanted.direction, (end) => inRange(state, portAt(end === "src" ? 0 : 2), wanted)),
    ),
  );
  return more.length === 0 ? first : or(first, or(more[0], more[1]));
}

function inRange(state: FilterState, port: Value, { first, last, range }: PortTest): Condition {
  const { values } = state;
  if (!range) return equals(values, port, first);
  const low = constant(values, Math.min(first, last));
  const high = constant(values, Math.max(first, last));
  return and(test("ge", port, low), not(test("gt", port, high)));
}
