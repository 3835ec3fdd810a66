// AF_PACKET sockets (packet(7), linux/if_packet.h) and what they ask of an interface (netdevice(7)).
import { lackOf } from "./capabilities.js";
import { check, type Hints, systemError } from "./errno.js";
import { libc } from "./libc.js";
import { interfaceRequest, mtuBy, SIOCGIFMTU } from "./mtu.js";
import {
  AF_PACKET,
  getOption,
  openSocket,
  SOCK_DGRAM,
  SOCK_RAW,
  SOL_SOCKET,
  setOption,
  tryOption,
} from "./socket.js";

const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_RX_RING = 5;
const PACKET_STATISTICS = 6;
const PACKET_COPY_THRESH = 7;
const PACKET_VERSION = 10;
const PACKET_VNET_HDR = 15;
const PACKET_TX_RING = 13;
const PACKET_TIMESTAMP = 17;
const PACKET_FANOUT = 18;
const PACKET_QDISC_BYPASS = 20;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_MR_MULTICAST = 0;
const PACKET_MR_PROMISC = 1;
const PACKET_MR_ALLMULTI = 2;
const SO_ERROR = 4;
const SO_SNDBUFFORCE = 32;
const SHORT_PACKET = 512; // half of what the kernel accounts for a short one; it doubles what it is asked for
const SOF_TIMESTAMPING_RAW_HARDWARE = 64;
const HWTSTAMP_FILTER_ALL = 1;
const SIOCGIFNAME = 0x8910;
const SIOCGIFHWADDR = 0x8927;
const SIOCSHWTSTAMP = 0x89b0;
const ETH_P_ALL = 3;
const VNET_HEADER = 10; // struct virtio_net_hdr

/**
 * A packet socket that receives nothing until it is bound. `cooked`: without link headers, which differ from
 * interface to interface. Throws EPERM without CAP_NET_RAW.
 */
export function openPacketSocket(cooked: boolean, subject: string): number {
  return openSocket(AF_PACKET, cooked ? SOCK_DGRAM : SOCK_RAW, 0, subject, {
    get EPERM() {
      return lackOf("CAP_NET_RAW");
    },
  });
}

/** Binds to an interface by index (0: all of them), to receive every protocol or (for a socket that only sends) none. */
export function bindPacketSocket(fd: number, index: number, receives: boolean, subject: string): void {
  // struct sockaddr_ll
  const address = new DataView(new ArrayBuffer(20));
  address.setUint16(0, AF_PACKET, true);
  address.setUint16(2, receives ? ETH_P_ALL : 0);
  address.setInt32(4, index, true);
  check(libc().bind(fd, address, address.byteLength), "bind", subject);
}

/** Puts struct virtio_net_hdr before each packet, both ways; returns its length, or 0 where the kernel has it not. */
export function enableVnetHeader(fd: number): number {
  return tryOption(fd, SOL_PACKET, PACKET_VNET_HDR, 1) ? VNET_HEADER : 0;
}

/** A ring as the kernel lays it out: `blocks` of `blockSize` bytes; slots of `frameSize` in them for TPACKET_V2. */
export interface PacketRing {
  readonly blocks: number;
  readonly blockSize: number;
  /** Of a slot; 0: TPACKET_V3, blocks filled packet after packet. */
  readonly frameSize: number;
  /** TPACKET_V3: milliseconds after which a block that has packets is handed over. */
  readonly delay: number;
}

/** Makes the receive ring, to be mapped over the arena. */
export function createPacketRing(fd: number, ring: PacketRing, subject: string): void {
  const { blocks, blockSize, frameSize, delay } = ring;
  const blockMode = frameSize === 0;
  setOption(fd, SOL_PACKET, PACKET_VERSION, blockMode ? 2 : 1, subject);
  // A packet that no slot can hold waits in the socket's queue, whole.
  if (!blockMode) setOption(fd, SOL_PACKET, PACKET_COPY_THRESH, 1, subject);
  const slot = blockMode ? 2048 : frameSize;
  const request = [blockSize, blocks, slot, (blockSize / slot) * blocks]; // struct tpacket_req
  if (blockMode) request.push(delay, 0, 0); // struct tpacket_req3
  setOption(fd, SOL_PACKET, PACKET_RX_RING, new Uint32Array(request), subject, {
    ENOMEM: "the kernel has no contiguous memory for the ring: ask for a smaller buffer=",
  });
}

/** Makes a ring of slots (TPACKET_V2) to send over; from then on the socket sends nothing else. To be mapped over the arena. */
export function makeSendRing(fd: number, ring: Omit<PacketRing, "delay">, subject: string): void {
  const { blocks, blockSize, frameSize } = ring;
  const slots = (blockSize / frameSize) * blocks;
  setOption(fd, SOL_PACKET, PACKET_VERSION, 1, subject);
  const request = new Uint32Array([blockSize, blocks, frameSize, slots]); // struct tpacket_req
  setOption(fd, SOL_PACKET, PACKET_TX_RING, request, subject, {
    ENOMEM: "the kernel has no contiguous memory for the ring: free some, or use a smaller MTU",
  });
  // Room for every slot's packet, if allowed; less only means that fewer are under way at once.
  tryOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, slots * SHORT_PACKET);
}

/** Receive what is not for this machine too. Ends with the socket. */
export function joinPromiscuous(fd: number, index: number, subject: string): void {
  const request = new Uint32Array([index, PACKET_MR_PROMISC, 0, 0]); // struct packet_mreq
  setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, request, subject);
}

/** Receive what is for multicast groups, by their hardware addresses, or for all of them. Ends with the socket. */
export function joinMulticast(
  fd: number,
  index: number,
  groups: "all" | readonly Uint8Array[],
  subject: string,
): void {
  // struct packet_mreq: index, kind, length of the address, address
  const request = Buffer.alloc(16);
  request.writeInt32LE(index, 0);
  request.writeUInt16LE(groups === "all" ? PACKET_MR_ALLMULTI : PACKET_MR_MULTICAST, 4);
  for (const group of groups === "all" ? [new Uint8Array()] : groups) {
    request.writeUInt16LE(group.length, 6);
    request.set(group, 8);
    setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, request, subject);
  }
}

/** Leaves out what this machine sends; false on kernels before 4.20. */
export function ignoreOutgoing(fd: number): boolean {
  return tryOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
}

/** Sends past the queueing discipline: faster, unseen by captures on the interface. */
export function bypassQdisc(fd: number, subject: string): void {
  setOption(fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1, subject);
}

/** Shares the traffic with the other sockets of group `id`; the socket must be bound. */
export function joinFanout(fd: number, id: number, mode: number, subject: string): void {
  setOption(fd, SOL_PACKET, PACKET_FANOUT, id | (mode << 16), subject, {
    EINVAL: "the group has another mode, interface or traffic=",
    EALREADY: "the group has another mode or interface",
  });
}

/** Asks the card to stamp what it receives, and the ring to carry its stamps. Throws where it cannot. */
export function stampInHardware(fd: number, name: string, subject: string): void {
  const hints: Hints = { EOPNOTSUPP: "the card has no timestamps: `ethtool -T` says what it has" };
  // struct hwtstamp_config, named by an ifreq
  const config = new Int32Array([0, 0, HWTSTAMP_FILTER_ALL]);
  check(
    libc().ioctl(fd, SIOCSHWTSTAMP, interfaceRequest(name, config)),
    "ioctl SIOCSHWTSTAMP",
    subject,
    hints,
  );
  setOption(fd, SOL_PACKET, PACKET_TIMESTAMP, SOF_TIMESTAMPING_RAW_HARDWARE, subject);
}

/** Packets that met the filter (also those that were dropped), drops and freezes of the ring since the last call. */
export function packetStatistics(
  fd: number,
  blocks: boolean,
  subject: string,
): { packets: number; drops: number; freezes: number } {
  const statistics = new Uint32Array(blocks ? 3 : 2); // struct tpacket_stats(_v3)
  getOption(fd, SOL_PACKET, PACKET_STATISTICS, statistics, subject);
  return { packets: statistics[0], drops: statistics[1], freezes: statistics[2] ?? 0 };
}

/** The error that waits at a socket, which is thereby cleared; 0: none. */
export function takeSocketError(fd: number, subject: string): number {
  const error = new Int32Array(1);
  getOption(fd, SOL_SOCKET, SO_ERROR, error, subject);
  return error[0];
}

/** An interface's MTU, read at each call; 0 when there is none of that name any more. */
export function mtuReader(fd: number, name: string): () => number {
  const request = interfaceRequest(name);
  const { ioctl } = libc();
  return () => (ioctl(fd, SIOCGIFMTU, request) === 0 ? request.getInt32(16, true) : 0);
}

/** What an interface is: its MTU in bytes and its ARPHRD_ type (linux/if_arp.h). */
export function interfaceFacts(fd: number, name: string, subject: string): { mtu: number; type: number } {
  const request = interfaceRequest(name);
  const mtu = mtuBy(fd, request, subject);
  check(libc().ioctl(fd, SIOCGIFHWADDR, request), "ioctl SIOCGIFHWADDR", subject);
  return { mtu, type: request.getUint16(16, true) };
}

/** Throws ENODEV when the interface of this index is gone. */
export function checkInterface(fd: number, index: number, subject: string): void {
  const request = interfaceRequest("");
  request.setInt32(16, index, true);
  if (libc().ioctl(fd, SIOCGIFNAME, request) === 0) return;
  throw systemError(libc().errno(), "ioctl SIOCGIFNAME", `${subject}: the interface is gone`);
}
