// The blocks of a pcapng file that carry no packet: sections, interfaces, statistics, and what is passed over.
import {
  BLOCK_INTERFACE,
  BLOCK_LARGEST,
  BLOCK_SECTION,
  BLOCK_STATISTICS,
  CAPTURE_END,
  CAPTURE_INTERFACE_COUNT,
  CAPTURE_INTERFACES,
  CAPTURE_NEED,
  CAPTURE_POSITION,
  CAPTURE_SWAPPED,
  INTERFACE_LIMIT,
  INTERFACE_NANO,
  INTERFACE_NUMBER,
  INTERFACE_OFFSET,
  INTERFACE_PASS,
  INTERFACE_PICO,
  INTERFACE_SHIFT,
  INTERFACE_SIZE,
  INTERFACE_SNAPLEN,
  INTERFACE_UNITS,
} from "../../kernels/captures.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import {
  blockReader,
  type CaptureInterface,
  parseInterface,
  parseSection,
  parseStatistics,
} from "./blocks.js";
import { captureFault } from "./faults.js";
import { largestPacket } from "./link-types.js";
import { type CaptureReader, end, fileOffset } from "./state.js";

const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const SMALLEST_SECTION = 28;
/** More interfaces in a file than this are taken for damage. */
const MOST_INTERFACES = 65_536;

function word(reader: CaptureReader, offset: number): number {
  return reader.arena.u32[(reader.state + offset) >>> 2];
}
function setWord(reader: CaptureReader, offset: number, value: number): void {
  reader.arena.u32[(reader.state + offset) >>> 2] = value;
}

/**
 * Takes the block at the position and steps over it. Returns 0; or how many bytes of it are wanted in memory
 * first; or -1 when it is at fault and the reading has ended.
 */
export function takeBlock(reader: CaptureReader): number {
  const position = word(reader, CAPTURE_POSITION);
  const there = word(reader, CAPTURE_END) - position;
  const { u8 } = reader.arena;
  const head = new DataView(u8.slice(position, position + 12).buffer);
  if (head.getUint32(0, true) === BLOCK_SECTION) {
    const order = head.getUint32(8, true);
    const little = order === BYTE_ORDER_MAGIC;
    if (!little && head.getUint32(8, false) !== BYTE_ORDER_MAGIC)
      return fault(reader, "starts a section, but has no byte-order mark");
    const length = head.getUint32(4, little);
    if (length < SMALLEST_SECTION || length > BLOCK_LARGEST || length % 4 !== 0)
      return fault(reader, `starts a section, but has an impossible length of ${length} bytes`);
    if (there < length) return length;
    const trailer = new DataView(u8.slice(position + length - 4, position + length).buffer).getUint32(
      0,
      little,
    );
    if (trailer !== length) return fault(reader, `has another length at its end, ${trailer} bytes`);
    return startSection(reader, u8.slice(position, position + length), !little);
  }
  if (reader.sections.length === 0) return fault(reader, "is not the start of a section");
  const length = word(reader, CAPTURE_NEED);
  const block = u8.slice(position, position + length);
  const bigEndian = word(reader, CAPTURE_SWAPPED) === 1;
  const kind = new DataView(block.buffer).getUint32(0, !bigEndian);
  if (kind === BLOCK_INTERFACE && !addInterface(reader, block, bigEndian)) return -1;
  if (kind === BLOCK_STATISTICS && !addStatistics(reader, block, bigEndian)) return -1;
  return step(reader, kind, block);
}

function step(reader: CaptureReader, kind: number, bytes: Uint8Array): number {
  const position = word(reader, CAPTURE_POSITION);
  const section = reader.sections[reader.sections.length - 1];
  reader.options.onBlock?.({ kind, bytes, section, offset: fileOffset(reader, position) });
  setWord(reader, CAPTURE_POSITION, position + bytes.length);
  return 0;
}

function fault(reader: CaptureReader, what: string): -1 {
  end(reader, captureFault(reader, what));
  return -1;
}

function startSection(reader: CaptureReader, bytes: Uint8Array, bigEndian: boolean): number {
  const block = blockReader(bytes, bigEndian);
  const major = block.view.getUint16(12, block.little);
  const minor = block.view.getUint16(14, block.little);
  if (major !== 1 || (minor !== 0 && minor !== 2))
    // 1.2 was written by mistake and means 1.0
    return fault(reader, `starts a section of version ${major}.${minor}, which is not known`);
  const section = parseSection(block, bytes.length, reader.sections.length + 1);
  if (section === undefined) return fault(reader, "has an option longer than what is left of it");
  reader.sections.push(section);
  reader.variant = "pcapng";
  reader.sectionInterfaces = 0;
  setWord(reader, CAPTURE_SWAPPED, bigEndian ? 1 : 0);
  setWord(reader, CAPTURE_INTERFACE_COUNT, 0);
  return step(reader, BLOCK_SECTION, bytes);
}

function addInterface(reader: CaptureReader, bytes: Uint8Array, bigEndian: boolean): boolean {
  const place = {
    number: reader.interfaces.length,
    section: reader.sections.length,
    index: reader.sectionInterfaces,
  };
  const described =
    bytes.length < 20 ? undefined : parseInterface(blockReader(bytes, bigEndian), bytes.length, place);
  if (described === undefined || place.number >= MOST_INTERFACES) {
    const what =
      described === undefined ? "does not describe an interface rightly" : "is one interface too many";
    end(reader, captureFault(reader, what));
    return false;
  }
  reader.interfaces.push(described);
  reader.sectionInterfaces++;
  growTable(reader);
  writeEntry(reader, described);
  setWord(reader, CAPTURE_INTERFACE_COUNT, reader.sectionInterfaces);
  return true;
}

function addStatistics(reader: CaptureReader, bytes: Uint8Array, bigEndian: boolean): boolean {
  const block = blockReader(bytes, bigEndian);
  const statistics = parseStatistics(block, bytes.length);
  const index = bytes.length < 24 ? -1 : block.view.getUint32(8, block.little);
  if (statistics === undefined) {
    end(reader, captureFault(reader, "has statistics that are cut or malformed"));
    return false;
  }
  const first = reader.interfaces.length - reader.sectionInterfaces;
  const target = index < reader.sectionInterfaces ? reader.interfaces[first + index] : undefined;
  // Statistics of an interface that is not there tell nothing: passed over, as other readers do.
  if (target !== undefined) reader.interfaces[target.number] = { ...target, statistics: [statistics] };
  return true;
}

function growTable(reader: CaptureReader): void {
  const { arena } = reader;
  const wanted = reader.sectionInterfaces * INTERFACE_SIZE;
  if (wanted > reader.tableBytes) {
    const bytes = Math.max(16_384, 2 * reader.tableBytes);
    const table = allocateRegion(arena, bytes);
    arena.u8.copyWithin(table, reader.table, reader.table + reader.tableBytes);
    freeInterfaces(reader);
    reader.table = table;
    reader.tableBytes = bytes;
  }
  setWord(reader, CAPTURE_INTERFACES, reader.table);
}

/** Gives the interface table's region back. */
export function freeInterfaces(reader: CaptureReader): void {
  if (reader.tableBytes > 0) freeRegion(reader.arena, reader.table, reader.tableBytes);
  reader.table = 0;
  reader.tableBytes = 0;
}

// Units as the kernel counts them: whole nanoseconds a unit, or units a nanosecond, or a power of two.
function writeEntry(reader: CaptureReader, described: CaptureInterface): void {
  const { arena, options } = reader;
  const entry = reader.table + described.index * INTERFACE_SIZE;
  const { base, exponent } = described.resolution;
  const decimal = base === 10 && exponent <= 28;
  const big = (offset: number, value: bigint) => {
    arena.u64[(entry + offset) / 8] = BigInt.asUintN(64, value);
  };
  big(INTERFACE_UNITS, decimal && exponent <= 19 ? 10n ** BigInt(exponent) : 0n);
  big(INTERFACE_OFFSET, described.offset);
  big(INTERFACE_NANO, decimal && exponent <= 9 ? 10n ** BigInt(9 - exponent) : 0n);
  big(INTERFACE_PICO, decimal && exponent > 9 ? 10n ** BigInt(exponent - 9) : 0n);
  const wanted = options.linkType === "first" ? reader.interfaces[0].linkType : options.linkType;
  const pass = wanted !== undefined && described.linkType !== wanted;
  arena.u32[(entry + INTERFACE_SHIFT) >>> 2] = base === 2 ? exponent : 127; // 127: finer than can be told
  arena.u32[(entry + INTERFACE_NUMBER) >>> 2] = described.number;
  arena.u16[(entry + INTERFACE_PASS) >>> 1] = pass ? 1 : 0;
  arena.u32[(entry + INTERFACE_SNAPLEN) >>> 2] = described.snaplen;
  arena.u32[(entry + INTERFACE_LIMIT) >>> 2] = largestPacket(described.linkType);
}
