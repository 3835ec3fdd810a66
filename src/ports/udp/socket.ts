// A UDP socket with everything set that its locator asks for (ip(7), ipv6(7), udp(7), socket(7)).
import { check } from "../../linux/errno.js";
import { libc } from "../../linux/libc.js";
import {
  AF_INET,
  AF_INET6,
  attachSocketFilter,
  encodeAddress,
  getOption,
  MSG_DONTWAIT,
  openSocket,
  SOCK_DGRAM,
  SOL_SOCKET,
  setOption,
  setReceiveBuffer,
  TAKE_NOTHING,
  tryOption,
} from "../../linux/socket.js";
import type { ClassicInstruction } from "../port.js";
import type { UdpOptions } from "./address.js";

const SO_REUSEADDR = 2;
const SO_SNDBUF = 7;
const SO_BROADCAST = 6;
const SO_BINDTODEVICE = 25;
const SO_SNDBUFFORCE = 32;
const SO_TIMESTAMPNS = 35;
const SO_MEMINFO = 55;
const SO_ZEROCOPY = 60;
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
const SOL_UDP = 17;
const UDP_GRO = 104;
const IP_TTL = 2;
const IP_MTU = 14;
const IP_MULTICAST_IF = 32;
const IP_MULTICAST_TTL = 33;
const IP_MULTICAST_ALL = 49;
const IPV6_UNICAST_HOPS = 16;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MTU = 24;
const IPV6_MULTICAST_ALL = 29;
const MCAST_JOIN_GROUP = 42;
const MCAST_JOIN_SOURCE_GROUP = 46;

const SEND_BUFFER = 4 * 2 ** 20;

/** A socket and what was obtained of what was asked for. */
export interface UdpSocket {
  readonly fd: number;
  readonly subject: string;
  readonly six: boolean;
  readonly connected: boolean;
  /** Bytes of receive buffer obtained. */
  readonly receiveBuffer: number;
  /** The longest datagram that fits into one packet of the path. */
  readonly segmentLimit: number;
  readonly zeroCopy: boolean;
}

/** Binds (`in`, `both`) or connects (`out`) a socket. Throws the error of the call that failed. */
export function openUdpSocket(
  subject: string,
  options: UdpOptions,
  direction: "in" | "out" | "both",
): UdpSocket {
  const { where, receiveBuffer } = options;
  const six = where.address.includes(":");
  const fd = openSocket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0, subject);
  try {
    const connected = direction === "out";
    setOption(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1, subject);
    tryOption(fd, SOL_UDP, UDP_GRO, 1); // kernels before 5.0 deliver one datagram a message
    const obtained = setReceiveBuffer(fd, receiveBuffer, subject);
    if (!tryOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER))
      tryOption(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
    setHops(fd, six, options, subject);
    if (connected) connectTo(fd, six, options, subject);
    else bindTo(fd, six, options, subject);
    return {
      fd,
      subject,
      six,
      connected,
      receiveBuffer: obtained,
      segmentLimit: connected ? pathLimit(fd, six, subject) : 65535,
      zeroCopy: options.zeroCopy && tryOption(fd, SOL_SOCKET, SO_ZEROCOPY, 1),
    };
  } catch (error) {
    libc().close(fd);
    throw error;
  }
}

function bindTo(fd: number, six: boolean, options: UdpOptions, subject: string): void {
  const { where, multicast, ifaceName } = options;
  if (multicast) setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1, subject);
  if (ifaceName !== "" && !multicast) bindToDevice(fd, ifaceName, subject);
  const address = encodeAddress(where);
  check(libc().bind(fd, address, address.length), "bind", subject, {
    EADDRNOTAVAIL: "bind to an address of this machine, or to * for all of them",
    EADDRINUSE: "another socket listens there; `ss -lunp` says whose",
    EACCES: "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE",
  });
  if (multicast) joinGroup(fd, six, options, subject);
}

// struct group_req and group_source_req: the interface, then one or two sockaddr_storage of 128 bytes.
function joinGroup(fd: number, six: boolean, { where, iface, source }: UdpOptions, subject: string): void {
  const request = new Uint8Array(8 + 128 + (source === undefined ? 0 : 128));
  new DataView(request.buffer).setUint32(0, iface, true);
  request.set(encodeAddress({ address: where.address, port: 0 }), 8);
  if (source !== undefined) request.set(encodeAddress(source), 136);
  // Without this a socket also gets groups that others on the machine have joined.
  if (six) tryOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
  else setOption(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0, subject);
  const option = source === undefined ? MCAST_JOIN_GROUP : MCAST_JOIN_SOURCE_GROUP;
  setOption(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, option, request, subject, {
    ENODEV: "no route leads to the group: name the interface with iface=",
    ENOBUFS: "net.ipv4.igmp_max_memberships is the limit",
  });
}

function connectTo(fd: number, six: boolean, options: UdpOptions, subject: string): void {
  const { where, multicast, iface, ifaceName } = options;
  if (multicast && iface !== 0) {
    // struct ip_mreqn: group, local address, interface
    if (six) setOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, iface, subject);
    else setOption(fd, IPPROTO_IP, IP_MULTICAST_IF, new Int32Array([0, 0, iface]), subject);
  } else if (ifaceName !== "") bindToDevice(fd, ifaceName, subject);
  tryOption(fd, SOL_SOCKET, SO_BROADCAST, 1);
  const address = encodeAddress(where);
  check(libc().connect(fd, address, address.length), "connect", subject, {
    ENETUNREACH: "no route leads there; `ip route get` says why",
  });
}

function bindToDevice(fd: number, name: string, subject: string): void {
  setOption(fd, SOL_SOCKET, SO_BINDTODEVICE, new TextEncoder().encode(`${name}\0`), subject, {
    EPERM: "iface= on a socket that is bound already needs CAP_NET_RAW",
  });
}

function setHops(fd: number, six: boolean, { ttl, multicast }: UdpOptions, subject: string): void {
  if (ttl === undefined) return;
  if (six) setOption(fd, IPPROTO_IPV6, multicast ? IPV6_MULTICAST_HOPS : IPV6_UNICAST_HOPS, ttl, subject);
  else setOption(fd, IPPROTO_IP, multicast ? IP_MULTICAST_TTL : IP_TTL, ttl, subject);
}

function pathLimit(fd: number, six: boolean, subject: string): number {
  const mtu = new Int32Array(1);
  getOption(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_MTU : IP_MTU, mtu, subject);
  return Math.min(65535, mtu[0] - (six ? 48 : 28));
}

/**
 * Puts a program before a socket that is bound already: what has come until then is thrown away. Without `joins` the
 * kernel hands over each datagram by itself.
 */
export function filterUdpSocket(
  { fd, subject }: UdpSocket,
  program: readonly ClassicInstruction[],
  joins: boolean,
): void {
  attachSocketFilter(fd, TAKE_NOTHING, subject);
  if (!joins) tryOption(fd, SOL_UDP, UDP_GRO, 0);
  const { recvfrom } = libc();
  const scrap = new Uint8Array(1);
  while (recvfrom(fd, scrap, 1, MSG_DONTWAIT, null, null) >= 0);
  attachSocketFilter(fd, program, subject);
}

/**
 * What the kernel dropped at this socket since it was made, modulo 2^32 (sk_drops, by SO_MEMINFO). It counts buffers:
 * a coalesced one is one, and no counter of the kernel (SO_RXQ_OVFL, Udp: RcvbufErrors) says how many datagrams it held.
 */
export function kernelDrops(fd: number, subject: string): number {
  const info = new Uint32Array(9);
  getOption(fd, SOL_SOCKET, SO_MEMINFO, info, subject);
  return info[8];
}
