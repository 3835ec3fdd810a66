import { setTimeout as delay } from "node:timers/promises";
import { MillraceError } from "../../errors.js";
import { emitXdpFilter } from "../../filter/ebpf.js";
import { BURST_METAS, META_QUEUE, META_SIZE, NEED_WAKEUP, RING_FLAGS } from "../../kernels/structs.js";
import {
  XDP_BAD_COMPLETED,
  XDP_BAD_RECEIVED,
  XDP_FILL,
  XDP_OUTSTANDING,
  XDP_OVERSIZE,
  XDP_RECEIVED,
  XDP_RECEIVED_BYTES,
  XDP_RUNTS,
  XDP_SENT,
  XDP_SENT_BYTES,
  XDP_TAKEN,
  XDP_TX,
} from "../../kernels/xdp-structs.js";
import { libc } from "../../linux/libc.js";
import type { Link } from "../../linux/links.js";
import { interfaceMtu } from "../../linux/mtu.js";
import { xdpFeatures } from "../../linux/netdev.js";
import { findLink } from "../../linux/netlink.js";
import { holdPromiscuous } from "../../linux/promiscuity.js";
import { watch } from "../../linux/watch.js";
import { kickReceive, kickTransmit, xdpStatistics } from "../../linux/xdp-socket.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../../memory/burst.js";
import { recordDescriptor, releaseOwner } from "../../memory/owners.js";
import type { Locator } from "../locator.js";
import type { Capabilities, ClassicInstruction, DriverCounters, DriverOptions, PortDriver } from "../port.js";
import { type Attachment, attach } from "./attachment.js";
import { type XdpOptions, xdpOptions } from "./options.js";
import { CONTEXT_REGISTER, UNWANTED } from "./program.js";
import { closeQueue, drainQueue, openQueue, type XdpQueue } from "./queue.js";

const FRAGMENTS = 17; // MAX_SKB_FRAGS: the kernel drops a packet of more
const ETHERNET_OVERHEAD = 18; // header and one VLAN tag
/** Packets a burst takes at once. */
const BURST_MOST = 256;
const LOOK_MILLISECONDS = 1000;
const LETTING_GO_MILLISECONDS = 200;

/** Opens `xdp:IFACE`: AF_XDP over the arena's frames (Documentation/networking/af_xdp.rst). */
export async function openXdp(
  arena: ArenaMemory,
  locator: Locator,
  { direction }: DriverOptions,
): Promise<PortDriver> {
  const link = findLink(locator.place);
  const options = xdpOptions(arena, locator, link);
  const features = xdpFeatures(link.index);
  const attachment = await attach(arena, link, options.mode);
  const queues: XdpQueue[] = [];
  let promiscuity: Promiscuity | undefined;
  try {
    if (options.promiscuous) promiscuity = beginPromiscuity(arena, link.index, locator.text);
    // Zero-copy needs the driver's own XDP; a kernel too old to say what its driver can is asked by trying.
    const tryZeroCopy = attachment.mode === "native" && features?.zeroCopy !== false;
    for (const number of options.queues)
      queues.push(await openFreed(() => openQueue(arena, link, number, options, tryZeroCopy)));
  } catch (error) {
    for (const queue of queues) await closeQueue(arena, queue, locator.text);
    attachment.release();
    endPromiscuity(arena, promiscuity);
    throw error;
  }
  const can = capabilities(link, options, attachment, queues);
  const whole = queues.length === link.queues.rx;
  const mtu = () => interfaceMtu(link.name) + ETHERNET_OVERHEAD;
  const start = () => {
    // A port that is only sent to leaves what comes in to the kernel's stack.
    if (direction !== "out") for (const { number, fd } of queues) attachment.connect(number, fd);
  };
  return { ...createDriver(arena, locator.text, can, attachment, queues, promiscuity, whole), mtu, start };
}

/** The descriptor that keeps an interface promiscuous, and the record by which it ends with a worker that is killed. */
interface Promiscuity {
  readonly fd: number;
  readonly record: number;
}

function beginPromiscuity(arena: ArenaMemory, index: number, subject: string): Promiscuity {
  const fd = holdPromiscuous(index, subject);
  return { fd, record: recordDescriptor(arena, fd) };
}

function endPromiscuity(arena: ArenaMemory, promiscuity: Promiscuity | undefined): void {
  if (promiscuity === undefined) return;
  releaseOwner(arena, promiscuity.record);
  libc().close(promiscuity.fd);
}

// A queue whose socket was closed a moment ago stays busy until the kernel has let go of it.
async function openFreed(open: () => XdpQueue): Promise<XdpQueue> {
  const end = performance.now() + LETTING_GO_MILLISECONDS;
  for (;;) {
    try {
      return open();
    } catch (error) {
      if ((error as { code?: string }).code !== "EBUSY" || performance.now() > end) throw error;
      await delay(10);
    }
  }
}

function capabilities(
  link: Link,
  options: XdpOptions,
  attachment: Attachment,
  queues: readonly XdpQueue[],
): Capabilities {
  const zeroCopy = queues.every((queue) => queue.zeroCopy);
  const reasons = [`${attachment.mode} XDP`];
  if (attachment.why !== undefined) reasons.push(attachment.why);
  if (!zeroCopy)
    reasons.push(
      queues.find((queue) => queue.why !== undefined)?.why ??
        (options.bind === "copy" ? "copy, as asked" : `the driver of ${link.name} has no zero-copy`),
    );
  if (options.busyPoll !== undefined && !queues.every((queue) => queue.busyPoll))
    reasons.push("busy-poll= is without effect: the kernel has no SO_PREFER_BUSY_POLL");
  if (link.kind === "veth")
    reasons.push(
      "packets from a sender on this host come with unfinished checksums: ethtool -K PEER tx off gro off on the other end",
    );
  return {
    linkType: "EN10MB",
    mtu: link.mtu + ETHERNET_OVERHEAD,
    queues: queues.length,
    live: true,
    fragments: queues.every((queue) => queue.fragments) ? FRAGMENTS : 0,
    checksum: { rx: false, tx: false },
    segmentation: false,
    headerSplit: false,
    hash: false,
    timestamps: "software",
    mode: zeroCopy ? "zero-copy" : "copy",
    why: reasons.join("; "),
  };
}

function createDriver(
  arena: ArenaMemory,
  subject: string,
  can: Capabilities,
  attachment: Attachment,
  queues: readonly XdpQueue[],
  promiscuity: Promiscuity | undefined,
  /** Whether the port has all queues of its interface, and so the program to itself. */
  whole: boolean,
): PortDriver {
  const { kernels, u8, u32 } = arena;
  const watching = watch(...queues.map(({ fd }) => fd));
  let refused = 0; // packets completed that the device did not take
  let nextReceive = 0;
  let gone: { readonly error: unknown } | undefined; // what the kernel said of the interface
  let unread = 0; // packets that nobody had asked for when the port closed
  let closing: Promise<void> | undefined;
  let last: DriverCounters | undefined;

  const wantsWakeup = (queue: XdpQueue, side: number) =>
    (Atomics.load(u32, u32[(queue.at + side + RING_FLAGS) >>> 2] >>> 2) & NEED_WAKEUP) !== 0;
  const outstanding = (queue: XdpQueue) => u32[(queue.at + XDP_OUTSTANDING) >>> 2];

  function receiveFrom(queue: XdpQueue, burst: number): number {
    // Only zero-copy drivers ask to be woken; the word they ask by lies in a line that the kernel writes all the time.
    if (queue.busyPoll || (queue.zeroCopy && wantsWakeup(queue, XDP_FILL))) kickReceive(queue.fd, subject);
    if (kernels.xdpReady(queue.at) === 0) return 0; // before the clock, which leaves the garbage collector a number
    const now = performance.timeOrigin + performance.now();
    const seconds = Math.floor(now / 1000);
    return kernels.xdpReceive(queue.at, burst, BURST_MOST, seconds, (now - seconds * 1000) * 1e6);
  }

  function flush(queue: XdpQueue): void {
    // Each call sends a packet or says that nothing can go now; the ring bounds how many there are.
    while (outstanding(queue) > 0 && wantsWakeup(queue, XDP_TX)) {
      const kick = kickTransmit(queue.fd, subject);
      if (kick === "dropped") refused++;
      else if (kick === "sent") return;
      else if (kernels.xdpComplete(queue.at) === 0) return;
    }
  }

  // What no packet brings about: a socket whose interface has gone is never ready, and packets to send, or a fill
  // ring to fill, may be left from when the interface was down, or the pool empty.
  const looking = setInterval(() => {
    try {
      for (const queue of queues) {
        kickReceive(queue.fd, subject);
        kernels.xdpReady(queue.at);
        sendRest(queue);
      }
    } catch (error) {
      clearInterval(looking);
      gone = { error };
      watching.close(); // who waits goes on, and hears of it
    }
  }, LOOK_MILLISECONDS).unref();

  function sendRest(queue: XdpQueue): void {
    if (outstanding(queue) === 0) return;
    kernels.xdpComplete(queue.at);
    flush(queue);
  }

  function receive(burst: number): number {
    if (closing !== undefined) return 0;
    if (gone !== undefined) throw gone.error;
    let packets = 0;
    for (let tried = 0; tried < queues.length && packets === 0; tried++) {
      const queue = queues[nextReceive];
      nextReceive = (nextReceive + 1) % queues.length;
      packets = receiveFrom(queue, burst);
      if (packets === 0) sendRest(queue);
    }
    return packets;
  }

  function sendFrom(burst: number, first: number, edge: number): number {
    if (closing !== undefined) return first;
    if (gone !== undefined) throw gone.error;
    // Packets that came on one queue leave on one queue, so that no flow is reordered.
    const meta = u32[(burst + BURST_METAS) >>> 2] + first * META_SIZE;
    const queue = queues.length === 1 ? queues[0] : queues[u8[meta + META_QUEUE] % queues.length];
    const result = kernels.xdpSend(queue.at, burst, first, can.fragments, edge);
    flush(queue);
    return throwFault(arena, burst, result);
  }

  function readable(signal: AbortSignal): Promise<void> {
    return gone === undefined ? watching.readable(signal) : Promise.reject(gone.error);
  }

  async function writable(signal: AbortSignal): Promise<void> {
    if (gone !== undefined) throw gone.error;
    await watching.writable(signal);
    // A ring may have room while the kernel has not completed what went before: then it takes nothing yet.
    const taken = queues.map((queue) => kernels.xdpComplete(queue.at));
    if (taken.every((count) => count === 0)) await delay(1, undefined, { signal });
  }

  function counters(): DriverCounters {
    if (last !== undefined) return last;
    const sum = (offset: number) =>
      queues.reduce((total, queue) => total + arena.f64[(queue.at + offset) >>> 3], 0);
    const kernel = kernelDrops(queues, can, subject);
    return {
      received: { packets: sum(XDP_RECEIVED), bytes: sum(XDP_RECEIVED_BYTES) },
      transmitted: { packets: sum(XDP_SENT) - refused, bytes: sum(XDP_SENT_BYTES) },
      dropped: withoutZeros({
        ...kernel,
        unread,
        "bad-descriptor": sum(XDP_BAD_RECEIVED),
        oversize: sum(XDP_OVERSIZE),
        runt: sum(XDP_RUNTS),
        device: refused,
      }),
      errors: withoutZeros({ "bad-completion": sum(XDP_BAD_COMPLETED) }),
      copies: can.mode === "copy" ? { kernel: sum(XDP_RECEIVED_BYTES) + sum(XDP_SENT_BYTES) } : {},
      held: sum(XDP_TAKEN) - sum(XDP_SENT),
    };
  }

  /** Packets that the filter does not want never leave the kernel's stack. */
  function attachFilter(program: readonly ClassicInstruction[]): "xdp" | undefined {
    if (!whole) return undefined;
    try {
      attachment.filter(emitXdpFilter(program, { context: CONTEXT_REGISTER, unwanted: UNWANTED }));
    } catch (error) {
      // A filter that the verifier finds too long, or an older kernel without the helpers, runs here instead.
      if (error instanceof MillraceError && error.code === "ERR_FILTER") return undefined;
      throw error;
    }
    return "xdp";
  }

  /** Drops what stands in the receive rings; how many packets. */
  function discard(): number {
    const burst = createBurst(arena, BURST_MOST * (FRAGMENTS + 1));
    let packets = 0;
    for (const { at } of queues)
      for (let got = BURST_MOST; got > 0; packets += got) {
        got = kernels.xdpReceive(at, burst, BURST_MOST, 0, 0);
        throwFault(arena, burst, kernels.burstRelease(burst, 0));
      }
    destroyBurst(arena, burst);
    return packets;
  }

  async function close(): Promise<void> {
    clearInterval(looking);
    watching.close();
    for (const queue of queues) attachment.disconnect(queue.number);
    attachment.release();
    for (const queue of queues) await drainQueue(arena, queue, subject);
    unread = discard();
    last = counters();
    for (const queue of queues) await closeQueue(arena, queue, subject);
    endPromiscuity(arena, promiscuity);
  }

  return {
    can,
    ended: false,
    receive,
    send: (burst, first) => sendFrom(burst, first, 0),
    sendOrdinary: (burst, edge) => sendFrom(burst, 0, edge),
    readable,
    writable,
    counters,
    attachFilter,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

/** What the kernel counted as lost, in packets, by reason. */
function kernelDrops(
  queues: readonly XdpQueue[],
  can: Capabilities,
  subject: string,
): Readonly<Record<string, number>> {
  const sums = { "kernel-ring-full": 0, "kernel-fill-empty": 0, kernel: 0 };
  for (const queue of queues) {
    const statistics = xdpStatistics(queue.fd, subject);
    sums["kernel-ring-full"] += statistics.ringFull;
    // In copy mode each failure to get a frame is one packet lost, and is counted under `dropped` too.
    if (can.mode === "copy") sums["kernel-fill-empty"] += Math.min(statistics.fillEmpty, statistics.dropped);
    sums.kernel += Math.max(0, statistics.dropped - (can.mode === "copy" ? statistics.fillEmpty : 0));
  }
  return sums;
}

function withoutZeros(counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([, packets]) => packets > 0));
}
