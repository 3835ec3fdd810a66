import { MillraceError } from "../../errors.js";
import { LENGTHS_EITHER, LENGTHS_NORMAL, LENGTHS_SWAPPED } from "../../kernels/captures.js";
import { largestPacket } from "./link-types.js";

/** What the head of a pcap file says. */
export interface PcapHeader {
  readonly bigEndian: boolean;
  /** Units of a second: 10^6 or 10^9. */
  readonly units: number;
  readonly version: string;
  readonly snaplen: number;
  readonly linkType: number;
  /** The upper half of the link type's word: how long the frame check sequence is, if told. */
  readonly linkFlags: number;
  /** Which of the order of a record's lengths: LENGTHS_…. */
  readonly lengths: number;
  /** Bytes of the file's header. */
  readonly bytes: number;
  /** Sizes that a record's header may have; the first unless the records tell otherwise. */
  readonly recordHeaders: readonly number[];
}

interface Magic {
  readonly units: number;
  readonly recordHeaders: readonly number[];
  readonly extra: number;
}
const MICRO = 1_000_000;
const NANO = 1_000_000_000;
const STANDARD_RECORD = 16;
// The record headers of the libpcap patches of 1999 and of Nokia's, which share a magic with others.
const PATCHED_APRIL = 24;
const PATCHED_SEPTEMBER = 28;
const PATCHED_OCTOBER = 24;
const NOKIA = 20;
const MAGICS: ReadonlyMap<number, Magic> = new Map([
  [0xa1b2c3d4, { units: MICRO, recordHeaders: [STANDARD_RECORD, PATCHED_APRIL, NOKIA], extra: 0 }],
  [0xa1b23c4d, { units: NANO, recordHeaders: [STANDARD_RECORD], extra: 0 }],
  [0xa1b2cd34, { units: MICRO, recordHeaders: [PATCHED_OCTOBER, PATCHED_SEPTEMBER], extra: 0 }],
  // Ixia's two, with the bytes of all records behind the header.
  [0x1c0001ac, { units: NANO, recordHeaders: [STANDARD_RECORD], extra: 4 }],
  [0x1c0001ab, { units: MICRO, recordHeaders: [STANDARD_RECORD], extra: 4 }],
]);
/** Bytes of a pcap file's header, without what a variant adds. */
export const PCAP_HEADER = 24;

/** True when a file that starts with these four bytes is pcap. */
export function isPcap(head: DataView): boolean {
  return MAGICS.has(head.getUint32(0, true)) || MAGICS.has(head.getUint32(0, false));
}

// AIX writes interface types of RFC 1573 and nanoseconds into files of version 2.2.
const AIX_LINK_TYPES: ReadonlyMap<number, number> = new Map([
  [6, 1],
  [9, 6],
  [15, 10],
  [24, 0],
]);

/** Reads the 24 bytes of a pcap file's header. Throws ERR_CAPTURE for what it cannot be. */
export function parsePcapHeader(head: DataView, file: string): PcapHeader {
  const little = MAGICS.has(head.getUint32(0, true));
  const magic = MAGICS.get(head.getUint32(0, little));
  if (magic === undefined) throw notACapture(file);
  const major = head.getUint16(4, little);
  const minor = head.getUint16(6, little);
  const network = head.getUint32(20, little);
  if (major < 2)
    throw new MillraceError(
      "ERR_CAPTURE",
      `"${file}" is pcap of version ${major}.${minor}, which no one reads`,
      {
        at: { file, offset: 4 },
      },
    );
  const aix = magic.units === MICRO && major === 2 && minor === 2 ? AIX_LINK_TYPES.get(network) : undefined;
  const plain = major === 2 && minor >= 4 && aix === undefined;
  return {
    bigEndian: !little,
    units: aix === undefined ? magic.units : NANO,
    version: `${major}.${minor}`,
    snaplen: head.getUint32(16, little),
    linkType: aix ?? network & 0xffff,
    linkFlags: aix === undefined ? (network & 0xffff_0000) >>> 0 : 0,
    lengths: lengthOrder(major, minor),
    bytes: PCAP_HEADER + magic.extra,
    recordHeaders: plain ? magic.recordHeaders : magic.recordHeaders.slice(0, 1),
  };
}

function lengthOrder(major: number, minor: number): number {
  if (major === 543 || (major === 2 && minor < 3)) return LENGTHS_SWAPPED; // 543.0: DG/UX
  return major === 2 && minor === 3 ? LENGTHS_EITHER : LENGTHS_NORMAL;
}

export function notACapture(file: string): MillraceError {
  return new MillraceError("ERR_CAPTURE", `"${file}" is neither pcap nor pcapng`, {
    at: { file, offset: 0 },
    hint: "it may be another tool's format: Wireshark's editcap -F pcapng converts many",
  });
}

const RECORDS_TRIED = 3;

/**
 * The size of the record header that fits the first records best, as they stand in `bytes`, just past the file's
 * header; `whole` when that is all of the file.
 */
export function guessRecordHeader(header: PcapHeader, bytes: DataView, whole: boolean): number {
  let best = header.recordHeaders[0];
  let least = Number.POSITIVE_INFINITY;
  for (const size of header.recordHeaders) {
    const doubts = doubtsOf(header, size, bytes, whole);
    if (doubts < least) {
      best = size;
      least = doubts;
    }
  }
  return best;
}

function doubtsOf(header: PcapHeader, size: number, bytes: DataView, whole: boolean): number {
  const little = !header.bigEndian;
  let doubts = 0;
  let at = 0;
  for (let record = 0; record < RECORDS_TRIED && at < bytes.byteLength; record++) {
    if (bytes.byteLength - at < size) return doubts + (whole ? 1 : 0);
    const captured = bytes.getUint32(at + 8, little);
    const wire = bytes.getUint32(at + 12, little);
    if (bytes.getUint32(at + 4, little) >= header.units) doubts++;
    if (captured > largestPacket(header.linkType)) return doubts + 3;
    if (captured > header.snaplen) doubts++;
    if (wire > 128 * 2 ** 20) doubts++;
    if (captured > wire) doubts++;
    if (size >= PATCHED_APRIL) {
      if (bytes.getUint32(at + 16, little) > 10_000) doubts++; // an interface's index
      if (bytes.getUint8(at + 22) > 4) doubts++; // a packet's direction
    }
    at += size + captured;
    if (at > bytes.byteLength && whole) doubts++;
  }
  return doubts;
}
