import type { Layout } from "../types.js";
import { marker, rtcp, rtpLength, version2 } from "./rtp.js";

/** RFC 4175 4.1 to 4.3: the RTP header, a sequence extension of 2 bytes, 6 bytes a row, then the rows' data. */
export const rfc4175: Layout = {
  name: "rfc4175",
  description: "Uncompressed video over RTP (RFC 4175, ST 2110-20): rows placed by number and pixel",
  parameters: {
    stride: "bytes from one row of the picture to the next",
    pixel: "bytes a pixel: 2 for 4:2:2 of 8 bit, 2.5 of 10 bit, 3 for RGB of 8 bit, 3.75 of 10 bit",
  },
  when: version2,
  stream: [{ name: "ssrc", at: 8, bytes: 4 }],
  header: rtpLength(14),
  chunk: { at: 4, bytes: 4, ids: "opaque" },
  slices: {
    at: rtpLength(14),
    bytes: 6,
    length: { at: 0, bytes: 2 },
    more: { field: { at: 4, bytes: 1, mask: "0x80" }, is: "0x80" },
    place: [
      { field: { at: 2, bytes: 2, mask: "0x7fff" }, unit: "stride" },
      { field: { at: 4, bytes: 2, mask: "0x7fff" }, unit: "pixel" },
    ],
  },
  end: marker,
  fields: {
    timestamp: { at: 4, bytes: 4 },
    payloadType: { at: 1, bytes: 1, mask: "0x7f" },
    secondField: { at: rtpLength(16), bytes: 1, mask: "0x80" },
  },
  cases: [rtcp],
  scatter: {
    set: [
      { field: { at: 1, bytes: 1, mask: "0x7f" }, to: 96 },
      { field: { at: 2, bytes: 2 }, to: "sequence" },
      { field: { at: 12, bytes: 2 }, to: "sequence", over: 65536 },
    ],
    step: 3003,
  },
};
