import { MillraceError } from "../../errors.js";
import {
  VIRTIO_FRAGMENTS,
  VNET_HASHED_SIZE,
  VNET_SIZE,
  VQ_CHECKSUM,
  VQ_EVENTS,
  VQ_HASHED,
  VQ_MERGE,
  VQ_PACKED,
  VQ_RECEIVE,
  VQ_TCP4,
  VQ_TCP6,
  VQ_UDP,
} from "../../kernels/virtio-structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { Bus } from "../bus/bus.js";
import { configureQueues, setReceiveMode } from "./control.js";
import {
  chooseFeatures,
  type FeatureSet,
  readFeatures,
  type VirtioFeature,
  writeFeatures,
} from "./features.js";
import {
  createVirtqueue,
  destroyVirtqueue,
  type QueueCounters,
  type QueueOptions,
  queueCounters,
  type Virtqueue,
} from "./queue.js";
import {
  findStructures,
  NET_MAC,
  NET_MTU,
  NET_PAIRS,
  NET_STATUS,
  NO_VECTOR,
  readCommon,
  STATUS_ACKNOWLEDGE,
  STATUS_DRIVER,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  type Structures,
  VIRTIO_NET_DEVICE,
  VIRTIO_VENDOR,
  writeCommon,
} from "./registers.js";

export interface VirtioOptions {
  /** Queue pairs; fewer are used where the device has fewer. Default 1. */
  readonly pairs?: number;
  /** Descriptors of each queue at most. Default 256. */
  readonly queueSize?: number;
  /** Features to do without although the device has them. */
  readonly without?: readonly VirtioFeature[];
  /** Takes every frame, whoever it is for. Default on, as a capture wants it. */
  readonly promiscuous?: boolean;
  /** Toeplitz key, where the device hashes. */
  readonly key?: Uint8Array;
  /** Which receive queue each low hash value goes to, a power of two of entries. Default alternating over 128. */
  readonly table?: readonly number[];
}

/** A virtio network card that is run. */
export interface VirtioCard {
  readonly bus: Bus;
  readonly arena: ArenaMemory;
  readonly structures: Structures;
  readonly options: VirtioOptions;
  readonly features: FeatureSet;
  readonly pairs: number;
  readonly mac: Uint8Array;
  /** Largest frame in bytes, link header included. */
  readonly mtu: number;
  rx: Virtqueue[];
  tx: Virtqueue[];
  control: Virtqueue | undefined;
  /** Why the card was given up; every later use throws it. */
  failure: MillraceError | undefined;
  resets: number;
  /** When the last of them were, in milliseconds. */
  recentResets: number[];
  /** Packets that a reset took out of the transmit queues. */
  lost: number;
  /** What queues counted before they were made anew. */
  readonly before: { rx: QueueCounters; tx: QueueCounters };
  /** When each transmit queue last completed something, and how much it had completed by then. */
  readonly progress: { packets: number; since: number }[];
  /** When it was last looked after, in milliseconds. */
  watched: number;
}

const NO_COUNTS: QueueCounters = {
  packets: 0,
  bytes: 0,
  runts: 0,
  tooLong: 0,
  dry: 0,
  unoffered: 0,
  outstanding: 0,
};
const RESET_MILLISECONDS = 1000;
const ALL_ONES = 0xff;
const ETHERNET_MTU = 1500;
const ETHERNET_HEADER = 14;
const VLAN_TAG = 4;

/** Sets a virtio network card to work. Throws ERR_DEVICE with the reason where it cannot be driven. */
export function openVirtioCard(bus: Bus, options: VirtioOptions = {}): VirtioCard {
  const { arena, identity } = bus;
  if (identity.vendor !== VIRTIO_VENDOR || identity.device !== VIRTIO_NET_DEVICE)
    throw new MillraceError("ERR_DEVICE", `${bus.name} is no virtio network card of version 1`, {
      hint: `it says it is ${identity.vendor.toString(16)}:${identity.device.toString(16)}`,
    });
  bus.setBusMaster(true);
  const structures = findStructures(bus);
  resetDevice(bus, structures);
  writeCommon(structures, "status", STATUS_ACKNOWLEDGE);
  writeCommon(structures, "status", STATUS_ACKNOWLEDGE | STATUS_DRIVER);
  const features = chooseFeatures(bus.name, readFeatures(structures), options.without ?? []);
  const config = structures.device;
  const field = (offset: number) => config.bar.read16(config.offset + offset);
  const most = features.has("multiQueue") ? field(NET_PAIRS) : 1;
  const card: VirtioCard = {
    bus,
    arena,
    structures,
    options,
    features,
    pairs: Math.max(1, Math.min(options.pairs ?? 1, most)),
    mac: Uint8Array.from({ length: 6 }, (_, i) => config.bar.read8(config.offset + NET_MAC + i)),
    mtu: (features.has("mtu") ? field(NET_MTU) : ETHERNET_MTU) + ETHERNET_HEADER + VLAN_TAG,
    rx: [],
    tx: [],
    control: undefined,
    failure: undefined,
    resets: 0,
    recentResets: [],
    lost: 0,
    before: { rx: NO_COUNTS, tx: NO_COUNTS },
    progress: [],
    watched: performance.now(),
  };
  bus.map(0, arena.frames * arena.frameSize);
  try {
    startCard(card);
  } catch (error) {
    stopCard(card);
    bus.unmap(0, arena.frames * arena.frameSize);
    throw error;
  }
  return card;
}

/** The device's own reset: when its status reads 0 it has let go of all memory [2.4, 4.1.4.3.1]. */
function resetDevice(bus: Bus, structures: Structures): void {
  writeCommon(structures, "status", 0);
  const limit = performance.now() + RESET_MILLISECONDS;
  for (let status = -1; status !== 0; ) {
    status = readCommon(structures, "status");
    if (status === ALL_ONES)
      throw new MillraceError("ERR_DEVICE", `${bus.name} no longer answers: every register reads all ones`, {
        hint: "it was pulled, or lost power",
      });
    if (performance.now() > limit)
      throw new MillraceError(
        "ERR_DEVICE",
        `${bus.name} is not back ${RESET_MILLISECONDS} ms after a reset`,
        {
          hint: "power it off and on",
        },
      );
  }
}

/** Brings a reset device up in the order of [3.1.1]. */
function startCard(card: VirtioCard): void {
  const { bus, structures, features, pairs } = card;
  const status = (bits: number) => writeCommon(structures, "status", bits);
  resetDevice(bus, structures);
  status(STATUS_ACKNOWLEDGE);
  status(STATUS_ACKNOWLEDGE | STATUS_DRIVER);
  writeFeatures(structures, features);
  const agreed = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
  status(agreed);
  if ((readCommon(structures, "status") & STATUS_FEATURES_OK) === 0)
    throw new MillraceError("ERR_DEVICE", `${bus.name} does not work with ${[...features].join(", ")}`);

  // A vector for each pair and one for the device's configuration, or one for all.
  const own = bus.interruptKind === "msix" && bus.vectors > pairs;
  bus.enableInterrupts(own ? pairs + 1 : Math.min(1, bus.vectors));
  const vector = (number: number) => (bus.interruptKind !== "msix" ? NO_VECTOR : own ? number : 0);
  writeCommon(structures, "configVector", vector(pairs));

  const shape = queueShape(card);
  for (let pair = 0; pair < pairs; pair++) {
    const common = { ...shape, vector: vector(pair), pair };
    card.rx[pair] = createVirtqueue(bus, structures, {
      ...common,
      index: 2 * pair,
      flags: shape.flags | VQ_RECEIVE,
      indirect: false,
    });
    card.tx[pair] = createVirtqueue(bus, structures, { ...common, index: 2 * pair + 1 });
    card.progress[pair] = { packets: 0, since: performance.now() };
  }
  if (features.has("control")) {
    const { bar, offset } = structures.device;
    // The control queue comes after all pairs there are, used or not [5.1.2].
    const all = features.has("multiQueue") ? bar.read16(offset + NET_PAIRS) : 1;
    const options = { ...shape, index: 2 * all, most: 64, vector: NO_VECTOR, pair: 0, indirect: false };
    card.control = createVirtqueue(bus, structures, options);
  }
  for (const queue of allQueues(card)) {
    writeCommon(structures, "queueSelect", queue.index);
    writeCommon(structures, "queueEnable", 1);
  }
  status(agreed | STATUS_DRIVER_OK);
  for (const queue of allQueues(card)) card.arena.kernels.virtqueueArm(queue.own, 0);
  if (card.control !== undefined) {
    setReceiveMode(card, card.options.promiscuous ?? true);
    configureQueues(card);
  }
  for (const queue of card.rx) {
    card.arena.kernels.virtioFill(queue.own);
    if (card.arena.kernels.virtqueueKick(queue.own)) queue.notify();
  }
}

function queueShape(card: VirtioCard): Omit<QueueOptions, "index" | "vector" | "pair"> {
  const { features, options } = card;
  const bits: readonly (readonly [VirtioFeature, number])[] = [
    ["packed", VQ_PACKED],
    ["eventIndex", VQ_EVENTS],
    ["mergeBuffers", VQ_MERGE],
    ["checksum", VQ_CHECKSUM],
    ["hostTso4", VQ_TCP4],
    ["hostTso6", VQ_TCP6],
    ["hostUso", VQ_UDP],
    ["hashReport", VQ_HASHED],
  ];
  return {
    most: options.queueSize ?? 256,
    flags: bits.reduce((flags, [feature, bit]) => flags | (features.has(feature) ? bit : 0), 0),
    headerBytes: features.has("hashReport") ? VNET_HASHED_SIZE : VNET_SIZE,
    indirect: features.has("indirect"),
  };
}

function allQueues(card: VirtioCard): Virtqueue[] {
  return [...card.rx, ...card.tx, ...(card.control === undefined ? [] : [card.control])];
}

function addCounts(sum: QueueCounters, more: QueueCounters): QueueCounters {
  const entries = Object.entries(sum) as [keyof QueueCounters, number][];
  return Object.fromEntries(
    entries.map(([name, value]) => [name, value + more[name]]),
  ) as unknown as QueueCounters;
}

/** What the receive or transmit queues have counted since the card was opened, resets included. */
export function cardCounters(card: VirtioCard, side: "rx" | "tx"): QueueCounters {
  return card[side].map((queue) => queueCounters(card.bus, queue)).reduce(addCounts, card.before[side]);
}

/** Gives up all queues; what was still to be sent is counted as lost. The device has been reset. */
function stopCard(card: VirtioCard): void {
  const { bus } = card;
  for (const queue of card.tx) card.lost += queueCounters(bus, queue).outstanding;
  for (const side of ["rx", "tx"] as const)
    card.before[side] = { ...cardCounters(card, side), outstanding: 0 };
  for (const queue of allQueues(card)) destroyVirtqueue(bus, queue);
  card.rx = [];
  card.tx = [];
  card.control = undefined;
}

/** Resets a card that went wrong and sets it to work again; one that needs it again and again is given up. Throws ERR_DEVICE then. */
export function recover(card: VirtioCard, reason: string): void {
  if (card.failure !== undefined) throw card.failure;
  card.resets++;
  const now = performance.now();
  card.recentResets = [...card.recentResets.filter((then) => now - then < RESETS_MILLISECONDS), now];
  try {
    resetDevice(card.bus, card.structures);
    stopCard(card);
    if (card.recentResets.length > MOST_RESETS)
      throw new MillraceError("ERR_DEVICE", `${MOST_RESETS} resets in a minute did not help`);
    startCard(card);
  } catch (cause) {
    card.bus.setBusMaster(false);
    stopCard(card);
    card.failure = new MillraceError("ERR_DEVICE", `${card.bus.name} is given up: ${reason}`, {
      cause,
      hint: (cause as Error).message,
    });
    throw card.failure;
  }
}
const MOST_RESETS = 8;
const RESETS_MILLISECONDS = 60_000;

/** Whether the device says that its link is up; a device that cannot tell is taken to be. */
export function linkIsUp(card: VirtioCard): boolean {
  if (!card.features.has("status")) return true;
  const { bar, offset } = card.structures.device;
  return (bar.read16(offset + NET_STATUS) & 1) === 1;
}

/** How many fragments a packet may have beside its linear part. */
export function mostFragments(card: VirtioCard): number {
  // Without tables each piece and the header take a descriptor of the ring.
  const ring = card.tx[0].size - 2;
  return card.features.has("indirect") ? VIRTIO_FRAGMENTS : Math.min(VIRTIO_FRAGMENTS, ring);
}

/** Stops the card and gives all its memory back; the bus stays open. What was still to be sent is counted as lost. */
export function closeVirtioCard(card: VirtioCard): void {
  // Whatever state the card is in: without bus mastering it reaches no memory any more.
  card.bus.setBusMaster(false);
  card.bus.reset();
  stopCard(card);
  card.bus.unmap(0, card.arena.frames * card.arena.frameSize);
}
