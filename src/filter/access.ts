import {
  all,
  always,
  and,
  type BinaryOp,
  binary,
  type Condition,
  equals,
  type LoadSize,
  load,
  not,
  test,
  type Value,
} from "./ir.js";
import { carries, IPV4, IPV6 } from "./link.js";
import { firstFragment, IP_PROTOCOLS, isProtocol, transport4 } from "./network.js";
import { type FilterState, fault, loadNetwork, takeRegister } from "./state.js";

/** An arithmetic expression: a value, and what must hold of a packet for it to have one. */
export interface Arithmetic {
  readonly value: Value;
  readonly needs: Condition | undefined;
  /** The number that is evaluated first, when it is a constant: libpcap looks at it for divisors and shifts. */
  readonly first: number | undefined;
  /** True: a number as it was written. */
  readonly plain?: boolean;
}

const NETWORK_LAYER = ["ip", "arp", "rarp", "atalk", "decnet", "sca", "lat", "moprc", "mopdl", "ip6"];
const TRANSPORT_LAYER = ["sctp", "tcp", "udp", "icmp", "igmp", "igrp", "pim", "vrrp", "carp"];

function both(first: Condition | undefined, second: Condition): Condition {
  return first === undefined ? second : and(first, second);
}

/** `protocol[index:size]`. */
export function access(state: FilterState, protocol: string, index: Arithmetic, size: number): Arithmetic {
  const { values } = state;
  takeRegister(state);
  state.registers--;
  if (size !== 1 && size !== 2 && size !== 4)
    throw fault(state, `${size} bytes cannot be read at once`, "a size is 1, 2 or 4");
  const at = (base: Value | undefined, offset: number): Value => {
    if (base === undefined) return load(values, size as LoadSize, index.value, offset);
    if (index.value.kind === "constant")
      return load(values, size as LoadSize, base, offset + index.value.value);
    return load(values, size as LoadSize, binary(values, "add", index.value, base), offset);
  };
  const made = (value: Value, needs: Condition | undefined): Arithmetic => ({
    value,
    needs,
    first: index.first,
  });
  const { payload, linkHeader, network } = state;
  const start = payload.bytes + network;
  if (protocol === "link") return made(at(linkHeader.base, linkHeader.bytes), index.needs);
  if (NETWORK_LAYER.includes(protocol))
    return made(at(payload.base, start), both(index.needs, isProtocol(state, protocol)));
  if (TRANSPORT_LAYER.includes(protocol)) {
    const checks = and(isProtocol(state, protocol), firstFragment(state));
    const needs = and(carries(state, IPV4), both(index.needs, checks));
    return made(at(transport4(state), start), needs);
  }
  if (protocol === "icmp6") {
    const [number] = IP_PROTOCOLS.get("icmp6")!;
    const needs = all(
      both(index.needs, carries(state, IPV6)),
      equals(values, loadNetwork(state, 6, 1), number),
    );
    return made(at(payload.base, start + 40), needs);
  }
  throw fault(
    state,
    `the bytes of "${protocol}" cannot be read`,
    `bytes can be read of ether, ${[...NETWORK_LAYER, ...TRANSPORT_LAYER].join(", ")} and icmp6`,
  );
}

export function arithmetic(
  state: FilterState,
  op: BinaryOp,
  left: Arithmetic,
  right: Arithmetic,
): Arithmetic {
  if ((op === "div" || op === "mod") && right.first === 0)
    throw fault(state, "division by zero", "a divisor must not begin with the number 0");
  if ((op === "shl" || op === "shr") && (right.first ?? 0) > 31)
    throw fault(state, "shift by more than 31 bits", "numbers have 32 bits");
  state.registers--;
  try {
    // As in libpcap, what the right operand needs is not asked for: `1 + ip[0] = 70` looks into every packet.
    return { value: binary(state.values, op, left.value, right.value), needs: left.needs, first: left.first };
  } catch (error) {
    if (error instanceof RangeError) throw fault(state, error.message);
    throw error;
  }
}

const RELATIONS: Readonly<Record<string, readonly ["eq" | "gt" | "ge", reversed: boolean]>> = {
  "=": ["eq", false],
  "!=": ["eq", true],
  ">": ["gt", false],
  ">=": ["ge", false],
  "<": ["ge", true],
  "<=": ["gt", true],
};

export function isRelation(type: string): boolean {
  return Object.hasOwn(RELATIONS, type);
}

export function relation(
  state: FilterState,
  operator: string,
  left: Arithmetic,
  right: Arithmetic,
): Condition {
  const [op, reversed] = RELATIONS[operator];
  state.registers -= 2;
  const numbers = left.plain === true && right.plain === true;
  let compared = test(op, left.value, right.value);
  if (numbers && compared.kind === "folded") compared = always(compared.value);
  const result: Condition = reversed ? not(compared) : compared;
  const needs = right.needs === undefined ? left.needs : both(left.needs, right.needs);
  return needs === undefined ? result : and(needs, result);
}
