import { MillraceError } from "../../errors.js";
import type { Bus } from "../bus/bus.js";
import type { MakeModel } from "../model/device.js";

// A buffer on the device, mapped into the address space: the processor stores the packet there, four bytes an
// access, and then says how long it is.

const LENGTH = 0; // BAR 0: writing it sends that many bytes of BAR 1
const STATUS = 4; // bit 0: sent
const BUFFER = 16384;

export const makeSharedMemory: (sent: (frame: Uint8Array) => void) => MakeModel = (sent) => (host) => {
  let done = 0;
  return {
    vendor: 0x1d6d,
    device: 0x0002,
    revision: 0,
    classCode: 0x020000,
    bars: [
      { index: 0, bytes: 16, space: "memory" },
      { index: 1, bytes: BUFFER, space: "memory", plain: true },
    ],
    vectors: 0,
    read: (_bar, offset) => (offset === STATUS ? done : 0),
    write: (_bar, offset, _bytes, value) => {
      if (offset !== LENGTH) return;
      sent(host.plain(1).slice(0, Math.min(Number(value), BUFFER)));
      done = 1;
    },
    work: () => false,
    reset: () => {
      done = 0;
    },
  };
};

/** Sends one packet: a quarter as many memory-mapped writes as it has bytes. */
export function sendBySharedMemory(bus: Bus, address: number, bytes: number): void {
  const { u8 } = bus.arena;
  const buffer = bus.bar(1);
  for (let i = 0; i < bytes; i += 4) {
    let word = 0;
    for (let j = 0; j < 4 && i + j < bytes; j++) word |= u8[address + i + j] << (8 * j);
    buffer.write32(i, word >>> 0);
  }
  const registers = bus.bar(0);
  registers.write32(LENGTH, bytes);
  if ((registers.read32(STATUS) & 1) === 0) throw new MillraceError("ERR_DEVICE", `${bus.name} did not send`);
}
