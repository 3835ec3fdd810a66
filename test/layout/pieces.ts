// Whole datagrams out of a scatter plan: header, slice of the chunk, tail.
import { SEND_DATA, SEND_DATA_LENGTH, SEND_HEADER, SEND_HEADER_LENGTH } from "../../src/kernels/structs.js";
import { WASM } from "../../src/kernels/webassembly.js";
import type { ScatterPlan } from "../../src/layout/scatter.js";

export interface SentChunk {
  readonly id: bigint;
  /** Control datagrams before the data, and datagrams of data. */
  readonly before: number;
  readonly data: number;
  readonly datagrams: Uint8Array[];
  /** Bytes of the chunk in each datagram of data. */
  readonly lengths: readonly number[];
}

export type Sender = (chunk: Uint8Array, ordinal: number) => SentChunk;

export function makeSender(plan: ScatterPlan): Sender & { stops(): Uint8Array[] } {
  const memory = new WASM.Memory({ initial: 2, maximum: 2, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  const [region, table, header] = [8192, 1024, 65536];
  const scatterer = plan.instantiate(memory, region);
  const control = (write: (address: number) => number) => {
    const length = write(header);
    return bytes.slice(header, header + length);
  };
  const send: Sender = (chunk, ordinal) => {
    const { id, before, datagrams, after } = scatterer.begin(chunk.length, ordinal);
    const made: Uint8Array[] = [];
    const lengths: number[] = [];
    for (let index = 0; index < before; index++)
      made.push(control((address) => scatterer.control(index, address)));
    for (let index = 0; index < datagrams; index++) {
      view.setUint32(table + SEND_HEADER, header, true);
      scatterer.headers(table, index, 1);
      const data = view.getUint32(table + SEND_DATA, true);
      const length = view.getUint32(table + SEND_DATA_LENGTH, true);
      const tail = header + view.getUint32(table + SEND_HEADER_LENGTH, true);
      lengths.push(length);
      made.push(
        Uint8Array.from([
          ...bytes.subarray(header, tail),
          ...chunk.subarray(data, data + length),
          ...bytes.subarray(tail, tail + plan.tailBytes),
        ]),
      );
    }
    for (let index = 0; index < after; index++)
      made.push(control((address) => scatterer.control(before + index, address)));
    return { id, before, data: datagrams, datagrams: made, lengths };
  };
  const stops = () =>
    Array.from({ length: scatterer.stops }, (_, index) =>
      control((address) => scatterer.stop(index, address)),
    );
  return Object.assign(send, { stops });
}
