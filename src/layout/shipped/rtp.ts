import type { Layout, LayoutCase, Length, Match, Term } from "../types.js";

/** RFC 3550 5.1 and 5.3.1: 4 bytes a contributing source, and the extension with its length in words. */
const csrcs: Term = { field: { at: 0, bytes: 1, mask: "0x0f" }, times: 4 };
const extended: Match = { field: { at: 0, bytes: 1, mask: "0x10" }, is: "0x10" };
const extensionLength: Term = {
  field: { at: { base: 14, add: [csrcs] }, bytes: 2 },
  times: 4,
  plus: 4,
  when: extended,
};

/** So many bytes and what the RTP header has beyond its fixed 12. */
export function rtpLength(base: number): Length {
  return { base, add: [csrcs, extensionLength] };
}

export const version2: Match = { field: { at: 0, bytes: 1, mask: "0xc0" }, is: "0x80" };
export const marker: Match = { field: { at: 1, bytes: 1, mask: "0x80" }, is: "0x80" };

/** RFC 5761 4: RTCP on the same port; the sender's SSRC is its second word. */
export const rtcp: LayoutCase = {
  name: "rtcp",
  when: { field: { at: 1, bytes: 1 }, is: [200, 201, 202, 203, 204, 205, 206, 207] },
  stream: [{ name: "ssrc", at: 4, bytes: 4 }],
  header: 8,
  control: true,
  trim: null,
  place: null,
  slices: null,
  chunk: null,
  end: null,
  fields: null,
};

export const rtp: Layout = {
  name: "rtp",
  description: "RTP (RFC 3550), in order of sequence numbers; a marker or a new timestamp ends a chunk",
  when: version2,
  stream: [{ name: "ssrc", at: 8, bytes: 4 }],
  header: rtpLength(12),
  trim: {
    when: { field: { at: 0, bytes: 1, mask: "0x20" }, is: "0x20" },
    by: { from: "end", at: 1, bytes: 1 },
  },
  place: { by: "sequence", field: { at: 2, bytes: 2 } },
  end: { any: [marker, { changed: { at: 4, bytes: 4 } }] },
  fields: { timestamp: { at: 4, bytes: 4 }, payloadType: { at: 1, bytes: 1, mask: "0x7f" } },
  cases: [rtcp],
  scatter: { set: [{ field: { at: 1, bytes: 1, mask: "0x7f" }, to: 96 }] },
};
