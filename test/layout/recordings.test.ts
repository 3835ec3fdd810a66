import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CUT_BY_DATAGRAM,
  CUT_END,
  CUT_FIELDS,
  CUT_IS_CONTROL,
  CUT_IS_DATA,
  CUT_SIZED,
  CUT_WHAT,
} from "../../src/kernels/structs.js";
import { compileLayout } from "../../src/layout/compile.js";
import { findLayout } from "../../src/layout/find.js";
import { readDatagrams } from "./capture.js";
import { makeCutter } from "./cutter.js";
import { referenceCuts } from "./reference.js";

const what = (flags: number) => flags & CUT_WHAT;

function recorded(name: string, ...ports: number[]): Uint8Array[] {
  return readDatagrams(new URL(`../../../test/data/gather/${name}`, import.meta.url))
    .filter(
      ({ source, destination }) =>
        ports.length === 0 || ports.includes(source) || ports.includes(destination),
    )
    .map(({ payload }) => payload);
}

/** The cuts of a recording, each compared with the reference's. */
function cutsOf(layout: string, datagrams: readonly Uint8Array[], parameters?: Record<string, number>) {
  const compiled = compileLayout(findLayout(layout), parameters);
  const cuts = makeCutter(compiled)(datagrams);
  datagrams.forEach((datagram, index) => {
    assert.deepEqual(cuts[index], referenceCuts(compiled.plan, datagram), `datagram ${index}`);
  });
  return { compiled, cuts };
}

interface Block {
  readonly bytes: Uint8Array;
  readonly fields: Record<string, bigint>;
  size: number;
  received: number;
  datagrams: number;
  ended: number | undefined;
}

/** Puts the blocks of a GigE Vision recording together the simplest way there is. */
function blocksOf(datagrams: readonly Uint8Array[]): Map<bigint, Block> {
  const { compiled, cuts } = cutsOf("gvsp", datagrams);
  const unit = Math.max(...cuts.map(([cut]) => (what(cut.flags) === CUT_IS_DATA ? cut.length : 0)));
  const blocks = new Map<bigint, Block>();
  cuts.forEach(([cut], index) => {
    const block = blocks.get(cut.chunk) ?? {
      bytes: new Uint8Array(1 << 16),
      fields: {},
      size: 0,
      received: 0,
      datagrams: 0,
      ended: undefined,
    };
    blocks.set(cut.chunk, block);
    const datagram = datagrams[index];
    assert.notEqual(cut.flags & CUT_BY_DATAGRAM, 0);
    if (cut.flags & CUT_FIELDS) Object.assign(block.fields, compiled.readFields(datagram, cut.kind));
    if (cut.flags & CUT_SIZED) block.size = Number(cut.size);
    if (cut.flags & CUT_END) block.ended = Number(cut.position);
    if (what(cut.flags) === CUT_IS_CONTROL) return;
    assert.equal(what(cut.flags), CUT_IS_DATA);
    block.bytes.set(datagram.subarray(cut.data, cut.data + cut.length), Number(cut.position) * unit);
    block.received += cut.length;
    block.datagrams++;
  });
  return blocks;
}

/** Stream datagrams of a recording that also holds the camera's control protocol (port 3956) and discovery. */
function streamOf(name: string): Uint8Array[] {
  return readDatagrams(new URL(`../../../test/data/gather/${name}`, import.meta.url))
    .filter(({ source, destination }) => source !== 3956 && destination !== 3956)
    .map(({ payload }) => payload);
}

test("each image of Aravis' fake camera comes out pixel by pixel, across the wrap of the block id", () => {
  const datagrams = streamOf("gvsp-aravis.pcap");
  assert.equal(datagrams.length, 1431);
  const blocks = blocksOf(datagrams);
  const ids = [...blocks.keys()];
  assert.deepEqual([ids.length, ids[0], ids[134], ids[135], ids[158]], [159, 65401n, 65535n, 1n, 24n]);
  for (const [id, { bytes, fields, size, received, datagrams: count, ended }] of blocks) {
    assert.deepEqual([fields.width, fields.height, fields.pixelFormat], [128n, 64n, 0x01080001n]);
    assert.deepEqual([size, received, ended], [8192, 8192, count]);
    for (let y = 0; y < 64; y++)
      for (let x = 0; x < 128; x++) assert.equal(bytes[y * 128 + x], (x + y + Number(id)) % 255);
  }
});

test("with losses as many images are whole as Aravis' own receiver completed", () => {
  const datagrams = streamOf("gvsp-aravis-loss.pcap");
  assert.equal(datagrams.length, 691);
  const blocks = [...blocksOf(datagrams).values()];
  const whole = blocks.filter(
    ({ received, ended, fields }) => received === 8192 && ended === 7 && "width" in fields,
  );
  assert.equal(blocks.length, 78);
  assert.equal(whole.length, 69);
  assert.equal(blocks.filter(({ received }) => received < 8192).length, 6);
});

test("rows that ffmpeg sent as RFC 4175 stand where ffmpeg drew them", () => {
  const datagrams = recorded("rfc4175-ffmpeg.pcap");
  const { cuts } = cutsOf("rfc4175", datagrams, { stride: 640, pixel: 2 });
  const frames = new Map<bigint, { bytes: Uint8Array; received: number; ended: boolean }>();
  cuts.forEach((ofOne, index) => {
    for (const cut of ofOne) {
      if (what(cut.flags) === CUT_IS_CONTROL) continue;
      assert.equal(what(cut.flags), CUT_IS_DATA);
      const frame = frames.get(cut.chunk) ?? { bytes: new Uint8Array(640 * 240), received: 0, ended: false };
      frames.set(cut.chunk, frame);
      frame.bytes.set(datagrams[index].subarray(cut.data, cut.data + cut.length), Number(cut.position));
      frame.received += cut.length;
      frame.ended ||= (cut.flags & CUT_END) !== 0;
    }
  });
  assert.equal(frames.size, 4);
  for (const { received, ended } of frames.values()) assert.deepEqual([received, ended], [640 * 240, true]);
});

for (const [file, flavour] of [
  ["spead-64-40.pcap", 5],
  ["spead-64-48.pcap", 6],
] as const)
  test(`heaps that spead2 sent come out byte by byte (${file})`, () => {
    const datagrams = recorded(file);
    const { compiled, cuts } = cutsOf("spead", datagrams);
    const heaps = new Map<bigint, { bytes: Uint8Array; received: number }>();
    let stops = 0;
    cuts.forEach(([cut], index) => {
      assert.equal(compiled.streamText(cut.stream, 0n), `addressBytes=${flavour}`);
      if (what(cut.flags) === CUT_IS_CONTROL) {
        stops++;
        return;
      }
      assert.equal(what(cut.flags), CUT_IS_DATA);
      const heap = heaps.get(cut.chunk) ?? { bytes: new Uint8Array(Number(cut.size)), received: 0 };
      heaps.set(cut.chunk, heap);
      heap.bytes.set(datagrams[index].subarray(cut.data, cut.data + cut.length), Number(cut.position));
      heap.received += cut.length;
    });
    assert.equal(stops, 1);
    const k = [0, 1, 2, 3];
    assert.deepEqual([...heaps.keys()], [11n, 13n, 15n, 17n]);
    [...heaps.values()].forEach(({ bytes, received }, index) => {
      assert.equal(received, 50000 + 777 * k[index]);
      assert.ok(bytes.every((byte, i) => byte === ((7 * i + k[index]) & 255)));
    });
  });
