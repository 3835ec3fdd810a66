import { MillraceError } from "../../errors.js";
import { DEFAULT_BYTES } from "../../memory/arena.js";
import { checkParameters, type Locator, numberParameter } from "../locator.js";

/** How packets are spread over the sockets of a fanout group (PACKET_FANOUT_… of linux/if_packet.h). */
const FANOUT_MODES = { hash: 0, balance: 1, cpu: 2, rollover: 3, random: 4, queue: 5 } as const;

/** A packet: locator, read: see docs/ports.md. */
export interface PacketOptions {
  readonly interface: string;
  readonly promiscuous: boolean;
  /** Hardware addresses of multicast groups to be received, without the promiscuous mode; "all" of them; none. */
  readonly multicast: "all" | readonly string[];
  /** Which packets are received: bit n for sll_pkttype n, and whether the kernel may leave outgoing ones out. */
  readonly traffic: "in" | "out" | "inout";
  /** Milliseconds a packet may wait for others; 0: none. */
  readonly delay: number;
  /** Bytes of the ring; undefined: by the size of the arena. */
  readonly buffer: number | undefined;
  readonly fanout: { readonly id: number; readonly mode: number } | undefined;
  readonly bypass: boolean;
  readonly hardwareTime: boolean;
}

const PARAMETERS = [
  ...["promisc", "multicast", "traffic", "delay", "buffer", "fanout", "fanout-mode", "bypass", "timestamps"],
] as const;

/** Reads `packet:INTERFACE?…`. Throws ERR_LOCATOR. */
export function readPacketLocator(locator: Locator): PacketOptions {
  checkParameters(locator, PARAMETERS);
  if (locator.place === "")
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}" names no interface`, {
      hint: "write packet:eth0; `millrace ports --all` lists what there is",
    });
  const id = numberParameter(locator, "fanout", 0, 65535);
  const mode = choice(
    locator,
    "fanout-mode",
    Object.keys(FANOUT_MODES) as (keyof typeof FANOUT_MODES)[],
    "hash",
  );
  const kib = numberParameter(locator, "buffer", 64, 2 ** 20);
  return {
    interface: locator.place,
    promiscuous: choice(locator, "promisc", ["1", "0"], "1") === "1",
    multicast: multicastGroups(locator),
    traffic: choice(locator, "traffic", ["in", "out", "inout"], "in"),
    delay: numberParameter(locator, "delay", 0, 10_000) ?? 0,
    buffer: kib === undefined ? undefined : kib * 1024,
    fanout: id === undefined ? undefined : { id, mode: FANOUT_MODES[mode] },
    bypass: choice(locator, "bypass", ["0", "1"], "0") === "1",
    hardwareTime: choice(locator, "timestamps", ["software", "hardware"], "software") === "hardware",
  };
}

/**
 * Bytes of the ring without buffer=: a 32nd of the arena, a 16th where packets may wait for others, and no more than in
 * the default arena.
 */
export function usualRingBytes(arenaBytes: number, delay: number): number {
  return Math.min(DEFAULT_BYTES, arenaBytes) / (delay > 0 ? 16 : 32);
}

/** `all`, or addresses as 01:00:5e:01:01:01 with commas between them. */
function multicastGroups(locator: Locator): "all" | readonly string[] {
  const text = locator.parameters.get("multicast");
  if (text === undefined) return [];
  if (locator.place === "any")
    throw new MillraceError(
      "ERR_LOCATOR",
      `"${locator.text}": groups are joined on one interface, not on all`,
    );
  if (text === "all") return text;
  const groups = text.split(",");
  const wrong = groups.find((group) => !/^[0-9a-f][13579bdf](:[0-9a-f]{2}){5}$/i.test(group));
  if (wrong !== undefined)
    throw new MillraceError(
      "ERR_LOCATOR",
      `"${locator.text}": "${wrong}" is no hardware address of a group`,
      {
        hint: "write multicast=all, or addresses as 01:00:5e:01:01:01 with commas between them",
      },
    );
  return groups;
}

function choice<const Word extends string>(
  locator: Locator,
  key: string,
  words: readonly Word[],
  otherwise: Word,
): Word {
  const text = locator.parameters.get(key);
  if (text === undefined) return otherwise;
  const word = words.find((known) => known === text);
  if (word === undefined)
    throw new MillraceError(
      "ERR_LOCATOR",
      `"${locator.text}": ${key}=${text} is none of ${words.join(", ")}`,
    );
  return word;
}
