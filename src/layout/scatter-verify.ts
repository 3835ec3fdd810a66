import {
  CUT_BY_DATAGRAM,
  CUT_BYTES,
  CUT_CHUNK,
  CUT_DATA,
  CUT_FLAGS,
  CUT_HAS_CHUNK,
  CUT_IS_DATA,
  CUT_LENGTH,
  CUT_POSITION,
  CUT_WHAT,
  DATAGRAM_HEAD,
  DATAGRAM_HEAD_LENGTH,
  DATAGRAM_HEAD_LIMIT,
  DATAGRAM_LENGTH,
  DATAGRAM_TAIL,
  SEND_DATA,
  SEND_DATA_LENGTH,
  SEND_HEADER,
  SEND_HEADER_LENGTH,
} from "../kernels/structs.js";
import { WASM } from "../kernels/webassembly.js";
import { compileLayout } from "./compile.js";
import type { ScatterPlan } from "./scatter.js";
import { unwritable } from "./scatter-errors.js";
import type { ScatterForm } from "./scatter-plan.js";
import type { Layout } from "./types.js";

const TABLE = 8192;
const DATAGRAM = 8256;
const CUT = 8320;
const BYTES = 16384;
const REGION = 2 ** 17; // behind the largest datagram

/** Makes the datagrams of a small chunk and reads them back with the layout's own cut program. */
export function verifyScatter(
  layout: Layout,
  parameters: Readonly<Record<string, number>> | undefined,
  plan: ScatterPlan,
  form: ScatterForm,
): void {
  const memory = new WASM.Memory({ initial: 3, maximum: 3, shared: true });
  const compiled = compileLayout(layout, parameters ?? {});
  const program = compiled.instantiate(memory);
  const scatterer = plan.instantiate(memory, REGION);
  const view = new DataView(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  const { most, rowBytes } = form;
  const chunk = form.single ? form.dataBytes : form.dataBytes + (most > 1 ? rowBytes : Number(form.granule));
  const { datagrams, id } = scatterer.begin(chunk, 0);
  for (let index = 0; index < datagrams; index++) {
    view.setUint32(TABLE + SEND_HEADER, BYTES, true);
    scatterer.headers(TABLE, index, 1);
    const data = view.getUint32(TABLE + SEND_DATA, true);
    const length = view.getUint32(TABLE + SEND_DATA_LENGTH, true);
    // The tail moves behind the data, of which only the first bytes are looked at.
    const header = view.getUint32(TABLE + SEND_HEADER_LENGTH, true);
    const whole = header + length + plan.tailBytes;
    if (whole > 65_535) throw unwritable(`a datagram of ${whole} bytes is too large`);
    const tail = bytes.slice(BYTES + header, BYTES + header + plan.tailBytes);
    bytes.fill(0, BYTES + header, BYTES + whole);
    bytes.set(tail, BYTES + header + length);
    view.setUint32(DATAGRAM + DATAGRAM_HEAD, BYTES, true);
    view.setUint32(DATAGRAM + DATAGRAM_HEAD_LENGTH, Math.min(whole, DATAGRAM_HEAD_LIMIT), true);
    view.setUint32(DATAGRAM + DATAGRAM_LENGTH, whole, true);
    view.setUint32(DATAGRAM + DATAGRAM_TAIL, BYTES + whole, true);
    const cuts = program.cut(DATAGRAM, 1, CUT, compiled.cutsPerDatagram);
    if (cuts < 1) throw unwritable("its own rules would not read them as data");
    let read = 0;
    for (let cut = CUT; cut < CUT + cuts * CUT_BYTES; cut += CUT_BYTES) {
      const flags = view.getUint32(cut + CUT_FLAGS, true);
      const position = view.getBigUint64(cut + CUT_POSITION, true);
      if ((flags & CUT_WHAT) !== CUT_IS_DATA) throw unwritable("its own rules would not read them as data");
      if (view.getUint32(cut + CUT_DATA, true) !== header + read)
        throw unwritable("their data would be read as another slice");
      const place = BigInt(flags & CUT_BY_DATAGRAM ? index : data + read);
      if (compiled.placement.by === "offset" && position !== place)
        throw unwritable("their data would be read as belonging elsewhere");
      if ((flags & CUT_HAS_CHUNK) !== 0 && view.getBigUint64(cut + CUT_CHUNK, true) !== id)
        throw unwritable("their chunk would be read as another");
      read += view.getUint32(cut + CUT_LENGTH, true);
    }
    if (read !== length) throw unwritable("their data would be read as another slice");
  }
}
