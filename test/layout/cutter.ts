// Puts datagrams into a memory, runs a compiled layout over them and reads the cuts back.
import {
  CUT_BYTES,
  CUT_CHANGED,
  CUT_CHUNK,
  CUT_DATA,
  CUT_DATAGRAM,
  CUT_FLAGS,
  CUT_KIND,
  CUT_LENGTH,
  CUT_POSITION,
  CUT_SIZE,
  CUT_STREAM_HIGH,
  CUT_STREAM_LOW,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_HEAD_LIMIT,
  DATAGRAM_LENGTH,
  DATAGRAM_SIZE,
  DATAGRAM_TAIL,
} from "../../src/kernels/structs.js";
import { WASM } from "../../src/kernels/webassembly.js";
import type { CompiledLayout } from "../../src/layout/compile.js";
import type { Cut } from "./reference.js";

export type Cutter = (datagrams: readonly Uint8Array[], capacity?: number) => Cut[][];

/** One call for each batch; each datagram's head and tail are put far apart, so that reads beyond either show. */
export function makeCutter(layout: CompiledLayout): Cutter {
  const memory = new WASM.Memory({ initial: 64, maximum: 64, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  const { cut } = layout.instantiate(memory);
  const table = 64;
  const out = 1 << 20;
  return (datagrams, capacity = 4096) => {
    const cuts: Cut[][] = datagrams.map(() => []);
    for (let first = 0; first < datagrams.length; ) {
      const batch = datagrams.slice(first, first + 64);
      let at = 2 << 20;
      batch.forEach((datagram, index) => {
        const entry = table + index * DATAGRAM_SIZE;
        const head = Math.min(datagram.length, DATAGRAM_HEAD_LIMIT);
        bytes.fill(0xee, at, at + head + 64);
        bytes.set(datagram.subarray(0, head), at);
        view.setUint32(entry + DATAGRAM_HEAD, at, true);
        view.setUint32(entry + DATAGRAM_HEAD_LENGTH, head, true);
        view.setUint32(entry + DATAGRAM_LENGTH, datagram.length, true);
        const tail = at + head + 32;
        const last = datagram.subarray(Math.max(0, datagram.length - 8));
        bytes.set(last, tail + 8 - last.length);
        view.setUint32(entry + DATAGRAM_TAIL, tail + 8, true);
        at += head + 64;
      });
      const written = cut(table, batch.length, out, capacity);
      for (let index = 0; index < written; index++)
        cuts[first + readDatagram(view, out, index)].push(readCut(view, out, index));
      if (written === 0) throw new Error("the program made no progress");
      first += readDatagram(view, out, written - 1) + 1;
    }
    return cuts;
  };
}

function readDatagram(view: DataView, out: number, index: number): number {
  return view.getUint32(out + index * CUT_BYTES + CUT_DATAGRAM, true);
}

function readCut(view: DataView, out: number, index: number): Cut {
  const at = out + index * CUT_BYTES;
  const long = (offset: number) => view.getBigUint64(at + offset, true);
  const word = (offset: number) => view.getUint32(at + offset, true);
  return {
    flags: word(CUT_FLAGS),
    stream: long(CUT_STREAM_LOW) | (long(CUT_STREAM_HIGH) << 64n),
    chunk: long(CUT_CHUNK),
    position: long(CUT_POSITION),
    size: long(CUT_SIZE),
    data: word(CUT_DATA),
    length: word(CUT_LENGTH),
    changed: long(CUT_CHANGED),
    kind: word(CUT_KIND),
  };
}
