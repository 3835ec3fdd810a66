// Tests of the link layer: which protocol a packet carries, and link-layer addresses.
import {
  all,
  always,
  and,
  any,
  type Condition,
  constant,
  equals,
  equalsMasked,
  not,
  or,
  test,
} from "./ir.js";
import { ETHERTYPES } from "./names.js";
import { type FilterState, fault, loadFrom, loadNetwork } from "./state.js";

export const IPV4 = 0x0800;
export const IPV6 = 0x86dd;
export const ARP = 0x0806;
export const RARP = 0x8035;
export const MPLS = 0x8847;
const ATALK = 0x809b;
const AARP = 0x80f3;
const IPX_TYPE = 0x8137;
const ISO = 0xfe;
const IP_SAP = 0x06;
const NETBEUI = 0xf0;
const IPX = 0xe0;
/** The largest number that is a length and not a type in an Ethernet header (IEEE 802.3). */
const LARGEST_LENGTH = 1500;
const SLL_802_3 = 1;
const SLL_802_2 = 4;

const AF_INET = 2;
const AF_INET6_LINUX = 10;
/** AF_INET6 of NetBSD and OpenBSD, FreeBSD, and Darwin: a capture file may come from any of them. */
const AF_INET6_OTHERS = [24, 28, 30];

/** PPP protocol numbers (IANA) of what an EtherType or a service access point stands for. */
const PPP_TYPES: ReadonlyMap<number, number> = new Map([
  [IPV4, 0x0021],
  [IPV6, 0x0057],
  [ETHERTYPES.get("decnet")!, 0x0027],
  [ATALK, 0x0029],
  [0x0600, 0x0025],
  [ISO, 0x0023],
  [0x42, 0x0031],
  [IPX, 0x002b],
]);

/** Whether the packet carries a protocol, named by EtherType, or below 1,501 by service access point. */
export function carries(state: FilterState, type: number): Condition {
  if (state.labels > 0) return carriesUnderMpls(state, type);
  switch (state.linkType) {
    case "EN10MB":
      return etherCarries(state, type);
    case "LINUX_SLL":
      return sllCarries(state, type);
    case "LINUX_SLL2":
      return equals(state.values, typeField(state), type);
    case "PPP":
      return equals(state.values, typeField(state), PPP_TYPES.get(type) ?? type);
    case "RAW":
      if (type === IPV4)
        return equalsMasked(state.values, loadFrom(state, state.linkHeader, 0, 1), 0x40, 0xf0);
      if (type === IPV6)
        return equalsMasked(state.values, loadFrom(state, state.linkHeader, 0, 1), 0x60, 0xf0);
      return always(false);
    case "IPV4":
      return always(type === IPV4);
    case "IPV6":
      return always(type === IPV6);
    case "NULL":
    case "LOOP":
      if (type === IPV4) return familyIs(state, AF_INET);
      if (type !== IPV6) return always(false);
      if (!state.fromFile) return familyIs(state, AF_INET6_LINUX);
      return any(...(AF_INET6_OTHERS.map((family) => familyIs(state, family)) as [Condition]));
  }
}

function typeField(state: FilterState) {
  return loadFrom(state, state.linkTypeField!, 0, 2);
}

/** The address family ahead of the packet: in network order for LOOP, in that of the host for NULL. */
function familyIs(state: FilterState, family: number): Condition {
  const word = state.linkType === "NULL" ? family << 24 : family;
  return equals(state.values, loadFrom(state, state.linkHeader, 0, 4), word);
}

function carriesUnderMpls(state: FilterState, type: number): Condition {
  if (type !== IPV4 && type !== IPV6)
    throw fault(
      state,
      "nothing but ip and ip6 can be told under MPLS",
      "MPLS labels do not say what they carry",
    );
  const bottom = equalsMasked(state.values, loadNetwork(state, -2, 1), 0x01, 0x01);
  const version = type === IPV4 ? 0x40 : 0x60;
  return and(bottom, equalsMasked(state.values, loadNetwork(state, 0, 1), version, 0xf0));
}

/** Whether the bytes at the payload are an LLC/SNAP header with this organization and type. */
function snap(state: FilterState, organization: number, type: number): Condition {
  const bytes = [0xaa, 0xaa, 0x03, organization >>> 16, organization >>> 8, organization, type >>> 8, type];
  return bytesAre(
    state,
    state.payload,
    0,
    bytes.map((byte) => byte & 0xff),
  );
}

/** Whether bytes are those given; words are compared from the last to the first. */
function bytesAre(
  state: FilterState,
  place: FilterState["payload"],
  offset: number,
  bytes: readonly number[],
): Condition {
  const tests: Condition[] = [];
  let left = bytes.length;
  for (const size of [4, 2, 1] as const)
    while (left >= size) {
      left -= size;
      const word = bytes.slice(left, left + size).reduce((sum, byte) => sum * 256 + byte, 0);
      tests.push(equals(state.values, loadFrom(state, place, offset + left, size), word));
    }
  return all(...(tests as [Condition]));
}

function etherCarries(state: FilterState, type: number): Condition {
  const { values } = state;
  const isLength = () => not(test("gt", typeField(state), constant(values, LARGEST_LENGTH)));
  const llc = (size: 1 | 2) => loadFrom(state, state.payload, 0, size);
  switch (type) {
    case ISO:
    case IP_SAP:
    case NETBEUI:
      return and(isLength(), equals(values, llc(2), (type << 8) | type));
    case IPX:
      return or(
        equals(values, typeField(state), IPX_TYPE),
        and(
          isLength(),
          or(snap(state, 0, IPX_TYPE), or(equals(values, llc(1), IPX), equals(values, llc(2), 0xffff))),
        ),
      );
    case ATALK:
      return or(equals(values, typeField(state), ATALK), and(isLength(), snap(state, 0x080007, ATALK)));
    case AARP:
      return or(equals(values, typeField(state), AARP), and(isLength(), snap(state, 0, AARP)));
    default:
      if (type > LARGEST_LENGTH) return equals(values, typeField(state), type);
      return and(isLength(), equals(values, loadFrom(state, state.linkTypeField!, 2, 1), type));
  }
}

function sllCarries(state: FilterState, type: number): Condition {
  const { values } = state;
  const protocolIs = (number: number) => equals(values, typeField(state), number);
  const llc = (size: 1 | 2) => loadFrom(state, state.payload, 0, size);
  switch (type) {
    case ISO:
    case IP_SAP:
    case NETBEUI:
      return and(protocolIs(SLL_802_2), equals(values, llc(2), (type << 8) | type));
    case IPX:
      return or(
        protocolIs(IPX_TYPE),
        or(
          protocolIs(SLL_802_3),
          and(protocolIs(SLL_802_2), or(equals(values, llc(1), IPX), snap(state, 0, IPX_TYPE))),
        ),
      );
    case ATALK:
      return or(protocolIs(ATALK), and(protocolIs(SLL_802_2), snap(state, 0x080007, ATALK)));
    case AARP:
      return or(protocolIs(AARP), and(protocolIs(SLL_802_2), snap(state, 0, AARP)));
    default:
      if (type > LARGEST_LENGTH) return protocolIs(type);
      return and(
        protocolIs(SLL_802_2),
        equals(values, loadFrom(state, state.linkHeader, state.payload.bytes, 1), type),
      );
  }
}

export type Direction = "" | "src" | "dst" | "or" | "and";

/** One test for each end that a direction names. */
export function eachEnd(direction: Direction, end: (which: "src" | "dst") => Condition): Condition {
  if (direction === "src" || direction === "dst") return end(direction);
  return direction === "and" ? and(end("src"), end("dst")) : or(end("src"), end("dst"));
}

/** Inside a tunnel, whether it carries Ethernet at all. */
function innerLink(state: FilterState): Condition | undefined {
  if (!state.tunnelled) return undefined;
  const header = state.linkHeader.base ?? constant(state.values, 0);
  const payload = state.payload.base ?? constant(state.values, 0);
  return not(test("eq", header, payload));
}

export function withInnerLink(state: FilterState, condition: Condition): Condition {
  const check = innerLink(state);
  return check === undefined ? condition : and(check, condition);
}

export function etherHost(state: FilterState, address: readonly number[], direction: Direction): Condition {
  if (state.linkType !== "EN10MB")
    throw fault(state, `link type ${state.linkType} has no Ethernet addresses`, "use it on link type EN10MB");
  const host = eachEnd(direction, (end) => bytesAre(state, state.linkHeader, end === "src" ? 6 : 0, address));
  return withInnerLink(state, host);
}

export function broadcastAddress(): number[] {
  return Array(6).fill(0xff);
}

/** `llc` and its frame types (IEEE 802.2). */
const LLC_SUPERVISORY: ReadonlyMap<string, number> = new Map([
  ["rr", 0x01],
  ["rulenum", 0x05],
  ["rnr", 0x05],
  ["rej", 0x09],
]);
const LLC_UNNUMBERED: ReadonlyMap<string, number> = new Map([
  ["ui", 0x03],
  ["ua", 0x63],
  ["disc", 0x43],
  ["dm", 0x0f],
  ["sabme", 0x6f],
  ["test", 0xe3],
  ["xid", 0xaf],
  ["frmr", 0x87],
]);

export function llcFrame(state: FilterState, type: string | undefined): Condition {
  const { values } = state;
  if (state.linkType !== "EN10MB")
    throw fault(state, `"llc" cannot be told on link type ${state.linkType}`, "use it on link type EN10MB");
  const isLlc = and(
    not(test("gt", typeField(state), constant(values, LARGEST_LENGTH))),
    not(equals(values, loadFrom(state, state.payload, 0, 2), 0xffff)),
  );
  if (type === undefined) return isLlc;
  const control = loadFrom(state, state.payload, 2, 1);
  const name = type.toLowerCase();
  if (name === "i") return and(isLlc, not(test("set", control, constant(values, 0x01))));
  if (name === "s") return and(isLlc, equalsMasked(values, control, 0x01, 0x03));
  if (name === "u") return and(isLlc, equalsMasked(values, control, 0x03, 0x03));
  const supervisory = LLC_SUPERVISORY.get(name);
  if (supervisory !== undefined) return and(isLlc, equalsMasked(values, control, supervisory, 0x0f));
  const unnumbered = LLC_UNNUMBERED.get(name);
  if (unnumbered !== undefined) return and(isLlc, equalsMasked(values, control, unnumbered, 0xef));
  throw fault(
    state,
    `"${type}" is no LLC frame type`,
    "it is i, s, u, rr, rnr, rej, ui, ua, disc, dm, sabme, test, xid or frmr",
  );
}

/** Offsets below which Linux keeps what is known beside a packet's bytes (SKF_AD_…, linux/filter.h). */
const SKF_AD_OFF = -0x1000;
const SKF_AD_PKTTYPE = 4;
const SKF_AD_IFINDEX = 8;
const PACKET_OUTGOING = 4;

export function travels(state: FilterState, outbound: boolean): Condition {
  const { values, linkType } = state;
  const outgoing = () => {
    if (linkType === "LINUX_SLL")
      return equals(values, loadFrom(state, state.linkHeader, 0, 2), PACKET_OUTGOING);
    if (linkType === "LINUX_SLL2")
      return equals(values, loadFrom(state, state.linkHeader, 10, 1), PACKET_OUTGOING);
    if (state.fromFile)
      throw fault(
        state,
        `a capture of link type ${linkType} does not say which way a packet went`,
        "link types LINUX_SLL and LINUX_SLL2 do",
      );
    return equals(values, loadFrom(state, state.linkHeader, SKF_AD_OFF + SKF_AD_PKTTYPE, 2), PACKET_OUTGOING);
  };
  return outbound ? outgoing() : not(outgoing());
}

export function interfaceIs(state: FilterState, index: number): Condition {
  const { values, linkType } = state;
  if (linkType === "LINUX_SLL2") return equals(values, loadFrom(state, state.linkHeader, 4, 4), index);
  if (state.fromFile)
    throw fault(
      state,
      `a capture of link type ${linkType} does not say which interface a packet came from`,
      "link type LINUX_SLL2 does",
    );
  return equals(values, loadFrom(state, state.linkHeader, SKF_AD_OFF + SKF_AD_IFINDEX, 4), index);
}
