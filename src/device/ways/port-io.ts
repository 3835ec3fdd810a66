import { MillraceError } from "../../errors.js";
import type { Bus } from "../bus/bus.js";
import type { MakeModel } from "../model/device.js";

// Programmed I/O, as ISA network cards had it: the processor moves every word itself through one data port.

const DATA = 0; // 16 bits: the next word, in or out
const COUNT = 2; // 16 bits: bytes of the packet; writing it rewinds the data port
const COMMAND = 4; // 8 bits: 1 sends what was written
const STATUS = 6; // 8 bits, bit 0: sent
const BUFFER = 16384;

export const makePortIo: (sent: (frame: Uint8Array) => void) => MakeModel = (sent) => () => {
  const buffer = new Uint8Array(BUFFER);
  let at = 0;
  let count = 0;
  let done = 0;
  return {
    vendor: 0x1d6d,
    device: 0x0001,
    revision: 0,
    classCode: 0x020000,
    bars: [{ index: 0, bytes: 16, space: "io" }],
    vectors: 0,
    read: (_bar, offset) => (offset === STATUS ? done : 0),
    write: (_bar, offset, _bytes, value) => {
      const word = Number(value);
      if (offset === DATA) {
        buffer[at++ % BUFFER] = word;
        buffer[at++ % BUFFER] = word >>> 8;
      } else if (offset === COUNT) {
        count = Math.min(word, BUFFER);
        at = 0;
        done = 0;
      } else if (offset === COMMAND) {
        sent(buffer.slice(0, count));
        done = 1;
      }
    },
    work: () => false,
    reset: () => {
      at = 0;
    },
  };
};

/** Sends one packet: half as many port writes as it has bytes. */
export function sendByPortIo(bus: Bus, address: number, bytes: number): void {
  const { u8 } = bus.arena;
  const ports = bus.bar(0);
  ports.write16(COUNT, bytes);
  for (let i = 0; i < bytes; i += 2)
    ports.write16(DATA, u8[address + i] | (i + 1 < bytes ? u8[address + i + 1] << 8 : 0));
  ports.write8(COMMAND, 1);
  if ((ports.read8(STATUS) & 1) === 0) throw new MillraceError("ERR_DEVICE", `${bus.name} did not send`);
}
