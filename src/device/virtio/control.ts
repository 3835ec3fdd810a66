// Commands on the control queue [5.1.6.5]: class, command and data go out, one byte comes back.
import { MillraceError } from "../../errors.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import { DEFAULT_RSS_KEY } from "../../packet/toeplitz.js";
import type { VirtioCard } from "./card.js";
import { NET_HASH_TYPES, NET_RSS_ENTRIES, NET_RSS_KEY_BYTES } from "./registers.js";

const CLASS_RECEIVE = 0;
const RECEIVE_PROMISCUOUS = 0;
const RECEIVE_ALL_GROUPS = 1;
const CLASS_QUEUES = 4;
const QUEUES_PAIRS = 0;
const QUEUES_RSS = 1;
const QUEUES_HASH = 2;
const ACKNOWLEDGED = 0;

/** IPv4, TCP and UDP over it, and the same for IPv6 [5.1.6.4.3.1]. */
const HASH_TYPES = 0x3f;
const COMMAND_MILLISECONDS = 1000;

/** Sends one command and waits for its answer. False: the device refuses it. Throws ERR_DEVICE when it does not answer. */
function command(card: VirtioCard, group: number, number: number, data: ArrayLike<number>): boolean {
  const { arena, bus, control } = card;
  if (control === undefined) return false;
  const bytes = 4096;
  const page = allocateRegion(arena, bytes);
  bus.map(page, bytes);
  try {
    arena.u8[page] = group;
    arena.u8[page + 1] = number;
    arena.u8.set(data, page + 2);
    const answer = page + bytes - 1;
    arena.u8[answer] = 0xff;
    arena.kernels.virtioCommand(control.own, page, 2 + data.length, answer);
    if (arena.kernels.virtqueueKick(control.own)) control.notify();
    const limit = performance.now() + COMMAND_MILLISECONDS;
    while (!arena.kernels.virtioComplete(control.own)) {
      bus.configRead(0, 2); // a device in this thread works only when it is asked something
      if (performance.now() > limit)
        throw new MillraceError("ERR_DEVICE", `${bus.name} does not answer command ${group}.${number}`);
    }
    return Atomics.load(arena.u8, answer) === ACKNOWLEDGED;
  } finally {
    bus.unmap(page, bytes);
    freeRegion(arena, page, bytes);
  }
}

/** Takes every frame, or what is meant for this card and all groups. */
export function setReceiveMode(card: VirtioCard, promiscuous: boolean): void {
  if (!card.features.has("controlReceive")) return;
  const set = (number: number, on: boolean) => {
    if (!command(card, CLASS_RECEIVE, number, [on ? 1 : 0]))
      throw new MillraceError("ERR_DEVICE", `${card.bus.name} refuses to set its receive filter`);
  };
  set(RECEIVE_PROMISCUOUS, promiscuous);
  set(RECEIVE_ALL_GROUPS, true);
}

/** Spreads received flows over the queue pairs: by RSS where the device has it, else as the device likes. */
export function configureQueues(card: VirtioCard): void {
  const { features, pairs, bus } = card;
  if (features.has("rss") || features.has("hashReport")) {
    if (command(card, CLASS_QUEUES, features.has("rss") ? QUEUES_RSS : QUEUES_HASH, hashConfig(card))) return;
    throw new MillraceError("ERR_DEVICE", `${bus.name} refuses the RSS configuration`);
  }
  if (pairs > 1 && !command(card, CLASS_QUEUES, QUEUES_PAIRS, [pairs & 0xff, pairs >>> 8]))
    throw new MillraceError("ERR_DEVICE", `${bus.name} refuses ${pairs} queue pairs`);
}

/** struct virtio_net_rss_config, or virtio_net_hash_config where only the hash is reported. */
function hashConfig(card: VirtioCard): Uint8Array {
  const { bar, offset } = card.structures.device;
  const keyBytes = bar.read8(offset + NET_RSS_KEY_BYTES);
  const most = bar.read16(offset + NET_RSS_ENTRIES);
  const types = bar.read32(offset + NET_HASH_TYPES) & HASH_TYPES;
  const key = (card.options.key ?? DEFAULT_RSS_KEY).slice(0, keyBytes);
  const words: number[] = [];
  const put = (value: number, bytes: number) => {
    for (let i = 0; i < bytes; i++) words.push((value >>> (8 * i)) & 0xff);
  };
  put(types, 4);
  if (card.features.has("rss")) {
    const size = Math.min(128, 2 ** Math.floor(Math.log2(Math.max(1, most))));
    const table = card.options.table ?? Array.from({ length: size }, (_, index) => index % card.pairs);
    put(table.length - 1, 2);
    put(0, 2); // packets without a hash: queue pair 0
    for (const pair of table) put(pair, 2);
    put(card.pairs, 2); // transmit queues in use
  } else for (let i = 0; i < 4; i++) put(0, 2);
  put(key.length, 1);
  return Uint8Array.from([...words, ...key]);
}
