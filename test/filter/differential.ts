// One random expression after the other, against libpcap's program for it, on the same packets in every back end.
import assert from "node:assert/strict";
import { ABS, ANCILLARY, type ClassicProgram, LD } from "../../src/filter/classic.js";
import { compileProgram } from "../../src/filter/program.js";
import { runsInSocket } from "../../src/filter/socket.js";
import type { FilterLinkType } from "../../src/filter/state.js";
import { classified, interpreted, loadBurst } from "./backends.js";
import { expression, hardExpression } from "./grammar.js";
import { openFilteredPair, xdpPasses, xdpRefusal } from "./kernel.js";
import { type CapturedPacket, capturedPackets, mutated, tcpdumpProgram } from "./oracle.js";

const LINK_TYPES: readonly FilterLinkType[] = [
  ...(["EN10MB", "EN10MB", "EN10MB", "EN10MB"] as const),
  ...(["RAW", "IPV4", "IPV6", "LINUX_SLL", "LINUX_SLL2", "NULL", "LOOP"] as const),
];
/** How many packets the kernel is asked about under each program, and how long the longest is. */
const ASKED = 40;
const LONGEST = 9000;

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

/** The packets of one link type in the forms that the back ends want. */
interface Ground {
  readonly packets: readonly CapturedPacket[];
  readonly whole: ReturnType<typeof loadBurst>;
  readonly scattered: ReturnType<typeof loadBurst>;
  /** Some of them, as the kernel gets them: whole, of 14 to LONGEST bytes. */
  readonly asked: readonly CapturedPacket[];
}

function groundOf(packets: readonly CapturedPacket[], random: () => number): Ground {
  const asked = packets
    .filter(({ bytes }) => bytes.length >= 14 && bytes.length <= LONGEST)
    .map(({ bytes }) => ({ bytes, wireLength: bytes.length }))
    .filter((_, i, { length }) => i % Math.ceil(length / ASKED) === 0);
  return { packets, whole: loadBurst(packets), scattered: loadBurst(packets, random), asked };
}

export interface Differential {
  /** Tries one expression; returns how many packets it was compared on. Throws on a difference. */
  step(): number;
  readonly counts: {
    tried: number;
    /** Taken by both, and compared. */
    compared: number;
    /** Refused by one only, for reasons that assertRefusable() looks into. */
    refusedByOne: number;
    /** libpcap's optimized and plain programs differ, mostly on packets that are cut short; ours says what the plain one does. */
    reordered: number;
    /** Ours leaves out a test that makes no difference, and that both of libpcap's find a packet too short for. */
    shortened: number;
    /** Programs that the kernel took, and gave our verdicts with. */
    classic: number;
    /** Programs that a socket would run in another way, so that they are not given to one. */
    apart: number;
    ebpf: number;
  };
  close(): void;
}

export function createDifferential(random: () => number): Differential {
  const grounds = new Map<string, Ground>();
  for (const [name, list] of capturedPackets(6))
    grounds.set(name, groundOf(mutated(list.slice(0, 300), random), random));
  const counts = {
    tried: 0,
    compared: 0,
    refusedByOne: 0,
    reordered: 0,
    shortened: 0,
    classic: 0,
    apart: 0,
    ebpf: 0,
  };
  const pair = openFilteredPair();
  const mayLoad = xdpRefusal() === undefined;
  const step = (): number => {
    const linkType = LINK_TYPES[Math.floor(random() * LINK_TYPES.length)];
    const text = random() < 0.3 ? hardExpression(random) : expression(random, 4);
    const what = `${linkType} ${text}`;
    const ground = grounds.get(linkType)!;
    const theirs = tcpdumpProgram(linkType, text);
    const ours = tryCompile(text, linkType);
    counts.tried++;
    if (theirs === undefined || ours instanceof Error) {
      if (theirs === undefined && ours instanceof Error) return 1;
      counts.refusedByOne++;
      assertRefusable(what, linkType, text, ground.packets, ours, theirs);
      return 1;
    }
    const verdicts = interpreted(ours, ground.packets);
    const expected = interpreted(theirs, ground.packets);
    const differing = ground.packets.filter((_, i) => verdicts[i] !== expected[i]);
    if (differing.length > 0) counts[onShortPackets(what, linkType, text, differing, ours, theirs)]++;
    counts.compared++;
    if (looksBeside(ours)) return ground.packets.length;
    assert.deepEqual(classified(ground.whole, ours), verdicts, `${what}, WebAssembly`);
    assert.deepEqual(classified(ground.scattered, ours), verdicts, `${what}, in fragments`);
    const wanted = interpreted(ours, ground.asked);
    if (runsInSocket(ours)) {
      assert.equal(pair.attach(ours), 0, `${what}: the kernel refuses it for a socket`);
      assert.deepEqual(pair.passes(ground.asked), wanted, `${what}, socket`);
      counts.classic++;
    } else counts.apart++;
    if (!mayLoad) return ground.packets.length;
    assert.deepEqual(xdpPasses(ours, ground.asked), wanted, `${what}, XDP`);
    counts.ebpf++;
    return ground.packets.length;
  };
  return { step, counts, close: () => pair.close() };
}

/** Whether an expression may be refused by one of the two: it matches nothing, or divides by zero where nothing gets to. */
function assertRefusable(
  what: string,
  linkType: FilterLinkType,
  text: string,
  packets: readonly CapturedPacket[],
  ours: ClassicProgram | Error,
  theirs: ClassicProgram | undefined,
): void {
  if (ours instanceof Error) {
    if (/division by zero|shift by more than/.test(ours.message)) return;
    assert.match(ours.message, /no packet .* can match/, what);
    assert.ok(!interpreted(theirs!, packets).includes(true), `${what}: refused, but some packets match`);
    return;
  }
  // libpcap's optimizer found that nothing can match. Then ours says what its own plain program does.
  const plain = tcpdumpProgram(linkType, text, true);
  assert.ok(plain !== undefined, `${what}: refused for what it says`);
  assert.deepEqual(interpreted(ours, packets), interpreted(plain, packets), what);
}

/**
 * Why verdicts differ. libpcap's optimizer changes the order of tests, so that another finds a packet too short, and
 * where it has multiplied by 0 it may forget to load X: then its plain program must say what ours does. Or ours
 * leaves out a test that makes no difference: then there is one verdict with enough bytes behind the packets.
 */
function onShortPackets(
  what: string,
  linkType: FilterLinkType,
  text: string,
  differing: readonly CapturedPacket[],
  ours: ClassicProgram,
  theirs: ClassicProgram,
): "reordered" | "shortened" {
  const verdicts = interpreted(ours, differing);
  const plain = interpreted(tcpdumpProgram(linkType, text, true)!, differing);
  if (verdicts.every((verdict, i) => verdict === plain[i])) return "reordered";
  const longer = looksBeside(theirs) ? [] : differing.map(padded);
  assert.deepEqual(interpreted(ours, longer), interpreted(theirs, longer), what);
  return "shortened";
}
