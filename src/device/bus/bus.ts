import type { ArenaMemory } from "../../memory/arena.js";

/** How many bytes one access to configuration space moves. */
export type ConfigBytes = 1 | 2 | 4;

/**
 * One base address register's range. Every call is exactly one access of that width, in program order, never
 * merged and never removed. Writes are posted: they may be on their way when the call returns; a read waits for
 * the answer and for every write before it (PCI Express Base Specification, 2.4 "Transaction Ordering").
 * Offsets are bytes, aligned to the width; beyond the end: ERR_BOUNDS.
 */
export interface Bar {
  readonly index: number;
  readonly bytes: number;
  /** `io`: port I/O space; every access is answered, writes too. */
  readonly space: "memory" | "io";
  /**
   * Arena offset at which the range itself is mapped, so that kernels can read and write registers in place;
   * undefined where it cannot be mapped (port I/O, a modelled device's registers).
   */
  readonly window: number | undefined;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  read64(offset: number): bigint;
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
  write64(offset: number, value: bigint): void;
}

/** Who a device says it is (PCI Local Bus Specification 3.0, 6.2.1). */
export interface Identity {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  /** Base class, sub-class and programming interface, 24 bits. */
  readonly classCode: number;
}

/**
 * How a driver reaches one device. A real card through VFIO and a modelled one are the same to a driver: no
 * line of a driver asks which it is. A bus belongs to the thread that opened it.
 */
export interface Bus {
  /** `0000:00:10.0` or `e1000e@model`. */
  readonly name: string;
  readonly arena: ArenaMemory;
  readonly identity: Identity;

  /** Reads 1, 2 or 4 bytes of configuration space, little-endian. */
  configRead(offset: number, bytes: ConfigBytes): number;
  configWrite(offset: number, bytes: ConfigBytes, value: number): void;

  /** The base address register `index` (0 to 5). Throws ERR_DEVICE where the device has none there. */
  bar(index: number): Bar;

  /** What is added to an arena offset to make the address a device uses (IOVA); 0 wherever that is possible. */
  readonly bias: number;
  /**
   * Lets the device read and write the arena range; returns its IOVA, `offset + bias`. Both bounds are multiples
   * of 4,096. Nothing else of the arena can be reached. Throws ERR_DEVICE when the device cannot address it.
   */
  map(offset: number, bytes: number): number;
  /** Ends what `map` began, same range; when it returns, the device cannot reach it any more. */
  unmap(offset: number, bytes: number): void;

  readonly interruptKind: InterruptKind;
  /** How many vectors the device has. */
  readonly vectors: number;
  /** Makes vectors 0 to `count` - 1 arrive; 0 turns interrupts off. To be repeated after `reset`. */
  enableInterrupts(count: number): void;
  /** Arena offset of a u32 that counts the interrupts of a vector and wraps; `Atomics.notify` is called on it. */
  counter(vector: number): number;
  /** Yields how many interrupts came since the last turn, at least 1, until the signal aborts or the bus closes. */
  interrupts(vector: number, signal?: AbortSignal): AsyncIterable<number>;
  /** INTx only, where the line is masked as it fires: lets it fire again. Otherwise does nothing. */
  unmask(vector: number): void;

  /** Command register, bit 2: whether the device may move memory by itself at all. */
  setBusMaster(on: boolean): void;
  /** Resets the function: its registers are as after power-up, bus mastering and interrupts are off. Mappings stay. */
  reset(): void;
  /** Bus mastering off, reset, all mappings undone, everything given back. Idempotent. */
  close(): Promise<void>;
}

/** How a device raises interrupts. */
export type InterruptKind = "msix" | "msi" | "intx" | "none";

export interface BusOptions {
  /** How many bits of address the device drives; a mapping beyond them is refused. Default 64. */
  readonly dmaBits?: number;
  /** Takes a card from its kernel driver although it carries the machine's own route. */
  readonly force?: boolean;
  /** Settings of a modelled device, as in `e1000e@model?wire=a`. */
  readonly parameters?: ReadonlyMap<string, string>;
}

export type OpenBus = (arena: ArenaMemory, name: string, options: BusOptions) => Promise<Bus>;
