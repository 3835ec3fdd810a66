import { MillraceError } from "../../errors.js";
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_SIZE,
  META_SIZE,
  META_VERDICT,
  VERDICT_MOVED,
  VERDICT_PASS,
} from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { appendPacket, createBurst, destroyBurst, throwFault } from "../../memory/burst.js";
import type { Locator } from "../locator.js";
import { numberParameter } from "../locator.js";

/** What a loop does to packets on their way, as `tc netem` does to an interface. */
export interface Impairment {
  /** Shares of all packets, 0 to 1. */
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  /** A reordered packet is overtaken by up to this many. */
  readonly distance: number;
  /** Milliseconds that every packet takes. */
  readonly delay: number;
  readonly seed: number;
}

export const IMPAIRMENTS = ["loss", "duplicate", "reorder", "distance", "delay", "seed"] as const;

function share(locator: Locator, key: string): number {
  const text = locator.parameters.get(key) ?? "0";
  const value = /^\d+(\.\d+)?%$/.test(text) ? Number(text.slice(0, -1)) / 100 : Number.NaN;
  if (text !== "0" && !(value >= 0 && value <= 1))
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": ${key}=${text} is no share of packets`, {
      hint: `write it in per cent, as ${key}=1%`,
    });
  return text === "0" ? 0 : value;
}

/** The impairments among a locator's options; undefined where there are none. */
export function parseImpairment(locator: Locator): Impairment | undefined {
  if (!IMPAIRMENTS.some((key) => locator.parameters.has(key))) return undefined;
  return {
    loss: share(locator, "loss"),
    duplicate: share(locator, "duplicate"),
    reorder: share(locator, "reorder"),
    distance: numberParameter(locator, "distance", 1, 1024) ?? 8,
    delay: numberParameter(locator, "delay", 0, 60_000) ?? 0,
    seed: numberParameter(locator, "seed", 0, 0xffffffff) ?? 1,
  };
}

/** Between a sender and its ring: packets are taken, thought about, and handed on in another order. */
export interface Impairer {
  /** Takes packets with verdict PASS from `first` on. Returns the first number not looked at. */
  take(burst: number, first: number): number;
  /** A burst of what is due now, to be sent from packet 0; the caller keeps it until it is all sent. */
  due(now: number): number;
  /** Packets taken and not yet sent. */
  readonly waiting: number;
  /** Milliseconds until something is due; undefined: nothing waits. */
  dueIn(now: number): number | undefined;
  lost: number;
  duplicated: number;
  close(): void;
}

interface Waiting {
  readonly pieces: readonly number[];
  readonly meta: Uint32Array;
  readonly at: number;
  /** Sent when so many packets have been taken after it. */
  readonly turn: number;
}

const LIMIT = 2048; // packets under way in an impaired loop

/** Mulberry32: small, seeded, good enough to lose packets by. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function createImpairer(arena: ArenaMemory, impairment: Impairment, capacity: number): Impairer {
  const { u8, u32, kernels } = arena;
  const random = randomFrom(impairment.seed);
  const out = createBurst(arena, capacity);
  let waiting: Waiting[] = [];
  let taken = 0;
  const enqueue = (entry: Waiting) => {
    let at = waiting.length;
    while (at > 0 && waiting[at - 1].turn > entry.turn) at--;
    waiting.splice(at, 0, entry);
  };
  const impairer: Impairer = {
    lost: 0,
    duplicated: 0,
    get waiting() {
      return waiting.length + u32[(out + BURST_PACKETS) >>> 2];
    },
    take(burst, first) {
      const packets = u32[(burst + BURST_PACKETS) >>> 2];
      const count = u32[(burst + BURST_COUNT) >>> 2];
      const descs = u32[(burst + BURST_DESCS) >>> 2];
      const metas = u32[(burst + BURST_METAS) >>> 2];
      const starts = u32[(burst + BURST_STARTS) >>> 2] >>> 2;
      const now = performance.now();
      for (let packet = first; packet < packets; packet++) {
        const meta = metas + packet * META_SIZE;
        if (u8[meta + META_VERDICT] !== VERDICT_PASS) continue;
        if (waiting.length >= LIMIT) return packet;
        const end = packet + 1 < packets ? u32[starts + packet + 1] : count;
        const pieces: number[] = [];
        for (
          let at = (descs + u32[starts + packet] * DESC_SIZE) >>> 2;
          at < (descs + end * DESC_SIZE) >>> 2;
          at += 4
        )
          pieces.push(u32[at], u32[at + 2]);
        const kept = u32.slice(meta >>> 2, (meta + META_SIZE) >>> 2);
        u8[meta + META_VERDICT] = VERDICT_MOVED;
        taken++;
        if (random() < impairment.loss) {
          for (let i = 0; i < pieces.length; i += 2) kernels.releaseFrame(pieces[i]);
          impairer.lost++;
          continue;
        }
        const turn =
          taken + (random() < impairment.reorder ? Math.ceil(random() * impairment.distance) + 0.5 : 0);
        const entry = {
          pieces,
          meta: kept,
          at: now + impairment.delay,
          turn,
        };
        enqueue(entry);
        if (random() < impairment.duplicate && addReferences(arena, pieces)) {
          impairer.duplicated++;
          enqueue({ ...entry, turn: taken + Math.ceil(random() * impairment.distance) + 0.5 });
        }
      }
      return packets;
    },
    due(now) {
      // What no later packet will overtake any more goes; the rest waits only while packets keep coming.
      const idle = waiting.length > 0 && now - waiting[waiting.length - 1].at > 1;
      let sent = 0;
      for (const entry of waiting) {
        if (entry.at > now || (entry.turn > taken && !idle)) break;
        const packet = appendPacket(arena, out, entry.pieces);
        if (packet < 0) break;
        const meta = (u32[(out + BURST_METAS) >>> 2] + packet * META_SIZE) >>> 2;
        u32.set(entry.meta, meta);
        sent++;
      }
      waiting = waiting.slice(sent);
      return out;
    },
    dueIn(now) {
      if (u32[(out + BURST_PACKETS) >>> 2] > 0) return 0;
      return waiting.length === 0 ? undefined : Math.max(0, waiting[0].at - now) + 1;
    },
    close() {
      for (const { pieces } of waiting)
        for (let i = 0; i < pieces.length; i += 2) kernels.releaseFrame(pieces[i]);
      throwFault(arena, out, kernels.burstRelease(out, 0));
      destroyBurst(arena, out);
    },
  };
  return impairer;
}

function addReferences(arena: ArenaMemory, pieces: readonly number[]): boolean {
  for (let i = 0; i < pieces.length; i += 2) {
    if (arena.kernels.addReference(pieces[i])) continue;
    for (let back = 0; back < i; back += 2) arena.kernels.releaseFrame(pieces[back]);
    return false;
  }
  return true;
}
