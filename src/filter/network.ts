// Tests of the network and transport layers: hosts, nets, protocols and ports.
import {
  all,
  and,
  any,
  type BinaryOp,
  binary,
  type Condition,
  constant,
  equals,
  equalsMasked,
  headerLength,
  type LoadSize,
  load,
  not,
  or,
  test,
  type Value,
} from "./ir.js";
import { ARP, carries, type Direction, eachEnd, IPV4, IPV6, RARP } from "./link.js";
import { ETHERTYPES } from "./names.js";
import { type FilterState, fault, loadNetwork } from "./state.js";

const DECNET = ETHERTYPES.get("decnet")!;

/** Protocols that lie in an IP header's protocol field, with their number and the versions of IP they are sought in. */
export const IP_PROTOCOLS: ReadonlyMap<string, readonly [number: number, within: "" | "ip" | "ip6"]> =
  new Map([
    ["sctp", [132, ""]],
    ["tcp", [6, ""]],
    ["udp", [17, ""]],
    ["icmp", [1, "ip"]],
    ["igmp", [2, "ip"]],
    ["igrp", [9, "ip"]],
    ["pim", [103, ""]],
    ["vrrp", [112, "ip"]],
    ["carp", [112, "ip"]],
    ["icmp6", [58, "ip6"]],
    ["ah", [51, ""]],
    ["esp", [50, ""]],
  ]);

const LINK_PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ["ip", IPV4],
  ["arp", ARP],
  ["rarp", RARP],
  ["ip6", IPV6],
  ...["atalk", "aarp", "decnet", "sca", "lat", "mopdl", "moprc"].map((name): [string, number] => [
    name,
    ETHERTYPES.get(name)!,
  ]),
  ["iso", 0xfe],
  ["stp", 0x42],
  ["ipx", 0xe0],
  ["netbeui", 0xf0],
]);

/** Network layer protocol identifiers of OSI (ISO/IEC TR 9577). */
export const OSI_PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ["esis", 0x82],
  ["isis", 0x83],
  ["clnp", 0x81],
]);

/** IS-IS message types (ISO/IEC 10589) that a word stands for, in the order in which they are tried. */
const ISIS_TYPES: ReadonlyMap<string, readonly number[]> = new Map([
  ["l1", [26, 24, 18, 15, 17]],
  ["l2", [27, 25, 20, 16, 17]],
  ["iih", [17, 15, 16]],
  ["lsp", [18, 20]],
  ["snp", [27, 26, 24, 25]],
  ["csnp", [24, 25]],
  ["psnp", [26, 27]],
]);

/** A protocol's name on its own. */
export function isProtocol(state: FilterState, name: string): Condition {
  const type = LINK_PROTOCOLS.get(name);
  if (type !== undefined) return carries(state, type);
  const inIp = IP_PROTOCOLS.get(name);
  if (inIp !== undefined) return hasProtocol(state, inIp[0], inIp[1]);
  const osi = OSI_PROTOCOLS.get(name);
  if (osi !== undefined) return hasProtocol(state, osi, "iso");
  const messages = ISIS_TYPES.get(name);
  if (messages !== undefined)
    return any(...(messages.map((message) => hasProtocol(state, message, "isis")) as [Condition]));
  if (name === "radio")
    throw fault(state, `"radio" needs a radio header`, "millrace reads wired link types only");
  const word = name === "link" ? "ether" : name;
  throw fault(
    state,
    `"${word}" is no test on its own`,
    `write "${word} host", "${word} proto" or "${word}[0]"`,
  );
}

/** `proto` with the protocol that it is looked for in. */
export function hasProtocol(state: FilterState, protocol: number, within: string): Condition {
  const { values } = state;
  switch (within) {
    case "":
      return or(hasProtocol(state, protocol, "ip"), hasProtocol(state, protocol, "ip6"));
    case "link":
      return carries(state, protocol);
    case "ip":
      return and(carries(state, IPV4), equals(values, loadNetwork(state, 9, 1), protocol));
    case "ip6": {
      const afterFragment = and(
        equals(values, loadNetwork(state, 6, 1), 44),
        equals(values, loadNetwork(state, 40, 1), protocol),
      );
      return and(carries(state, IPV6), or(equals(values, loadNetwork(state, 6, 1), protocol), afterFragment));
    }
    case "iso":
      return and(carries(state, 0xfe), equals(values, osiByte(state, 0), protocol));
    case "isis":
      return and(hasProtocol(state, 0x83, "iso"), equals(values, osiByte(state, 4), protocol));
    default:
      throw fault(
        state,
        `"${within} proto" does not exist`,
        `"proto" can follow ip, ip6, ether, iso and isis`,
      );
  }
}

function osiByte(state: FilterState, offset: number): Value {
  const { payload, networkNoSnap, values } = state;
  return load(values, 1, payload.base, payload.bytes + networkNoSnap + offset);
}

/** Hosts and nets of IPv4, and DECnet hosts. */
export function host4(
  state: FilterState,
  address: number,
  mask: number,
  protocol: string,
  direction: Direction,
  what: string,
): Condition {
  const ends = (type: number, source: number, destination: number) =>
    eachEnd(direction, (end) =>
      and(
        carries(state, type),
        equalsMasked(
          state.values,
          loadNetwork(state, end === "src" ? source : destination, 4),
          address,
          mask,
        ),
      ),
    );
  switch (protocol) {
    case "": {
      const inIp = ends(IPV4, 12, 16);
      if (state.labels > 0) return inIp;
      return or(or(inIp, ends(ARP, 14, 24)), ends(RARP, 14, 24));
    }
    case "ip":
      return ends(IPV4, 12, 16);
    case "arp":
      return ends(ARP, 14, 24);
    case "rarp":
      return ends(RARP, 14, 24);
    case "decnet":
      return decnetHost(state, address, direction);
    default:
      throw fault(
        state,
        `"${protocol}" has no IPv4 ${what}`,
        `"${what}" can follow ip, arp and rarp, or stand alone`,
      );
  }
}

export function host6(
  state: FilterState,
  address: readonly number[],
  mask: readonly number[],
  protocol: string,
  direction: Direction,
  what: string,
): Condition {
  if (protocol !== "" && protocol !== "ip6")
    throw fault(state, `"${protocol}" has no IPv6 ${what}`, `"${what}" can follow ip6, or stand alone`);
  return eachEnd(direction, (end) => {
    const at = end === "src" ? 8 : 24;
    const words = [0, 1, 2, 3].map((i) =>
      equalsMasked(state.values, loadNetwork(state, at + 4 * i, 4), address[i], mask[i]),
    );
    return all(carries(state, IPV6), ...words);
  });
}

/** DECnet phase IV: long and short headers, each with or without padding; addresses are little endian. */
function decnetHost(state: FilterState, address: number, direction: Direction): Condition {
  const { values } = state;
  const swapped = ((address & 0xff) << 8) | ((address >>> 8) & 0xff);
  return eachEnd(direction, (end) => {
    const long = end === "dst" ? 7 : 15;
    const short = end === "dst" ? 1 : 3;
    const form = (flags: Condition, offset: number) =>
      and(flags, equals(values, loadNetwork(state, offset, 2), swapped));
    const padded = (bits: number) => equalsMasked(values, loadNetwork(state, 2, 2), bits, 0xff07);
    const plain = (bits: number) => equalsMasked(values, loadNetwork(state, 2, 1), bits, 0x07);
    const forms = or(
      form(plain(0x02), 2 + short),
      or(form(padded(0x8102), 3 + short), or(form(plain(0x06), 2 + long), form(padded(0x8106), 3 + long))),
    );
    return and(carries(state, DECNET), forms);
  });
}

/** Where an IPv4 header ends, counted from the payload: as a base for loads, and the bytes still to be added. */
export function transport4(state: FilterState): Value {
  const { values, payload, network } = state;
  if (payload.base === undefined) return headerLength(values, payload.bytes + network);
  const op = (name: BinaryOp, left: Value, right: number) =>
    binary(values, name, left, constant(values, right));
  const length = op("shl", op("and", loadNetwork(state, 0, 1), 0x0f), 2);
  return binary(values, "add", length, payload.base);
}

export function loadTransport4(state: FilterState, offset: number, size: LoadSize): Value {
  return load(state.values, size, transport4(state), state.payload.bytes + state.network + offset);
}

/** True for packets that are not a later fragment of an IPv4 datagram. */
export function firstFragment(state: FilterState): Condition {
  return not(test("set", loadNetwork(state, 6, 2), constant(state.values, 0x1fff)));
}

export function ipBroadcast(state: FilterState): Condition {
  const hosts = ~state.netmask >>> 0;
  const destination = loadNetwork(state, 16, 4);
  return and(
    carries(state, IPV4),
    or(
      equalsMasked(state.values, destination, 0, hosts),
      equalsMasked(state.values, destination, hosts, hosts),
    ),
  );
}

export function ipMulticast(state: FilterState): Condition {
  return and(carries(state, IPV4), test("ge", loadNetwork(state, 16, 1), constant(state.values, 224)));
}

export function ip6Multicast(state: FilterState): Condition {
  return and(carries(state, IPV6), equals(state.values, loadNetwork(state, 24, 1), 255));
}
