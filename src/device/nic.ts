import { MillraceError } from "../errors.js";
import { BURST_METAS, BURST_PACKETS, META_QUEUE, META_SIZE } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import type { Bus } from "./bus/bus.js";

/** Which directions are meant: what arrives, what was sent, or both. */
export interface Directions {
  readonly receive: boolean;
  readonly transmit: boolean;
}

/** What a driver counts, in packets and bytes, since it was opened. */
export interface NicCounters {
  readonly received: { readonly packets: number; readonly bytes: number };
  readonly transmitted: { readonly packets: number; readonly bytes: number };
  /** By reason, in lower-case words. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Bytes. */
  readonly copies: { readonly linearize: number; readonly copybreak: number };
  /** Packets the card has and has not yet reported sent. */
  readonly held: number;
}

/** A network card as the nic: port runs it, whatever its make. No call blocks. */
export interface Nic {
  readonly bus: Bus;
  readonly queues: number;
  /** Longest frame in bytes, without its check sequence. */
  readonly mtu: number;
  readonly fragments: number;
  readonly checksum: { readonly rx: boolean; readonly tx: boolean };
  readonly segmentation: boolean;
  readonly headerSplit: boolean;
  readonly hash: boolean;
  /** Waits for the link, at most so long; false: it is still down, which is no fault. A card that cannot tell is taken to be up. */
  linkUp(milliseconds: number): Promise<boolean>;
  /** Appends what all queues have received to the burst; throws once the card was given up. Returns how many packets. */
  receive(burst: number): number;
  /** As PortDriver.send. */
  send(burst: number, first: number): number;
  /** Takes back what the card has reported sent. */
  clean(): void;
  /** Lets interrupts come; each masks itself when it fires. */
  arm(what: Directions): void;
  /** The vectors that `arm` lets fire. */
  vectors(what: Directions): readonly number[];
  /** Looks after the card; called a few times a second, with the time in milliseconds. */
  watch(now: number): void;
  counters(): NicCounters;
  /** Drains for a moment, quiets the card, gives everything back. */
  close(): Promise<void>;
}

type OpenNic = (bus: Bus, parameters: ReadonlyMap<string, string>) => Promise<Nic>;

/** Every driver, one line each: which devices are its own, the options it takes, and who opens it. */
const DRIVERS: readonly {
  readonly vendor: number;
  readonly devices: readonly number[];
  readonly load: () => Promise<OpenNic>;
}[] = [
  {
    vendor: 0x8086,
    devices: [0x10d3],
    load: async () => (await import("./e1000e/nic.js")).openE1000eNic,
  },
  {
    vendor: 0x1af4,
    devices: [0x1041],
    load: async () => (await import("./virtio/nic.js")).openVirtioNic,
  },
];

/** Finds the driver for the device on `bus` and brings the card up; the bus is the card's then. Throws ERR_DEVICE. */
export async function openNic(bus: Bus, parameters: ReadonlyMap<string, string>): Promise<Nic> {
  const { vendor, device } = bus.identity;
  const driver = DRIVERS.find((entry) => entry.vendor === vendor && entry.devices.includes(device));
  if (driver === undefined)
    throw new MillraceError(
      "ERR_DEVICE",
      `no driver knows ${bus.name}, ${vendor.toString(16)}:${device.toString(16)}`,
      { hint: "millrace drives the Intel 82574L and virtio network cards" },
    );
  return (await driver.load())(bus, parameters);
}

/**
 * Sends a burst over several queues: each packet over the one that has the number, modulo `queues`, of the queue it
 * came in on, so that no flow is put out of order. Returns the first number not looked at.
 */
export function sendSpread(
  arena: ArenaMemory,
  queues: number,
  burst: number,
  first: number,
  send: (queue: number, first: number, end: number) => number,
): number {
  const { u8, u32, kernels } = arena;
  const packets = u32[(burst + BURST_PACKETS) >>> 2];
  const metas = u32[(burst + BURST_METAS) >>> 2];
  let next = first;
  while (next < packets) {
    const end = kernels.burstQueueRun(burst, next);
    next = send(u8[metas + next * META_SIZE + META_QUEUE] % queues, next, end);
    if (next < end) break;
  }
  return next;
}

/** Asks until `isUp` says so, at most so many milliseconds. */
export async function waitForLink(isUp: () => boolean, milliseconds: number): Promise<boolean> {
  const limit = performance.now() + milliseconds;
  while (!isUp()) {
    if (performance.now() >= limit) return false;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return true;
}

/** Watches come a few times a second. Milliseconds beyond this between two of them are time in which everything stood still. */
const LONGEST_LOOK = 1000;

/** Milliseconds before `now` that do not count against a card that was last looked after at `last`. */
export function stoodStill(last: number, now: number): number {
  return Math.max(0, now - last - LONGEST_LOOK);
}

/** A whole number among options. Throws ERR_LOCATOR naming the option. */
export function numberOption(
  parameters: ReadonlyMap<string, string>,
  key: string,
  least: number,
  most: number,
): number | undefined {
  const text = parameters.get(key);
  if (text === undefined) return undefined;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw new MillraceError("ERR_LOCATOR", `${key}=${text} is not a whole number from ${least} to ${most}`);
  return value;
}

/** An option that is on or off: present without a value, or on, off. */
export function switchOption(parameters: ReadonlyMap<string, string>, key: string): boolean | undefined {
  const text = parameters.get(key);
  if (text === undefined) return undefined;
  if (text === "" || text === "on") return true;
  if (text === "off") return false;
  throw new MillraceError("ERR_LOCATOR", `${key}=${text} is neither on nor off`);
}
