import { MillraceError } from "../../../errors.js";
import { FEATURES, type VirtioFeature } from "../../virtio/features.js";
import {
  CAPABILITY_COMMON,
  CAPABILITY_DEVICE,
  CAPABILITY_ISR,
  CAPABILITY_NOTIFY,
  COMMON,
  COMMON_BYTES,
  NET_CONFIG_BYTES,
  NET_HASH_TYPES,
  NET_MTU,
  NET_PAIRS,
  NET_RSS_ENTRIES,
  NET_RSS_KEY_BYTES,
  NET_STATUS,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  VIRTIO_NET_DEVICE,
  VIRTIO_VENDOR,
} from "../../virtio/registers.js";
import type { MakeModel, ModelDevice, ModelHost } from "../device.js";
import { findWire, plugIn, unplug, type Wire, wireUp } from "../wire.js";
import { type ModelVirtio, notify, work } from "./card.js";
import { createModelQueue, type ModelQueue } from "./ring.js";

const OFFERED: readonly VirtioFeature[] = [
  ...(["checksum", "guestChecksum", "mtu", "mac", "hostTso4", "hostTso6", "hostUso"] as const),
  ...(["mergeBuffers", "status", "control", "controlReceive", "multiQueue", "rss", "hashReport"] as const),
  ...(["indirect", "eventIndex", "version1", "accessPlatform", "packed"] as const),
];
const NAMES = Object.keys(FEATURES) as VirtioFeature[];
const QUEUE_SIZE = 256;
const BAR_BYTES = 16384;
const COMMON_AT = 0;
const ISR_AT = 4096;
const DEVICE_AT = 8192;
const NOTIFY_AT = 12288;
const NOTIFY_STRIDE = 4;

/** A modelled virtio network card on a wire; its inside is there for whoever wants it to misbehave. */
export function createModelVirtio(
  host: ModelHost,
  wire: Wire,
  mac: Uint8Array,
  pairs: number,
): { readonly device: ModelDevice; readonly card: ModelVirtio } {
  const queues = Array.from({ length: 2 * pairs + 1 }, () => createModelQueue(QUEUE_SIZE));
  const card: ModelVirtio = {
    host,
    wire,
    plug: {
      takes: () => card.arrived.length < 256,
      arrive: (frame) => {
        if ((card.status & STATUS_DRIVER_OK) !== 0) card.arrived.push(frame);
      },
      linkChanged: () => configChanged(card),
    },
    mac,
    pairs,
    queues,
    features: new Set(),
    status: 0,
    configVector: 0xffff,
    isr: 0,
    arrived: [],
    leaving: [],
    activePairs: 1,
    promiscuous: true,
    rss: undefined,
    pulled: false,
    silent: false,
  };
  const selected = { deviceFeatures: 0, driverFeatures: 0, queue: 0 };
  if (!plugIn(wire, card.plug))
    throw new MillraceError("ERR_DEVICE", "both ends of the wire are taken", {
      hint: "use another wire=NAME",
    });
  const device: ModelDevice = {
    vendor: VIRTIO_VENDOR,
    device: VIRTIO_NET_DEVICE,
    revision: 1,
    classCode: 0x020000,
    bars: [{ index: 4, bytes: BAR_BYTES, space: "memory" }],
    vectors: pairs + 1,
    capabilities: [
      capability(CAPABILITY_COMMON, COMMON_AT, COMMON_BYTES),
      capability(CAPABILITY_ISR, ISR_AT, 1),
      capability(CAPABILITY_DEVICE, DEVICE_AT, NET_CONFIG_BYTES),
      capability(CAPABILITY_NOTIFY, NOTIFY_AT, queues.length * NOTIFY_STRIDE, NOTIFY_STRIDE),
    ],
    read: (_bar, offset, bytes) => {
      if (card.pulled) return 2 ** (8 * bytes) - 1;
      if (offset >= DEVICE_AT && offset < DEVICE_AT + NET_CONFIG_BYTES)
        return readConfig(card, offset - DEVICE_AT, bytes);
      if (offset === ISR_AT) {
        const { isr } = card;
        card.isr = 0;
        return isr;
      }
      return readCommonField(card, selected, offset - COMMON_AT);
    },
    write: (_bar, offset, _bytes, value) => {
      if (card.pulled) return;
      const index = (offset - NOTIFY_AT) / NOTIFY_STRIDE;
      if (index >= 0) {
        if (queues[index] !== undefined) queues[index].rung = true;
      } else writeCommonField(card, selected, offset - COMMON_AT, Number(value));
    },
    work: () => work(card),
    asserted: () => card.isr !== 0,
    reset: () => resetCard(card),
    close: () => unplug(wire, card.plug),
  };
  return { device, card };
}

export const makeVirtio: MakeModel = (host, parameters) => {
  const pairs = Number(parameters.get("pairs") ?? 4);
  if (!(Number.isInteger(pairs) && pairs >= 1 && pairs <= 16))
    throw new MillraceError("ERR_DEVICE", `pairs=${parameters.get("pairs")} is not a number from 1 to 16`);
  const digits = (parameters.get("mac") ?? "52:54:00:00:00:02").split(":");
  const mac = Uint8Array.from(digits, (byte) => Number.parseInt(byte, 16));
  return createModelVirtio(host, findWire(parameters.get("wire")), mac, pairs).device;
};

/** struct virtio_pci_cap after its first two bytes [4.1.4]. */
function capability(type: number, offset: number, length: number, multiplier?: number): Uint8Array {
  const body = new Uint8Array(multiplier === undefined ? 14 : 18);
  const view = new DataView(body.buffer);
  view.setUint8(0, body.length + 2);
  view.setUint8(1, type);
  view.setUint8(2, 4); // BAR
  view.setUint32(6, offset, true);
  view.setUint32(10, length, true);
  if (multiplier !== undefined) view.setUint32(14, multiplier, true);
  return body;
}

function configChanged(card: ModelVirtio): void {
  if ((card.status & STATUS_DRIVER_OK) === 0) return;
  card.isr |= 2;
  notify(card, card.configVector);
}

function readConfig(card: ModelVirtio, offset: number, bytes: number): number {
  const view = new DataView(new ArrayBuffer(NET_CONFIG_BYTES));
  new Uint8Array(view.buffer).set(card.mac);
  view.setUint16(NET_STATUS, wireUp(card.wire, card.plug) ? 1 : 0, true);
  view.setUint16(NET_PAIRS, card.pairs, true);
  view.setUint16(NET_MTU, 1500, true);
  view.setUint8(NET_RSS_KEY_BYTES, 40);
  view.setUint16(NET_RSS_ENTRIES, 128, true);
  view.setUint32(NET_HASH_TYPES, 0x3f, true);
  if (offset + bytes > NET_CONFIG_BYTES) return 0;
  return bytes === 1
    ? view.getUint8(offset)
    : bytes === 2
      ? view.getUint16(offset, true)
      : view.getUint32(offset, true);
}

interface Selected {
  deviceFeatures: number;
  driverFeatures: number;
  queue: number;
}

function wordOf(features: Iterable<VirtioFeature>, word: number): number {
  let bits = 0;
  for (const name of features) if (FEATURES[name] >>> 5 === word) bits |= 1 << (FEATURES[name] & 31);
  return bits >>> 0;
}

function fieldAt(offset: number): keyof typeof COMMON | undefined {
  return (Object.keys(COMMON) as (keyof typeof COMMON)[]).find((name) => COMMON[name][0] === offset);
}

function readCommonField(card: ModelVirtio, selected: Selected, offset: number): number {
  const queue: ModelQueue | undefined = card.queues[selected.queue];
  switch (fieldAt(offset)) {
    case "deviceFeature":
      return wordOf(OFFERED, selected.deviceFeatures);
    case "driverFeature":
      return wordOf(card.features, selected.driverFeatures);
    case "configVector":
      return card.configVector;
    case "queues":
      return card.queues.length;
    case "status":
      return card.status;
    case "queueSelect":
      return selected.queue;
    case "queueSize":
      return queue?.size ?? 0;
    case "queueVector":
      return queue?.vector ?? 0xffff;
    case "queueEnable":
      return queue?.enabled ? 1 : 0;
    case "queueNotifyOffset":
      return selected.queue;
    default:
      return 0;
  }
}

function writeCommonField(card: ModelVirtio, selected: Selected, offset: number, value: number): void {
  const queue: ModelQueue | undefined = card.queues[selected.queue];
  switch (fieldAt(offset)) {
    case "deviceFeatureSelect":
      selected.deviceFeatures = value;
      return;
    case "driverFeatureSelect":
      selected.driverFeatures = value;
      return;
    case "driverFeature":
      for (const name of NAMES)
        if (FEATURES[name] >>> 5 === selected.driverFeatures) {
          if (((value >>> (FEATURES[name] & 31)) & 1) === 1) card.features.add(name);
          else card.features.delete(name);
        }
      return;
    case "configVector":
      card.configVector = value;
      return;
    case "status":
      if (value === 0) resetCard(card);
      else card.status = setStatus(card, value);
      return;
    case "queueSelect":
      selected.queue = value;
      return;
  }
  if (queue !== undefined && !queue.enabled) writeQueueField(card, queue, offset, value);
}

/** The driver may have settled on nothing that was not offered. */
function setStatus(card: ModelVirtio, value: number): number {
  const agreed = card.features.has("version1") && [...card.features].every((name) => OFFERED.includes(name));
  return agreed ? value : value & ~STATUS_FEATURES_OK;
}

function writeQueueField(card: ModelVirtio, queue: ModelQueue, offset: number, value: number): void {
  switch (fieldAt(offset)) {
    case "queueSize":
      queue.size = value;
      return;
    case "queueVector":
      queue.vector = value;
      return;
    case "queueDescs":
      queue.descs = value;
      return;
    case "queueDriver":
      queue.driver = value;
      return;
    case "queueDevice":
      queue.device = value;
      return;
    case "queueEnable":
      queue.packed = card.features.has("packed");
      queue.events = card.features.has("eventIndex");
      queue.enabled = value === 1;
      return;
  }
  // The upper halves of the addresses: an arena with its bias stays below 2^53.
  for (const [name, key] of [
    ["queueDescs", "descs"] as const,
    ["queueDriver", "driver"] as const,
    ["queueDevice", "device"] as const,
  ])
    if (offset === COMMON[name][0] + 4) queue[key] = value * 2 ** 32 + (queue[key] % 2 ** 32);
}

function resetCard(card: ModelVirtio): void {
  card.status = 0;
  card.features.clear();
  card.configVector = 0xffff;
  card.isr = 0;
  card.arrived.length = 0;
  card.leaving.length = 0;
  card.activePairs = 1;
  card.promiscuous = true;
  card.rss = undefined;
  card.silent = false;
  card.queues.forEach((_, index) => {
    card.queues[index] = createModelQueue(QUEUE_SIZE);
  });
}
