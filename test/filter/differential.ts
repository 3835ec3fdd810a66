// One random expression after the other, against libpcap's program for it, on the same packets in every back end.
import assert from "node:assert/strict";
import { ABS, ANCILLARY, type ClassicProgram, LD } from "../../src/filter/classic.js";
import { compileProgram } from "../../src/filter/program.js";
import type { FilterLinkType } from "../../src/filter/state.js";
import { classified, interpreted, loadBurst } from "./backends.js";
import { expression } from "./grammar.js";
import { type CapturedPacket, capturedPackets, mutated, tcpdumpProgram } from "./oracle.js";

const LINK_TYPES: readonly FilterLinkType[] = [
  ...(["EN10MB", "EN10MB", "EN10MB", "EN10MB"] as const),
  ...(["RAW", "IPV4", "IPV6", "LINUX_SLL", "LINUX_SLL2", "NULL", "LOOP"] as const),
];

/** Arithmetic on numbers alone: when it is worked out decides whether libpcap sees a contradiction in it. */
const CONSTANT_ARITHMETIC = /[-+*&|^/%]|<<|>>/;

/** Whether a program asks for what only a live port knows: the direction, the interface. */
export function looksBeside(program: ClassicProgram): boolean {
  return program.some(([code, , , k]) => (code & 0xe7) === (LD | ABS) && k >= ANCILLARY);
}

export function tryCompile(text: string, linkType: FilterLinkType): ClassicProgram | Error {
  try {
    return compileProgram(text, { linkType, snaplen: 262_144 });
  } catch (error) {
    return error as Error;
  }
}

/** A packet with zeros behind it, as far as any 16-bit offset reaches. */
function padded({ bytes, wireLength }: CapturedPacket): CapturedPacket {
  const longer = new Uint8Array(bytes.length + 2 ** 17);
  longer.set(bytes);
  return { bytes: longer, wireLength };
}

export interface Differential {
  /** Tries one expression; returns how many packets it was compared on. Throws on a difference. */
  step(): number;
  readonly counts: { tried: number; compared: number; refusedByOne: number; reordered: number };
}

export function createDifferential(random: () => number): Differential {
  const packets = new Map<string, CapturedPacket[]>();
  for (const [name, list] of capturedPackets(6)) packets.set(name, mutated(list.slice(0, 300), random));
  const whole = new Map([...packets].map(([name, list]) => [name, loadBurst(list)]));
  const scattered = new Map([...packets].map(([name, list]) => [name, loadBurst(list, random)]));
  const counts = { tried: 0, compared: 0, refusedByOne: 0, reordered: 0 };
  const step = (): number => {
    const linkType = LINK_TYPES[Math.floor(random() * LINK_TYPES.length)];
    const text = expression(random, 4);
    const theirs = tcpdumpProgram(linkType, text);
    const ours = tryCompile(text, linkType);
    counts.tried++;
    if (theirs === undefined || ours instanceof Error) {
      const agreed = theirs === undefined && ours instanceof Error;
      assert.ok(agreed || CONSTANT_ARITHMETIC.test(text), `${linkType} ${text}: ${ours}`);
      if (!agreed) counts.refusedByOne++;
      return 1;
    }
    const list = packets.get(linkType)!;
    const verdicts = interpreted(ours, list);
    const expected = interpreted(theirs, list);
    const differing = list.filter((_, i) => verdicts[i] !== expected[i]);
    if (differing.length > 0) {
      // libpcap's optimizer changes the order of tests, and so which of them finds a short packet's end. With
      // enough bytes behind the packet there is one verdict.
      counts.reordered++;
      const longer = looksBeside(theirs) ? [] : differing.map(padded);
      assert.deepEqual(interpreted(ours, longer), interpreted(theirs, longer), `${linkType} ${text}`);
    }
    counts.compared++;
    if (looksBeside(ours)) return list.length;
    assert.deepEqual(classified(whole.get(linkType)!, ours), verdicts, `${linkType} ${text}, WebAssembly`);
    assert.deepEqual(
      classified(scattered.get(linkType)!, ours),
      verdicts,
      `${linkType} ${text}, in fragments`,
    );
    return list.length;
  };
  return { step, counts };
}
