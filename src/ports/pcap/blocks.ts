import { OPTION_COMMENT, OPTION_END } from "../../kernels/captures.js";

/** One option of a block as it stands in the file, in the section's byte order. */
export interface CaptureOption {
  readonly code: number;
  readonly bytes: Uint8Array;
}
/** A pcapng section, or all of a pcap file. */
export interface CaptureSection {
  /** From 1. */
  readonly number: number;
  readonly bigEndian: boolean;
  readonly hardware?: string;
  readonly os?: string;
  readonly application?: string;
  readonly comments: readonly string[];
  readonly options: readonly CaptureOption[];
}
/** What an interface statistics block says; the last one of an interface counts. */
export interface CaptureStatistics {
  readonly received?: bigint;
  /** Dropped by the interface for lack of resources. */
  readonly dropped?: bigint;
  readonly filtered?: bigint;
  /** Dropped by the operating system. */
  readonly droppedBySystem?: bigint;
  readonly delivered?: bigint;
  readonly comments: readonly string[];
}
export interface CaptureInterface {
  /** Counted over all sections, from 0: what META_PEER holds. */
  readonly number: number;
  readonly section: number;
  /** Within its section. */
  readonly index: number;
  readonly linkType: number;
  /** pcap: the upper half of the link type's word, as in the file. */
  readonly linkFlags?: number;
  /** 0: none. */
  readonly snaplen: number;
  readonly name?: string;
  readonly description?: string;
  readonly filter?: string;
  readonly os?: string;
  readonly hardware?: string;
  /** Bits a second. */
  readonly speed?: bigint;
  /** A timestamp unit is base to the minus exponent seconds. */
  readonly resolution: { readonly base: 2 | 10; readonly exponent: number };
  /** Seconds added to each timestamp. */
  readonly offset: bigint;
  readonly comments: readonly string[];
  readonly options: readonly CaptureOption[];
  readonly statistics: readonly CaptureStatistics[];
}

/** A copy of a block's bytes, read in its section's byte order. */
export interface BlockReader {
  readonly view: DataView;
  readonly little: boolean;
}

export function blockReader(bytes: Uint8Array, bigEndian: boolean): BlockReader {
  return { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), little: !bigEndian };
}

/** Options from byte `at` to byte `end` of a block; undefined when one does not fit. */
export function parseOptions(block: BlockReader, at: number, end: number): CaptureOption[] | undefined {
  const options: CaptureOption[] = [];
  const { view, little } = block;
  for (let from = at; from < end; ) {
    if (end - from < 4) return undefined;
    const code = view.getUint16(from, little);
    const length = view.getUint16(from + 2, little);
    if (code === OPTION_END) break;
    if (length > end - from - 4) return undefined;
    options.push({ code, bytes: new Uint8Array(view.buffer, view.byteOffset + from + 4, length) });
    from += 4 + ((length + 3) & ~3);
  }
  return options;
}

const utf8 = new TextDecoder("utf-8", { fatal: false });

/** A text option, without the NULs that some writers end it with. */
function optionText(options: readonly CaptureOption[], code: number): string | undefined {
  const option = options.find((one) => one.code === code);
  return option === undefined ? undefined : textOf(option.bytes);
}
function textOf(bytes: Uint8Array): string {
  return utf8.decode(bytes).replace(/\0+$/, "");
}
/** All comments among a block's options. */
export function commentsOf(options: readonly CaptureOption[]): string[] {
  return options.filter((option) => option.code === OPTION_COMMENT).map((option) => textOf(option.bytes));
}

function optionU64(options: readonly CaptureOption[], code: number, little: boolean): bigint | undefined {
  const bytes = options.find((one) => one.code === code && one.bytes.length === 8)?.bytes;
  return bytes === undefined
    ? undefined
    : new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, little);
}

/** Leaves out what is undefined, as exactOptionalPropertyTypes wants it. */
function known<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

const SHB_HARDWARE = 2;
const SHB_OS = 3;
const SHB_APPLICATION = 4;

export function parseSection(block: BlockReader, length: number, number: number): CaptureSection | undefined {
  const options = parseOptions(block, 24, length - 4);
  if (options === undefined) return undefined;
  return known<CaptureSection>({
    number,
    bigEndian: !block.little,
    hardware: optionText(options, SHB_HARDWARE),
    os: optionText(options, SHB_OS),
    application: optionText(options, SHB_APPLICATION),
    comments: commentsOf(options),
    options,
  });
}

const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_SPEED = 8;
export const IF_TSRESOL = 9;
const IF_FILTER = 11;
const IF_OS = 12;
export const IF_TSOFFSET = 14;
const IF_HARDWARE = 15;

export function parseInterface(
  block: BlockReader,
  length: number,
  place: { readonly number: number; readonly section: number; readonly index: number },
): CaptureInterface | undefined {
  const { view, little } = block;
  const options = parseOptions(block, 16, length - 4);
  if (options === undefined) return undefined;
  const resolution = options.find((one) => one.code === IF_TSRESOL)?.bytes;
  if (resolution !== undefined && resolution.length !== 1) return undefined;
  const code = resolution === undefined ? 6 : resolution[0];
  const filter = options.find((one) => one.code === IF_FILTER)?.bytes;
  return known<CaptureInterface>({
    ...place,
    linkType: view.getUint16(8, little),
    snaplen: view.getUint32(12, little),
    name: optionText(options, IF_NAME),
    description: optionText(options, IF_DESCRIPTION),
    filter: filter !== undefined && filter[0] === 0 ? textOf(filter.subarray(1)) : undefined,
    os: optionText(options, IF_OS),
    hardware: optionText(options, IF_HARDWARE),
    speed: optionU64(options, IF_SPEED, little),
    resolution: { base: code >= 128 ? 2 : 10, exponent: code & 127 },
    offset: BigInt.asIntN(64, optionU64(options, IF_TSOFFSET, little) ?? 0n),
    comments: commentsOf(options),
    options,
    statistics: [],
  });
}

const ISB_RECEIVED = 4;
const ISB_DROPPED = 5;
const ISB_FILTERED = 6;
const ISB_DROPPED_BY_SYSTEM = 7;
const ISB_DELIVERED = 8;

export function parseStatistics(block: BlockReader, length: number): CaptureStatistics | undefined {
  const options = length < 24 ? undefined : parseOptions(block, 20, length - 4);
  if (options === undefined) return undefined;
  return known<CaptureStatistics>({
    received: optionU64(options, ISB_RECEIVED, block.little),
    dropped: optionU64(options, ISB_DROPPED, block.little),
    filtered: optionU64(options, ISB_FILTERED, block.little),
    droppedBySystem: optionU64(options, ISB_DROPPED_BY_SYSTEM, block.little),
    delivered: optionU64(options, ISB_DELIVERED, block.little),
    comments: commentsOf(options),
  });
}
