import { setTimeout as delay } from "node:timers/promises";
import { MillraceError } from "../../errors.js";
import {
  XDP_COMPLETION,
  XDP_FILL,
  XDP_OUTSTANDING,
  XDP_QUEUE,
  XDP_QUEUE_SIZE,
  XDP_RX,
  XDP_RX_OWNER,
  XDP_TX,
  XDP_TX_OWNER,
} from "../../kernels/xdp-structs.js";
import { ERRNO, systemError } from "../../linux/errno.js";
import type { Link } from "../../linux/links.js";
import { unmapOver } from "../../linux/mapping.js";
import {
  bindXdpSocket,
  closeXdpSocket,
  isZeroCopy,
  kickTransmit,
  makeXdpRing,
  mapXdpRing,
  openXdpSocket,
  preferBusyPoll,
  registerUmem,
  setTransmitBudget,
  XDP_COPY,
  XDP_RINGS,
  XDP_SHARED_UMEM,
  XDP_USE_NEED_WAKEUP,
  XDP_USE_SG,
  XDP_ZEROCOPY,
  type XdpRingName,
  xdpRingOffsets,
} from "../../linux/xdp-socket.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { claimOwner, releaseOwner } from "../../memory/owners.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import { initRingSide } from "../../memory/ring.js";
import type { XdpOptions } from "./options.js";
import { joinUmem, leaveUmem, sharedUmem } from "./umem.js";

/** One open queue: a socket and its four rings, mapped over the arena. */
export interface XdpQueue {
  readonly number: number;
  readonly fd: number;
  /** Offset of its structure in the arena (kernels/xdp-structs.ts), for the kernels. */
  readonly at: number;
  readonly zeroCopy: boolean;
  /** Packets of several descriptors can be sent and received (XDP_USE_SG). */
  readonly fragments: boolean;
  readonly busyPoll: boolean;
  /** Why it is not zero-copy although that was not ruled out. */
  readonly why: string | undefined;
  readonly rings: readonly MappedRing[];
}

interface MappedRing {
  readonly offset: number;
  readonly bytes: number;
}

const RING_NAMES: readonly XdpRingName[] = ["rx", "tx", "fill", "completion"];
const KERNEL_PAGE = 4096;

/** What was obtained when a socket was bound. */
interface Bound {
  readonly fragments: boolean;
  readonly why: string | undefined;
}

/** Opens one queue of an interface. Its rings are live, but nothing comes until the program lets it. */
export function openQueue(
  arena: ArenaMemory,
  link: Link,
  number: number,
  options: XdpOptions,
  tryZeroCopy: boolean,
): XdpQueue {
  const subject = `xdp:${link.name} queue ${number}`;
  const fd = openXdpSocket(subject);
  const rings: MappedRing[] = [];
  const at = allocateRegion(arena, XDP_QUEUE_SIZE);
  const owners: number[] = [];
  try {
    for (const ring of RING_NAMES) makeXdpRing(fd, ring, options.ring, subject);
    const bound = bindBest(arena, fd, link, number, options.bind, tryZeroCopy, subject);
    const zeroCopy = isZeroCopy(fd, subject);
    owners.push(claimOwner(arena, { counts: false }), claimOwner(arena, { counts: true }));
    arena.u32[(at + XDP_QUEUE) >>> 2] = number;
    arena.u32[(at + XDP_RX_OWNER) >>> 2] = owners[0];
    arena.u32[(at + XDP_TX_OWNER) >>> 2] = owners[1];
    mapRings(arena, fd, at, options.ring, rings, subject);
    setTransmitBudget(fd, options.ring);
    const busyPoll = options.busyPoll !== undefined && preferBusyPoll(fd, options.busyPoll, 64);
    joinUmem(arena, zeroCopy, { fd, fragments: bound.fragments });
    arena.kernels.xdpFill(at, options.ring);
    return { number, fd, at, zeroCopy, busyPoll, rings, ...bound };
  } catch (error) {
    for (const ring of rings) unmapOver(arena, ring.offset, ring.bytes);
    closeXdpSocket(fd, subject);
    for (const ring of rings) freeRegion(arena, ring.offset, ring.bytes);
    for (const owner of owners) releaseOwner(arena, owner);
    freeRegion(arena, at, XDP_QUEUE_SIZE);
    throw error;
  }
}

function mapRings(
  arena: ArenaMemory,
  fd: number,
  at: number,
  entries: number,
  rings: MappedRing[],
  subject: string,
): void {
  const offsets = xdpRingOffsets(fd, subject);
  const sides = { rx: XDP_RX, tx: XDP_TX, fill: XDP_FILL, completion: XDP_COMPLETION };
  for (const name of RING_NAMES) {
    const { entrySize } = XDP_RINGS[name];
    const places = offsets[name];
    const bytes = Math.ceil((places.entries + entries * entrySize) / KERNEL_PAGE) * KERNEL_PAGE;
    const offset = allocateRegion(arena, bytes);
    try {
      mapXdpRing(fd, name, arena, offset, bytes, subject);
    } catch (error) {
      freeRegion(arena, offset, bytes);
      throw error;
    }
    rings.push({ offset, bytes });
    const which = name === "rx" || name === "completion" ? "consumer" : "producer";
    initRingSide(arena, at + sides[name], which, {
      producer: offset + places.producer,
      consumer: offset + places.consumer,
      flags: offset + places.flags,
      entries: offset + places.entries,
      metas: 0,
      mask: entries - 1,
      entrySize,
      owner: 0, // the kernels of these rings know the owners from the queue's structure
    });
  }
}

/** Binds with the best of what was asked for; each refusal of a driver leads to the next best. */
function bindBest(
  arena: ArenaMemory,
  fd: number,
  link: Link,
  queue: number,
  wanted: XdpOptions["bind"],
  tryZeroCopy: boolean,
  subject: string,
): Bound {
  const modes = wanted === undefined ? (tryZeroCopy ? [true, false] : [false]) : [wanted === "zero-copy"];
  let registered = false;
  let why: string | undefined;
  let errno = 0;
  for (const zeroCopy of modes) {
    const shared = sharedUmem(arena, zeroCopy);
    if (shared !== undefined && !registered) {
      // Every other flag is inherited from the socket whose UMEM it is.
      errno = bindXdpSocket(fd, { index: link.index, queue, flags: XDP_SHARED_UMEM, shared: shared.fd });
      if (errno === 0) return { fragments: shared.fragments, why };
      if (errno === ERRNO.EBUSY) break;
    }
    // Unaligned chunks share the kernel's few hot buffer heads (net/xdp/xsk_buff_pool.c); aligned ones have one each,
    // and every packet one that is cold. Drivers that do zero-copy may want them aligned.
    if (!registered)
      registerUmem(fd, arena, arena.frames * arena.frameSize, arena.frameSize, !zeroCopy, subject);
    registered = true;
    for (const fragments of [true, false]) {
      const flags = XDP_USE_NEED_WAKEUP | (zeroCopy ? XDP_ZEROCOPY : XDP_COPY) | (fragments ? XDP_USE_SG : 0);
      errno = bindXdpSocket(fd, { index: link.index, queue, flags });
      if (errno === 0) return { fragments, why };
      if (errno === ERRNO.EBUSY) break;
    }
    if (errno === ERRNO.EBUSY) break;
    why = "copy, because the driver refuses zero-copy for this queue";
  }
  if (errno === ERRNO.EBUSY)
    throw new MillraceError("EBUSY", `queue ${queue} of ${link.name} belongs to another AF_XDP socket`, {
      syscall: "bind",
      errno: -errno,
      hint: "close the program that has it (ss --xdp -p), or open another queue with queue=N",
    });
  throw systemError(errno, "bind", subject, {
    EOPNOTSUPP: "the driver cannot do what bind= or mode= asks for: leave them out to get the best there is",
    EINVAL: "the queue does not exist, or the driver cannot do what bind= asks for",
    ENETDOWN: `the interface is down: ip link set dev ${link.name} up`,
    ENODEV: "the interface is gone",
    ENOBUFS: "raise RLIMIT_MEMLOCK (ulimit -l unlimited), or give CAP_IPC_LOCK",
  });
}

const DRAIN_MILLISECONDS = 200;
/** How long the kernel may still touch a zero-copy socket's frames after close(2). */
const LETTING_GO_MILLISECONDS = 50;

/** Waits a while until the kernel has completed what was given to it. */
export async function drainQueue(arena: ArenaMemory, queue: XdpQueue, subject: string): Promise<void> {
  const end = performance.now() + DRAIN_MILLISECONDS;
  arena.kernels.xdpComplete(queue.at);
  while (arena.u32[(queue.at + XDP_OUTSTANDING) >>> 2] > 0 && performance.now() < end) {
    try {
      kickTransmit(queue.fd, subject);
    } catch {
      return; // the interface is gone, and with it whoever would complete
    }
    await delay(1);
    arena.kernels.xdpComplete(queue.at);
  }
}

/** Closes the socket and gives all frames and regions back, those never completed too. */
export async function closeQueue(arena: ArenaMemory, queue: XdpQueue, subject: string): Promise<void> {
  leaveUmem(arena, queue.zeroCopy, queue.fd);
  for (const ring of queue.rings) unmapOver(arena, ring.offset, ring.bytes);
  closeXdpSocket(queue.fd, subject);
  if (queue.zeroCopy) await delay(LETTING_GO_MILLISECONDS);
  for (const ring of queue.rings) freeRegion(arena, ring.offset, ring.bytes);
  releaseOwner(arena, arena.u32[(queue.at + XDP_RX_OWNER) >>> 2]);
  releaseOwner(arena, arena.u32[(queue.at + XDP_TX_OWNER) >>> 2]);
  freeRegion(arena, queue.at, XDP_QUEUE_SIZE);
}
