import type {
  ChunkIds,
  Field,
  Layout,
  LayoutCase,
  LayoutRules,
  Length,
  Match,
  Scatter,
  Setting,
  ShownField,
  Size,
} from "../types.js";

// GigE Vision Streaming Protocol, as Wireshark's packet-gvsp.c and Aravis' arvgvspprivate.h read it. A block
// is a leader, its data and a trailer, each with the block's id and a packet id that counts from 0. With
// extended ids (0x80 in byte 4) both move behind the first 8 bytes, which makes 20.
const format = { at: 4, bytes: 1, mask: "0x7f" } as const;
const isFormat = (...is: number[]): Match => ({ field: format, is });
const extended: Match = { field: { at: 4, bytes: 1, mask: "0x80" }, is: "0x80" };
const failed: Match = { field: { at: 0, bytes: 2, mask: "0x8000" }, is: "0x8000" };

const LEADER = 1;
const TRAILER = 2;
const DATA = 3;
const ALL_IN = 4;
const MULTI_ZONE = 6;
const MULTI_PART = 7;

/** Payload type in a leader, without the bit that says that chunk data follows the image. */
const IMAGE = 1;
const RAW_DATA = 2;
const WITH_CHUNKS = 0x4000;

/** A place in what follows the header of either length. */
const behindIds = (bytes: number): Length => ({ base: 8 + bytes, add: [{ plus: 12, when: extended }] });
const leader = (at: number, bytes: 2 | 4 | 8, mask?: string): Field => ({
  at: behindIds(at),
  bytes,
  ...(mask === undefined ? {} : { mask }),
});
const payloadType = leader(2, 2, "0x3fff");
const inLeader: Match = isFormat(LEADER, ALL_IN);
const ofImage: Match = { all: [inLeader, { field: payloadType, is: IMAGE }] };
const shown = (field: Field, when: Match): ShownField => ({ ...field, when });
const width = leader(16, 4);
const height = leader(20, 4);

const fields = {
  payloadType: shown(payloadType, inLeader),
  timestamp: shown(leader(4, 8), inLeader),
  pixelFormat: shown(leader(12, 4), ofImage),
  width: shown(width, ofImage),
  height: shown(height, ofImage),
  offsetX: shown(leader(24, 4), ofImage),
  offsetY: shown(leader(28, 4), ofImage),
};

/** An image without padding and without chunk data behind it has the size its leader tells. */
const size: Size = {
  product: [
    { ...leader(16, 4, "0xfffff") },
    { ...leader(20, 4, "0xfffff") },
    { at: behindIds(13), bytes: 1 }, // bits a pixel
  ],
  over: 8,
  when: {
    all: [
      isFormat(LEADER),
      { field: leader(2, 2), is: IMAGE },
      { field: leader(32, 4), is: 0 }, // padding of rows, padding of the image
    ],
  },
};

const standard: LayoutRules = {
  header: 8,
  chunk: { at: 2, bytes: 2, ids: "counter", first: 1, last: 65535 },
  place: { by: "offset", field: { at: 5, bytes: 3 }, base: 1, unit: "datagram" },
};
const extendedIds: LayoutRules = {
  header: 20,
  chunk: { at: 8, bytes: 8, ids: "counter", first: 1 },
  place: { by: "offset", field: { at: 16, bytes: 4 }, base: 1, unit: "datagram" },
};

/** Data with 8 bytes of its own: part, zone and the offset in the block. */
function parts(name: string, rules: LayoutRules, ids: number, when: Match): LayoutCase {
  const packetId = ids === 20 ? extendedPacket : standardPacket;
  return {
    ...rules,
    name,
    when,
    header: ids + 8,
    place: { by: "offset", field: { at: ids + 2, bytes: 6 }, unit: 1 },
    control: null,
    lost: null,
    scatter: counted(round(rules, ids, packetId), packetId),
  };
}

/** It says that a datagram is not to be had, but not which bytes of the block were in it. */
const failedPart: LayoutCase = {
  name: "failed-part",
  when: { all: [failed, isFormat(MULTI_ZONE, MULTI_PART)] },
  header: 8,
  control: true,
  chunk: null,
  place: null,
  start: null,
  end: null,
  size: null,
  fields: null,
};

/** Leader, trailer and data of a whole block in one datagram. */
function allIn(name: string, rules: LayoutRules, ids: number, when: Match): LayoutCase {
  const type: Field = { at: ids + 2, bytes: 2, mask: "0x3fff" };
  return {
    ...rules,
    name,
    when,
    header: {
      base: ids,
      add: [
        { plus: 36 + 8, when: { field: type, is: IMAGE } },
        { plus: 20 + 4, when: { field: type, is: RAW_DATA } },
        { plus: 8, when: { field: { at: ids + 2, bytes: 2, mask: "0x4000" }, is: WITH_CHUNKS } },
      ],
    },
    place: { by: "offset", field: { value: 0 }, unit: "datagram" },
    control: null,
    start: true,
    end: true,
    size: null,
    scatter: null,
  };
}

/** What scatter sends round a block: an image's leader and trailer where the user gives a width, else a raw block's. */
function round(rules: LayoutRules, ids: number, packetId: Field): Scatter {
  const common = (kind: number, type: number): Setting[] => [
    { field: { at: 4, bytes: 1 }, to: kind + (ids === 20 ? 0x80 : 0) },
    { field: blockId(rules), to: "chunk" },
    { field: { at: ids + 2, bytes: 2 }, to: type },
  ];
  const stamp: Setting = { field: { at: ids + 4, bytes: 8 }, to: "timestamp" };
  const last: Setting = { field: packetId, to: "datagrams", plus: 1 };
  const word = (at: number, to: string): Setting => ({ field: { at: ids + at, bytes: 4 }, to });
  const image = [word(12, "pixelFormat"), word(16, "width"), word(20, "height")];
  return {
    before: [
      { if: "width", bytes: ids + 36, set: [...common(LEADER, IMAGE), stamp, ...image] },
      {
        unless: "width",
        bytes: ids + 20,
        set: [...common(LEADER, RAW_DATA), stamp, { field: { at: ids + 12, bytes: 8 }, to: "size" }],
      },
    ],
    after: [
      { if: "width", bytes: ids + 8, set: [...common(TRAILER, IMAGE), last, word(4, "height")] },
      { unless: "width", bytes: ids + 4, set: [...common(TRAILER, RAW_DATA), last] },
    ],
  };
}

function blockId(rules: LayoutRules): Field {
  const { ids: _, first: _first, last: _last, ...field } = rules.chunk as Field & ChunkIds;
  return field;
}

const standardPacket: Field = { at: 5, bytes: 3 };
const extendedPacket: Field = { at: 16, bytes: 4 };

/** Data with an offset of its own still counts its datagrams; an all-in block has nothing round it. */
const counted = (scatter: Scatter, packetId: Field): Scatter => ({
  ...scatter,
  set: [{ field: packetId, to: "datagram", plus: 1 }],
});

export const gvsp: Layout = {
  name: "gvsp",
  description: "GigE Vision streams: images and raw blocks, standard and extended ids, all-in, multi-part",
  when: {
    any: [
      isFormat(LEADER, TRAILER, DATA, MULTI_ZONE, MULTI_PART),
      {
        all: [isFormat(ALL_IN), { field: payloadType, is: [IMAGE, RAW_DATA] }],
      },
    ],
  },
  ...standard,
  control: isFormat(LEADER, TRAILER),
  lost: failed,
  start: isFormat(LEADER),
  end: isFormat(TRAILER),
  size,
  fields,
  scatter: round(standard, 8, standardPacket),
  cases: [
    failedPart,
    parts("extended-multi-part", extendedIds, 20, { all: [extended, isFormat(MULTI_ZONE, MULTI_PART)] }),
    allIn("extended-all-in", extendedIds, 20, { all: [extended, isFormat(ALL_IN)] }),
    { ...extendedIds, name: "extended", when: extended, scatter: round(extendedIds, 20, extendedPacket) },
    parts("multi-part", standard, 8, isFormat(MULTI_ZONE, MULTI_PART)),
    allIn("all-in", standard, 8, isFormat(ALL_IN)),
  ],
};
