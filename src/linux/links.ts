// Network interfaces as rtnetlink tells of them and wants them (linux/rtnetlink.h, linux/if_link.h):
// encoders and decoders only; netlink.ts talks to the kernel.
import ipaddr from "ipaddr.js";
import { MillraceError } from "../errors.js";
import {
  type Attributes,
  attribute,
  decodeAttributes,
  nested,
  numberOf,
  textOf,
} from "./netlink-messages.js";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_GETADDR = 22;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_NET_NS_FD = 28;
const IFLA_NUM_TX_QUEUES = 31;
const IFLA_NUM_RX_QUEUES = 32;
const IFLA_XDP = 43;
const IFLA_PROMISCUITY = 30;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_XDP_ATTACHED = 2;
const IFLA_XDP_PROG_ID = 4;
const VETH_INFO_PEER = 1;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_RUNNING = 0x40;
const IFF_PROMISC = 0x100;
const IFA_F_NODAD = 0x02;
const AF_INET = 2;
const AF_INET6 = 10;

/** How an XDP program is attached to an interface (IFLA_XDP_ATTACHED). */
export type XdpAttachment = "native" | "generic" | "hardware" | "several";
const ATTACHMENTS: readonly (XdpAttachment | undefined)[] = [
  undefined,
  "native",
  "generic",
  "hardware",
  "several",
];

export interface Link {
  readonly index: number;
  readonly name: string;
  /** Hardware type (linux/if_arp.h): 1 Ethernet, 772 loopback. */
  readonly hardware: number;
  /** Kind of a virtual interface: `veth`, `bridge`, `tun`, …; undefined for a card. */
  readonly kind: string | undefined;
  readonly address: string | undefined;
  readonly mtu: number;
  readonly up: boolean;
  readonly running: boolean;
  readonly loopback: boolean;
  readonly promiscuous: boolean;
  /** How many have asked for promiscuous mode (IFLA_PROMISCUITY). */
  readonly promiscuity: number;
  readonly queues: { readonly rx: number; readonly tx: number };
  /** Index of the bridge or bond it belongs to. */
  readonly master: number | undefined;
  /** Index of the other end (veth) or of the interface below (vlan), in its own namespace. */
  readonly link: number | undefined;
  /** The XDP program attached to it. */
  readonly xdp: { readonly mode: XdpAttachment; readonly program: number } | undefined;
}

/** The body of RTM_GETLINK and the like: struct ifinfomsg and attributes. */
export function linkBody(
  index: number,
  flags: number,
  change: number,
  ...rest: readonly Uint8Array[]
): Buffer {
  const head = Buffer.alloc(16);
  head.writeInt32LE(index, 4);
  head.writeUInt32LE(flags, 8);
  head.writeUInt32LE(change, 12);
  return Buffer.concat([head, ...rest]);
}

export interface LinkChange {
  readonly up?: boolean;
  readonly promiscuous?: boolean;
  readonly mtu?: number;
  readonly name?: string;
  readonly address?: string;
  /** A descriptor of the network namespace that it moves to. */
  readonly namespace?: number;
}

export function changeBody(index: number, change: LinkChange): Buffer {
  let flags = 0;
  let mask = 0;
  if (change.up !== undefined) mask |= IFF_UP;
  if (change.up === true) flags |= IFF_UP;
  if (change.promiscuous !== undefined) mask |= IFF_PROMISC;
  if (change.promiscuous === true) flags |= IFF_PROMISC;
  const attributes: Buffer[] = [];
  if (change.mtu !== undefined) attributes.push(attribute(IFLA_MTU, change.mtu));
  if (change.name !== undefined) attributes.push(attribute(IFLA_IFNAME, change.name));
  if (change.address !== undefined) attributes.push(attribute(IFLA_ADDRESS, hardwareAddress(change.address)));
  if (change.namespace !== undefined) attributes.push(attribute(IFLA_NET_NS_FD, change.namespace));
  return linkBody(index, flags, mask, ...attributes);
}

export interface VethEnd {
  readonly name: string;
  readonly namespace?: number;
}

export interface VethOptions {
  /** Receive and transmit queues of each end; 1 by default. */
  readonly queues?: number;
  readonly mtu?: number;
}

/** The body of RTM_NEWLINK for a pair of veth interfaces. */
export function vethBody(one: VethEnd, other: VethEnd, options: VethOptions): Buffer {
  const describe = (end: VethEnd) => [
    attribute(IFLA_IFNAME, end.name),
    attribute(IFLA_NUM_TX_QUEUES, options.queues ?? 1),
    attribute(IFLA_NUM_RX_QUEUES, options.queues ?? 1),
    ...(options.mtu === undefined ? [] : [attribute(IFLA_MTU, options.mtu)]),
    ...(end.namespace === undefined ? [] : [attribute(IFLA_NET_NS_FD, end.namespace)]),
  ];
  const peer = nested(VETH_INFO_PEER, linkBody(0, 0, 0), ...describe(other));
  return linkBody(
    0,
    0,
    0,
    ...describe(one),
    nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, "veth"), nested(IFLA_INFO_DATA, peer)),
  );
}

export function decodeLink(body: Buffer): Link | undefined {
  if (body.length < 16) return undefined;
  const attributes = decodeAttributes(body.subarray(16));
  const flags = body.readUInt32LE(8);
  const info = attributes.get(IFLA_LINKINFO);
  const address = attributes.get(IFLA_ADDRESS);
  return {
    index: body.readInt32LE(4),
    name: textOf(attributes, IFLA_IFNAME) ?? "",
    hardware: body.readUInt16LE(2),
    kind: info === undefined ? undefined : textOf(decodeAttributes(info), IFLA_INFO_KIND),
    address: address === undefined ? undefined : [...address].map(hex).join(":"),
    mtu: numberOf(attributes, IFLA_MTU) ?? 0,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    promiscuity: numberOf(attributes, IFLA_PROMISCUITY) ?? 0,
    queues: {
      rx: numberOf(attributes, IFLA_NUM_RX_QUEUES) ?? 1,
      tx: numberOf(attributes, IFLA_NUM_TX_QUEUES) ?? 1,
    },
    master: numberOf(attributes, IFLA_MASTER),
    link: numberOf(attributes, IFLA_LINK),
    xdp: decodeXdp(attributes),
  };
}

function decodeXdp(attributes: Attributes): Link["xdp"] {
  const bytes = attributes.get(IFLA_XDP);
  if (bytes === undefined) return undefined;
  const inner = decodeAttributes(bytes);
  const mode = ATTACHMENTS[inner.get(IFLA_XDP_ATTACHED)?.[0] ?? 0];
  return mode === undefined ? undefined : { mode, program: numberOf(inner, IFLA_XDP_PROG_ID) ?? 0 };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

/** The bytes of `02:00:00:00:00:01`. Throws ERR_USAGE. */
export function hardwareAddress(text: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text))
    throw new MillraceError("ERR_USAGE", `"${text}" is not a hardware address`, {
      hint: "write six bytes as 02:00:00:00:00:01",
    });
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

// ── Addresses.

export interface InterfaceAddress {
  readonly index: number;
  readonly address: string;
  readonly prefix: number;
}

/** The body of RTM_NEWADDR: struct ifaddrmsg and attributes. An IPv6 address is usable at once (no DAD). */
export function addressBody(entry: InterfaceAddress): Buffer {
  const head = Buffer.alloc(8);
  const address = ipaddr.parse(entry.address);
  const v6 = address.kind() === "ipv6";
  head[0] = v6 ? AF_INET6 : AF_INET;
  head[1] = entry.prefix;
  head.writeUInt32LE(entry.index, 4);
  const bytes = Buffer.from(address.toByteArray());
  return Buffer.concat([
    head,
    attribute(IFA_LOCAL, bytes),
    attribute(IFA_ADDRESS, bytes),
    ...(v6 ? [attribute(IFA_FLAGS, IFA_F_NODAD)] : []),
  ]);
}

export function decodeAddress(body: Buffer): InterfaceAddress | undefined {
  if (body.length < 8) return undefined;
  const attributes = decodeAttributes(body.subarray(8));
  const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (bytes === undefined || (bytes.length !== 4 && bytes.length !== 16)) return undefined;
  const address = ipaddr.fromByteArray([...bytes]).toString();
  return { index: body.readUInt32LE(4), address, prefix: body[1] };
}
