/// <reference types="node" preserve="true" />
// `millrace/device`: any PCI device from TypeScript, a real one through VFIO or a model that needs no hardware.
import type { Bar, ConfigBytes, Identity, InterruptKind } from "./device/bus/bus.js";
import { counterChange } from "./device/bus/interrupts.js";
import { openBus } from "./device/bus/open.js";
import { MillraceError } from "./errors.js";
import { type ArenaMemory, createArenaMemory } from "./memory/arena.js";
import { allocateRegion, freeRegion } from "./memory/region.js";

export type { Bar, ConfigBytes, Identity, InterruptKind } from "./device/bus/bus.js";
export { MillraceError } from "./errors.js";

export interface DeviceOptions {
  /** How many bits of address the device drives; memory beyond them is refused. Default 64. */
  readonly dmaBits?: number;
  /** Takes the device from a kernel driver although the machine may need it. */
  readonly force?: boolean;
  /** How to wait: look all the time, sleep until an interrupt, or look for a while and then sleep. Default adaptive. */
  readonly wait?: "busy" | "interrupt" | "adaptive";
  /** Bytes of the arena that memory for the device comes from, an eighth of it at most. Default 64 MiB. */
  readonly arenaBytes?: number;
}

/** Memory that both the program and the device see. It is the caller's until `release`, which the device's `close` implies. */
export interface DeviceMemory extends Disposable {
  /** The bytes, in place. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** Where the device finds them: the I/O virtual address of the first byte. */
  readonly address: number;
  /** Reads an aligned 32-bit word that the device may be writing: never merged with another read, never left out. */
  read32(offset: number): number;
  /** Copies `length` bytes from other memory of the same device, by the processor (WebAssembly's memory.copy). */
  copy(offset: number, from: DeviceMemory, fromOffset: number, length: number): void;
  /** Ends the device's access, then frees the memory. Idempotent. */
  release(): void;
}

/** One device. Everything about it happens in the thread that opened it. */
export interface Device extends AsyncDisposable {
  readonly name: string;
  readonly identity: Identity;
  readonly interruptKind: InterruptKind;
  /** How many interrupt vectors it has. */
  readonly vectors: number;
  /** Reads 1, 2 or 4 bytes of configuration space. */
  configRead(offset: number, bytes: ConfigBytes): number;
  configWrite(offset: number, bytes: ConfigBytes, value: number): void;
  /** The base address register `index`, 0 to 5: each call on it is one access of that width. Throws ERR_DEVICE where there is none. */
  bar(index: number): Bar;
  /** Zeroed memory of at least `bytes` bytes for DMA. Throws ERR_DEVICE when the device cannot address it, ERR_MEMORY when there is none left. */
  memory(bytes: number): DeviceMemory;
  /** Yields how many interrupts of the vector came since it last yielded, none lost in between, until the signal aborts or the device is closed. */
  interrupts(vector: number, signal?: AbortSignal): AsyncIterable<number>;
  /** Resolves once `condition` holds. It is asked again as the option `wait` says; `vector` is the interrupt that may have changed it. */
  until(condition: () => boolean, vector: number, signal?: AbortSignal): Promise<void>;
  /** Stops the device (bus mastering off, reset), frees its memory and gives it back to the kernel. Idempotent. */
  close(): Promise<void>;
}

const SPIN_MICROSECONDS = 50;
const LONG = 2 ** 31 - 1; // milliseconds, the longest a timer can take

/**
 * Opens `0000:00:05.0`, a device behind an IOMMU (it is bound to vfio-pci while open), or `edu@model`, a device in
 * software. Throws ERR_DEVICE with the reason where that is not possible.
 */
export async function openDevice(name: string, options: DeviceOptions = {}): Promise<Device> {
  const arena = createArenaMemory({ bytes: options.arenaBytes ?? 64 * 2 ** 20 });
  const busOptions = { dmaBits: options.dmaBits ?? 64, force: options.force === true };
  const bus = await openBus(arena, name, busOptions);
  const wait = options.wait ?? "adaptive";
  const blocks = new Set<DeviceMemory>();
  const closed = new AbortController();
  // A message-signalled interrupt is a write to memory: without bus mastering none would come.
  bus.setBusMaster(true);
  if (wait !== "busy") bus.enableInterrupts(bus.vectors);
  const seen = Array.from({ length: bus.vectors }, (_, vector) => counterOf(vector));

  function counterOf(vector: number): number {
    return Atomics.load(arena.u32, bus.counter(vector) >>> 2);
  }

  function checkOpen(): void {
    if (closed.signal.aborted) throw closed.signal.reason;
  }

  function checkVector(vector: number): void {
    if (Number.isInteger(vector) && vector >= 0 && vector < bus.vectors) return;
    throw new MillraceError("ERR_DEVICE", `${name} has no interrupt vector ${vector}`, {
      hint: bus.vectors === 0 ? "it has none: poll it" : `its vectors are 0 to ${bus.vectors - 1}`,
    });
  }

  /** Waits until the vector's counter has moved on from `from`, or the device is closed. */
  async function interruptAfter(vector: number, from: number, signal?: AbortSignal): Promise<void> {
    bus.unmask(vector);
    const either = signal === undefined ? closed.signal : AbortSignal.any([signal, closed.signal]);
    await counterChange(arena, bus.counter(vector), from, LONG, either);
  }

  async function* interrupts(vector: number, signal?: AbortSignal): AsyncGenerator<number, void, undefined> {
    const ended = () => signal?.aborted === true || closed.signal.aborted;
    while (!ended()) {
      const now = counterOf(vector);
      const count = (now - seen[vector]) >>> 0;
      seen[vector] = now;
      if (count > 0) yield count;
      else
        try {
          await interruptAfter(vector, now, signal);
        } catch (reason) {
          if (!ended()) throw reason;
        }
    }
  }

  async function until(condition: () => boolean, vector: number, signal?: AbortSignal): Promise<void> {
    const sleeps = wait !== "busy";
    if (sleeps) checkVector(vector);
    while (true) {
      const spinEnd = performance.now() + (wait === "adaptive" ? SPIN_MICROSECONDS / 1000 : 0);
      const before = sleeps ? counterOf(vector) : 0;
      do {
        signal?.throwIfAborted();
        checkOpen();
        if (condition()) return;
      } while (performance.now() < spinEnd);
      if (sleeps) await interruptAfter(vector, before, signal);
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  const device: Device = {
    name,
    identity: bus.identity,
    interruptKind: bus.interruptKind,
    vectors: bus.vectors,
    configRead: (offset, bytes) => {
      checkOpen();
      return bus.configRead(offset, bytes);
    },
    configWrite: (offset, bytes, value) => {
      checkOpen();
      bus.configWrite(offset, bytes, value);
    },
    bar: (index) => {
      checkOpen();
      return guardBar(bus.bar(index), checkOpen);
    },
    memory: (bytes) => {
      checkOpen();
      const block = createMemory(arena, bytes, bus, () => blocks.delete(block));
      blocks.add(block);
      return block;
    },
    interrupts: (vector, signal) => {
      checkVector(vector);
      return interrupts(vector, signal);
    },
    until,
    close: async () => {
      if (closed.signal.aborted) return;
      bus.reset();
      closed.abort(new MillraceError("ERR_CLOSED", `${name} is closed`));
      for (const block of blocks) block.release();
      await bus.close();
    },
    [Symbol.asyncDispose]: () => device.close(),
  };
  return device;
}

/** The same range, refusing to touch what may be other memory once the device is closed. */
function guardBar(bar: Bar, checkOpen: () => void): Bar {
  const guard =
    <Arguments extends readonly unknown[], Result>(access: (...values: Arguments) => Result) =>
    (...values: Arguments): Result => {
      checkOpen();
      return access(...values);
    };
  return {
    ...bar,
    read8: guard(bar.read8),
    read16: guard(bar.read16),
    read32: guard(bar.read32),
    read64: guard(bar.read64),
    write8: guard(bar.write8),
    write16: guard(bar.write16),
    write32: guard(bar.write32),
    write64: guard(bar.write64),
  };
}

const offsets = new WeakMap<DeviceMemory, number>();

function createMemory(
  arena: ArenaMemory,
  wanted: number,
  bus: {
    map(offset: number, bytes: number): number;
    unmap(offset: number, bytes: number): void;
    name: string;
  },
  released: () => void,
): DeviceMemory {
  if (!(Number.isSafeInteger(wanted) && wanted > 0))
    throw new MillraceError("ERR_MEMORY", `${bus.name}: there is no memory of ${wanted} bytes`);
  const bytes = Math.ceil(wanted / 4096) * 4096;
  const offset = allocateRegion(arena, bytes);
  let address: number;
  try {
    address = bus.map(offset, bytes);
  } catch (error) {
    freeRegion(arena, offset, bytes);
    throw error;
  }
  let live = true;
  const check = (at: number, length: number) => {
    if (!live) throw new MillraceError("ERR_RELEASED", `memory of ${bus.name} was released`);
    if (!(at >= 0 && length >= 0 && length <= bytes && at <= bytes - length))
      throw new MillraceError(
        "ERR_BOUNDS",
        `${length} bytes at ${at} are not within ${bytes} bytes of memory`,
      );
  };
  const block: DeviceMemory = {
    bytes: arena.u8.subarray(offset, offset + bytes),
    address,
    read32: (at) => {
      check(at, 4);
      return Atomics.load(arena.u32, (offset + at) / 4);
    },
    copy: (at, from, fromOffset, length) => {
      const source = offsets.get(from);
      if (source === undefined || from.bytes.buffer !== arena.buffer)
        throw new MillraceError("ERR_MEMORY", `the memory to copy from is not ${bus.name}'s`);
      check(at, length);
      if (!(fromOffset >= 0 && fromOffset <= from.bytes.length - length))
        throw new MillraceError("ERR_BOUNDS", `there are no ${length} bytes at ${fromOffset} to copy`);
      arena.kernels.copyBytes(offset + at, source + fromOffset, length);
    },
    release: () => {
      if (!live) return;
      live = false;
      offsets.delete(block);
      released();
      bus.unmap(offset, bytes);
      freeRegion(arena, offset, bytes);
    },
    [Symbol.dispose]: () => block.release(),
  };
  offsets.set(block, offset);
  return block;
}
