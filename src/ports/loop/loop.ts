import { MillraceError } from "../../errors.js";
import { BURST_PACKETS, VERDICT_PASS } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { throwFault } from "../../memory/burst.js";
import { waitReadable, waitWritable, wakeBoth, wakeConsumer, wakeProducer } from "../../memory/link.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import { createRing, destroyRing, type Ring } from "../../memory/ring.js";
import { reasonsOf } from "../../packet/context.js";
import { checkParameters, type Locator, numberParameter } from "../locator.js";
import type { Capabilities, LinkType, OpenDriver, PortDriver } from "../port.js";
import { isTaken, joinLoop, leaveLoop } from "./directory.js";
import { createImpairer, IMPAIRMENTS, type Impairer, parseImpairment } from "./impair.js";

// loop:NAME has two ends in one arena, in one thread or in two. What one end sends the other receives: a ring
// each way, and nothing is copied. The options of an end say what it can send and what becomes of it.

const OPTIONS = ["sg", "mtu", "checksum", "depth", "link", ...IMPAIRMENTS];
const LINKS: Readonly<Record<string, LinkType>> = { ether: "EN10MB", raw: "RAW", datagram: "DATAGRAM" };

// The loop's structure in the arena: for each of its two rings the fields of Ring, then whether its sender left.
const RING_WORDS = 8;
const LEFT = 6; // 1 when the sender left
const POLLS = 7; // how often the receiver asked
const BYTES = 2 * RING_WORDS * 4;

function makeLoop(arena: ArenaMemory, entries: number): number {
  const data = allocateRegion(arena, BYTES);
  for (const way of [0, 1]) {
    const ring = createRing(arena, { entries, entrySize: 16, metas: true });
    arena.u32.set(
      [ring.producer, ring.consumer, ring.owner, ring.entries, ring.offset, ring.bytes],
      (data >>> 2) + way * RING_WORDS,
    );
  }
  return data;
}

function ringOf(arena: ArenaMemory, data: number, way: number): Ring {
  const at = (data >>> 2) + way * RING_WORDS;
  const [producer, consumer, owner, entries, offset, bytes] = arena.u32.subarray(at, at + RING_WORDS);
  return { producer, consumer, owner, entries, offset, bytes };
}

function unmakeLoop(arena: ArenaMemory, data: number): void {
  for (const way of [0, 1]) destroyRing(arena, ringOf(arena, data, way));
  freeRegion(arena, data, BYTES);
}

function depthOf(locator: Locator): number {
  const depth = numberParameter(locator, "depth", 64, 65_536) ?? 4096;
  if ((depth & (depth - 1)) !== 0)
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": depth=${depth} is not a power of two`);
  return depth;
}

function capabilitiesOf(locator: Locator): Capabilities {
  const onOff = (key: string) => {
    const text = locator.parameters.get(key) ?? "on";
    if (text !== "on" && text !== "off")
      throw new MillraceError("ERR_LOCATOR", `"${locator.text}": ${key}=${text} is neither on nor off`);
    return text === "on";
  };
  const link = locator.parameters.get("link") ?? "ether";
  const linkType = LINKS[link];
  if (linkType === undefined)
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": there is no link=${link}`, {
      hint: `a loop carries ${Object.keys(LINKS).join(", ")}`,
    });
  const checksum = onOff("checksum");
  return {
    linkType,
    mtu: numberParameter(locator, "mtu", 68, 65_550) ?? 65_550,
    queues: 1,
    live: false,
    fragments: onOff("sg") ? 64 : 0,
    checksum: { rx: checksum, tx: checksum },
    segmentation: false,
    headerSplit: false,
    hash: false,
    timestamps: "none",
    mode: "zero-copy",
  };
}

/** Opens one end of `loop:NAME`. */
export const openLoop: OpenDriver = async (arena, locator) => {
  checkParameters(locator, OPTIONS);
  const can = capabilitiesOf(locator);
  const impairment = parseImpairment(locator);
  const depth = depthOf(locator);
  const { record, end, data } = joinLoop(arena, locator.place, () => makeLoop(arena, depth));
  const out = ringOf(arena, data, end);
  const into = ringOf(arena, data, 1 - end);
  const leftWord = (way: number) => (data >>> 2) + way * RING_WORDS + LEFT;
  const impairer = impairment && createImpairer(arena, impairment, 512);
  const counts = { received: 0, receivedBytes: 0, transmitted: 0, transmittedBytes: 0 };
  const { kernels } = arena;
  let closed = false;
  let emptyAt: number | undefined; // the receiver's count of polls when its ring was first seen empty
  let timer: NodeJS.Timeout | undefined;

  /** Publishes packets and counts them; the bytes are what leaves the burst. */
  const publish = (burst: number, first: number): number => {
    const before = arena.kernels.burstBytes(burst, 0);
    const moved = countPassed(arena, burst);
    const next = throwFault(arena, burst, kernels.ringSend(out.producer, burst, first, can.fragments));
    counts.transmitted += moved - countPassed(arena, burst);
    counts.transmittedBytes += before - arena.kernels.burstBytes(burst, 0);
    wakeConsumer(arena, out);
    return next;
  };

  const pump = (through: Impairer): void => {
    for (;;) {
      const burst = through.due(performance.now());
      const packets = arena.u32[(burst + BURST_PACKETS) >>> 2];
      if (packets === 0) break;
      if (publish(burst, 0) < packets) break;
      kernels.burstRelease(burst, 0);
    }
    clearTimeout(timer);
    const wait = through.dueIn(performance.now());
    if (wait !== undefined && !closed) timer = setTimeout(pump, Math.max(1, wait), through);
  };

  const driver: PortDriver = {
    can,
    receive(burst) {
      Atomics.add(arena.u32, (data >>> 2) + (1 - end) * RING_WORDS + POLLS, 1);
      const before = kernels.burstBytes(burst, 0);
      const packets = throwFault(arena, burst, kernels.ringReceive(into.consumer, burst, 0xffff));
      if (packets > 0) {
        counts.received += packets;
        counts.receivedBytes += kernels.burstBytes(burst, 0) - before;
        wakeProducer(arena, into);
      }
      return packets;
    },
    send(burst, first) {
      if (Atomics.load(arena.u32, leftWord(1 - end)) !== 0) {
        kernels.burstVerdict(burst, VERDICT_PASS, reasonsOf(arena).number("closed"));
        return arena.u32[(burst + BURST_PACKETS) >>> 2];
      }
      if (impairer === undefined) return publish(burst, first);
      const next = impairer.take(burst, first);
      pump(impairer);
      return next;
    },
    async readable(signal) {
      if (!driver.ended) await waitReadable(arena, into, signal);
    },
    async writable(signal) {
      if (Atomics.load(arena.u32, leftWord(1 - end)) === 0) await waitWritable(arena, out, signal);
    },
    get ended() {
      if (Atomics.load(arena.u32, leftWord(1 - end)) === 0) return false;
      return kernels.ringCount(into.consumer, 1) === 0;
    },
    settled() {
      const polls = Atomics.load(arena.u32, (data >>> 2) + end * RING_WORDS + POLLS);
      if (kernels.ringSpace(out.producer, out.entries) < out.entries) {
        emptyAt = undefined;
        return false;
      }
      emptyAt ??= polls;
      return polls !== emptyAt;
    },
    bury() {
      if (closed || Atomics.exchange(arena.u32, leftWord(1 - end), 1) !== 0) return;
      if (isTaken(arena, record, 1 - end)) leaveLoop(arena, record);
      wakeBoth(arena, out);
      wakeBoth(arena, into);
    },
    counters: () => ({
      received: { packets: counts.received, bytes: counts.receivedBytes },
      transmitted: { packets: counts.transmitted, bytes: counts.transmittedBytes },
      dropped: impairer === undefined || impairer.lost === 0 ? {} : { impaired: impairer.lost },
      created: impairer === undefined || impairer.duplicated === 0 ? {} : { duplicate: impairer.duplicated },
      copies: {},
      held: impairer?.waiting ?? 0,
    }),
    async close() {
      if (closed) return;
      while (
        impairer !== undefined &&
        impairer.waiting > 0 &&
        Atomics.load(arena.u32, leftWord(1 - end)) === 0
      ) {
        pump(impairer);
        if (impairer.waiting > 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      closed = true;
      clearTimeout(timer);
      impairer?.close();
      Atomics.store(arena.u32, leftWord(end), 1);
      wakeBoth(arena, out);
      wakeBoth(arena, into);
      if (leaveLoop(arena, record)) unmakeLoop(arena, data);
    },
  };
  return driver;
};

function countPassed(arena: ArenaMemory, burst: number): number {
  return arena.kernels.burstCount(burst, 0);
}
