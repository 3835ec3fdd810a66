import { counterChanges } from "../../device/bus/interrupts.js";
import { openBus } from "../../device/bus/open.js";
import { type Directions, type Nic, openNic } from "../../device/nic.js";
import { MillraceError } from "../../errors.js";
import { BURST_METAS, BURST_PACKETS } from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { checkParameters, type Locator } from "../locator.js";
import type { Capabilities, DriverOptions, PortDriver } from "../port.js";
import { stamp } from "./stamp.js";

const CARD_OPTIONS = [
  "queues",
  "ring",
  "mtu",
  "split",
  "copybreak",
  "vlan",
  "promiscuous",
  "moderation",
  "pause",
];
const MODEL_OPTIONS = ["wire", "mac", "bias", "interrupts"];

/** An interrupt that does not come within this many milliseconds counts as lost, and the rings are looked at. */
const INTERRUPT_PATIENCE = 100;
/** Empty looks at the rings until `adaptive` lets the card interrupt. */
const ADAPTIVE_POLLS = 64;
const WATCH_INTERVAL = 500;
/** How long opening waits for the link, in milliseconds. A modelled cable negotiates nothing. */
const LINK = 5000;
const MODEL_LINK = 50;

/**
 * Opens `nic:0000:00:10.0` (a card bound to vfio-pci) or `nic:e1000e@model?wire=NAME`: two modelled cards on one
 * named wire reach each other, one without a wire hears itself. Throws ERR_DEVICE, ERR_LOCATOR.
 */
export async function openNicPort(
  arena: ArenaMemory,
  locator: Locator,
  options: DriverOptions,
): Promise<PortDriver> {
  const modelled = locator.place.endsWith("@model");
  checkParameters(locator, [...CARD_OPTIONS, ...(modelled ? MODEL_OPTIONS : ["force"])]);
  const { parameters } = locator;
  const bus = await openBus(arena, locator.place, { parameters, force: parameters.has("force") });
  const nic = await openNic(bus, parameters).catch(async (error: unknown) => {
    await bus.close();
    throw error instanceof MillraceError && error.code === "ERR_LOCATOR"
      ? new MillraceError("ERR_LOCATOR", `"${locator.text}": ${error.message}`, { cause: error })
      : error;
  });
  await nic.linkUp(modelled ? MODEL_LINK : LINK);
  return createNicPort(arena, nic, options.wait);
}

/** A port over a card that is up. The card is closed with it. */
export function createNicPort(arena: ArenaMemory, nic: Nic, wait: DriverOptions["wait"]): PortDriver {
  let failure: unknown;
  const timer = setInterval(() => {
    try {
      nic.watch(performance.now());
    } catch (error) {
      failure = error; // the next receive or send tells
      clearInterval(timer);
    }
  }, WATCH_INTERVAL);
  timer.unref();
  let closing: Promise<void> | undefined;
  let empty = 0;
  const polls = wait === "busy" ? Number.POSITIVE_INFINITY : wait === "interrupt" ? 0 : ADAPTIVE_POLLS;
  const interrupted = async (what: Directions, signal: AbortSignal, patience: number) => {
    const counters = nic.vectors(what).map((vector) => nic.bus.counter(vector));
    if (counters.length === 0 || nic.bus.interruptKind === "none") return turn(signal);
    const seen = counters.map((counter) => Atomics.load(arena.u32, counter >>> 2));
    nic.arm(what);
    await counterChanges(arena, counters, seen, patience, signal);
  };
  return {
    can: capabilities(nic),
    ended: false,
    receive: (burst) => {
      if (failure !== undefined) throw failure;
      const before = arena.u32[(burst + BURST_PACKETS) >>> 2];
      const packets = nic.receive(burst);
      if (packets === 0) empty++;
      else {
        empty = 0;
        stamp(arena, arena.u32[(burst + BURST_METAS) >>> 2], before, packets);
      }
      return packets;
    },
    send: (burst, first) => {
      if (failure !== undefined) throw failure;
      return nic.send(burst, first);
    },
    readable: async (signal) => {
      signal.throwIfAborted();
      nic.clean();
      if (empty <= polls) return turn(signal);
      await interrupted({ receive: true, transmit: false }, signal, INTERRUPT_PATIENCE);
    },
    writable: async (signal) => {
      signal.throwIfAborted();
      nic.clean();
      if (wait === "busy") return turn(signal);
      // The card may have reported everything before its interrupt was armed, so the wait is short.
      await interrupted({ receive: false, transmit: true }, signal, 1);
    },
    counters: () => nic.counters(),
    close: () => {
      clearInterval(timer);
      closing ??= nic.close();
      return closing;
    },
  };
}

/** One turn of the event loop. */
async function turn(signal: AbortSignal): Promise<void> {
  await new Promise(setImmediate);
  signal.throwIfAborted();
}

function capabilities(nic: Nic): Capabilities {
  return {
    linkType: "EN10MB",
    mtu: nic.mtu,
    queues: nic.queues,
    live: true,
    fragments: nic.fragments,
    checksum: nic.checksum,
    segmentation: nic.segmentation,
    headerSplit: nic.headerSplit,
    hash: nic.hash,
    timestamps: "software",
    mode: "zero-copy",
  };
}
