// udp://HOST:PORT: datagrams in and out of the arena through recvmmsg and sendmmsg, with GRO and GSO.
import { setTimeout as sleep } from "node:timers/promises";
import { MillraceError } from "../../errors.js";
import { MOST_INSTRUCTIONS } from "../../filter/classic.js";
import { forDatagrams } from "../../filter/datagrams.js";
import {
  INBOX_BYTES,
  INBOX_OVERSIZE,
  INBOX_PACKETS,
  INBOX_TRUNCATED,
  MOST_VECTORS,
  OUTBOX_BYTES,
  OUTBOX_COPIED,
  OUTBOX_NOWHERE,
  OUTBOX_OVERSIZE,
  OUTBOX_PACKETS,
  OUTBOX_REFUSED,
  SENDER_LENGTH,
  SENDER_SIZE,
  SENDERS_COUNT,
  SENDERS_ENTRIES,
  SENDERS_REFUSED,
} from "../../kernels/structs-messages.js";
import { libc } from "../../linux/libc.js";
import { decodeAddress, formatAddress } from "../../linux/socket.js";
import { watch } from "../../linux/watch.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { Locator } from "../locator.js";
import { pause } from "../pause.js";
import type { Capabilities, DriverCounters, DriverOptions, PortDriver } from "../port.js";
import { readUdpLocator, type UdpOptions } from "./address.js";
import { createReceiver, type IcmpCounts } from "./receive.js";
import { createSender, zeroCopyOpen } from "./send.js";
import { filterUdpSocket, kernelDrops, openUdpSocket, type UdpSocket } from "./socket.js";
import { createUdpState, longestDatagram } from "./state.js";

const LAST_NOTICES = 1000; // milliseconds that close() waits for the kernel to let go of frames

/**
 * Opens `udp://`. As a source it binds, and what is sent through it goes to each packet's META_PEER, back to
 * where that came from; as a sink it connects, and everything goes there.
 */
export async function openUdp(
  arena: ArenaMemory,
  locator: Locator,
  { direction }: DriverOptions,
): Promise<PortDriver> {
  const options = await readUdpLocator(locator);
  const socket = openUdpSocket(locator.text, options, direction);
  const state = createStateOrClose(arena, socket);
  const icmp: IcmpCounts = {};
  const receiver = createReceiver(arena, socket, state, icmp);
  const sender = createSender(arena, socket, state, icmp);
  const watching = watch(socket.fd);
  const count = (at: number) => Number(arena.u64[at / 8]);
  let drops = kernelDrops(socket.fd, socket.subject);
  let dropped = 0;
  let closed = false;
  let final: DriverCounters | undefined; // what the counters were when the port closed

  function kernelDropped(): number {
    const now = kernelDrops(socket.fd, socket.subject);
    dropped += (now - drops) >>> 0;
    drops = now;
    return dropped;
  }

  function counters(): DriverCounters {
    const { receive, send } = state;
    const truncated = count(receive + INBOX_TRUNCATED);
    const oversize = count(receive + INBOX_OVERSIZE);
    return {
      received: {
        packets: count(receive + INBOX_PACKETS) + truncated + oversize,
        bytes: count(receive + INBOX_BYTES),
      },
      transmitted: { packets: count(send + OUTBOX_PACKETS), bytes: count(send + OUTBOX_BYTES) },
      dropped: {
        kernel: kernelDropped(),
        truncated,
        oversize: oversize + count(send + OUTBOX_OVERSIZE),
        unaddressed: count(send + OUTBOX_NOWHERE),
        refused: count(send + OUTBOX_REFUSED),
      },
      copies: { kernel: count(receive + INBOX_BYTES) + count(send + OUTBOX_COPIED) },
      held: sender.held(),
      errors: {
        ...icmp,
        "copied-after-all": sender.copiedAfterAll(),
        unnumbered: arena.u32[(state.senders + SENDERS_REFUSED) >>> 2],
      },
    };
  }

  async function close(): Promise<void> {
    if (closed) return;
    const last = Date.now() + LAST_NOTICES;
    while (zeroCopyOpen(arena, state) && Date.now() < last) {
      sender.reap();
      if (zeroCopyOpen(arena, state)) await sleep(1);
    }
    if (closed) return;
    final = counters();
    closed = true;
    watching.close();
    state.free();
    libc().close(socket.fd);
  }

  return {
    can: capabilities(socket, options),
    receive(burst) {
      if (closed) return 0;
      if (socket.zeroCopy) sender.reap();
      return receiver.receive(burst);
    },
    send: (burst, first) => (closed ? first : sender.send(burst, first)),
    async readable(signal) {
      if (receiver.pending() || closed) return;
      // With the pool empty the socket stays readable: waiting for it would spin.
      if (receiver.starved()) await pause(signal);
      else await watching.readable(signal);
    },
    writable: async (signal) => (closed ? undefined : watching.writable(signal)),
    ended: false,
    attachFilter(program) {
      const made = forDatagrams(program);
      if (made === undefined)
        throw new MillraceError(
          "ERR_FILTER",
          `filter: the socket of a udp: port takes up to ${MOST_INSTRUCTIONS} instructions that look at IP and UDP headers only, not at payloads or at lengths of packets`,
          { hint: "read its interface by packet:, which takes all filters" },
        );
      filterUdpSocket(socket, made.program, made.alike);
      drops = kernelDrops(socket.fd, socket.subject);
      return "socket";
    },
    counters: () => final ?? counters(),
    peer(number) {
      const { u8, u32 } = arena;
      if (closed || number < 1 || number > u32[(state.senders + SENDERS_COUNT) >>> 2]) return "unknown";
      const entry = u32[(state.senders + SENDERS_ENTRIES) >>> 2] + number * SENDER_SIZE;
      const length = u32[(entry + SENDER_LENGTH) >>> 2];
      const address = decodeAddress(u8.slice(entry, entry + length));
      return address === undefined ? "unknown" : formatAddress(address);
    },
    close,
  };
}

function createStateOrClose(arena: ArenaMemory, socket: UdpSocket) {
  try {
    return createUdpState(arena, socket);
  } catch (error) {
    libc().close(socket.fd);
    throw error;
  }
}

function capabilities(socket: UdpSocket, options: UdpOptions): Capabilities {
  const why = ["the kernel copies between its buffers and the arena"];
  if (socket.zeroCopy) why[0] += " what is received";
  else if (options.zeroCopy) why.push("zerocopy=1 was asked for and this kernel has no SO_ZEROCOPY");
  if (socket.receiveBuffer < options.receiveBuffer)
    why.push(
      `the receive buffer has ${socket.receiveBuffer} bytes instead of ${options.receiveBuffer}: ` +
        `run with CAP_NET_ADMIN, or sysctl -w net.core.rmem_max=${options.receiveBuffer}`,
    );
  return {
    linkType: "DATAGRAM",
    mtu: longestDatagram(socket.six),
    queues: 1,
    live: true,
    fragments: MOST_VECTORS - 1,
    checksum: { rx: true, tx: true },
    segmentation: false,
    headerSplit: false,
    hash: false,
    timestamps: "software",
    mode: socket.zeroCopy ? "zero-copy" : "copy",
    why: why.join("; "),
  };
}
