import { statSync } from "node:fs";
import { MillraceError } from "../../errors.js";
import { BLOCK_INTERFACE, BLOCK_SECTION, BLOCK_STATISTICS } from "../../kernels/captures.js";
import {
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CONTINUED,
  DESC_SIZE,
  META_NANOSECONDS,
  META_PEER,
  META_SECONDS,
  META_SIZE,
  META_VERDICT,
  META_WIRE_LENGTH,
  VERDICT_PASS,
} from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../../memory/burst.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import { blockReader, parseOptions } from "./blocks.js";
import { describeLinkType } from "./link-types.js";
import { interfaceBlock, packetBlock, sectionBlock } from "./output-blocks.js";
import {
  type CaptureBlock,
  type CaptureReader,
  captureReadable,
  closeReader,
  openReader,
  type PacketOptions,
  readCapture,
} from "./reader.js";
import {
  type CaptureWriter,
  closeWriter,
  mapInterfaces,
  openWriter,
  SNAPLEN,
  setByteOrder,
  setSimpleSnaplen,
  writeBurst,
  writeBytes,
  writerReady,
  writtenPackets,
} from "./writer.js";

export interface ConvertOptions {
  readonly format: "pcap" | "pcapng";
  /** pcap: nanoseconds. */
  readonly nano?: boolean;
  /** Packets to keep, numbered from 1, both ends included; all by default. */
  readonly ranges?: readonly (readonly [from: number, to: number])[];
  readonly truncatedQuiet?: boolean;
}
export interface ConvertReport {
  readonly packets: number;
  /** Packets whose comments or other options the format cannot hold. */
  readonly optionsLost: number;
  /** Blocks that the format cannot hold: names, secrets, statistics and the like. */
  readonly blocksLost: number;
  /** Timestamps that the format cannot hold, set to the nearest it can. */
  readonly clamped: number;
}

// What comes between packets, in the file's order: before packet `at` of the burst.
type Event =
  | { readonly at: number; readonly block: CaptureBlock }
  | { readonly at: number; readonly options: PacketOptions };

interface Conversion {
  readonly arena: ArenaMemory;
  readonly reader: CaptureReader;
  readonly writer: CaptureWriter;
  readonly burst: number;
  readonly options: ConvertOptions;
  /** A u32 for each interface of the source: its number in its section. */
  readonly map: number;
  /** Interfaces described to the writer so far. */
  described: number;
  packets: number;
  seen: number;
  optionsLost: number;
  blocksLost: number;
}

const BURST = 2048;
const MOST_INTERFACES = 65_536;
const DROPPED = 1; // any verdict but PASS

/**
 * Copies a capture file, whole or some of its packets. pcapng keeps sections, interfaces, comments, names,
 * secrets and whatever else stood between packets; times become nanoseconds. Throws ERR_CAPTURE, after the
 * packets before the fault have been written.
 */
export async function convertCapture(
  arena: ArenaMemory,
  from: string,
  to: string,
  options: ConvertOptions,
): Promise<ConvertReport> {
  const events: Event[] = [];
  const burst = createBurst(arena, BURST);
  const inBurst = () => arena.u32[(burst + BURST_PACKETS) >>> 2];
  const reader = await openReader(arena, from, {
    truncatedQuiet: options.truncatedQuiet === true,
    onBlock: (block) => events.push({ at: inBurst(), block }),
    onOptions: (given) => events.push({ at: given.packet, options: given }),
  });
  const mapBytes = 4 * MOST_INTERFACES;
  const map = allocateRegion(arena, mapBytes);
  let writer: CaptureWriter | undefined;
  try {
    refuseSameFile(from, to);
    const first = reader.interfaces[0];
    const snaplen = reader.format === "pcap" ? first.snaplen : SNAPLEN;
    writer = await openWriter(
      arena,
      to,
      { linkType: first?.linkType ?? 1, linkFlags: first?.linkFlags ?? 0 },
      { ...options, snaplen, whole: true, bare: reader.format === "pcapng", application: "millrace" },
    );
    mapInterfaces(writer, map, MOST_INTERFACES);
    const conversion: Conversion = {
      ...{ arena, reader, writer, burst, options, map, described: 0 },
      ...{ packets: 0, seen: 0, optionsLost: 0, blocksLost: 0 },
    };
    await copyAll(conversion, events);
    const { packets, optionsLost, blocksLost } = conversion;
    return { packets, optionsLost, blocksLost, clamped: writtenPackets(writer).clamped };
  } finally {
    await closeReader(reader);
    if (writer !== undefined) await closeWriter(writer);
    destroyBurst(arena, burst);
    freeRegion(arena, map, mapBytes);
  }
}

function refuseSameFile(from: string, to: string): void {
  const source = statSync(from === "-" ? "/dev/stdin" : from, { throwIfNoEntry: false });
  const target = to === "-" ? undefined : statSync(to, { throwIfNoEntry: false });
  if (target?.isFile() && source?.dev === target.dev && source.ino === target.ino)
    throw new MillraceError("ERR_USAGE", `"${from}" and "${to}" are one file`, {
      hint: "write to another file, then rename it",
    });
}

async function copyAll(conversion: Conversion, events: Event[]): Promise<void> {
  const { arena, reader, burst } = conversion;
  for (;;) {
    let packets = 0;
    let fault: unknown;
    try {
      packets = readCapture(reader, burst);
    } catch (error) {
      fault = error;
    }
    selectPackets(conversion);
    if (conversion.options.format === "pcap") refuseOtherLinkTypes(conversion);
    let done = 0;
    for (const event of events) {
      await writeUntil(conversion, done, event.at);
      done = event.at;
      if ("block" in event) await copyBlock(conversion, event.block);
      else {
        await copyWithOptions(conversion, event.options);
        done++;
      }
    }
    events.length = 0;
    await writeUntil(conversion, done, packets);
    throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
    conversion.seen += packets;
    if (fault !== undefined) throw fault;
    if (packets > 0) continue;
    if (reader.ended) return;
    await captureReadable(reader);
  }
}

async function writeUntil(conversion: Conversion, from: number, to: number): Promise<void> {
  const { writer, burst } = conversion;
  for (let at = from; at < to; ) {
    at = writeBurst(writer, burst, at, to);
    if (at < to) await writerReady(writer);
  }
}

async function append(writer: CaptureWriter, bytes: Uint8Array): Promise<void> {
  while (!writeBytes(writer, bytes)) await writerReady(writer);
}

function verdictAt(conversion: Conversion, packet: number): number {
  const { arena, burst } = conversion;
  return arena.u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE + META_VERDICT;
}

/** Sets aside what is in none of the ranges. */
function selectPackets(conversion: Conversion): void {
  const { arena, burst, options, seen } = conversion;
  const count = arena.u32[(burst + BURST_PACKETS) >>> 2];
  const { ranges } = options;
  if (ranges === undefined) {
    conversion.packets += count;
    return;
  }
  for (let packet = 0; packet < count; packet++) {
    const number = seen + packet + 1;
    if (ranges.some(([from, to]) => number >= from && number <= to)) conversion.packets++;
    else arena.u8[verdictAt(conversion, packet)] = DROPPED;
  }
}

function refuseOtherLinkTypes(conversion: Conversion): void {
  const { arena, burst, reader } = conversion;
  const { interfaces } = reader;
  if (interfaces.every((one) => one.linkType === interfaces[0].linkType)) return;
  const count = arena.u32[(burst + BURST_PACKETS) >>> 2];
  const metas = arena.u32[(burst + BURST_METAS) >>> 2];
  for (let packet = 0; packet < count; packet++) {
    const number = arena.u32[(metas + packet * META_SIZE + META_PEER) >>> 2];
    const { linkType } = interfaces[number];
    if (linkType === interfaces[0].linkType || arena.u8[verdictAt(conversion, packet)] !== VERDICT_PASS)
      continue;
    throw new MillraceError(
      "ERR_CAPTURE",
      `"${reader.file}" holds ${describeLinkType(interfaces[0].linkType)} and ${describeLinkType(linkType)}, and pcap only one link type`,
      { hint: "write pcapng" },
    );
  }
}

// ── Blocks and packets with options

const CUSTOM_NOT_COPIED = 0x40000bad; // by its definition not to be copied by who does not know it

async function copyBlock(conversion: Conversion, block: CaptureBlock): Promise<void> {
  const { arena, reader, writer, options } = conversion;
  const { kind, section } = block;
  if (kind === BLOCK_INTERFACE)
    arena.u32[(conversion.map >>> 2) + conversion.described] = indexOf(conversion);
  if (kind === BLOCK_SECTION) setByteOrder(writer, section.bigEndian && options.format === "pcapng");
  if (options.format === "pcapng") {
    if (kind === BLOCK_SECTION) await append(writer, sectionBlock(section));
    else if (kind === BLOCK_INTERFACE) {
      const described = reader.interfaces[conversion.described];
      if (described.index === 0) setSimpleSnaplen(writer, described.snaplen);
      await append(writer, interfaceBlock(described, section));
    } else if (kind === BLOCK_STATISTICS) await append(writer, inNanoseconds(reader, block));
    else if (kind !== CUSTOM_NOT_COPIED) await append(writer, block.bytes);
  }
  const kept =
    options.format === "pcapng"
      ? kind !== CUSTOM_NOT_COPIED
      : kind <= BLOCK_INTERFACE || kind === BLOCK_SECTION;
  if (!kept) conversion.blocksLost++;
  if (kind === BLOCK_INTERFACE) conversion.described++;
}

function indexOf(conversion: Conversion): number {
  return conversion.options.format === "pcapng"
    ? conversion.reader.interfaces[conversion.described].index
    : 0;
}

/** A statistics block with its times in nanoseconds, as the interface is described in what is written. */
function inNanoseconds(reader: CaptureReader, { bytes, section }: CaptureBlock): Uint8Array {
  const copy = bytes.slice();
  const block = blockReader(copy, section.bigEndian);
  const index = block.view.getUint32(8, block.little);
  const described = reader.interfaces.find((one) => one.section === section.number && one.index === index);
  if (described === undefined) return copy;
  const { base, exponent } = described.resolution;
  const units = BigInt(base) ** BigInt(exponent);
  const rescale = (view: DataView, at: number) => {
    const time =
      (BigInt(view.getUint32(at, block.little)) << 32n) | BigInt(view.getUint32(at + 4, block.little));
    const nano = (time * 1_000_000_000n) / units + described.offset * 1_000_000_000n;
    view.setUint32(at, Number((nano >> 32n) & 0xffff_ffffn), block.little);
    view.setUint32(at + 4, Number(nano & 0xffff_ffffn), block.little);
  };
  rescale(block.view, 12);
  for (const option of parseOptions(block, 20, copy.length - 4) ?? [])
    if ((option.code === ISB_START || option.code === ISB_END) && option.bytes.length === 8)
      rescale(new DataView(copy.buffer, option.bytes.byteOffset, 8), 0);
  return copy;
}
const ISB_START = 2;
const ISB_END = 3;

async function copyWithOptions(conversion: Conversion, given: PacketOptions): Promise<void> {
  const { arena, writer, burst } = conversion;
  const { packet } = given;
  if (arena.u8[verdictAt(conversion, packet)] !== VERDICT_PASS) return;
  if (conversion.options.format === "pcap") {
    conversion.optionsLost++;
    await writeUntil(conversion, packet, packet + 1);
    return;
  }
  const meta = verdictAt(conversion, packet) - META_VERDICT;
  const seconds = BigInt(arena.f64[(meta + META_SECONDS) / 8]);
  const time = seconds * 1_000_000_000n + BigInt(arena.u32[(meta + META_NANOSECONDS) >>> 2]);
  const data = packetBytes(arena, burst, packet);
  const block = packetBlock(
    {
      index: arena.u32[(conversion.map >>> 2) + arena.u32[(meta + META_PEER) >>> 2]],
      time: time < 0n ? 0n : time,
      wireLength: arena.u32[(meta + META_WIRE_LENGTH) >>> 2] || data.length,
      data,
      options: given.bytes,
    },
    { bigEndian: given.bigEndian },
  );
  await append(writer, block);
  arena.u8[verdictAt(conversion, packet)] = DROPPED;
}

/** A packet's bytes, copied. */
export function packetBytes(arena: ArenaMemory, burst: number, packet: number): Uint8Array {
  const { u8, u32 } = arena;
  const starts = u32[(burst + BURST_STARTS) >>> 2];
  const pieces: Uint8Array[] = [];
  let desc = u32[(burst + BURST_DESCS) >>> 2] + u32[(starts >>> 2) + packet] * DESC_SIZE;
  for (let more = true; more; desc += DESC_SIZE) {
    const [address, , length, flags] = u32.subarray(desc >>> 2, (desc + DESC_SIZE) >>> 2);
    pieces.push(u8.subarray(address, address + length));
    more = (flags & CONTINUED) !== 0;
  }
  return Uint8Array.from(Buffer.concat(pieces));
}
