import type { InterruptKind } from "../bus/bus.js";

/** A base address register of a modelled device. */
export interface ModelBar {
  readonly index: number;
  readonly bytes: number;
  readonly space: "memory" | "io";
  /** Plain memory without side effects: mapped into the arena, where processor and device see it alike. */
  readonly plain?: boolean;
}

/**
 * A device in software: what stands behind its pins. It sees the rest of the machine through `ModelHost` alone.
 * The machine calls it; it never waits.
 */
export interface ModelDevice {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  /** Base class, sub-class and programming interface, 24 bits. */
  readonly classCode: number;
  readonly bars: readonly ModelBar[];
  /** How many MSI-X vectors it has; 0: none. */
  readonly vectors: number;
  /** Vendor-specific capabilities for configuration space (id 9): what follows id and next pointer. */
  readonly capabilities?: readonly Uint8Array[];
  /** One access of 1, 2, 4 or 8 bytes to a register. With side effects, if the register has them. */
  read(bar: number, offset: number, bytes: number): bigint | number;
  write(bar: number, offset: number, bytes: number, value: bigint | number): void;
  /** Does a bounded piece of its own work (descriptors, timers). True: it did something, ask again soon. */
  work(): boolean;
  /** Microseconds until `work` has something to do although nobody asks (a timer); undefined: nothing is due. */
  due?(): number | undefined;
  /** Whether it pulls its interrupt line, as it does from a cause until that is acknowledged. Where it has one: INTx. */
  asserted?(): boolean;
  /** As a function-level reset leaves it. */
  reset(): void;
  /** The machine is taken down. */
  close?(): void;
}

/** The machine as a device sees it: memory through the IOMMU, interrupts, time. */
export interface ModelHost {
  /** Reads memory as a bus master, into `into`. False: the address is not mapped (reported), or mastering is off. */
  dmaRead(iova: number, into: Uint8Array): boolean;
  /** Writes memory as a bus master. False as above; then nothing was written. */
  dmaWrite(iova: number, from: Uint8Array): boolean;
  /** Writes one aligned u32 as the last part of a transfer: the other side sees it after everything before it. */
  dmaFlag(iova: number, value: number): boolean;
  /** How the device is wired to raise interrupts. */
  readonly interruptKind: InterruptKind;
  /**
   * Signals an MSI-X vector, unless it is masked or not enabled. With MSI there is one vector for all; with INTx
   * the line is looked at: it fires while it is asserted and not masked.
   */
  interrupt(vector: number): void;
  /** Microseconds; in tests it moves only when told. */
  now(): number;
  /** A plain BAR's memory. Only from `work`, `read` and `write`, not while the device is made. */
  plain(bar: number): Uint8Array;
}

export type MakeModel = (host: ModelHost, parameters: ReadonlyMap<string, string>) => ModelDevice;
