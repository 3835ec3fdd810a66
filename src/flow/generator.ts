import { MillraceError } from "../errors.js";
import { BURST_PACKETS } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { appendPacket, createBurst, destroyBurst, throwFault } from "../memory/burst.js";
import { buildPacket } from "../packet/build.js";
import { parseTemplate, type Template } from "../packet/template.js";
import { captureReadable, closeReader, openReader, readCapture } from "../ports/pcap/reader.js";
import { createPacer, paceGroup, type Rate } from "./pace.js";
import type { OpenPort } from "./port.js";
import {
  closeSending,
  createSending,
  releaseSending,
  type Sending,
  type SendReport,
  sendReport,
  sendUntil,
} from "./sending.js";

export interface GenerateOptions {
  /** Headers of the packets, as `eth(dst=…)/ipv4(dst=…)/udp(dport=…)`; or a capture file, whose packets are sent. */
  readonly template?: string | undefined;
  readonly file?: string | undefined;
  /** Bytes of a packet, headers among them and frame check sequence not; several are sent in turns. */
  readonly sizes: readonly number[];
  /** How many flows: the source port of UDP or TCP counts up. */
  readonly flows: number;
  readonly rate?: Rate | undefined;
  readonly count: number;
  readonly until: AbortSignal;
}

/** Packets made once and sent again and again. */
export interface Generator {
  run(): Promise<void>;
  report(): SendReport;
  close(): void;
}

/** Addresses for benchmarks (RFC 2544 section C.2.2). */
const DEFAULT_TEMPLATE =
  "eth(dst=02:00:00:00:00:02,src=02:00:00:00:00:01)/ipv4(src=198.18.0.1,dst=198.18.0.2)/udp(sport=1024,dport=9)";
/** imix: 60, 590 and 1,514 bytes at 7:4:1, mixed. */
export const IMIX: readonly number[] = [60, 590, 60, 1514, 60, 590, 60, 60, 590, 60, 590, 60];
/** Packets made beforehand, at most. */
const MOST_PACKETS = 65_536;
const AT_ONCE = 256;
/** Where packets begin within a frame: room for what ports put before them. */
const HEADROOM = 256;
const ALIGNMENT = 64;

export async function createGenerator(port: OpenPort, options: GenerateOptions): Promise<Generator> {
  const { memory, driver } = port;
  const sending = createSending(memory, driver, options.until);
  const model = createBurst(memory, MOST_PACKETS);
  const close = () => {
    closeSending(sending);
    throwFault(memory, model, memory.kernels.burstRelease(model, 0));
    destroyBurst(memory, model);
  };
  try {
    if (options.file === undefined) makePackets(port, model, options);
    else await loadPackets(memory, model, options.file, options.until);
    sending.edge.fit(model);
  } catch (error) {
    close();
    throw error;
  }
  return { run: () => generate(sending, model, options), report: () => sendReport(sending), close };
}

function templateOf(port: OpenPort, options: GenerateOptions): Template | undefined {
  const text = options.template ?? (port.can.linkType === "EN10MB" ? DEFAULT_TEMPLATE : undefined);
  if (text === undefined && port.can.linkType === "DATAGRAM") return undefined; // the socket has its own headers
  if (text === undefined)
    throw new MillraceError("ERR_USAGE", `${port.locator} takes packets of link type ${port.can.linkType}`, {
      hint: "give --template, as ipv4(dst=10.0.0.2)/udp(dport=5000)",
    });
  const template = parseTemplate(text);
  if (template.linkType !== port.can.linkType)
    throw new MillraceError(
      "ERR_USAGE",
      `the template makes packets of link type ${template.linkType}, ${port.locator} takes ${port.can.linkType}`,
    );
  return template;
}

/** Fills the model with one packet for each pair of flow and size, in the order in which they are sent. */
function makePackets(port: OpenPort, model: number, options: GenerateOptions): void {
  const { sizes, flows } = options;
  const template = templateOf(port, options);
  const least = template?.bytes.length ?? 0;
  const tooSmall = sizes.find((size) => size < least);
  if (tooSmall !== undefined)
    throw new MillraceError("ERR_USAGE", `the headers alone have ${least} bytes, more than ${tooSmall}`, {
      hint: "make --size larger",
    });
  if (flows * sizes.length > MOST_PACKETS)
    throw new MillraceError("ERR_USAGE", `${flows} flows are more than can be prepared`, {
      hint: `up to ${Math.floor(MOST_PACKETS / sizes.length)} are`,
    });
  const place = createPlacer(port.memory);
  const rounds = flows * sizes.length;
  for (let n = 0; n < rounds; n++) {
    const size = sizes[n % sizes.length];
    const flow = Math.floor(n / sizes.length) % flows;
    const payload = Uint8Array.from({ length: size - least }, (_, i) => i);
    const bytes = template === undefined ? payload : buildPacket(withFlow(template, flow, flows), payload);
    if (appendPacket(port.memory, model, place(bytes)) < 0)
      throw new MillraceError("ERR_MEMORY", "the packets to be sent do not fit the arena");
  }
}

/** The template with the source port of its transport header counted up. */
function withFlow(template: Template, flow: number, flows: number): Template {
  if (flows === 1) return template;
  const transport = template.checksums.findLast(({ protocol }) => protocol === 17 || protocol === 6);
  if (transport === undefined)
    throw new MillraceError("ERR_USAGE", "several flows differ in their UDP or TCP source port", {
      hint: "give a template with udp or tcp, or leave --flows out",
    });
  const bytes = template.bytes.slice();
  const view = new DataView(bytes.buffer);
  view.setUint16(transport.from, (view.getUint16(transport.from) + flow) & 0xffff);
  return { ...template, bytes };
}

/** Puts packets into frames of their own, several to a frame where they are small; returns the pieces of each. */
function createPlacer(arena: ArenaMemory): (bytes: Uint8Array) => number[] {
  const { kernels, frameSize, u8 } = arena;
  let free = 0;
  let end = 0;
  const frame = () => {
    const address = kernels.takeFrame() >>> 0;
    if (address === 0)
      throw new MillraceError("ERR_MEMORY", "the arena has no frames left for the packets to be sent", {
        hint: "send fewer flows",
      });
    return address;
  };
  return (bytes) => {
    const pieces: number[] = [];
    const fits = free !== 0 && end - free >= bytes.length;
    if (fits) kernels.addReference(free);
    for (let at = 0; at < bytes.length; ) {
      if (!fits || at > 0) {
        const address = frame();
        free = address + (at === 0 ? HEADROOM : 0);
        end = address + frameSize;
      }
      const part = bytes.subarray(at, at + end - free);
      u8.set(part, free);
      pieces.push(free, part.length);
      at += part.length;
      free = Math.ceil((free + part.length) / ALIGNMENT) * ALIGNMENT;
      if (free >= end) free = 0;
    }
    return pieces;
  };
}

/** Fills the model with the packets of a capture, as many as it holds. */
async function loadPackets(
  arena: ArenaMemory,
  model: number,
  file: string,
  until: AbortSignal,
): Promise<void> {
  const reader = await openReader(arena, file, { linkType: "first" });
  try {
    for (;;) {
      const before = arena.u32[(model + BURST_PACKETS) >>> 2];
      const packets = readCapture(reader, model);
      if (packets === 0 && (reader.ended || before > 0)) break;
      if (packets === 0) await captureReadable(reader, until);
    }
  } finally {
    await closeReader(reader);
  }
  if (arena.u32[(model + BURST_PACKETS) >>> 2] === 0)
    throw new MillraceError("ERR_CAPTURE", `"${file}" holds no packet to send`, { at: { file } });
}

async function generate(sending: Sending, model: number, options: GenerateOptions): Promise<void> {
  const { arena, burst, until } = sending;
  const { rate, count } = options;
  const pacer = rate === undefined ? undefined : createPacer(rate);
  const atOnce = rate === undefined ? AT_ONCE : paceGroup(rate, AT_ONCE);
  const inModel = arena.u32[(model + BURST_PACKETS) >>> 2];
  let next = 0;
  try {
    while (sending.created < count && !until.aborted) {
      const wanted = Math.min(atOnce, count - sending.created);
      const packets = arena.kernels.burstRepeat(model, next, burst, wanted);
      next = (next + packets) % inModel;
      sending.created += packets;
      const bytes = pacer === undefined ? 0 : arena.kernels.burstBytes(burst, 0);
      try {
        await sendUntil(sending, 0, packets);
      } finally {
        releaseSending(sending);
      }
      const pause = pacer?.sent(packets, bytes, until);
      if (pause !== undefined) await pause;
    }
  } catch (error) {
    if (!until.aborted) throw error;
  }
}
