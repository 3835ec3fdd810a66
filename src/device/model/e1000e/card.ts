import * as r from "../../e1000e/registers.js";
import type { ModelHost } from "../device.js";
import type { Plug, Wire } from "../wire.js";

/** What a context descriptor has told a transmit queue (7.2.10; struct e1000_context_desc), and the packet being put together. */
export interface Transmit {
  context: { readonly low: number; readonly high: number; readonly command: number; readonly status: number };
  readonly staging: Uint8Array;
  length: number;
  /** A fetch went wrong: what remains of the packet is passed over. */
  spoiled: boolean;
}

/** The inside of a modelled 82574L. */
export interface ModelCard {
  readonly host: ModelHost;
  readonly regs: Uint32Array;
  readonly wire: Wire;
  readonly plug: Plug;
  readonly mac: Uint8Array;
  readonly transmit: readonly Transmit[];
  /** Frames received and not yet written to memory, and frames to send that the other side does not take yet. */
  readonly arrived: Uint8Array[];
  arrivedBytes: number;
  readonly leaving: Uint8Array[];
  /** Causes that were signalled since they came up. */
  told: number;
  /** When each vector was last signalled, and whether one waits for its moderation. */
  readonly signalled: number[];
  postponed: number;
  pausing: boolean;
  /** The frame that has found no descriptor and was counted for it. */
  waiting: Uint8Array | undefined;
  /** Pulled from its slot: reads all ones, does nothing. */
  pulled: boolean;
  /** Transmission hangs: descriptors are neither read nor reported. */
  hung: boolean;
  /** Interrupts: `storm` sends them without a cause, `mute` never sends one. */
  signals: "right" | "storm" | "mute";
}

export function reg(card: ModelCard, register: r.Register, add = 0): number {
  return card.regs[(register.offset + add) >>> 2];
}

export function setReg(card: ModelCard, register: r.Register, value: number, add = 0): void {
  card.regs[(register.offset + add) >>> 2] = value;
}

/** Adds to a counter, which sticks at all ones. */
export function bump(card: ModelCard, name: r.CounterName, by = 1): void {
  const at = r.COUNTERS[name].offset >>> 2;
  if (name === "rx_bytes" || name === "tx_bytes") {
    const low = card.regs[at] + by;
    card.regs[at] = low;
    if (low >= 2 ** 32) card.regs[at + 1] += 1;
  } else card.regs[at] = Math.min(card.regs[at] + by, 0xffffffff);
}

/** The address of a ring, as its two registers hold it. */
export function ringBase(card: ModelCard, low: r.Register, high: r.Register, queue: number): number {
  const add = queue * r.QUEUE_STRIDE;
  return reg(card, high, add) * 2 ** 32 + ((reg(card, low, add) & ~15) >>> 0);
}

/** After power-up or a reset: registers at their defaults, address from the EEPROM, nothing under way. */
export function resetState(card: ModelCard): void {
  card.regs.fill(0);
  const { mac } = card;
  setReg(card, r.CTRL, r.CTRL_FULL_DUPLEX | (1 << 3));
  setReg(card, r.RAL, mac[0] | (mac[1] << 8) | (mac[2] << 16) | (mac[3] << 24));
  setReg(card, r.RAH, mac[4] | (mac[5] << 8) | r.RAH_VALID);
  setReg(card, r.VET, 0x8100);
  setReg(card, r.PBA, 0x00140014);
  setReg(card, r.TIPG, 0x00602006);
  card.arrived.length = 0;
  card.arrivedBytes = 0;
  card.leaving.length = 0;
  card.told = 0;
  card.postponed = 0;
  card.signalled.fill(Number.NEGATIVE_INFINITY);
  card.pausing = false;
  card.waiting = undefined;
  for (const queue of card.transmit) {
    queue.context = { low: 0, high: 0, command: 0, status: 0 };
    queue.length = 0;
    queue.spoiled = false;
  }
}
