import { MillraceError } from "../../errors.js";
import { DEFAULT_RSS_KEY } from "../../packet/toeplitz.js";
import { LONG_BYTES, QUEUES, RING_LEAST, RING_MOST, STANDARD_BYTES } from "./assumptions.js";

/** How a card is to be run. What is left out takes the default named here. */
export interface CardOptions {
  /** Receive and transmit queues; received flows are spread by RSS. Default 1. */
  readonly queues?: 1 | 2;
  /** Descriptors of each receive ring, a power of two from 64 to 4,096. Default 512. */
  readonly rxRing?: number;
  readonly txRing?: number;
  /** Longest frame in bytes, without its check sequence: up to 1,518, or with long packets up to 9,018. Default 1,518. */
  readonly mtu?: number;
  /** Headers into one frame, the data page-aligned into another. Default off. */
  readonly headerSplit?: boolean;
  /** Packets up to this many bytes are copied out of the ring's frame instead of handing it over. Default 0: none. */
  readonly copybreak?: number;
  /** Takes VLAN tags off received frames into the metadata, and puts them on sent ones from there. Default off. */
  readonly vlan?: boolean;
  /** Takes every frame, whoever it is for. Default on, as a capture wants it. */
  readonly promiscuous?: boolean;
  /** Station address, 6 bytes; default the card's own. */
  readonly mac?: Uint8Array;
  /** Toeplitz key, 40 bytes. */
  readonly key?: Uint8Array;
  /** Which queue each of 128 hash values goes to; default alternating. */
  readonly table?: readonly number[];
  /** Least microseconds between two interrupts of a vector, 0 to 16,000. Default 20. */
  readonly moderation?: number;
  /** Sends and obeys PAUSE frames. Default on. */
  readonly flowControl?: boolean;
}

export type Settings = Required<Omit<CardOptions, "mac">> & { readonly mac: Uint8Array | undefined };

function refuse(name: string, value: unknown, hint: string): never {
  throw new MillraceError("ERR_DEVICE", `e1000e: ${name} cannot be ${String(value)}`, { hint });
}

/** Fills in what was left out and refuses what the card cannot do. Throws ERR_DEVICE. */
export function settle(options: CardOptions): Settings {
  const settings: Settings = {
    queues: options.queues ?? 1,
    rxRing: options.rxRing ?? 512,
    txRing: options.txRing ?? 512,
    mtu: options.mtu ?? STANDARD_BYTES,
    headerSplit: options.headerSplit ?? false,
    copybreak: options.copybreak ?? 0,
    vlan: options.vlan ?? false,
    promiscuous: options.promiscuous ?? true,
    mac: options.mac,
    key: options.key ?? DEFAULT_RSS_KEY,
    table: options.table ?? Array.from({ length: 128 }, (_, index) => index % (options.queues ?? 1)),
    moderation: options.moderation ?? 20,
    flowControl: options.flowControl ?? true,
  };
  const { queues, rxRing, txRing, mtu, mac, key, table, moderation } = settings;
  if (!(queues >= 1 && queues <= QUEUES)) refuse("queues", queues, "the card has 1 or 2");
  for (const [name, count] of [["rxRing", rxRing] as const, ["txRing", txRing] as const])
    if (!(count >= RING_LEAST && count <= RING_MOST && (count & (count - 1)) === 0))
      refuse(name, count, `a power of two from ${RING_LEAST} to ${RING_MOST}`);
  if (!(mtu >= 64 && mtu <= LONG_BYTES)) refuse("mtu", mtu, `64 to ${LONG_BYTES} bytes`);
  if (mac !== undefined && (mac.length !== 6 || (mac[0] & 1) !== 0))
    refuse("mac", [...mac].map((byte) => byte.toString(16)).join(":"), "six bytes, not a group address");
  if (key.length !== 40) refuse("key", `${key.length} bytes long`, "40 bytes");
  if (table.length !== 128 || table.some((queue) => !(queue >= 0 && queue < queues)))
    refuse("table", `[${table.length} entries]`, `128 queue numbers below ${queues}`);
  if (!(moderation >= 0 && moderation <= 16_000)) refuse("moderation", moderation, "0 to 16000 microseconds");
  return settings;
}
