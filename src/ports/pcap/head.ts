import { MillraceError } from "../../errors.js";
import {
  CAPTURE_END,
  CAPTURE_HEADER,
  CAPTURE_LENGTHS,
  CAPTURE_LIMIT,
  CAPTURE_POSITION,
  CAPTURE_SWAPPED,
  CAPTURE_UNITS,
  CAPTURE_WANTS_OPTIONS,
} from "../../kernels/captures.js";
import { largestPacket } from "./link-types.js";
import {
  guessRecordHeader,
  isPcap,
  notACapture,
  PCAP_HEADER,
  type PcapHeader,
  parsePcapHeader,
} from "./pcap-header.js";
import { type CaptureReader, get, set } from "./state.js";
import { bring } from "./supply.js";

/** Tells pcap from pcapng and reads the former's header. Throws ERR_CAPTURE for what is neither. */
export async function readHead(reader: CaptureReader): Promise<void> {
  await bring(reader, 4);
  const head = headView(reader);
  if (head.byteLength < 4) throw cutHead(reader, head.byteLength);
  if (head.getUint32(0) === 0x0a0d0d0a) {
    reader.format = "pcapng";
    set(reader, CAPTURE_WANTS_OPTIONS, reader.options.onOptions === undefined ? 0 : 1);
  } else if (isPcap(head)) await readPcapHead(reader);
  else throw notACapture(reader.file);
}

function cutHead(reader: CaptureReader, bytes: number): MillraceError {
  const { file } = reader;
  return new MillraceError(
    "ERR_CAPTURE",
    bytes === 0 ? `"${file}" is empty` : `"${file}" ends after ${bytes} bytes, within its header`,
    { at: { file, offset: bytes } },
  );
}

/** Bytes of a file that are looked at to tell what it is. */
const HEAD_VIEW = 65_536;

/** A copy of what is in memory from the position on, up to 64 KiB. */
function headView(reader: CaptureReader): DataView {
  const from = get(reader, CAPTURE_POSITION);
  const end = Math.min(get(reader, CAPTURE_END), from + HEAD_VIEW);
  return new DataView(reader.arena.u8.slice(from, end).buffer);
}

async function readPcapHead(reader: CaptureReader): Promise<void> {
  await bring(reader, PCAP_HEADER);
  let head = headView(reader);
  if (head.byteLength < PCAP_HEADER) throw cutHead(reader, head.byteLength);
  const header = parsePcapHeader(head, reader.file);
  await bring(reader, header.bytes);
  head = headView(reader);
  if (head.byteLength < header.bytes) throw cutHead(reader, head.byteLength);
  const size = await recordHeaderOf(reader, header);
  reader.variant = variantName(header.units, size);
  set(reader, CAPTURE_SWAPPED, header.bigEndian ? 1 : 0);
  set(reader, CAPTURE_HEADER, size);
  set(reader, CAPTURE_LIMIT, largestPacket(header.linkType));
  set(reader, CAPTURE_UNITS, header.units);
  set(reader, CAPTURE_LENGTHS, header.lengths);
  set(reader, CAPTURE_POSITION, get(reader, CAPTURE_POSITION) + header.bytes);
  reader.sections.push({ number: 1, bigEndian: header.bigEndian, comments: [], options: [] });
  reader.interfaces.push({
    number: 0,
    section: 1,
    index: 0,
    linkType: header.linkType,
    linkFlags: header.linkFlags,
    snaplen: header.snaplen,
    resolution: { base: 10, exponent: header.units === 1_000_000 ? 6 : 9 },
    offset: 0n,
    comments: [],
    options: [],
    statistics: [],
  });
}

// What comes from a pipe is taken for the usual kind: its first records may be long in coming.
async function recordHeaderOf(reader: CaptureReader, header: PcapHeader): Promise<number> {
  if (reader.source.stream || header.recordHeaders.length === 1) return header.recordHeaders[0];
  await bring(reader, HEAD_VIEW);
  const head = headView(reader);
  const records = new DataView(head.buffer, header.bytes);
  return guessRecordHeader(header, records, head.byteLength < HEAD_VIEW);
}

function variantName(units: number, recordHeader: number): string {
  if (recordHeader === 24 || recordHeader === 28) return "modified pcap";
  if (recordHeader === 20) return "Nokia pcap";
  return units === 1_000_000 ? "pcap" : "nanosecond pcap";
}
