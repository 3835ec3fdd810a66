// Virtual I/O Device (VIRTIO) Version 1.2, Committee Specification 01. Sections in brackets.
import { MillraceError } from "../../errors.js";
import type { Bar, Bus } from "../bus/bus.js";

/** PCI vendor and the device number of a network card of version 1 [4.1.2, 5.1.1]. */
export const VIRTIO_VENDOR = 0x1af4;
export const VIRTIO_NET_DEVICE = 0x1041;

/** Common configuration [4.1.4.3]: byte offset and width of each field. */
export const COMMON = {
  deviceFeatureSelect: [0x00, 4],
  deviceFeature: [0x04, 4],
  driverFeatureSelect: [0x08, 4],
  driverFeature: [0x0c, 4],
  configVector: [0x10, 2],
  queues: [0x12, 2],
  status: [0x14, 1],
  generation: [0x15, 1],
  queueSelect: [0x16, 2],
  queueSize: [0x18, 2],
  queueVector: [0x1a, 2],
  queueEnable: [0x1c, 2],
  queueNotifyOffset: [0x1e, 2],
  queueDescs: [0x20, 8],
  queueDriver: [0x28, 8],
  queueDevice: [0x30, 8],
} as const satisfies Readonly<Record<string, readonly [offset: number, bytes: 1 | 2 | 4 | 8]>>;
export type CommonField = keyof typeof COMMON;
export const COMMON_BYTES = 0x38;

/** Device status [2.1]. */
export const STATUS_ACKNOWLEDGE = 1;
export const STATUS_DRIVER = 2;
export const STATUS_DRIVER_OK = 4;
export const STATUS_FEATURES_OK = 8;
export const STATUS_NEEDS_RESET = 64;
export const NO_VECTOR = 0xffff;

/** Network device configuration [5.1.4]. */
export const NET_MAC = 0;
export const NET_STATUS = 6; // u16, bit 0: link is up
export const NET_PAIRS = 8; // u16
export const NET_MTU = 10; // u16
export const NET_RSS_KEY_BYTES = 17; // u8
export const NET_RSS_ENTRIES = 18; // u16
export const NET_HASH_TYPES = 20; // u32
export const NET_CONFIG_BYTES = 24;

/** Capability types [4.1.4]. */
export const CAPABILITY_COMMON = 1;
export const CAPABILITY_NOTIFY = 2;
export const CAPABILITY_ISR = 3;
export const CAPABILITY_DEVICE = 4;

/** One structure of the device within a base address register. */
export interface Structure {
  readonly bar: Bar;
  readonly offset: number;
  readonly bytes: number;
}

export interface Structures {
  readonly common: Structure;
  readonly notify: Structure;
  /** Bytes between two queues' doorbells. */
  readonly notifyStride: number;
  readonly isr: Structure;
  readonly device: Structure;
}

/** Finds the device's structures in its configuration space. Throws ERR_DEVICE where one is missing. */
export function findStructures(bus: Bus): Structures {
  const found = new Map<number, Structure>();
  let notifyStride = 0;
  const seen = new Set<number>();
  for (
    let at = bus.configRead(0x34, 1) & 0xfc;
    at !== 0 && !seen.has(at);
    at = bus.configRead(at + 1, 1) & 0xfc
  ) {
    seen.add(at);
    if (bus.configRead(at, 1) !== 0x09) continue;
    const type = bus.configRead(at + 3, 1);
    if (type < CAPABILITY_COMMON || type > CAPABILITY_DEVICE || found.has(type)) continue;
    const bar = bus.bar(bus.configRead(at + 4, 1));
    const structure = { bar, offset: bus.configRead(at + 8, 4), bytes: bus.configRead(at + 12, 4) };
    if (structure.offset + structure.bytes > bar.bytes)
      throw new MillraceError(
        "ERR_DEVICE",
        `${bus.name}: virtio structure ${type} lies outside BAR ${bar.index}`,
      );
    found.set(type, structure);
    if (type === CAPABILITY_NOTIFY) notifyStride = bus.configRead(at + 16, 4);
  }
  const need = (type: number, name: string, bytes: number) => {
    const structure = found.get(type);
    if (structure === undefined || structure.bytes < bytes)
      throw new MillraceError("ERR_DEVICE", `${bus.name} has no ${name} structure of virtio 1`, {
        hint: "a legacy device is not driven; in QEMU give it disable-legacy=on",
      });
    return structure;
  };
  return {
    common: need(CAPABILITY_COMMON, "common configuration", COMMON_BYTES),
    notify: need(CAPABILITY_NOTIFY, "notification", 2),
    notifyStride,
    isr: need(CAPABILITY_ISR, "interrupt status", 1),
    device: need(CAPABILITY_DEVICE, "device configuration", NET_STATUS),
  };
}

/** Reads a field of the common configuration with the width that the specification asks for [4.1.3.1]. */
export function readCommon({ common: { bar, offset } }: Structures, field: CommonField): number {
  const [at, bytes] = COMMON[field];
  if (bytes === 1) return bar.read8(offset + at);
  return bytes === 2 ? bar.read16(offset + at) : bar.read32(offset + at);
}

/** Writes one; a 64-bit field goes in two halves, as it may [4.1.3.1]. */
export function writeCommon(
  { common: { bar, offset } }: Structures,
  field: CommonField,
  value: number,
): void {
  const [at, bytes] = COMMON[field];
  if (bytes === 1) bar.write8(offset + at, value);
  else if (bytes === 2) bar.write16(offset + at, value);
  else bar.write32(offset + at, value % 2 ** 32);
  if (bytes === 8) bar.write32(offset + at + 4, Math.floor(value / 2 ** 32));
}
