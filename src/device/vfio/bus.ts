import { closeSync } from "node:fs";
import { MillraceError } from "../../errors.js";
import { adviseHugePages, arenaBase, unmapOver } from "../../linux/mapping.js";
import {
  CONFIG_REGION,
  closeVfio,
  IRQ_INTX,
  IRQ_MSI,
  IRQ_MSIX,
  iovaRanges,
  irqCount,
  mapDma,
  mapRegion,
  openEventfd,
  openVfio,
  type Region,
  readRegion,
  regionOf,
  resetVfio,
  setIrqs,
  takeEvents,
  unmapDma,
  unmaskIntx,
  type VfioDevice,
  writeRegion,
} from "../../linux/vfio.js";
import { type Watch, watch } from "../../linux/watch.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import type { Bar, Bus, BusOptions } from "../bus/bus.js";
import { countInterrupts, raise } from "../bus/interrupts.js";
import { checkAccess, createWindowBar } from "../bus/window.js";
import { bindVfio } from "./binding.js";

// PCI Local Bus Specification 3.0, 6.2.2.
const COMMAND = 0x04;
const COMMAND_MEMORY_AND_IO = 3;
const COMMAND_BUS_MASTER = 4;
const PAGE = 4096;
const HUGE_PAGE = 2 ** 21;
const COUNTER_STRIDE = 64; // a cache line each
const COUNTER_LIMIT = 256;

const KINDS = [
  { kind: "msix", index: IRQ_MSIX },
  { kind: "msi", index: IRQ_MSI },
  { kind: "intx", index: IRQ_INTX },
] as const;

/** Opens a PCI device by its address, `0000:00:10.0`, binding it to vfio-pci for as long as the bus is open. */
export async function openVfioBus(arena: ArenaMemory, name: string, options: BusOptions): Promise<Bus> {
  const binding = bindVfio(name, options.force === true);
  try {
    const device = openVfio(name, binding.group);
    try {
      return createVfioBus(arena, device, options.dmaBits ?? 64, () => binding.restore());
    } catch (error) {
      closeVfio(device);
      throw error;
    }
  } catch (error) {
    binding.restore();
    throw error;
  }
}

/**
 * Where arena offset 0 stands in the device's addresses, so that all of the arena fits into one of its ranges. Where
 * there is room, it is as far from a huge page's start as in memory: then one entry of the IOMMU's tables
 * translates a huge page.
 */
function chooseBias(device: VfioDevice, arena: ArenaMemory, dmaBits: number): number {
  const bytes = arena.buffer.byteLength;
  const ranges = iovaRanges(device);
  for (const step of [HUGE_PAGE, PAGE])
    for (const { first, last } of ranges) {
      const shift = arenaBase(arena) % step;
      const bias = Math.max(0, Math.ceil((first - shift) / step)) * step + shift;
      const reaches = step === PAGE ? bias : bias + bytes - 1; // of an arena that is too large, it reaches a part
      if (bias + bytes - 1 <= last && reaches < 2 ** dmaBits) return bias;
    }
  throw new MillraceError(
    "ERR_DEVICE",
    `${device.name}: no range of its addresses holds the arena's ${bytes} bytes`,
    {
      hint: "make a smaller arena",
    },
  );
}

function createVfioBus(arena: ArenaMemory, device: VfioDevice, dmaBits: number, restore: () => void): Bus {
  const { name } = device;
  const config = regionOf(device, CONFIG_REGION);
  const bias = chooseBias(device, arena, dmaBits);
  const { kind, index: irqIndex } = KINDS.find(({ index }) => irqCount(device, index) > 0) ?? {
    kind: "none",
    index: IRQ_INTX,
  };
  const vectors = kind === "none" ? 0 : Math.min(irqCount(device, irqIndex), COUNTER_LIMIT);
  const countersBytes = Math.max(1, vectors) * COUNTER_STRIDE;
  const counters = allocateRegion(arena, countersBytes);
  const bars = new Map<number, Bar>();
  const mapped = new Map<number, number>();
  let listening: { readonly eventfd: number; readonly watch: Watch }[] = [];
  let open = true;

  const bus: Bus = {
    name,
    arena,
    bias,
    interruptKind: kind,
    vectors,
    get identity() {
      const ids = bus.configRead(0x00, 4);
      const revision = bus.configRead(0x08, 4);
      return {
        vendor: ids & 0xffff,
        device: ids >>> 16,
        revision: revision & 0xff,
        classCode: revision >>> 8,
      };
    },
    configRead: (offset, bytes) => {
      checkOpen();
      checkAccess(`${name}: configuration space`, config.bytes, offset, bytes);
      const word = new Uint8Array(4);
      readRegion(device, config, offset, word.subarray(0, bytes));
      return new Uint32Array(word.buffer)[0];
    },
    configWrite: (offset, bytes, value) => {
      checkOpen();
      checkAccess(`${name}: configuration space`, config.bytes, offset, bytes);
      writeRegion(device, config, offset, new Uint8Array(new Uint32Array([value]).buffer, 0, bytes));
    },
    bar: (index) => {
      checkOpen();
      let bar = bars.get(index);
      if (bar === undefined) {
        bar = openBar(index);
        bars.set(index, bar);
      }
      return bar;
    },
    map: (offset, bytes) => {
      checkOpen();
      const iova = offset + bias;
      if (iova + bytes > 2 ** dmaBits)
        throw new MillraceError(
          "ERR_DEVICE",
          `${name} drives ${dmaBits} bits of address: it cannot reach ${iova + bytes - 1}`,
          { hint: "make a smaller arena" },
        );
      // Pages that nobody has touched are made as they are pinned: huge ones, where there are.
      if (bytes >= HUGE_PAGE) adviseHugePages(arena, offset, bytes);
      mapDma(device, arena, offset, bytes, iova);
      mapped.set(offset, bytes);
      return iova;
    },
    unmap: (offset, bytes) => {
      unmapDma(device, offset + bias, bytes);
      mapped.delete(offset);
    },
    enableInterrupts: (count) => {
      checkOpen();
      if (count > vectors)
        throw new MillraceError("ERR_DEVICE", `${name} has ${vectors} interrupt vectors, not ${count}`);
      stopListening();
      if (count > 0) listen(count);
    },
    counter: (vector) => counters + vector * COUNTER_STRIDE,
    interrupts: (vector, signal) => countInterrupts(arena, bus.counter(vector), () => !open, signal),
    unmask: () => {
      if (kind === "intx" && listening.length > 0) unmaskIntx(device);
    },
    setBusMaster: (on) => {
      const command = bus.configRead(COMMAND, 2) & ~COMMAND_BUS_MASTER;
      bus.configWrite(COMMAND, 2, command | COMMAND_MEMORY_AND_IO | (on ? COMMAND_BUS_MASTER : 0));
    },
    reset: () => {
      bus.setBusMaster(false); // the kernel restores the command register after a reset
      stopListening();
      resetVfio(device);
    },
    close: async () => {
      if (!open) return;
      bus.reset();
      open = false;
      for (const [offset, bytes] of mapped) unmapDma(device, offset + bias, bytes);
      for (const { window, bytes } of bars.values()) {
        if (window === undefined) continue;
        unmapOver(arena, window, bytes);
        freeRegion(arena, window, bytes);
      }
      closeVfio(device);
      restore();
      for (let vector = 0; vector < vectors; vector++) raise(arena, bus.counter(vector), 0);
      freeRegion(arena, counters, countersBytes);
    },
  };

  function checkOpen(): void {
    if (!open) throw new MillraceError("ERR_CLOSED", `${name} is closed`);
  }

  function openBar(index: number): Bar {
    const region = index >= 0 && index <= 5 ? regionOf(device, index) : undefined;
    if (region === undefined || region.bytes === 0)
      throw new MillraceError("ERR_DEVICE", `${name} has no BAR ${index}`);
    const isPort = (bus.configRead(0x10 + 4 * index, 4) & 1) === 1;
    if (isPort || !region.mappable || region.bytes % PAGE !== 0)
      return callBar(device, region, index, isPort);
    const window = allocateRegion(arena, region.bytes);
    try {
      mapRegion(device, region, arena, window);
    } catch (error) {
      freeRegion(arena, window, region.bytes);
      throw error;
    }
    return createWindowBar(arena, index, window, region.bytes);
  }

  // Each vector's eventfd is read on the event loop and what it counted added to the vector's counter.
  function listen(count: number): void {
    listening = Array.from({ length: count }, () => {
      const eventfd = openEventfd(name);
      return { eventfd, watch: watch(eventfd) };
    });
    for (const [vector, entry] of listening.entries()) void forward(entry, bus.counter(vector));
    setIrqs(
      device,
      irqIndex,
      listening.map(({ eventfd }) => eventfd),
    );
  }

  async function forward(entry: (typeof listening)[number], counter: number): Promise<void> {
    const { signal } = new AbortController();
    while (true) {
      await entry.watch.readable(signal);
      if (!listening.includes(entry)) return;
      const events = takeEvents(entry.eventfd);
      if (events > 0) raise(arena, counter, events);
    }
  }

  function stopListening(): void {
    if (listening.length === 0) return;
    setIrqs(device, irqIndex, []);
    const stopped = listening;
    listening = [];
    for (const entry of stopped) {
      entry.watch.close();
      closeSync(entry.eventfd);
    }
  }

  bus.setBusMaster(false);
  return bus;
}

/** A range that cannot be mapped: each access is a system call. */
function callBar(device: VfioDevice, region: Region, index: number, isPort: boolean): Bar {
  const check = (offset: number, width: number) =>
    checkAccess(`BAR ${index} of ${device.name}`, region.bytes, offset, width);
  const read = (offset: number, width: number) => {
    check(offset, width);
    const word = new Uint8Array(8);
    readRegion(device, region, offset, word.subarray(0, width));
    return new BigUint64Array(word.buffer)[0];
  };
  const write = (offset: number, width: number, value: bigint) => {
    check(offset, width);
    writeRegion(device, region, offset, new Uint8Array(new BigUint64Array([value]).buffer, 0, width));
  };
  return {
    index,
    bytes: region.bytes,
    space: isPort ? "io" : "memory",
    window: undefined,
    read8: (offset) => Number(read(offset, 1)),
    read16: (offset) => Number(read(offset, 2)),
    read32: (offset) => Number(read(offset, 4)),
    read64: (offset) => read(offset, 8),
    write8: (offset, value) => write(offset, 1, BigInt(value & 0xff)),
    write16: (offset, value) => write(offset, 2, BigInt(value & 0xffff)),
    write32: (offset, value) => write(offset, 4, BigInt(value >>> 0)),
    write64: (offset, value) => write(offset, 8, BigInt.asUintN(64, value)),
  };
}
