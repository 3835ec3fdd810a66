// Encapsulations: each shifts where the rest of the expression looks.
import {
  all,
  always,
  and,
  binary,
  type Condition,
  constant,
  equals,
  equalsMasked,
  load,
  not,
  or,
  type Value,
} from "./ir.js";
import { carries, MPLS } from "./link.js";
import { loadTransport4, transport4 } from "./network.js";
import { ports4, ports6 } from "./ports.js";
import { type FilterState, fault, loadNetwork, moved, type Place, slotPlace, takeSlot } from "./state.js";

const VLAN_TYPES = [0x8100, 0x88a8, 0x9100];
const PPPOE_DISCOVERY = 0x8863;
const PPPOE_SESSION = 0x8864;
const PPP_MPLS = 0x0281;
const TRANSPARENT_ETHERNET = 0x6558;
const GENEVE_PORT = 6081;
const VXLAN_PORT = 4789;

function assign(slot: number, value: Value): Condition {
  return { kind: "assign", slot, value };
}

/** Says what a place that a slot holds is from here on. */
function put({ base }: Place, value: Value): Condition {
  if (base?.kind !== "slot") throw new TypeError("the place is not in a slot");
  return assign(base.slot, value);
}

function limit(state: FilterState, what: string, number: number | undefined, most: number): void {
  if (number !== undefined && number > most)
    throw fault(state, `${what} ${number} does not exist`, `the largest is ${most}`);
}

/** Linux keeps a tag that it took out of the bytes at these offsets (SKF_AD_OFF + SKF_AD_VLAN_…, linux/filter.h). */
const TAG_BESIDE = 0xfffff000 + 44;
const TAG_PRESENT_BESIDE = 0xfffff000 + 48;

/** IEEE 802.1Q. */
export function vlan(state: FilterState, id: number | undefined): Condition {
  if (state.labels > 0) throw fault(state, "a VLAN tag cannot follow an MPLS label");
  if (state.linkType !== "EN10MB")
    throw fault(state, `link type ${state.linkType} has no VLAN tags`, "use it on link type EN10MB");
  limit(state, "VLAN", id, 0xfff);
  const [tag, service, double] = VLAN_TYPES.map((type) => carries(state, type));
  let tagged = or(or(tag, service), double);
  if (id !== undefined) tagged = and(tagged, equalsMasked(state.values, loadNetwork(state, 0, 2), id, 0xfff));
  const outermost = state.vlans === 0 && state.linkHeader.base === undefined && state.linkHeader.bytes === 0;
  // A tag beside the bytes is the outermost: the bytes are looked at where there is none.
  if (state.tagsBeside && outermost)
    tagged = or(tagBeside(state, id), and(not(isBeside(state)), shifted(state, tagged)));
  else {
    state.payload = moved(state.payload, 4);
    state.linkTypeField = moved(state.linkTypeField!, 4);
  }
  state.vlans++;
  return tagged;
}

function tagBeside(state: FilterState, id: number | undefined): Condition {
  const { values } = state;
  const present = isBeside(state);
  if (id === undefined) return present;
  return and(present, equalsMasked(values, load(values, 2, undefined, TAG_BESIDE), id, 0xfff));
}

function isBeside({ values }: FilterState): Condition {
  return equals(values, load(values, 1, undefined, TAG_PRESENT_BESIDE), 1);
}

/**
 * After a tag among the bytes all that follows is four bytes further on; after one beside them it is not. As in libpcap,
 * what follows `not vlan` is looked for as if there were one.
 */
function shifted(state: FilterState, tagged: Condition): Condition {
  const slot = takeSlot(state);
  const { base } = slotPlace(state, slot);
  state.payload = { base, bytes: state.payload.bytes };
  state.linkTypeField = { base, bytes: state.linkTypeField!.bytes };
  return and(assign(slot, constant(state.values, 4)), tagged);
}

/** MPLS label stacks (RFC 3032). */
export function mpls(state: FilterState, label: number | undefined): Condition {
  let labelled: Condition;
  if (state.labels > 0) labelled = equalsMasked(state.values, loadNetwork(state, -2, 1), 0, 0x01);
  else if (state.linkType === "EN10MB") labelled = carries(state, MPLS);
  else if (state.linkType === "PPP") labelled = carries(state, PPP_MPLS);
  else
    throw fault(
      state,
      `link type ${state.linkType} does not tell MPLS`,
      "use it on link type EN10MB, or after pppoes",
    );
  limit(state, "MPLS label", label, 0xfffff);
  if (label !== undefined)
    labelled = and(labelled, equalsMasked(state.values, loadNetwork(state, 0, 4), label << 12, 0xfffff000));
  state.network += 4;
  state.networkNoSnap += 4;
  state.labels++;
  return labelled;
}

export function pppoeDiscovery(state: FilterState): Condition {
  return carries(state, PPPOE_DISCOVERY);
}

/** PPPoE sessions (RFC 2516). */
export function pppoeSession(state: FilterState, session: number | undefined): Condition {
  let inSession = carries(state, PPPOE_SESSION);
  limit(state, "PPPoE session", session, 0xffff);
  if (session !== undefined)
    inSession = and(inSession, equalsMasked(state.values, loadNetwork(state, 0, 4), session, 0xffff));
  state.linkHeader = moved(state.payload, state.network + 6);
  state.linkTypeField = state.linkHeader;
  state.payload = moved(state.linkHeader, 2);
  state.network = 0;
  state.networkNoSnap = 0;
  state.linkType = "PPP";
  state.tunnelled = false;
  return inSession;
}

interface UdpTunnel {
  readonly port: number;
  /** Bits of the header's first byte that must have these values. */
  readonly flags: number;
  readonly flagsMask: number;
  /** Puts the inner places into slots, given the place of the tunnel's header; the new places are in the state. */
  readonly enter: (state: FilterState, header: Value) => Condition;
}

/** Geneve (RFC 8926): options of variable length, any inner protocol. */
const GENEVE: UdpTunnel = {
  port: GENEVE_PORT,
  flags: 0,
  flagsMask: 0xc0,
  enter({ values, linkTypeField, linkHeader, payload }, header) {
    const type = linkTypeField!;
    const inner = linkHeader.base!;
    const add = (left: Value, right: number) => binary(values, "add", left, constant(values, right));
    const words = binary(values, "and", load(values, 1, header, 0), constant(values, 0x3f));
    const options = binary(values, "shl", words, constant(values, 2));
    return all(
      put(type, add(header, 2)),
      put(linkHeader, binary(values, "add", add(options, 8), header)),
      put(payload, inner),
      or(
        and(
          equals(values, load(values, 2, type.base, 0), TRANSPARENT_ETHERNET),
          and(put(type, add(inner, 12)), put(payload, add(inner, 14))),
        ),
        always(true),
      ),
    );
  },
};

/** VXLAN (RFC 7348): always Ethernet inside. */
const VXLAN: UdpTunnel = {
  port: VXLAN_PORT,
  flags: 0x08,
  flagsMask: 0x08,
  enter({ values, linkTypeField, linkHeader, payload }, header) {
    const behind = (bytes: number) => binary(values, "add", header, constant(values, bytes));
    return all(put(linkHeader, behind(8)), put(linkTypeField!, behind(20)), put(payload, behind(22)));
  },
};

export function geneve(state: FilterState, network: number | undefined): Condition {
  return udpTunnel(state, GENEVE, network);
}

export function vxlan(state: FilterState, network: number | undefined): Condition {
  return udpTunnel(state, VXLAN, network);
}

function udpTunnel(state: FilterState, tunnel: UdpTunnel, network: number | undefined): Condition {
  const { values } = state;
  limit(state, "virtual network", network, 0xffffff);
  const headerSlot = takeSlot(state);
  const header = slotPlace(state, headerSlot).base!;
  const here = state.payload.bytes + state.network + 8;
  const isTunnel = (version: 4 | 6): Condition => {
    const byte = (offset: number, size: 1 | 4) =>
      version === 4 ? loadTransport4(state, offset, size) : loadNetwork(state, 40 + offset, size);
    const wanted = {
      first: tunnel.port,
      last: tunnel.port,
      range: false,
      protocol: "udp",
      direction: "dst",
    } as const;
    const portIs = (version === 4 ? ports4 : ports6)(state, wanted);
    const checks = and(portIs, equalsMasked(values, byte(8, 1), tunnel.flags, tunnel.flagsMask));
    const found =
      network === undefined
        ? checks
        : and(checks, equalsMasked(values, byte(12, 4), network << 8, 0xffffff00));
    const start =
      version === 4
        ? transport4(state)
        : binary(values, "add", state.payload.base ?? constant(values, 0), constant(values, 40));
    return and(found, assign(headerSlot, binary(values, "add", start, constant(values, here))));
  };
  const found = or(isTunnel(4), isTunnel(6));
  state.linkTypeField = slotPlace(state, takeSlot(state));
  state.linkHeader = slotPlace(state, takeSlot(state));
  state.payload = slotPlace(state, takeSlot(state));
  state.linkType = "EN10MB";
  state.network = 0;
  state.tunnelled = true;
  return and(found, tunnel.enter(state, header));
}
