// tap:NAME: a network interface of this machine whose other end is the program.
import { MillraceError } from "../../errors.js";
import { BURST_CAPACITY, BURST_COUNT, BURST_PACKETS } from "../../kernels/structs.js";
import {
  INBOX_BYTES,
  INBOX_HEADER,
  INBOX_OVERSIZE,
  INBOX_PACKETS,
  INBOX_VECTORS,
  MESSAGE_SIZE,
  MESSAGE_VECTOR_COUNT,
  MESSAGE_VECTORS,
  OUTBOX_BYTES,
  OUTBOX_COPIED,
  OUTBOX_HEADERS,
  OUTBOX_LIMIT,
  OUTBOX_LINK,
  OUTBOX_LOOKED,
  OUTBOX_OVERSIZE,
  OUTBOX_PACKETS,
  OUTBOX_RANGES,
  OUTBOX_REFUSED,
  OUTBOX_UNFINISHED,
  OUTBOX_VNET,
  VECTOR_SIZE,
} from "../../kernels/structs-messages.js";
import { ERRNO, systemError } from "../../linux/errno.js";
import { libc } from "../../linux/libc.js";
import { arenaBase } from "../../linux/mapping.js";
import { interfaceMtu } from "../../linux/mtu.js";
import { changeLink } from "../../linux/netlink.js";
import { closeTap, createDropCounter, openTap, type Tap, tapIsGone } from "../../linux/tap.js";
import { watch } from "../../linux/watch.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { throwFault } from "../../memory/burst.js";
import { checkParameters, type Locator, numberParameter } from "../locator.js";
import {
  closeInbox,
  closeOutbox,
  createInbox,
  createOutbox,
  createRegions,
  type Regions,
  setAddress,
} from "../messages.js";
import { pause } from "../pause.js";
import type { DriverCounters, PortDriver } from "../port.js";

const SUPER_FRAME = 65535 + 18; // the longest the kernel segments, with its link header and a VLAN tag
const MESSAGES = 64;

/** Opens `tap:`: makes the interface (or attaches to one that is there) and sets it up. */
export async function openTapPort(arena: ArenaMemory, locator: Locator): Promise<PortDriver> {
  checkParameters(locator, ["layer", "multi", "mtu", "up"]);
  const layer = numberParameter(locator, "layer", 2, 3) === 3 ? 3 : 2;
  const multiQueue = numberParameter(locator, "multi", 0, 1) === 1;
  const mtu = numberParameter(locator, "mtu", 68, 65521);
  const up = numberParameter(locator, "up", 0, 1) !== 0;
  if (Buffer.byteLength(locator.place) > 15)
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": an interface's name has at most 15 bytes`);
  const tap = openTap(locator.place, { layer, multiQueue }, locator.text);
  const regions = createRegions(arena);
  try {
    if (mtu !== undefined) changeLink(tap.name, { mtu });
    if (up) changeLink(tap.name, { up: true });
    const frameMtu = () => interfaceMtu(tap.name) + (layer === 2 ? 14 : 0);
    return { ...createDriver(arena, tap, locator.text, { layer, mtu: frameMtu() }, regions), mtu: frameMtu };
  } catch (error) {
    regions.free();
    closeTap(tap);
    throw error;
  }
}

function createDriver(
  arena: ArenaMemory,
  tap: Tap,
  subject: string,
  { layer, mtu }: { readonly layer: 2 | 3; readonly mtu: number },
  regions: Regions,
): PortDriver {
  const inbox = createInbox(arena, regions, 1, 0);
  const outbox = createOutbox(arena, regions, {
    messages: MESSAGES,
    vectors: 2048,
    zeroCopy: false,
    words: [
      [OUTBOX_LIMIT, SUPER_FRAME],
      [OUTBOX_LINK, layer === 2 ? 1 : 101],
      [OUTBOX_VNET, tap.vnet],
    ],
  });
  const errors: Record<string, number> = {};
  const drops = createDropCounter(tap.name);
  const droppedBefore = drops.read();
  const watching = watch(tap.fd);
  const receiver = createReader(arena, tap, inbox, fail);
  const send = createWriter(arena, tap, outbox, fail);
  let final: DriverCounters | undefined; // what the counters were when the port closed

  /** Counts an errno of the interface, which is down perhaps; one that is gone ends the port. */
  function fail(errno: number, syscall: string): void {
    const error = systemError(errno, syscall, subject);
    if (tapIsGone(errno))
      throw new MillraceError("ENODEV", `${subject}: the interface is gone`, { syscall, errno: -errno });
    errors[error.code] = (errors[error.code] ?? 0) + 1;
  }

  function counters(): DriverCounters {
    const count = (at: number) => Number(arena.u64[at / 8]);
    const oversize = count(inbox + INBOX_OVERSIZE);
    const bytes = count(inbox + INBOX_BYTES);
    return {
      received: { packets: count(inbox + INBOX_PACKETS) + oversize, bytes },
      transmitted: { packets: count(outbox + OUTBOX_PACKETS), bytes: count(outbox + OUTBOX_BYTES) },
      dropped: {
        kernel: drops.read() - droppedBefore,
        oversize: oversize + count(outbox + OUTBOX_OVERSIZE),
        refused: count(outbox + OUTBOX_REFUSED),
        unfinished: count(outbox + OUTBOX_UNFINISHED),
      },
      copies: { kernel: bytes + count(outbox + OUTBOX_COPIED) },
      held: 0,
      errors: { ...errors },
    };
  }

  return {
    can: {
      linkType: layer === 2 ? "EN10MB" : "RAW",
      mtu,
      queues: 1,
      live: true,
      fragments: 1022,
      checksum: { rx: false, tx: true },
      segmentation: true,
      headerSplit: false,
      hash: false,
      timestamps: "none",
      mode: "copy",
      why: "the kernel copies each packet between its buffers and the arena, one system call a packet",
    },
    receive: (burst) => (final === undefined ? receiver.receive(burst) : 0),
    send: (burst, first) => (final === undefined ? send(burst, first) : first),
    async readable(signal) {
      if (final !== undefined) return;
      // With the pool empty the tap stays readable: waiting for it would spin.
      if (receiver.starved()) await pause(signal);
      else await watching.readable(signal);
    },
    writable: async (signal) => (final === undefined ? watching.writable(signal) : undefined),
    ended: false,
    counters: () => final ?? counters(),
    async close() {
      if (final !== undefined) return;
      final = counters();
      watching.close();
      drops.close();
      closeInbox(arena, inbox);
      closeOutbox(arena, outbox);
      regions.free();
      closeTap(tap);
    },
  };
}

type Fail = (errno: number, syscall: string) => void;

function createReader(arena: ArenaMemory, tap: Tap, inbox: number, fail: Fail) {
  const { u32, kernels } = arena;
  const { readv, errno } = libc();
  const vectors = u32[(inbox + INBOX_VECTORS) >>> 2];
  const front = u32[(inbox + INBOX_HEADER) >>> 2] + VECTOR_SIZE;
  setAddress(arena, front + 8, tap.vnet);
  const into = arenaBase(arena) + front;
  let starved = false;

  function receive(burst: number): number {
    const capacity = u32[(burst + BURST_CAPACITY) >>> 2];
    let packets = 0;
    for (;;) {
      const used = u32[(burst + BURST_COUNT) >>> 2];
      if (used > 0 && used + vectors > capacity) return packets;
      starved = kernels.inboxPost(inbox) === 0;
      if (starved) return packets;
      const bytes = readv(tap.fd, into, vectors + 1);
      if (bytes >= tap.vnet) packets += kernels.tapReceived(inbox, burst, bytes - tap.vnet, tap.vnet);
      else {
        const code = errno();
        if (code === ERRNO.EINTR) continue;
        if (code !== ERRNO.EAGAIN) fail(code, "readv");
        return packets;
      }
    }
  }

  return { receive, starved: () => starved };
}

function createWriter(arena: ArenaMemory, tap: Tap, outbox: number, fail: Fail) {
  const { u32, kernels } = arena;
  const { writev, errno } = libc();
  const word = (offset: number) => u32[(outbox + offset) >>> 2];
  const headers = word(OUTBOX_HEADERS);

  /** Writes what message `number` names; 0, or the errno. */
  function write(number: number): number {
    const at = (headers + number * MESSAGE_SIZE) >>> 2;
    const low = u32[at + MESSAGE_VECTORS / 4];
    const high = u32[at + MESSAGE_VECTORS / 4 + 1];
    return writev(tap.fd, high * 2 ** 32 + low, u32[at + MESSAGE_VECTOR_COUNT / 4]) >= 0 ? 0 : errno();
  }

  return function send(burst: number, first: number): number {
    const packets = u32[(burst + BURST_PACKETS) >>> 2];
    let next = first;
    while (next < packets) {
      const built = throwFault(arena, burst, kernels.packetBuild(outbox, burst, next));
      if (built === 0) return word(OUTBOX_LOOKED);
      let written = 0;
      let code = 0;
      for (; written < built && code === 0; written++) code = write(written);
      if (code === 0) {
        next = kernels.outboxSent(outbox, burst, built, built, 0) >>> 0;
        continue;
      }
      next = kernels.outboxSent(outbox, burst, built, written - 1, 0) >>> 0;
      if (code === ERRNO.EAGAIN) return next;
      if (code === ERRNO.EINTR) continue;
      fail(code, "writev");
      // The message that failed is the first of those left: built anew, it would fail the same way.
      throwFault(
        arena,
        burst,
        kernels.packetBuild(outbox, burst, u32[(word(OUTBOX_RANGES) + 8 * (written - 1)) >>> 2]),
      );
      next = kernels.outboxRefuse(outbox, burst) >>> 0;
    }
    return next;
  };
}
