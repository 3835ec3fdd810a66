// AF_XDP sockets (linux/if_xdp.h): registering the UMEM, making the rings, binding, waking, statistics.

import { MillraceError } from "../errors.js";
import { lackOf } from "./capabilities.js";
import { check, ERRNO, type Hints, systemError } from "./errno.js";
import { libc } from "./libc.js";
import { arenaBase, MAP_POPULATE, type Mapped, mapOver } from "./mapping.js";
import { lockedMemoryLimit } from "./memlock.js";
import {
  AF_XDP,
  getOption,
  MSG_DONTWAIT,
  openSocket,
  SOCK_RAW,
  SOL_SOCKET,
  setOption,
  tryOption,
} from "./socket.js";

const SOL_XDP = 283;
const XDP_MMAP_OFFSETS = 1;
const XDP_UMEM_REG = 4;
const XDP_STATISTICS = 7;
const XDP_OPTIONS = 8;
const XDP_MAX_TX_SKB_BUDGET = 9;
const XDP_OPTIONS_ZEROCOPY = 1;
const SO_BUSY_POLL = 46;
const SO_PREFER_BUSY_POLL = 69;
const SO_BUSY_POLL_BUDGET = 70;

export const XDP_SHARED_UMEM = 1;
export const XDP_COPY = 2;
export const XDP_ZEROCOPY = 4;
export const XDP_USE_NEED_WAKEUP = 8;
export const XDP_USE_SG = 16;

/** The four rings in the order of struct xdp_mmap_offsets: option that makes it, page offset to map it, entry size. */
export const XDP_RINGS = {
  rx: { order: 0, option: 2, page: 0, entrySize: 16 },
  tx: { order: 1, option: 3, page: 0x80000000, entrySize: 16 },
  fill: { order: 2, option: 5, page: 0x100000000, entrySize: 8 },
  completion: { order: 3, option: 6, page: 0x180000000, entrySize: 8 },
} as const;
export type XdpRingName = keyof typeof XDP_RINGS;

const HINTS: Hints = {
  get EPERM() {
    return lackOf("CAP_NET_RAW");
  },
  EAFNOSUPPORT: "this kernel is built without CONFIG_XDP_SOCKETS",
};

/** Makes an AF_XDP socket, with nothing registered yet. */
export function openXdpSocket(subject: string): number {
  return openSocket(AF_XDP, SOCK_RAW, 0, subject, HINTS);
}

const XDP_UMEM_UNALIGNED_CHUNK_FLAG = 1;

/**
 * Registers `[0, bytes)` of the arena as this socket's UMEM, in chunks of `frameSize`. Chunks may be `unaligned`: then
 * the kernel says where a packet begins by its offset in the chunk, in the upper 16 bits of the address.
 */
export function registerUmem(
  fd: number,
  arena: Mapped,
  bytes: number,
  frameSize: number,
  unaligned: boolean,
  subject: string,
): void {
  const registration = Buffer.alloc(32); // struct xdp_umem_reg
  registration.writeBigUInt64LE(BigInt(arenaBase(arena)), 0);
  registration.writeBigUInt64LE(BigInt(bytes), 8);
  registration.writeUInt32LE(frameSize, 16);
  registration.writeUInt32LE(unaligned ? XDP_UMEM_UNALIGNED_CHUNK_FLAG : 0, 24);
  const range = `the arena's frames, ${bytes} bytes,`;
  setOption(fd, SOL_XDP, XDP_UMEM_REG, registration, subject, {
    ...HINTS,
    // The kernel adds up what all threads and programs of the user have registered.
    ENOBUFS: `${range} do not fit into the ${lockedMemoryLimit()} bytes of RLIMIT_MEMLOCK: raise it (ulimit -l unlimited) or give CAP_IPC_LOCK`,
    ENOMEM: `${range} cannot be pinned: free memory, or make a smaller arena`,
  });
}

/** Makes one of the socket's rings. */
export function makeXdpRing(fd: number, ring: XdpRingName, entries: number, subject: string): void {
  setOption(fd, SOL_XDP, XDP_RINGS[ring].option, entries, `${subject}: ${ring} ring of ${entries}`, HINTS);
}

/** Where the words of a ring lie within its mapping, in bytes. */
export interface XdpRingOffsets {
  readonly producer: number;
  readonly consumer: number;
  readonly entries: number;
  readonly flags: number;
}

export function xdpRingOffsets(fd: number, subject: string): Readonly<Record<XdpRingName, XdpRingOffsets>> {
  const words = new BigUint64Array(16);
  getOption(fd, SOL_XDP, XDP_MMAP_OFFSETS, words, subject);
  const of = (ring: XdpRingName): XdpRingOffsets => {
    const [producer, consumer, entries, flags] = [0, 1, 2, 3].map((i) =>
      Number(words[4 * XDP_RINGS[ring].order + i]),
    );
    return { producer, consumer, entries, flags };
  };
  return { rx: of("rx"), tx: of("tx"), fill: of("fill"), completion: of("completion") };
}

/** Maps one of the socket's rings over a region of the arena. */
export function mapXdpRing(
  fd: number,
  ring: XdpRingName,
  arena: Mapped,
  offset: number,
  bytes: number,
  subject: string,
): void {
  const mapping = { fd, at: XDP_RINGS[ring].page, flags: MAP_POPULATE };
  mapOver(arena, offset, bytes, mapping, `${subject}: ${ring} ring`);
}

export interface XdpBinding {
  readonly index: number;
  readonly queue: number;
  readonly flags: number;
  /** The socket whose UMEM is shared, with XDP_SHARED_UMEM. */
  readonly shared?: number;
}

/** Binds a socket to one queue. Returns 0 or the errno, which tells what the driver cannot do. */
export function bindXdpSocket(fd: number, binding: XdpBinding): number {
  const address = Buffer.alloc(16); // struct sockaddr_xdp
  address.writeUInt16LE(AF_XDP, 0);
  address.writeUInt16LE(binding.flags, 2);
  address.writeUInt32LE(binding.index, 4);
  address.writeUInt32LE(binding.queue, 8);
  address.writeUInt32LE(binding.shared ?? 0, 12);
  return libc().bind(fd, address, address.length) === 0 ? 0 : libc().errno();
}

/** True when the socket works without a copy. */
export function isZeroCopy(fd: number, subject: string): boolean {
  const options = new Uint32Array(1);
  getOption(fd, SOL_XDP, XDP_OPTIONS, options, subject);
  return (options[0] & XDP_OPTIONS_ZEROCOPY) !== 0;
}

/** Lets one wake-up send up to `packets` in copy mode (Linux 6.17 and newer; before: 32). */
export function setTransmitBudget(fd: number, packets: number): boolean {
  return tryOption(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, packets);
}

/** Lets this thread's receive calls run the driver's poll themselves. False where the kernel does not. */
export function preferBusyPoll(fd: number, microseconds: number, budget: number): boolean {
  return (
    tryOption(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, 1) &&
    tryOption(fd, SOL_SOCKET, SO_BUSY_POLL, microseconds) &&
    tryOption(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, budget)
  );
}

/** What a wake-up of the transmit side came to. */
export type Kick = "sent" | "again" | "dropped";

/**
 * Tells the kernel to send what is in the transmit ring. `again`: not all of it, call once more. `dropped`: the
 * driver refused one packet, which comes back as completed; call once more.
 */
export function kickTransmit(fd: number, subject: string): Kick {
  if (libc().sendto(fd, null, 0, MSG_DONTWAIT, null, 0) >= 0) return "sent";
  const errno = libc().errno();
  if (errno === ERRNO.EAGAIN || errno === ERRNO.ENOBUFS) return "again";
  if (errno === ERRNO.EBUSY) return "dropped";
  if (errno === ERRNO.ENETDOWN) return "again"; // what is in the ring waits for the interface to come up
  throw socketError(errno, "sendto", subject);
}

/** Lets the kernel fill the receive ring (need_wakeup, or a busy poll). */
export function kickReceive(fd: number, subject: string): void {
  if (libc().recvfrom(fd, null, 0, MSG_DONTWAIT, null, null) >= 0) return;
  const errno = libc().errno();
  if (errno === ERRNO.EAGAIN || errno === ERRNO.ENETDOWN || errno === ERRNO.EBUSY) return;
  throw socketError(errno, "recvfrom", subject);
}

// The kernel unbinds the socket when its interface goes away.
function socketError(errno: number, syscall: string, subject: string): MillraceError {
  if (errno !== ERRNO.ENXIO) return systemError(errno, syscall, subject);
  return new MillraceError("ENODEV", `${subject}: the interface is gone`, { syscall, errno: -ERRNO.ENODEV });
}

/** What the kernel counted at a socket since it was made (struct xdp_statistics). */
export interface XdpStatistics {
  /** Packets too large for the chunk or dropped for want of memory. */
  readonly dropped: number;
  readonly invalidReceive: number;
  readonly invalidTransmit: number;
  /** Packets dropped because the receive ring was full. */
  readonly ringFull: number;
  /** Packets dropped because the fill ring was empty. */
  readonly fillEmpty: number;
  readonly transmitEmpty: number;
}

export function xdpStatistics(fd: number, subject: string): XdpStatistics {
  const words = new BigUint64Array(6);
  getOption(fd, SOL_XDP, XDP_STATISTICS, words, subject);
  const [dropped, invalidReceive, invalidTransmit, ringFull, fillEmpty, transmitEmpty] = [...words].map(
    Number,
  );
  return { dropped, invalidReceive, invalidTransmit, ringFull, fillEmpty, transmitEmpty };
}

/** Closes an AF_XDP socket. Nothing of it may be mapped any more, or its queue stays busy. */
export function closeXdpSocket(fd: number, subject: string): void {
  check(libc().close(fd), "close", subject);
}
