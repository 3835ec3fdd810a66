import type { Field, Layout, LayoutCase } from "../types.js";

/** Bits of the little-endian 32-bit word number `word` of a VDIF header that starts at `start` (VDIF 1.1.1, 5). */
function bitsOf(start: number, word: number, mask: string): Field {
  return { at: start + 4 * word, bytes: 4, mask, order: "little" };
}

/** A VDIF frame, `start` bytes behind the datagram's first. */
function frames(name: string, description: string, start: number): Layout {
  const legacy: LayoutCase = {
    name: "legacy",
    when: { field: bitsOf(start, 0, "0x40000000"), is: "0x40000000" },
    header: start + 16,
  };
  return {
    name,
    description,
    stream: [
      { name: "station", ...bitsOf(start, 3, "0x0000ffff") },
      { name: "thread", ...bitsOf(start, 3, "0x03ff0000") },
    ],
    header: start + 32,
    // The length counts the frame from its own header on, in 8 bytes.
    length: {
      ...bitsOf(start, 2, "0x00ffffff"),
      times: 8,
      includes: "header",
      ...(start === 0 ? {} : { plus: start }),
    },
    chunk: { ...bitsOf(start, 0, "0x3fffffff"), ids: "counter" },
    place: { by: "offset", field: bitsOf(start, 1, "0x00ffffff"), unit: "datagram" },
    lost: { field: bitsOf(start, 0, "0x80000000"), is: "0x80000000" },
    fields: {
      epoch: bitsOf(start, 1, "0x3f000000"),
      version: bitsOf(start, 2, "0xe0000000"),
      channelsLog2: bitsOf(start, 2, "0x1f000000"),
      bitsLessOne: bitsOf(start, 3, "0x7c000000"),
      complex: bitsOf(start, 3, "0x80000000"),
    },
    cases: [legacy],
  };
}

export const vdif: Layout = frames(
  "vdif",
  "VLBI data frames (VDIF 1.1.1), one a datagram: a chunk is a second of a thread",
  0,
);

/** VTP: a sequence number of 8 bytes, little-endian, before the frame. */
const vtpFrames = frames("vtp", "VDIF frames behind a VTP sequence number of 8 bytes", 8);
export const vtp: Layout = {
  ...vtpFrames,
  fields: { sequence: { at: 0, bytes: 8, order: "little" }, ...vtpFrames.fields },
  scatter: { set: [{ field: { at: 0, bytes: 8, order: "little" }, to: "sequence" }] },
};
