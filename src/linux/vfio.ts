// VFIO with the type 1 IOMMU (linux/vfio.h; Documentation/driver-api/vfio.rst): a container is an address space
// for devices, a group is what the IOMMU can tell apart, a device is regions (BARs, configuration space) and
// interrupts that arrive as eventfds.
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { check, type Hints, systemError } from "./errno.js";
import { libc } from "./libc.js";
import { arenaBase, type Mapped, mapOver } from "./mapping.js";

// _IO(';', 100 + n)
const request = (n: number) => (0x3b << 8) | (100 + n);
const VFIO_SET_IOMMU = request(2);
const VFIO_GROUP_GET_STATUS = request(3);
const VFIO_GROUP_SET_CONTAINER = request(4);
const VFIO_GROUP_GET_DEVICE_FD = request(6);
const VFIO_DEVICE_GET_INFO = request(7);
const VFIO_DEVICE_GET_REGION_INFO = request(8);
const VFIO_DEVICE_GET_IRQ_INFO = request(9);
const VFIO_DEVICE_SET_IRQS = request(10);
const VFIO_DEVICE_RESET = request(11);
const VFIO_IOMMU_GET_INFO = request(12);
const VFIO_IOMMU_MAP_DMA = request(13);
const VFIO_IOMMU_UNMAP_DMA = request(14);

const VFIO_TYPE1V2_IOMMU = 3;
const VFIO_GROUP_FLAGS_VIABLE = 1;
const VFIO_DEVICE_FLAGS_RESET = 1;
const VFIO_REGION_INFO_FLAG_MMAP = 4;
const VFIO_IOMMU_INFO_CAPS = 2;
const VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
const VFIO_DMA_MAP_READ_WRITE = 3;
const VFIO_IRQ_SET_DATA_NONE = 1;
const VFIO_IRQ_SET_DATA_EVENTFD = 4;
const VFIO_IRQ_SET_ACTION_UNMASK = 0x10;
const VFIO_IRQ_SET_ACTION_TRIGGER = 0x20;

/** Region indices of a PCI device: BARs 0 to 5, then these. */
export const CONFIG_REGION = 7;
/** Interrupt indices of a PCI device. */
export const IRQ_INTX = 0;
export const IRQ_MSI = 1;
export const IRQ_MSIX = 2;

const HINTS: Hints = {
  ENOENT: "load the module vfio-pci, and boot with intel_iommu=on or amd_iommu=on",
  EACCES: "it takes root, or write access to /dev/vfio and its group",
  EPERM: "it takes root; interrupts need interrupt remapping in the IOMMU",
  EBUSY: "another process drives the device",
  ENOMEM: "raise the limit of locked memory (ulimit -l)",
};

/** One device, opened, in an address space of its own. */
export interface VfioDevice {
  readonly container: number;
  readonly group: number;
  readonly fd: number;
  readonly name: string;
  readonly canReset: boolean;
}

/** Opens the device `name` (0000:00:10.0) of an IOMMU group. It must be bound to vfio-pci. */
export function openVfio(name: string, groupNumber: string): VfioDevice {
  const opened: number[] = [];
  const open = (path: string) => {
    try {
      const fd = openSync(path, constants.O_RDWR);
      opened.push(fd);
      return fd;
    } catch (error) {
      throw systemError(-((error as NodeJS.ErrnoException).errno ?? 0), "open", `${name}: ${path}`, HINTS);
    }
  };
  try {
    const container = open("/dev/vfio/vfio");
    const group = open(`/dev/vfio/${groupNumber}`);
    const status = new Uint32Array([8, 0]);
    check(libc().ioctl(group, VFIO_GROUP_GET_STATUS, status), "VFIO_GROUP_GET_STATUS", name, HINTS);
    if ((status[1] & VFIO_GROUP_FLAGS_VIABLE) === 0)
      throw systemError(16, "VFIO_GROUP_GET_STATUS", `${name}: IOMMU group ${groupNumber}`, {
        EBUSY: `other devices of the group have kernel drivers: see /sys/kernel/iommu_groups/${groupNumber}/devices`,
      });
    const containerFd = new Int32Array([container]);
    check(
      libc().ioctl(group, VFIO_GROUP_SET_CONTAINER, containerFd),
      "VFIO_GROUP_SET_CONTAINER",
      name,
      HINTS,
    );
    check(libc().ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1V2_IOMMU), "VFIO_SET_IOMMU", name, HINTS);
    const text = Buffer.from(`${name}\0`);
    const fd = check(
      libc().ioctl(group, VFIO_GROUP_GET_DEVICE_FD, text),
      "VFIO_GROUP_GET_DEVICE_FD",
      name,
      HINTS,
    );
    opened.push(fd);
    const info = new Uint32Array([24, 0, 0, 0, 0, 0]);
    check(libc().ioctl(fd, VFIO_DEVICE_GET_INFO, info), "VFIO_DEVICE_GET_INFO", name);
    return { container, group, fd, name, canReset: (info[1] & VFIO_DEVICE_FLAGS_RESET) !== 0 };
  } catch (error) {
    for (const fd of opened.reverse()) closeSync(fd);
    throw error;
  }
}

export function closeVfio({ fd, group, container }: VfioDevice): void {
  for (const each of [fd, group, container]) closeSync(each);
}

/** A reset of the function alone, where it has one; false where it has none. */
export function resetVfio({ fd, name, canReset }: VfioDevice): boolean {
  if (canReset) check(libc().ioctl(fd, VFIO_DEVICE_RESET, null), "VFIO_DEVICE_RESET", name);
  return canReset;
}

export interface Region {
  readonly bytes: number;
  /** Where it begins in the device's descriptor, for read, write and mmap. */
  readonly at: number;
  readonly mappable: boolean;
}

export function regionOf({ fd, name }: VfioDevice, index: number): Region {
  const words = new Uint32Array(8);
  words[0] = 32;
  words[2] = index;
  check(
    libc().ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, words),
    "VFIO_DEVICE_GET_REGION_INFO",
    `${name} region ${index}`,
  );
  const wide = (word: number) => words[word + 1] * 2 ** 32 + words[word];
  return { bytes: wide(4), at: wide(6), mappable: (words[1] & VFIO_REGION_INFO_FLAG_MMAP) !== 0 };
}

/** Reads `into.length` bytes of a region at once. */
export function readRegion({ fd }: VfioDevice, region: Region, offset: number, into: Uint8Array): void {
  readSync(fd, into, 0, into.length, region.at + offset);
}

export function writeRegion({ fd }: VfioDevice, region: Region, offset: number, from: Uint8Array): void {
  writeSync(fd, from, 0, from.length, region.at + offset);
}

/** Maps a region over the arena's range [offset, offset + region.bytes). */
export function mapRegion(device: VfioDevice, region: Region, arena: Mapped, offset: number): void {
  mapOver(arena, offset, region.bytes, { fd: device.fd, at: region.at }, device.name);
}

// ── DMA

export interface IovaRange {
  readonly first: number;
  readonly last: number;
}

/** The addresses that a device in this container can be given. */
export function iovaRanges({ container, name }: VfioDevice): IovaRange[] {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  check(libc().ioctl(container, VFIO_IOMMU_GET_INFO, bytes), "VFIO_IOMMU_GET_INFO", name);
  const ranges: IovaRange[] = [];
  if ((view.getUint32(4, true) & VFIO_IOMMU_INFO_CAPS) === 0) return ranges;
  for (let at = view.getUint32(16, true); at !== 0; at = view.getUint32(at + 4, true)) {
    if (view.getUint16(at, true) !== VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) continue;
    for (let i = 0; i < view.getUint32(at + 8, true); i++)
      ranges.push({
        first: Number(view.getBigUint64(at + 16 + 16 * i, true)),
        last: Number(view.getBigUint64(at + 24 + 16 * i, true)),
      });
  }
  return ranges;
}

/** Lets the device read and write the arena's range [offset, offset + bytes) at `iova`. The pages are pinned. */
export function mapDma(device: VfioDevice, arena: Mapped, offset: number, bytes: number, iova: number): void {
  const argument = new BigUint64Array(4);
  new Uint32Array(argument.buffer).set([32, VFIO_DMA_MAP_READ_WRITE]);
  argument.set([arenaBase(arena) + offset, iova, bytes].map(BigInt), 1);
  const subject = `${device.name}: mapping ${bytes} bytes at ${iova} for DMA`;
  check(libc().ioctl(device.container, VFIO_IOMMU_MAP_DMA, argument), "VFIO_IOMMU_MAP_DMA", subject, HINTS);
}

export function unmapDma(device: VfioDevice, iova: number, bytes: number): void {
  const argument = new BigUint64Array([24n, BigInt(iova), BigInt(bytes)]);
  const subject = `${device.name}: unmapping ${bytes} bytes at ${iova}`;
  check(libc().ioctl(device.container, VFIO_IOMMU_UNMAP_DMA, argument), "VFIO_IOMMU_UNMAP_DMA", subject);
}

// ── Interrupts

/** How many vectors the device has of a kind (IRQ_…). */
export function irqCount({ fd, name }: VfioDevice, index: number): number {
  const info = new Uint32Array([16, 0, index, 0]);
  check(libc().ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, info), "VFIO_DEVICE_GET_IRQ_INFO", name);
  return info[3];
}

/** Binds vectors 0 to n - 1 to eventfds; none: turns interrupts of that kind off. */
export function setIrqs({ fd, name }: VfioDevice, index: number, eventfds: readonly number[]): void {
  const data = eventfds.length === 0 ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD;
  const words = new Int32Array([
    0,
    data | VFIO_IRQ_SET_ACTION_TRIGGER,
    index,
    0,
    eventfds.length,
    ...eventfds,
  ]);
  words[0] = words.byteLength;
  check(libc().ioctl(fd, VFIO_DEVICE_SET_IRQS, words), "VFIO_DEVICE_SET_IRQS", `${name}: interrupts`, HINTS);
}

/** Lets an INTx line fire again; the kernel masks it each time. */
export function unmaskIntx({ fd, name }: VfioDevice): void {
  const words = new Uint32Array([20, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, IRQ_INTX, 0, 1]);
  check(libc().ioctl(fd, VFIO_DEVICE_SET_IRQS, words), "VFIO_DEVICE_SET_IRQS", `${name}: INTx`);
}

const EFD_NONBLOCK = 0x800;
const EFD_CLOEXEC = 0x80000;

/** A counter that the kernel raises and a poll can wait for (eventfd(2)). */
export function openEventfd(subject: string): number {
  return check(libc().eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd", subject);
}

const eventCount = new BigUint64Array(1);

/** How often it was raised since the last call; 0: not at all. */
export function takeEvents(eventfd: number): number {
  return libc().read(eventfd, eventCount, 8) === 8 ? Number(eventCount[0]) : 0;
}
