import { setTimeout as delay } from "node:timers/promises";
import { MillraceError } from "../../errors.js";
import { type Arena, planArena } from "../../flow/arena.js";
import { type OpenPort, openPort } from "../../flow/port.js";
import { nextTurn, TURN_BUDGET_MS } from "../../flow/source.js";
import { BURST_METAS, META_SIZE, META_VERDICT, VERDICT_PASS } from "../../kernels/structs.js";
import { createBurstView } from "../../packet/burst.js";
import { reasonsOf } from "../../packet/context.js";
import { parseLocator } from "../../ports/locator.js";
import { describeLinkType, linkTypeNumber } from "../../ports/pcap/link-types.js";
import { MAPPING_BYTES } from "../../ports/pcap/mapped.js";
import type { PortDriver } from "../../ports/port.js";
import { print } from "../output.js";
import { stopOnSignals } from "../session.js";
import {
  type CaptureFiles,
  closeFiles,
  type FileOptions,
  openFiles,
  recordPackets,
  writePackets,
} from "./files.js";
import type { createPrinter, LineOptions } from "./lines.js";

export interface CaptureOptions {
  readonly locator: string;
  readonly fromFile: boolean;
  readonly expression: string;
  readonly count: number | undefined;
  readonly snaplen: number;
  readonly wait: "busy" | "interrupt" | "adaptive";
  readonly bufferKib: number | undefined;
  readonly direction: "in" | "out" | "inout";
  readonly promiscuous: boolean;
  readonly json: boolean;
  readonly file: Omit<FileOptions, "first" | "snaplen" | "statistics"> | undefined;
  readonly lines: LineOptions | undefined;
}

/** Milliseconds that packets wait for others on their way to a file: as long as tcpdump's. */
const RING_DELAY = 1000;
/** The same where the file, or the capture, ends at a time or with a packet. */
const SHORT_DELAY = 400;
/** Of the kernel's ring, for packets that go to a file. */
const RING_KIB = 98_304;
/** Bytes of the arena's regions beside a ring or a mapped file: blocks of output, bursts, tables. */
const BESIDE_RING = 16 * 2 ** 20;
/** Bytes of an arena's frames beside such regions. */
const FRAME_BYTES = 128 * 2 ** 20;
/** Milliseconds until what was sent before a signal has come as far as the kernel's ring. */
const LAST_WAIT = 200;
/** Milliseconds between two looks whether the kernel has handed over the last of it, which it does within its delay. */
const LAST_LOOK = 10;
const LONGEST_LAST = 2 * RING_DELAY;

/** Packets as the closing lines count them. */
interface Counts {
  captured: number;
}

/** Captures until the count is reached, the source ends or a signal comes. */
export async function runCapture(options: CaptureOptions): Promise<void> {
  const { until, done } = stopOnSignals();
  const { expression, snaplen, wait } = options;
  const arena = arenaFor(options);
  const port = await openPort(withOptions(options), {
    ...{ direction: "in", wait, snaplen, maps: true, raw: true },
    ...(arena === undefined ? {} : { arena }),
    ...(expression === "" ? {} : { filter: expression }),
  });
  const counts: Counts = { captured: 0 };
  let files: CaptureFiles | undefined;
  const tell = () => printCounts(port, counts, options);
  process.on("SIGUSR1", tell);
  try {
    if (options.file !== undefined) files = await openFiles(port.memory, fileOptions(port, options, counts));
    announce(port, options);
    if (port.can.live) await dropPrivileges(options.locator);
    const record = recorderOf(port, options);
    if (record !== undefined && files !== undefined)
      await pumpRecords(port, options, record, files, counts, until);
    else await pump(port, options, files, counts, until);
  } finally {
    process.off("SIGUSR1", tell);
    done();
    try {
      if (files !== undefined) await closeFiles(files);
    } finally {
      if (!options.fromFile) tell(); // also when the file could not be written to its end
      await port.close();
    }
  }
}

/** Opening needed them; nothing that follows does. */
async function dropPrivileges(locator: string): Promise<void> {
  if (["loop", "udp"].includes(parseLocator(locator).kind)) return; // opened without any
  const { dropCapabilities } = await import("../../linux/capabilities.js");
  dropCapabilities();
}

function buffered(file: CaptureOptions["file"]): boolean {
  return file !== undefined && !file.unbuffered;
}

function ringKib({ bufferKib, file }: CaptureOptions): number | undefined {
  return bufferKib ?? (buffered(file) ? RING_KIB : undefined);
}

function ringDelay({ file, count }: CaptureOptions): number | undefined {
  if (!buffered(file)) return undefined;
  return count === undefined && file?.rotation.seconds === undefined ? RING_DELAY : SHORT_DELAY;
}

/** An arena whose regions hold the ring, or the mapped file, beside all else, where the usual one's do not. */
function arenaFor(options: CaptureOptions): Arena | undefined {
  const { kind } = parseLocator(options.locator);
  const ring = kind === "packet" ? ringKib(options) : undefined;
  if (kind === "pcap" ? options.expression === "" : ring === undefined) return undefined;
  const regionBytes = BESIDE_RING + (ring === undefined ? MAPPING_BYTES : ring * 1024);
  return planArena({ bytes: FRAME_BYTES + regionBytes, regionBytes });
}

/** The locator with what the options ask of the kinds of port that have it. */
function withOptions(options: CaptureOptions): string {
  const { locator, bufferKib, direction, promiscuous } = options;
  const parsed = parseLocator(locator);
  if (parsed.kind !== "packet") {
    if (bufferKib !== undefined || direction !== "inout" || !promiscuous)
      throw new MillraceError("ERR_USAGE", `-B, -Q and -p are for packet: ports, not for ${parsed.kind}:`);
    return locator;
  }
  const asked: [string, string | undefined][] = [
    ["traffic", direction],
    ["promisc", promiscuous ? undefined : "0"],
    ["buffer", ringKib(options)?.toString()],
    // Nobody waits for the single packet when it goes to a file.
    ["delay", ringDelay(options)?.toString()],
  ];
  const added = asked
    .filter(([key, value]) => value !== undefined && !parsed.parameters.has(key))
    .map(([key, value]) => `${key}=${value}`)
    .join("&");
  return added === "" ? locator : `${locator}${locator.includes("?") ? "&" : "?"}${added}`;
}

function fileOptions(port: OpenPort, options: CaptureOptions, counts: Counts): FileOptions {
  const place = parseLocator(options.locator).place;
  return {
    ...(options.file as NonNullable<CaptureOptions["file"]>),
    snaplen: options.snaplen,
    first: {
      linkType: linkTypeNumber(port.can.linkType),
      ...(options.fromFile ? {} : { name: place }),
      ...(options.expression === "" ? {} : { filter: options.expression }),
    },
    statistics: () => {
      const { received, dropped } = totals(port);
      return { received, droppedBySystem: dropped, filtered: counts.captured };
    },
  };
}

function announce(port: OpenPort, options: CaptureOptions): void {
  const kind = describeLinkType(linkTypeNumber(port.can.linkType));
  const verb = options.fromFile ? "reading from file" : "listening on";
  const place = options.fromFile ? parseLocator(options.locator).place : options.locator;
  const filtered = port.filter === undefined ? "" : `, filter in ${port.filter.place}`;
  process.stderr.write(
    `${verb} ${place}, link type ${kind}, snapshot length ${options.snaplen} bytes${filtered}\n`,
  );
}

type Recorder = NonNullable<OpenPort["driver"]["record"]>;

/** What writes packets straight into the file, where the port can and nobody else looks at them. */
function recorderOf(
  { driver, filter }: OpenPort,
  { file, lines, snaplen }: CaptureOptions,
): Recorder | undefined {
  // Files cut by size end with the packet that fills them.
  if (file === undefined || lines !== undefined || file.rotation.megabytes !== undefined || snaplen < 64)
    return undefined;
  if (filter?.place === "wasm") return undefined;
  return driver.record?.bind(driver);
}

async function pumpRecords(
  { driver }: OpenPort,
  { count, wait }: CaptureOptions,
  record: Recorder,
  files: CaptureFiles,
  counts: Counts,
  until: AbortSignal,
): Promise<void> {
  const most = count ?? Number.POSITIVE_INFINITY;
  const enough = () => counts.captured >= most || files.full;
  const counted = (packets: number) => {
    counts.captured += packets;
    return packets;
  };
  const take = () => {
    const packets = recordPackets(files, record, most - counts.captured);
    return typeof packets === "number" ? counted(packets) : packets.then(counted);
  };
  let turned = performance.now();
  try {
    while (!until.aborted && !enough()) {
      const taken = take();
      const packets = typeof taken === "number" ? taken : await taken;
      const asked = performance.now();
      if (asked - turned > TURN_BUDGET_MS) await nextTurn();
      else if (packets > 0) continue;
      // Blocks come late anyway: looking again and again would only cost.
      else if (wait === "busy") await nextTurn();
      else await driver.readable(until).catch(unlessAborted(until));
      // What was ready at once was no turn of the event loop.
      if (performance.now() - asked > 1 || asked - turned > TURN_BUDGET_MS) turned = performance.now();
    }
  } finally {
    if (!enough()) await lastOnes(driver, take, enough);
  }
}

/** Takes what came before the signal, or before the interface went: it may still be on its way through the kernel's ring. */
async function lastOnes(
  driver: PortDriver,
  take: () => number | Promise<number>,
  enough: () => boolean,
): Promise<void> {
  await delay(LAST_WAIT);
  const hasAll = driver.mark?.();
  let deadline = performance.now() + LONGEST_LAST;
  while (!enough() && hasAll?.() !== true) {
    const packets = await take();
    if (packets === 0 && hasAll === undefined) return;
    // Those that came before the signal are so many and no more: they may take as long as the disk takes.
    if (packets > 0 && hasAll !== undefined) deadline = performance.now() + LONGEST_LAST;
    if (performance.now() > deadline) return;
    if (packets === 0) await delay(LAST_LOOK);
  }
}

async function pump(
  port: OpenPort,
  options: CaptureOptions,
  files: CaptureFiles | undefined,
  counts: Counts,
  until: AbortSignal,
): Promise<void> {
  const { memory } = port;
  const source = port.reader();
  const { burst } = source;
  const lineOf =
    options.lines === undefined
      ? undefined
      : (await import("./lines.js")).createPrinter(options.lines, await interfaceNames(port));
  const most = options.count ?? Number.POSITIVE_INFINITY;
  const take = async (packets: number): Promise<void> => {
    const kept = memory.kernels.burstCount(burst, VERDICT_PASS);
    if (counts.captured + kept > most) keepFirst(port, burst, packets, most - counts.captured);
    counts.captured = Math.min(counts.captured + kept, most);
    if (lineOf !== undefined) await printBurst(port, burst, lineOf);
    if (files !== undefined) await writePackets(files, burst, packets);
  };
  const enough = () => counts.captured >= most || files?.full === true;
  while (!until.aborted && !enough()) {
    const packets = source.poll();
    if (packets > 0) {
      await take(packets);
      if (source.overdue) await source.turn();
    } else if (source.ended) return;
    else await source.wait(until).catch(unlessAborted(until));
  }
  if (!port.can.live || enough()) return;
  const rest = async () => {
    const packets = source.poll();
    if (packets > 0) await take(packets);
    return packets;
  };
  await lastOnes(port.driver, rest, enough);
}

/** The names of interfaces, asked for when a packet comes of one that is not known yet. */
async function interfaceNames({ can }: OpenPort): Promise<(index: number) => string | undefined> {
  if (can.linkType !== "LINUX_SLL2") return () => undefined;
  const { listLinks } = await import("../../linux/netlink.js");
  const names = new Map<number, string | undefined>();
  return (index) => {
    if (!names.has(index)) {
      names.set(index, undefined); // perhaps one of another machine's
      for (const link of listLinks()) names.set(link.index, link.name);
    }
    return names.get(index);
  };
}

function unlessAborted(until: AbortSignal): (error: unknown) => void {
  return (error) => {
    if (!until.aborted) throw error;
  };
}

/** Sets the packets behind the last one wanted aside. */
function keepFirst({ memory }: OpenPort, burst: number, packets: number, wanted: number): void {
  const metas = memory.u32[(burst + BURST_METAS) >>> 2];
  const verdict = reasonsOf(memory).number("count");
  let left = wanted;
  for (let packet = 0; packet < packets; packet++) {
    const at = metas + packet * META_SIZE + META_VERDICT;
    if (memory.u8[at] === VERDICT_PASS && --left < 0) memory.u8[at] = verdict;
  }
}

async function printBurst(
  port: OpenPort,
  burst: number,
  lineOf: ReturnType<typeof createPrinter>,
): Promise<void> {
  let text = "";
  for (const packet of createBurstView(port.memory, burst, port.can.linkType)) text += lineOf(packet);
  await print(text);
}

function totals(port: OpenPort): { readonly received: number; readonly dropped: number } {
  const { received, dropped } = port.driver.counters();
  const lost = Object.entries(dropped).reduce(
    (sum, [why, packets]) => (why === "filter" ? sum : sum + packets),
    0,
  );
  return { received: received.packets + (dropped.kernel ?? 0), dropped: lost };
}

/** tcpdump's three lines, or one object. */
function printCounts(port: OpenPort, { captured }: Counts, options: CaptureOptions): void {
  const { received, dropped } = totals(port);
  if (options.json) {
    const filteredIn = port.filter === undefined ? {} : { filteredIn: port.filter.place };
    process.stderr.write(
      `${JSON.stringify({ captured, received, dropped, reasons: port.driver.counters().dropped, ...filteredIn })}\n`,
    );
    return;
  }
  const lines = [
    `${captured} packets captured`,
    `${received} packets received by filter`,
    `${dropped} packets dropped by kernel`,
  ];
  process.stderr.write(`${lines.join("\n")}\n`);
}
