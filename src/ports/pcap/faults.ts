import { MillraceError } from "../../errors.js";
import {
  CAPTURE_FAULT,
  CAPTURE_FAULT_BLOCK,
  CAPTURE_FAULT_DATA,
  CAPTURE_FAULT_FRAME,
  CAPTURE_FAULT_INTERFACE,
  CAPTURE_FAULT_OPTIONS,
  CAPTURE_FAULT_RECORD,
  CAPTURE_FAULT_TRAILER,
  CAPTURE_POSITION,
  CAPTURE_VALUE,
} from "../../kernels/captures.js";
import { type CaptureReader, fileOffset } from "./state.js";

const FAULTS: Readonly<Record<number, (value: number) => string>> = {
  [CAPTURE_FAULT_RECORD]: (value) => `holds a packet of ${value} bytes, more than any of its link type has`,
  [CAPTURE_FAULT_BLOCK]: (value) => `has an impossible length of ${value} bytes`,
  [CAPTURE_FAULT_TRAILER]: (value) => `has another length at its end, ${value} bytes`,
  [CAPTURE_FAULT_INTERFACE]: (value) => `names interface ${value}, which its section does not describe`,
  [CAPTURE_FAULT_DATA]: (value) => `has no room for its packet of ${value} bytes`,
  [CAPTURE_FAULT_OPTIONS]: () => "has an option of a wrong length",
  [CAPTURE_FAULT_FRAME]: () => "lies in frames that someone else has freed",
};

/** The error for what a walk found wrong at the position where it stopped. */
export function walkFault(reader: CaptureReader): MillraceError {
  const at = (offset: number) => reader.arena.u32[(reader.state + offset) >>> 2];
  const code = at(CAPTURE_FAULT);
  const what = FAULTS[code]?.(at(CAPTURE_VALUE)) ?? "is damaged";
  return captureFault(reader, what, code === CAPTURE_FAULT_FRAME ? "ERR_FRAME" : "ERR_CAPTURE");
}

/** `"FILE": the block at offset N …` for the record at the reader's position. */
export function captureFault(reader: CaptureReader, what: string, code = "ERR_CAPTURE"): MillraceError {
  const position = reader.arena.u32[(reader.state + CAPTURE_POSITION) >>> 2];
  const offset = fileOffset(reader, position);
  const kind = reader.format === "pcap" ? "record" : "block";
  return new MillraceError(code, `"${reader.file}": the ${kind} at offset ${offset} ${what}`, {
    at: { file: reader.file, offset },
  });
}
