import type { ControlForm, Items, Layout } from "../types.js";

/** Items of 8 bytes behind the header; only those whose first bit is set hold their value themselves. */
function itemsOf(id: string, value: string): Items {
  return { at: 8, count: { at: 6, bytes: 2 }, bytes: 8, when: "0x8000000000000000", id, value };
}

// SPEAD (Rev 1, 2012, section 8), as ska-sa's spead2 reads it. Heap ids need not follow one another.
const HEAP_ID = 1;
const HEAP_SIZE = 2;
const OFFSET = 3;
const LENGTH = 4;
const STREAM_CONTROL = 6;
const STOP = 2;

/** A heap of one byte that says that the stream stops, as spead2 sends it. */
function stopHeap(version: number, addressBytes: number): ControlForm {
  const items: [id: number, to: number | string][] = [
    [HEAP_ID, "chunk"],
    [HEAP_SIZE, 1],
    [OFFSET, 0],
    [LENGTH, 1],
    [STREAM_CONTROL, STOP],
  ];
  const idBytes = (8 - addressBytes) as 2 | 3;
  return {
    bytes: 8 + 8 * items.length + 1,
    set: [
      { field: { at: 0, bytes: 4 }, to: version },
      { field: { at: 6, bytes: 2 }, to: items.length },
      ...items.flatMap(([id, to], index) => [
        { field: { at: 8 + 8 * index, bytes: idBytes }, to: 2 ** (8 * idBytes - 1) + id },
        { field: { at: 8 + 8 * index + idBytes, bytes: addressBytes as 5 | 6 }, to },
      ]),
    ],
  };
}

export const spead: Layout = {
  name: "spead",
  description: "SPEAD heaps, flavours 64-48 and 64-40",
  when: { field: { at: 0, bytes: 4 }, is: ["0x53040206", "0x53040305"] },
  // Datagrams of one heap that differ in flavour do not belong together.
  stream: [{ name: "addressBytes", at: 3, bytes: 1 }],
  header: { base: 8, add: [{ field: { at: 6, bytes: 2 }, times: 8 }] },
  items: itemsOf("0x7fff000000000000", "0x0000ffffffffffff"),
  chunk: { item: HEAP_ID, ids: "opaque" },
  size: { item: HEAP_SIZE, optional: true },
  place: { by: "offset", field: { item: OFFSET }, unit: 1 },
  length: { item: LENGTH },
  stop: { field: { item: STREAM_CONTROL, optional: true }, is: STOP },
  scatter: { stop: [stopHeap(0x53040206, 6)] },
  cases: [
    {
      name: "64-40",
      scatter: { stop: [stopHeap(0x53040305, 5)] },
      when: { field: { at: 2, bytes: 2 }, is: "0x0305" },
      items: itemsOf("0x7fffff0000000000", "0x000000ffffffffff"),
    },
  ],
};
