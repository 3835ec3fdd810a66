// packet:INTERFACE: everything that passes an interface, through AF_PACKET.

import { MillraceError } from "../../errors.js";
import { cookedProgram } from "../../filter/cooked.js";
import { runsInSocket } from "../../filter/socket.js";
import {
  OUTBOX_BYTES,
  OUTBOX_COPIED,
  OUTBOX_LIMIT,
  OUTBOX_LINK,
  OUTBOX_OVERSIZE,
  OUTBOX_PACKETS,
  OUTBOX_REFUSED,
  OUTBOX_UNFINISHED,
  OUTBOX_VNET,
  TPACKET_BYTES,
  TPACKET_MALFORMED,
  TPACKET_OVERSIZE,
  TPACKET_PACKETS,
  TPACKET_TRUNCATED,
} from "../../kernels/structs-messages.js";
import { systemError } from "../../linux/errno.js";
import { libc } from "../../linux/libc.js";
import { hardwareAddress } from "../../linux/links.js";
import {
  bindPacketSocket,
  bypassQdisc,
  checkInterface,
  enableVnetHeader,
  ignoreOutgoing,
  interfaceFacts,
  joinFanout,
  joinMulticast,
  joinPromiscuous,
  openPacketSocket,
  packetStatistics,
  stampInHardware,
  takeSocketError,
} from "../../linux/packet-socket.js";
import { attachSocketFilter, interfaceIndex, TAKE_NOTHING } from "../../linux/socket.js";
import { watch } from "../../linux/watch.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../../memory/burst.js";
import type { Locator } from "../locator.js";
import { closeOutbox, createOutbox, createRegions, type Regions } from "../messages.js";
import { pause } from "../pause.js";
import type { Capabilities, DriverCounters, DriverOptions, PortDriver } from "../port.js";
import { type PacketOptions, readPacketLocator } from "./options.js";
import { createPacketReceiver, frameLimit, type PacketLink, type PacketReceiver } from "./receive.js";
import { createPacketSender } from "./send.js";
import { createSendRing, type SendRing } from "./send-ring.js";

const SEND_MESSAGES = 64;
const SEND_VECTORS = 2048;
const SUPER_FRAME = 65535 + 14; // the longest the kernel segments
/** All interfaces at once, as tcpdump names them. */
const ANY = "any";

/** ARPHRD_ types by the link type that SOCK_RAW shows of them; those not listed show no link header. */
const ETHERNET_TYPES: readonly number[] = [1, 772, 801, 802, 803]; // Ethernet, loopback, 802.11 as Ethernet

/** Opens `packet:`. As a sink it only sends; else it receives and sends. */
export async function openPacket(
  arena: ArenaMemory,
  locator: Locator,
  { direction, raw }: DriverOptions,
): Promise<PortDriver> {
  const options = readPacketLocator(locator);
  const subject = `packet:${options.interface}`;
  const any = options.interface === ANY;
  if (any && direction === "out")
    throw new MillraceError(
      "ERR_LOCATOR",
      `"${locator.text}" is all interfaces at once, which cannot be sent to`,
      {
        hint: "name one; `millrace ports --all` lists what there is",
      },
    );
  const fd = openPacketSocket(any, subject);
  const regions = createRegions(arena);
  let receiver: PacketReceiver | undefined;
  let ring: SendRing | undefined;
  try {
    const index = any ? 0 : interfaceIndex(options.interface);
    const link = describeLink(fd, options.interface, subject, raw === true);
    if (direction !== "out") receiver = createPacketReceiver(arena, link, options);
    const outbox = createSendSide(arena, regions, link);
    if (direction !== "in" && !any) ring = createSendRing(arena, link, index, outbox, options);
    prepare(fd, index, options, direction, subject);
    return createDriver(arena, link, index, { receiver, outbox, ring, regions }, options);
  } catch (error) {
    ring?.close();
    receiver?.close();
    regions.free();
    libc().close(fd);
    throw error;
  }
}

function describeLink(fd: number, name: string, subject: string, raw: boolean): PacketLink {
  if (name === ANY) return { fd, subject, mtu: 1500, linkType: "LINUX_SLL2", vnet: 0 };
  const { mtu, type } = interfaceFacts(fd, name, subject);
  const linkType = ETHERNET_TYPES.includes(type) ? "EN10MB" : "RAW";
  return { fd, subject, mtu, linkType, vnet: raw ? 0 : enableVnetHeader(fd) };
}

function createSendSide(arena: ArenaMemory, regions: Regions, { linkType, mtu, vnet }: PacketLink): number {
  return createOutbox(arena, regions, {
    messages: SEND_MESSAGES,
    vectors: SEND_VECTORS,
    zeroCopy: false,
    words: [
      [OUTBOX_LIMIT, vnet === 0 ? mtu + 18 : SUPER_FRAME + 4],
      [OUTBOX_LINK, linkType === "EN10MB" ? 1 : 101],
      [OUTBOX_VNET, vnet],
    ],
  });
}

function prepare(
  fd: number,
  index: number,
  options: PacketOptions,
  direction: DriverOptions["direction"],
  subject: string,
): void {
  const receives = direction !== "out";
  if (options.bypass) bypassQdisc(fd, subject);
  if (options.hardwareTime) stampInHardware(fd, options.interface, subject);
  if (receives && options.traffic === "in") ignoreOutgoing(fd);
  if (receives && options.promiscuous && index !== 0) joinPromiscuous(fd, index, subject);
  if (receives && options.multicast.length > 0) {
    const { multicast } = options;
    const groups = multicast === "all" ? multicast : multicast.map((group) => hardwareAddress(group));
    joinMulticast(fd, index, groups, subject);
  }
}

interface Sides {
  readonly receiver: PacketReceiver | undefined;
  readonly outbox: number;
  readonly ring: SendRing | undefined;
  readonly regions: Regions;
}

function createDriver(
  arena: ArenaMemory,
  link: PacketLink,
  index: number,
  { receiver, outbox, ring, regions }: Sides,
  options: PacketOptions,
): PortDriver {
  const { fd, subject } = link;
  const errors: Record<string, number> = {};
  const watching = watch(fd);
  const sender = createPacketSender(arena, { fd, watching, subject }, outbox, errors, ring);
  let arrived = 0; // as the kernel counts, dropped ones too
  let drops = 0;
  let freezes = 0;
  let unread = 0; // packets that nobody had asked for when the port closed
  let final: DriverCounters | undefined; // what the counters were when the port closed

  function askKernel(): void {
    if (receiver === undefined) return;
    const since = packetStatistics(fd, receiver.blocks, subject);
    arrived += since.packets;
    drops += since.drops;
    freezes += since.freezes;
  }

  function counters(): DriverCounters {
    const count = (at: number) => Number(arena.u64[at / 8]);
    const received = (offset: number) => (receiver === undefined ? 0 : count(receiver.state + offset));
    const sent = (offset: number) => count(outbox + offset);
    askKernel();
    const truncated = received(TPACKET_TRUNCATED);
    const malformed = received(TPACKET_MALFORMED);
    const oversize = received(TPACKET_OVERSIZE);
    const packets = received(TPACKET_PACKETS) + truncated + malformed + oversize;
    return {
      received: { packets, bytes: received(TPACKET_BYTES) },
      transmitted: { packets: sent(OUTBOX_PACKETS), bytes: sent(OUTBOX_BYTES) },
      dropped: {
        kernel: drops,
        truncated,
        malformed,
        unread,
        oversize: oversize + sent(OUTBOX_OVERSIZE),
        refused: sent(OUTBOX_REFUSED),
        unfinished: sent(OUTBOX_UNFINISHED),
      },
      copies: { copybreak: received(TPACKET_BYTES), kernel: received(TPACKET_BYTES) + sent(OUTBOX_COPIED) },
      held: 0,
      errors: { ...errors, freezes },
    };
  }

  /** Takes the error that made the socket ready: down is to be waited for, gone is the end. */
  function takeError(): void {
    const code = takeSocketError(fd, subject);
    if (code === 0) return;
    if (index !== 0) checkInterface(fd, index, subject);
    const { code: name } = systemError(code, "poll", subject);
    errors[name] = (errors[name] ?? 0) + 1;
  }

  return {
    can: capabilities(link, options),
    receive: (burst) => (final === undefined && receiver !== undefined ? receiver.receive(burst) : 0),
    ...(receiver?.blocks !== true
      ? {}
      : {
          record: (output: number, records: number, most: number) =>
            final === undefined ? receiver.record(output, records, most) : 0,
          mark() {
            askKernel();
            const came = arrived - drops;
            return () => receiver.handedOut() >= came;
          },
        }),
    send(burst, first) {
      if (index === 0)
        throw new MillraceError("ERR_USAGE", `${subject} is all interfaces at once, which cannot be sent to`);
      return final === undefined ? sender.send(burst, first) : first;
    },
    async readable(signal) {
      while (final === undefined && receiver?.ready() !== true) {
        await watching.readable(signal);
        if (final === undefined && receiver?.ready() !== true) takeError();
      }
      // With the pool empty the ring stays readable: not waiting would spin.
      if (final === undefined && receiver?.starved()) await pause(signal);
    },
    async writable(signal) {
      if (final === undefined) await sender.writable(signal);
    },
    ended: false,
    counters: () => final ?? counters(),
    mtu: () => frameLimit(link.linkType, interfaceFacts(fd, options.interface, subject).mtu),
    attachFilter(program) {
      if (receiver === undefined || !runsInSocket(program)) return undefined;
      // Where headers are made by the kernel as it hands packets over, the filter comes before.
      const there = index === 0 ? cookedProgram(program) : program;
      if (there === undefined) return undefined;
      attachSocketFilter(fd, there, subject);
      return "socket";
    },
    start() {
      bindPacketSocket(fd, index, receiver !== undefined, subject);
      if (receiver !== undefined && options.fanout !== undefined)
        joinFanout(fd, options.fanout.id, options.fanout.mode, subject);
    },
    async close() {
      if (final !== undefined) return;
      if (receiver !== undefined) {
        attachSocketFilter(fd, TAKE_NOTHING, subject); // nothing comes from here on
        unread = discardAll(arena, receiver);
      }
      final = counters();
      watching.close();
      receiver?.close();
      ring?.close();
      closeOutbox(arena, outbox);
      regions.free();
      libc().close(fd);
    },
  };
}

/** Drops the packets that the ring has handed over and nobody has asked for; how many. */
function discardAll(arena: ArenaMemory, { receive }: PacketReceiver): number {
  const burst = createBurst(arena, 2048);
  let packets = 0;
  for (let got = receive(burst); got > 0; got = receive(burst)) {
    packets += got;
    throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
  }
  destroyBurst(arena, burst);
  return packets;
}

function capabilities({ linkType, mtu, vnet }: PacketLink, options: PacketOptions): Capabilities {
  return {
    linkType,
    mtu: frameLimit(linkType, mtu),
    queues: 1,
    live: true,
    fragments: 1022,
    checksum: { rx: false, tx: vnet !== 0 },
    segmentation: vnet !== 0,
    headerSplit: false,
    hash: false,
    timestamps: options.hardwareTime ? "hardware" : "software",
    mode: "copy",
    why: "each packet is copied once out of the kernel's ring, so that a packet that is kept cannot stop it",
  };
}
