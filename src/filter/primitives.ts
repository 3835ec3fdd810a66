// What a word, a number or an address means under the qualifiers before it.
import { isIPv4 } from "node:net";
import { suggestion } from "./fault.js";
import { and, any, type Condition, not } from "./ir.js";
import { type Direction, etherHost } from "./link.js";
import { usualMistake } from "./mistakes.js";
import { ETHERTYPES, PORT_NAMES, PROTOCOL_NAMES, SERVICE_ACCESS_POINTS } from "./names.js";
import { hasProtocol, host4, host6, isProtocol, OSI_PROTOCOLS } from "./network.js";
import { ports, takesPorts } from "./ports.js";
import { protochain } from "./protochain.js";
import { etherAddress, hostAddresses, networkNumber, parseIpv6, parseMac } from "./resolve.js";
import { type FilterState, fault } from "./state.js";

/** The words before an identifier. Empty strings: not said. */
export interface Qualifier {
  readonly protocol: string;
  readonly direction: Direction;
  readonly kind: "" | "host" | "net" | "port" | "portrange" | "gateway" | "proto" | "protochain";
}

const ALL_ONES = 0xffffffff;

function syntaxFault(state: FilterState, what: string): Error {
  return fault(
    state,
    `nothing says what "${what}" is`,
    usualMistake(state.expression, state.at) ??
      `put "host", "net", "port", "proto" or a direction before it, as in "port 53"`,
  );
}

function noDirection(state: FilterState, q: Qualifier): void {
  if (q.direction !== "") throw fault(state, `"${q.kind}" has no direction`, `leave out "${q.direction}"`);
}

function checkPortProtocol(state: FilterState, q: Qualifier): void {
  if (!takesPorts(q.protocol))
    throw fault(
      state,
      `"${q.protocol}" has no ports`,
      `"${q.kind}" can follow tcp, udp and sctp, or stand alone`,
    );
}

function checkPort(state: FilterState, port: number): void {
  if (port > 65_535) throw fault(state, `port ${port} does not exist`, "the largest is 65535");
}

/** A number under a qualifier. */
export function numberTest(state: FilterState, number: number, q: Qualifier | undefined): Condition {
  if (q === undefined) throw syntaxFault(state, String(number));
  switch (q.kind) {
    case "":
    case "host":
    case "net": {
      let address = number;
      let mask = ALL_ONES;
      if (q.protocol === "link")
        throw fault(state, "a number is no Ethernet address", "write 00:11:22:33:44:55");
      if (q.kind === "net" && q.protocol !== "decnet")
        while (address !== 0 && address >>> 24 === 0) {
          address = (address << 8) >>> 0;
          mask = (mask << 8) >>> 0;
        }
      return host4(state, address, mask, q.protocol, q.direction, q.kind || "host");
    }
    case "port":
    case "portrange":
      checkPortProtocol(state, q);
      checkPort(state, number);
      return ports(state, { first: number, last: number, range: q.kind === "portrange", ...q });
    case "gateway":
      throw fault(state, `"gateway" needs the name of a host`);
    case "proto":
      noDirection(state, q);
      return hasProtocol(state, number, q.protocol);
    case "protochain":
      return protochain(state, number, q.protocol);
  }
}

/** Two to four numbers with dots, as bits from the left; undefined where one is above 255. */
function parseDotted(text: string): readonly [address: number, bits: number] | undefined {
  const bytes = text.split(".").map((part) => (/^\d+$/.test(part) ? Number(part) : 256));
  if (bytes.some((byte) => byte > 255)) return undefined;
  const bits = 8 * bytes.length;
  return [(bytes.reduce((sum, byte) => sum * 256 + byte, 0) * 2 ** (32 - bits)) >>> 0, bits];
}

function dotted(state: FilterState, text: string): readonly [number, number] {
  const parsed = parseDotted(text);
  if (parsed === undefined)
    throw fault(state, `"${text}" is no IPv4 address`, "each part is a number from 0 to 255");
  return parsed;
}

/** An IPv4 address or the first bytes of one; of DECnet, area and node. */
export function ipv4Test(state: FilterState, text: string, q: Qualifier | undefined): Condition {
  if (q === undefined) throw syntaxFault(state, text);
  if (q.kind === "port" || q.kind === "portrange" || q.kind === "proto" || q.kind === "protochain")
    throw fault(state, `an IPv4 address is no ${q.kind}`, `put "host" or "net" before it`);
  if (q.kind === "gateway") throw fault(state, `"gateway" needs the name of a host`);
  if (q.protocol === "decnet") {
    const [area, node] = text.split(".").map(Number);
    return host4(
      state,
      ((area << 10) & 0xfc00) | (node & 0x3ff),
      ALL_ONES,
      "decnet",
      q.direction,
      q.kind || "host",
    );
  }
  const [address, bits] = dotted(state, text);
  if (q.protocol === "link") throw fault(state, "an IPv4 address is no Ethernet address", "leave out ether");
  return host4(state, address, (ALL_ONES << (32 - bits)) >>> 0, q.protocol, q.direction, q.kind || "host");
}

/** `a.b.c.d/length` and `a.b.c.d mask a.b.c.d`. */
export function netTest(
  state: FilterState,
  text: string,
  mask: number | string,
  q: Qualifier | undefined,
): Condition {
  if (q === undefined) throw syntaxFault(state, text);
  if (q.kind !== "net") throw fault(state, "only a net has a mask", `put "net" before it`);
  const [address] = dotted(state, text);
  let bits: number;
  if (typeof mask === "string") [bits] = dotted(state, mask);
  else {
    if (mask > 32) throw fault(state, `a prefix of ${mask} bits is too long`, "an IPv4 address has 32 bits");
    bits = mask === 0 ? 0 : (ALL_ONES << (32 - mask)) >>> 0;
  }
  if ((address & ~bits) !== 0)
    throw fault(
      state,
      `"${text}" has bits outside its mask`,
      `the network is ${[24, 16, 8, 0].map((shift) => ((address & bits) >>> shift) & 255).join(".")}`,
    );
  return host4(state, address, bits, q.protocol, q.direction, "net");
}

/** An IPv6 address, or a net with the length of its prefix. */
export function ipv6Test(
  state: FilterState,
  text: string,
  prefix: number | undefined,
  q: Qualifier | undefined,
): Condition {
  const address = parseIpv6(text);
  if (address === undefined) throw fault(state, `"${text}" is no IPv6 address`);
  const length = prefix ?? 128;
  if (length > 128)
    throw fault(state, `a prefix of ${length} bits is too long`, "an IPv6 address has 128 bits");
  const mask = [0, 32, 64, 96].map((start) => {
    const bits = Math.max(0, Math.min(32, length - start));
    return bits === 0 ? 0 : (ALL_ONES << (32 - bits)) >>> 0;
  });
  if (address.some((word, i) => (word & ~mask[i]) !== 0))
    throw fault(
      state,
      `"${text}" has bits outside its prefix of ${length} bits`,
      "write the network: zeros behind its prefix",
    );
  if (q === undefined) throw syntaxFault(state, text);
  if (q.kind !== "" && q.kind !== "host" && q.kind !== "net")
    throw fault(state, `an IPv6 address is no ${q.kind}`, `put "host" or "net" before it`);
  if (q.kind !== "net" && length !== 128)
    throw fault(state, "only a net has a prefix", `put "net" before it`);
  return host6(state, address, mask, q.protocol, q.direction, q.kind || "host");
}

export function macTest(state: FilterState, text: string, q: Qualifier | undefined): Condition {
  if ((q?.kind !== "host" && q?.kind !== "") || q.protocol !== "link")
    throw fault(state, "an Ethernet address needs ether before it", `as in "ether host ${text}"`);
  return etherHost(state, parseMac(text), q.direction);
}

/** A name under a qualifier: of a host, a net, a port, a range of ports or a protocol. */
export function nameTest(state: FilterState, name: string, q: Qualifier | undefined): Condition {
  if (q === undefined) throw syntaxFault(state, name);
  switch (q.kind) {
    case "net": {
      let address = networkNumber(name) ?? 0;
      if (address === 0)
        throw fault(
          state,
          `no network "${name}" is in /etc/networks`,
          usualMistake(state.expression, state.at),
        );
      let mask = ALL_ONES;
      while (address >>> 24 === 0) {
        address = (address << 8) >>> 0;
        mask = (mask << 8) >>> 0;
      }
      return host4(state, address, mask, q.protocol, q.direction, "net");
    }
    case "":
    case "host":
      return hostNameTest(state, name, q);
    case "port": {
      checkPortProtocol(state, q);
      const [port, transport] = lookUpPort(state, name);
      return ports(state, {
        ...{ first: port, last: port, range: false, direction: q.direction },
        protocol: portProtocol(state, name, transport, q),
      });
    }
    case "portrange":
      return rangeTest(state, name, q);
    case "gateway":
      return gatewayTest(state, name, q);
    case "proto":
      noDirection(state, q);
      return hasProtocol(state, lookUpProtocol(state, name, q.protocol), q.protocol);
    case "protochain":
      return protochain(state, lookUpProtocol(state, name, q.protocol), q.protocol);
  }
}

const WITHOUT_IPV6: ReadonlySet<string> = new Set(["ip", "arp", "rarp"]);

function hostNameTest(state: FilterState, name: string, q: Qualifier): Condition {
  if (q.protocol === "link") {
    const address = etherAddress(name);
    if (state.linkType === "EN10MB" && address === undefined)
      throw fault(state, `no host "${name}" is in /etc/ethers`, "write 00:11:22:33:44:55");
    return etherHost(state, address ?? [], q.direction);
  }
  if (q.protocol === "decnet")
    throw fault(state, `the DECnet name "${name}" cannot be looked up`, "write area.node, as in 1.5");
  const [protocol4, protocol6] = hostProtocols(state, q);
  const tests: Condition[] = [];
  const addresses = hostAddresses(name);
  for (const address of addresses) {
    if (isIPv4(address)) {
      if (protocol4 !== "ip6")
        tests.push(
          host4(state, parseDotted(address)![0], ALL_ONES, protocol4, q.direction, q.kind || "host"),
        );
    } else if (!WITHOUT_IPV6.has(protocol6)) {
      const words = parseIpv6(address.replace(/%.*/, ""))!;
      tests.push(
        host6(state, words, Array<number>(4).fill(ALL_ONES), protocol6, q.direction, q.kind || "host"),
      );
    }
  }
  if (tests.length === 0)
    throw fault(
      state,
      addresses.length === 0 ? `the host "${name}" is unknown` : `the host "${name}" has no such address`,
      hostHint(name),
    );
  return any(...(tests as [Condition]));
}

function hostHint(name: string): string | undefined {
  if (PORT_NAMES.has(name)) return "a port needs the word port before it";
  return /^[\d.]+$/.test(name) ? "an IPv4 address is four numbers from 0 to 255" : undefined;
}

/** Link types without a type field know no ARP: only IP is looked at. */
function hostProtocols(state: FilterState, q: Qualifier): readonly [string, string] {
  if (state.linkTypeField === undefined && q.protocol === "") return ["ip", "ip6"];
  return [q.protocol, q.protocol];
}

function lookUpPort(state: FilterState, name: string): readonly [number, "tcp" | "udp" | undefined] {
  if (/^\d+$/.test(name)) {
    checkPort(state, Number(name));
    return [Number(name), undefined];
  }
  const known = PORT_NAMES.get(name);
  if (known === undefined)
    throw fault(
      state,
      `no port is called "${name}"`,
      usualMistake(state.expression, state.at) ?? suggestion(name, PORT_NAMES.keys()) ?? "write its number",
    );
  return [known.port, known.transport];
}

function portProtocol(state: FilterState, name: string, transport: string | undefined, q: Qualifier): string {
  if (q.protocol === "") return transport ?? "";
  if (transport !== undefined && transport !== q.protocol)
    throw fault(state, `the port "${name}" is one of ${transport}, not of ${q.protocol}`);
  return q.protocol;
}

function rangeTest(state: FilterState, name: string, q: Qualifier): Condition {
  checkPortProtocol(state, q);
  const numbers = /^(\d+)-(\d+)/.exec(name);
  if (numbers !== null) {
    const [first, last] = [Number(numbers[1]), Number(numbers[2])];
    checkPort(state, first);
    checkPort(state, last);
    return ports(state, { first, last, range: true, ...q });
  }
  const dash = name.indexOf("-");
  if (dash < 0)
    throw fault(state, `"${name}" is no range of ports`, "write the first and the last, as in 5000-5010");
  const [first, transport1] = lookUpPort(state, name.slice(0, dash));
  const [last, transport2] = lookUpPort(state, name.slice(dash + 1));
  const transport = transport1 === transport2 ? transport1 : undefined;
  const protocol = portProtocol(state, name, transport, q);
  return ports(state, { first, last, range: true, protocol, direction: q.direction });
}

/** Packets that went through a host at the link layer, but are neither from it nor for it. */
function gatewayTest(state: FilterState, name: string, q: Qualifier): Condition {
  noDirection(state, q);
  if (!["", "ip", "arp", "rarp"].includes(q.protocol))
    throw fault(
      state,
      `"${q.protocol} gateway" does not exist`,
      `"gateway" can follow ip, arp and rarp, or stand alone`,
    );
  const address = etherAddress(name);
  if (address === undefined)
    throw fault(
      state,
      `no host "${name}" is in /etc/ethers`,
      `"gateway" needs the Ethernet address of its host there`,
    );
  const hosts = hostAddresses(name).filter((each) => isIPv4(each));
  if (hosts.length === 0) throw fault(state, `the host "${name}" has no IPv4 address`);
  const protocol = q.protocol === "" ? "ip" : q.protocol;
  const tests = hosts.map((each) => host4(state, parseDotted(each)![0], ALL_ONES, protocol, "or", "host"));
  const through = and(etherHost(state, address, "or"), isProtocol(state, protocol));
  return and(through, not(any(...(tests as [Condition]))));
}

function lookUpProtocol(state: FilterState, name: string, within: string): number {
  const plain = name.replace(/^\\/, "");
  let found: number | undefined;
  let known: Iterable<string> = [];
  if (within === "" || within === "ip" || within === "ip6") {
    found = PROTOCOL_NAMES.get(plain);
    known = PROTOCOL_NAMES.keys();
  } else if (within === "link") {
    found = ETHERTYPES.get(plain) ?? SERVICE_ACCESS_POINTS.get(plain);
    known = [...ETHERTYPES.keys(), ...SERVICE_ACCESS_POINTS.keys()];
  } else if (within === "iso") {
    found = OSI_PROTOCOLS.get(plain);
    known = OSI_PROTOCOLS.keys();
  }
  if (found !== undefined) return found;
  throw fault(state, `no protocol is called "${plain}"`, suggestion(plain, known) ?? "write its number");
}
