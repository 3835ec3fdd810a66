import { MillraceError } from "../../errors.js";
import type { Bus } from "../bus/bus.js";
import { VECTORS } from "./assumptions.js";
import { resetCard, startCard } from "./bringup.js";
import { broken, type Card, isGone } from "./card.js";
import { createReceiveQueue, createTransmitQueue } from "./queues.js";
import { DEVICE_82574L, VENDOR_INTEL } from "./registers.js";
import { endReach, releaseQueues } from "./run.js";
import { type CardOptions, settle } from "./settings.js";

/** True for a device that this driver knows. */
function isE1000e(bus: Bus): boolean {
  return bus.identity.vendor === VENDOR_INTEL && bus.identity.device === DEVICE_82574L;
}

/**
 * Brings an 82574L up: reset, rings filled with frames of the pool, interrupts wired, receiver and transmitter on.
 * The bus becomes the card's and is closed with it; when this throws (ERR_DEVICE) it is still the caller's.
 */
export function openE1000e(bus: Bus, options: CardOptions = {}): Card {
  const settings = settle(options);
  if (!isE1000e(bus)) {
    const { vendor, device } = bus.identity;
    throw new MillraceError(
      "ERR_DEVICE",
      `${bus.name} is ${vendor.toString(16)}:${device.toString(16)}, not an Intel 82574L`,
    );
  }
  const { arena } = bus;
  bus.map(0, arena.frames * arena.frameSize);
  const numbers = Array.from({ length: settings.queues }, (_, index) => index);
  const card: Card = {
    bus,
    bar: bus.bar(0),
    arena,
    settings,
    rx: numbers.map((index) => createReceiveQueue(bus, index, settings)),
    tx: numbers.map((index) => createTransmitQueue(bus, index, settings)),
    ownVectors: bus.interruptKind === "msix" && bus.vectors >= VECTORS,
    mac: new Uint8Array(6),
    linkUp: false,
    failure: undefined,
    counted: new Map(),
    resets: 0,
    lost: 0,
    progress: numbers.map(() => ({ mark: 0, since: performance.now() })),
    watched: performance.now(),
  };
  try {
    if (isGone(card))
      throw broken(card, "does not answer: every register reads all ones", "look at its power state");
    resetCard(card);
    startCard(card);
    return card;
  } catch (error) {
    endReach(card);
    releaseQueues(card);
    throw error;
  }
}
