// The heads of capture files and the pcapng blocks that carry no packet, as bytes.
import {
  BLOCK_ENHANCED,
  BLOCK_INTERFACE,
  BLOCK_SECTION,
  BLOCK_STATISTICS,
  OPTION_COMMENT,
  OPTION_END,
} from "../../kernels/captures.js";
import { type CaptureOption, IF_TSOFFSET, IF_TSRESOL } from "./blocks.js";

export interface NewSection {
  readonly bigEndian?: boolean;
  readonly hardware?: string;
  readonly os?: string;
  readonly application?: string;
  readonly comments?: readonly string[];
  /** In place of the four above: options as another file had them, in this section's byte order. */
  readonly options?: readonly CaptureOption[];
}
export interface NewInterface {
  readonly linkType: number;
  /** pcap: the upper half of the link type's word. */
  readonly linkFlags?: number;
  readonly snaplen?: number;
  readonly name?: string;
  readonly description?: string;
  readonly filter?: string;
  readonly os?: string;
  /** In place of the four above: options as another file had them; the resolution of timestamps is ours. */
  readonly options?: readonly CaptureOption[];
}
export interface NewStatistics {
  /** Number of the interface in its section. */
  readonly index: number;
  /** Seconds since the epoch. */
  readonly at: number;
  readonly startedAt?: number;
  readonly endedAt?: number;
  readonly received?: number;
  readonly dropped?: number;
  readonly filtered?: number;
  readonly droppedBySystem?: number;
  readonly delivered?: number;
}
export interface NewPacket {
  readonly index: number;
  /** Nanoseconds since the epoch. */
  readonly time: bigint;
  readonly wireLength: number;
  readonly data: Uint8Array;
  /** In the section's byte order. */
  readonly options: Uint8Array;
}

const utf8 = new TextEncoder();

function text(code: number, value: string | undefined): CaptureOption[] {
  return value === undefined ? [] : [{ code, bytes: utf8.encode(value).subarray(0, 0xffff) }];
}

function u64(code: number, value: number | undefined, little: boolean): CaptureOption[] {
  if (value === undefined) return [];
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), little);
  return [{ code, bytes }];
}

/** A whole block: its fixed part, then options, if there are any. */
function block(
  kind: number,
  body: Uint8Array,
  options: readonly CaptureOption[],
  little: boolean,
): Uint8Array {
  const padded = (bytes: number) => (bytes + 3) & ~3;
  const optionBytes = options.reduce(
    (sum, { bytes }) => sum + 4 + padded(bytes.length),
    options.length > 0 ? 4 : 0,
  );
  const length = 12 + padded(body.length) + optionBytes;
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  view.setUint32(0, kind, little);
  view.setUint32(4, length, little);
  out.set(body, 8);
  let at = 8 + padded(body.length);
  for (const { code, bytes } of options) {
    view.setUint16(at, code, little);
    view.setUint16(at + 2, bytes.length, little);
    out.set(bytes, at + 4);
    at += 4 + padded(bytes.length);
  }
  if (options.length > 0) view.setUint32(at, OPTION_END, little);
  view.setUint32(length - 4, length, little);
  return out;
}

export function pcapHeader(
  linkType: number,
  snaplen: number,
  options: { readonly nano?: boolean; readonly bigEndian?: boolean },
): Uint8Array {
  const view = new DataView(new ArrayBuffer(24));
  const little = options.bigEndian !== true;
  view.setUint32(0, options.nano ? 0xa1b23c4d : 0xa1b2c3d4, little);
  view.setUint16(4, 2, little);
  view.setUint16(6, 4, little);
  view.setUint32(16, snaplen, little);
  view.setUint32(20, linkType, little);
  return new Uint8Array(view.buffer);
}

export function sectionBlock(section: NewSection): Uint8Array {
  const little = section.bigEndian !== true;
  const body = new DataView(new ArrayBuffer(16));
  body.setUint32(0, 0x1a2b3c4d, little);
  body.setUint16(4, 1, little);
  body.setBigInt64(8, -1n, little); // length of the section: not known
  const options = section.options ?? [
    ...text(2, section.hardware),
    ...text(3, section.os),
    ...text(4, section.application),
    ...(section.comments ?? []).flatMap((comment) => text(OPTION_COMMENT, comment)),
  ];
  return block(BLOCK_SECTION, new Uint8Array(body.buffer), options, little);
}

/** Timestamps of what is written are nanoseconds, whatever the interface had before. */
export function interfaceBlock(description: NewInterface, section: NewSection): Uint8Array {
  const little = section.bigEndian !== true;
  const body = new DataView(new ArrayBuffer(8));
  body.setUint16(0, description.linkType, little);
  body.setUint32(4, description.snaplen ?? 0, little);
  const given = description.options?.filter(({ code }) => code !== IF_TSRESOL && code !== IF_TSOFFSET);
  const filter = description.filter === undefined ? undefined : `\0${description.filter}`;
  const options = given ?? [
    ...text(2, description.name),
    ...text(3, description.description),
    ...text(11, filter),
    ...text(12, description.os),
  ];
  const resolution = { code: IF_TSRESOL, bytes: Uint8Array.of(9) };
  return block(BLOCK_INTERFACE, new Uint8Array(body.buffer), [...options, resolution], little);
}

function timeBytes(seconds: number, little: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  const time = BigInt(Math.trunc(seconds * 1e6)) * 1000n;
  view.setUint32(0, Number(time >> 32n), little);
  view.setUint32(4, Number(time & 0xffff_ffffn), little);
  return new Uint8Array(view.buffer);
}

export function statisticsBlock(statistics: NewStatistics, section: NewSection): Uint8Array {
  const little = section.bigEndian !== true;
  const body = new Uint8Array(12);
  new DataView(body.buffer).setUint32(0, statistics.index, little);
  body.set(timeBytes(statistics.at, little), 4);
  const time = (code: number, seconds: number | undefined) =>
    seconds === undefined ? [] : [{ code, bytes: timeBytes(seconds, little) }];
  const options = [
    ...time(2, statistics.startedAt),
    ...time(3, statistics.endedAt),
    ...u64(4, statistics.received, little),
    ...u64(5, statistics.dropped, little),
    ...u64(6, statistics.filtered, little),
    ...u64(7, statistics.droppedBySystem, little),
    ...u64(8, statistics.delivered, little),
  ];
  return block(BLOCK_STATISTICS, body, options, little);
}

/** An enhanced packet block with options that a burst's metadata cannot hold. */
export function packetBlock(packet: NewPacket, section: NewSection): Uint8Array {
  const little = section.bigEndian !== true;
  const padded = (packet.data.length + 3) & ~3;
  const body = new Uint8Array(20 + padded + packet.options.length);
  const view = new DataView(body.buffer);
  view.setUint32(0, packet.index, little);
  view.setUint32(4, Number((packet.time >> 32n) & 0xffff_ffffn), little);
  view.setUint32(8, Number(packet.time & 0xffff_ffffn), little);
  view.setUint32(12, packet.data.length, little);
  view.setUint32(16, packet.wireLength, little);
  body.set(packet.data, 20);
  body.set(packet.options, 20 + padded);
  return block(BLOCK_ENHANCED, body, [], little);
}
