// Live traffic on veth pairs under one filter after the other: what each place where a filter can run lets through.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import type { TestContext } from "node:test";
import { ANCILLARY, type ClassicProgram } from "../../src/filter/classic.js";
import { compileFilter, type Filter } from "../../src/filter/compile.js";
import { readNumbers } from "../../src/filter/listing.js";
import { runsInSocket } from "../../src/filter/socket.js";
import { attachPortFilter, type PortFilter } from "../../src/flow/port-filter.js";
import {
  BURST_METAS,
  META_FLAGS,
  META_SIZE,
  META_TAGGED,
  META_VERDICT,
  META_VLAN,
  VERDICT_PASS,
} from "../../src/kernels/structs.js";
import { createBurst, destroyBurst, throwFault } from "../../src/memory/burst.js";
import type { PortDriver } from "../../src/ports/port.js";
import { createBench, readBurst } from "../kit/driver.js";
import { ip, makeNamespaces, makeVeth, runIn } from "../kit/netns.js";
import { classified, loadBurst } from "./backends.js";
import { capturedPackets, mutated } from "./oracle.js";

/** An EtherType for experiments (IEEE 802): the frame that ends a round, which every filter is made to let through. */
const MARK = 0x88b5;
const TAGS: ReadonlySet<number> = new Set([0x8100, 0x88a8]);
/** The kernel wants two bytes behind a tag and its EtherType (skb_vlan_untag). */
const VLAN_HEADER = 20;

/** `program`, but the frame that ends a round passes. */
function marked(program: ClassicProgram): ClassicProgram {
  return [[0x28, 0, 0, 12], [0x15, 0, 1, MARK], [0x06, 0, 0, 262_144], ...program];
}

function markFrame(): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, MARK >>> 8, MARK & 255]);
  return frame;
}

const END = markFrame();

function typeOf(frame: Uint8Array): number {
  return (frame[12] << 8) | frame[13];
}

/** A frame with a VLAN tag put in. */
function tagged(frame: Uint8Array, id: number, type = 0x8100): Uint8Array {
  const tag = [type >>> 8, type & 255, id >>> 8, id & 255];
  return Uint8Array.from([...frame.subarray(0, 12), ...tag, ...frame.subarray(12)]);
}

/** Recorded Ethernet frames, the same with some bytes changed or cut, and some with one tag or two. */
export function liveFrames(random: () => number, each: number): Uint8Array[] {
  const recorded = capturedPackets(4)
    .get("EN10MB")!
    .filter(({ bytes }) => bytes.length <= 1400)
    .filter((_, i, { length }) => i % Math.ceil(length / each) === 0);
  const plain = mutated(recorded, random)
    .map(({ bytes }) => bytes)
    .filter((frame) => frame.length >= 14 && typeOf(frame) !== MARK);
  const some = (every: number) => plain.filter((_, i) => i % every === 0);
  return [
    ...plain,
    ...some(3).map((frame) => tagged(frame, 100)),
    ...some(7).map((frame) => tagged(tagged(frame, 200), 100)),
    ...some(11).map((frame) => tagged(tagged(frame, 1), 0xe064, 0x88a8)),
  ];
}

/** What the kernel shows of frames it receives: those too short for the tag that they say they have it drops. */
function arriving(frames: readonly Uint8Array[]): Uint8Array[] {
  return frames.filter((frame) => !TAGS.has(typeOf(frame)) || frame.length >= VLAN_HEADER);
}

/**
 * What WebAssembly says of frames that come in at the interface with number `index`; with `beside`, of frames whose
 * outermost tag stands beside their bytes, as the kernel keeps it.
 */
function classify(
  frames: readonly Uint8Array[],
  program: ClassicProgram,
  index: number,
  beside: boolean,
): boolean[] {
  const takenOut = frames.map((frame) => beside && TAGS.has(typeOf(frame)));
  const loaded = loadBurst(
    frames.map((frame, i) => {
      const bytes = takenOut[i] ? Uint8Array.from([...frame.subarray(0, 12), ...frame.subarray(16)]) : frame;
      return { bytes, wireLength: bytes.length };
    }),
  );
  const { u16, u32 } = loaded.arena;
  takenOut.forEach((taken, i) => {
    if (!taken) return;
    const meta = u32[(loaded.burst + BURST_METAS) >>> 2] + i * META_SIZE;
    u16[(meta + META_FLAGS) >>> 1] |= META_TAGGED;
    u16[(meta + META_VLAN) >>> 1] = (frames[i][14] << 8) | frames[i][15];
  });
  // Outside of the kernel nobody knows the interface.
  return classified(
    loaded,
    program.map((one) => (one[0] === 0x20 && one[3] === ANCILLARY + 8 ? [0, 0, 0, index] : one)),
  );
}

interface Receiver {
  readonly name: string;
  readonly driver: PortDriver;
  /** Number of its interface. */
  readonly index: number;
  filter: PortFilter | undefined;
}

export interface Live {
  readonly frames: readonly Uint8Array[];
  /** Interface that the filters are on, and its namespace, for another program to listen there. */
  readonly interface: string;
  readonly namespace: string;
  /** Sends frames, and then END, to the interface of the packet sockets. */
  send(frames: readonly Uint8Array[]): Promise<unknown>;
  /** Which frames, END among them, pass a filter: what another program should show. */
  passing(text: string): Uint8Array[];
  /** Tries one expression in every place. Throws on a difference. */
  step(text: string): Promise<void>;
  readonly counts: {
    tried: number;
    /** Taken by millrace and by libpcap, and compared. */
    compared: number;
    /** Of these, those that match some of the frames and not others. */
    telling: number;
    /** Not run at the socket, since it would be run in another way there. */
    apart: number;
    /** libpcap's optimized program differs, its plain one does not. */
    reordered: number;
    /** Both of libpcap's differ on frames cut short, and on none with bytes behind it. */
    shortened: number;
    /** libpcap keeps the place behind a tag in a scratch word that it computes with. */
    clobbered: number;
  };
}

/** Makes interfaces and opens the ports; they go when the test ends. Undefined where that is not allowed: the test is skipped. */
export async function createLive(
  t: Pick<TestContext, "after" | "skip">,
  frames: readonly Uint8Array[],
): Promise<Live | undefined> {
  const names = makeNamespaces(t as TestContext, "from", "to");
  if (names === undefined) return undefined;
  // Nothing of the kernel's own may be on the wire.
  for (const name of Object.values(names))
    runIn(
      name,
      "sysctl",
      "-qw",
      "net.ipv6.conf.default.disable_ipv6=1",
      "net.ipv4.conf.default.arp_ignore=8",
    );
  const bench = createBench(256 * 2 ** 20);
  t.after(bench.close);
  const { arena, open } = bench;
  const pair = async (name: string) => {
    makeVeth(
      { namespace: names.from, name: `${name}a`, finish: true },
      { namespace: names.to, name: `${name}b` },
    );
    return open(`packet:${name}a`, "out", names.from);
  };
  const receiver = async (locator: string): Promise<Receiver> => ({
    name: locator,
    driver: await open(locator, "in", names.to),
    index: Number.parseInt(ip("-n", names.to, "-o", "link", "show", /:(\w+)/.exec(locator)![1]), 10),
    filter: undefined,
  });
  const sockets = await pair("s");
  const [ours, theirs, all] = [
    await receiver("packet:sb"),
    await receiver("packet:sb"),
    await receiver("packet:sb"),
  ];
  const redirected: { readonly sink: PortDriver; readonly receiver: Receiver }[] = [];
  for (const mode of ["native", "generic"]) {
    const sink = await pair(mode[0]);
    redirected.push({ sink, receiver: await receiver(`xdp:${mode[0]}b?mode=${mode}`) });
  }
  const counts = { tried: 0, compared: 0, telling: 0, apart: 0, reordered: 0, shortened: 0, clobbered: 0 };

  function attach(to: Receiver, filter: Pick<Filter, "expression" | "program">): string {
    const program = marked(filter.program);
    to.driver.attachFilter?.([[0x06, 0, 0, 262_144]]); // whatever was there before goes
    to.filter = attachPortFilter(arena, to.driver, { ...filter, program, matches: () => true });
    return to.filter.place;
  }

  /** What a receiver gets, up to the frame that ends a round, in hexadecimal. */
  async function received({ driver, filter }: Receiver): Promise<string[]> {
    const burst = createBurst(arena, 512);
    const got: string[] = [];
    try {
      while (got.at(-1) !== hex(END)) {
        if (driver.receive(burst) === 0) {
          await driver.readable(AbortSignal.timeout(30_000));
          continue;
        }
        filter?.apply(burst);
        for (const { bytes, meta } of readBurst(arena, burst))
          if (meta.getUint8(META_VERDICT) === VERDICT_PASS) got.push(bytes.toString("hex"));
        throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
      }
    } finally {
      destroyBurst(arena, burst);
    }
    return got.slice(0, -1);
  }

  const compile = (text: string) => compileFilter(text, { linkType: "EN10MB", tagsBeside: true });

  function passing(text: string): Uint8Array[] {
    const list = arriving([...frames, END]);
    const verdicts = classify(list, compile(text).program, ours.index, true);
    return list.filter((_, i) => verdicts[i]);
  }

  /** What the packet sockets let through of frames: ours, libpcap's, and all. */
  async function atSockets(list: readonly Uint8Array[]) {
    await bench.send(sockets, [...list, END]);
    return { passed: await received(ours), libpcaps: await received(theirs), whole: await received(all) };
  }

  async function step(text: string): Promise<void> {
    counts.tried++;
    const optimized = tcpdumpLive(names!.to, "sb", text, false);
    let filter: Filter;
    try {
      filter = compile(text);
    } catch {
      return; // which expressions are refused is compared elsewhere
    }
    if (optimized === undefined) return;
    if (optimized === "invalid") {
      assert.match(text, /\bvlan\b/, "libpcap's program is invalid");
      counts.clobbered++;
      return;
    }
    counts.compared++;
    if (text.includes("ifindex") && !runsInSocket(filter.program)) return;

    const atSocket = attach(ours, filter) === "socket";
    const alike = atSocket && attach(theirs, { expression: text, program: optimized }) === "socket";
    if (!alike) counts.apart++;
    const { passed, libpcaps, whole } = await atSockets(frames);
    const list = arriving(frames);
    assertSame(whole, list.map(hex), "what was sent, and nothing else, comes");
    // Out of the socket, a program sees tags where the port has put them back.
    const verdicts = classify(list, filter.program, ours.index, atSocket);
    const expected = list.filter((_, i) => verdicts[i]).map(hex);
    if (expected.length > 0 && expected.length < list.length) counts.telling++;
    assertSame(passed, expected, `${text}: packet:`);

    if (alike && !same(libpcaps, expected)) {
      const plain = tcpdumpLive(names!.to, "sb", text, true);
      if (typeof plain === "object") attach(theirs, { expression: text, program: plain });
      if (same((await atSockets(frames)).libpcaps, expected)) counts.reordered++;
      else if (mayClobber(text)) counts.clobbered++;
      else {
        attach(theirs, { expression: text, program: optimized });
        const longer = await atSockets(list.map(padded));
        assertSame(longer.passed, longer.libpcaps, `${text}: libpcap's program`);
        counts.shortened++;
      }
    }

    for (const { sink, receiver: at } of redirected) {
      attach(at, filter);
      await bench.send(sink, [...frames, END]);
      const inBytes = classify(frames, filter.program, at.index, false);
      const wanted = frames.filter((_, i) => inBytes[i]).map(hex);
      assertSame(await received(at), wanted, `${text}: ${at.name}`);
    }
  }
  return { frames, interface: "sb", namespace: names.to, send: atSockets, passing, step, counts };
}

function hex(frame: Uint8Array): string {
  return Buffer.from(frame).toString("hex");
}

function assertSame(got: readonly string[], wanted: readonly string[], what: string): void {
  const at = wanted.findIndex((frame, i) => frame !== got[i]);
  if (at < 0 && got.length === wanted.length) return;
  const first = at < 0 ? wanted.length : at;
  assert.fail(
    `${what}: ${got.length} frames, not ${wanted.length}; frame ${first}: ${got[first]}, not ${wanted[first]}`,
  );
}

/** A frame with zeros behind it, as far as an interface takes it. */
function padded(frame: Uint8Array): Uint8Array {
  const longer = new Uint8Array(Math.max(1400, frame.length));
  longer.set(frame);
  return longer;
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, i) => one === b[i]);
}

/** Whether libpcap 1.10 may take one scratch word for two things: it does where arithmetic and `vlan` meet on a live interface. */
function mayClobber(text: string): boolean {
  return /\bvlan\b/.test(text) && /[=<>]/.test(text);
}

/**
 * The program that tcpdump would attach to an interface; undefined: it refuses the expression; invalid: no kernel takes
 * the program. Unoptimized with `plain`.
 */
function tcpdumpLive(
  namespace: string,
  name: string,
  text: string,
  plain: boolean,
): ClassicProgram | "invalid" | undefined {
  const command = ["tcpdump", "-i", name, "-ddd", ...(plain ? ["-O"] : []), "--", text];
  const { status, stdout, error } = spawnSync("ip", ["netns", "exec", namespace, ...command], {
    encoding: "utf8",
  });
  if (error) throw error;
  if (status !== 0) return undefined;
  try {
    return readNumbers(stdout);
  } catch {
    return "invalid";
  }
}
