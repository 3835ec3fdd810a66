import { MillraceError } from "../../errors.js";
import type { Bus } from "../bus/bus.js";
import { counterChange } from "../bus/interrupts.js";
import type { MakeModel } from "../model/device.js";

// A third party moves the words: an Intel 8237A with the page register beside it, one 16-bit channel as on the
// PC/AT's second controller. The processor programs address, count and mode port by port; the controller then
// takes the bus for each word until its terminal count.

const ADDRESS = 0x0; // the low word of the address, in words: low byte, then high byte
const COUNT = 0x1; // words to move, less one: low byte, then high byte
const MASK = 0xa; // single mask bit: 1 stops the channel, 0 lets it run
const MODE = 0xb;
const CLEAR_FLIP_FLOP = 0xc; // the next byte written is a low one
const STATUS = 0x8; // bit 0: terminal count reached; reading clears it
const PAGE = 0x10; // bits 17 to 23 of the address
const DEVICE_LENGTH = 0x12; // the device beside it: 16 bits, bytes of the packet it takes

const MODE_SINGLE_READ = 0x48; // memory to device, one transfer a request (8237A data sheet, Mode Register)
const PAGE_BYTES = 128 * 1024; // a 16-bit channel's counter wraps here
const REACH = 16 * 1024 * 1024;
const WORDS_A_STEP = 64;

export const makeDmaController: (sent: (frame: Uint8Array) => void) => MakeModel = (sent) => (host) => {
  const buffer = new Uint8Array(PAGE_BYTES);
  let flipFlop = false;
  let address = 0;
  let count = 0;
  let page = 0;
  let mode = 0;
  let masked = true;
  let terminal = 0;
  let moved = 0;
  let length = 0;
  const byte = (word: number, value: number) => {
    flipFlop = !flipFlop;
    return flipFlop ? (word & 0xff00) | value : (word & 0xff) | (value << 8);
  };
  return {
    vendor: 0x1d6d,
    device: 0x0003,
    revision: 0,
    classCode: 0x080101,
    bars: [{ index: 0, bytes: 32, space: "io" }],
    vectors: 1,
    read: (_bar, offset) => {
      const value = offset === STATUS ? terminal : 0;
      if (offset === STATUS) terminal = 0;
      return value;
    },
    write: (_bar, offset, _bytes, value) => {
      const word = Number(value);
      if (offset === ADDRESS) address = byte(address, word);
      else if (offset === COUNT) count = byte(count, word);
      else if (offset === CLEAR_FLIP_FLOP) flipFlop = false;
      else if (offset === MODE) mode = word;
      else if (offset === PAGE) page = word & 0xfe;
      else if (offset === DEVICE_LENGTH) {
        length = word;
        moved = 0;
      } else if (offset === MASK) masked = (word & 4) !== 0;
    },
    work: () => {
      if (masked || (mode & 0xfc) !== MODE_SINGLE_READ) return false;
      for (let i = 0; i < WORDS_A_STEP; i++) {
        // The word's address stays within its page: the page register does not count.
        const at = page * 0x10000 + ((address * 2) & (PAGE_BYTES - 1));
        host.dmaRead(at, buffer.subarray(moved, moved + 2));
        moved = (moved + 2) % PAGE_BYTES;
        address = (address + 1) & 0xffff;
        count = (count - 1) & 0xffff;
        if (count !== 0xffff) continue;
        masked = true;
        terminal = 1;
        sent(buffer.slice(0, Math.min(length, moved)));
        host.interrupt(0);
        return true;
      }
      return true;
    },
    reset: () => {
      masked = true;
    },
  };
};

/**
 * Sends one packet: a dozen port writes, and then a bus transaction for every word, none of them the processor's.
 * Throws ERR_DEVICE for an address the controller cannot drive: beyond 16 MiB, odd, or across 128 KiB.
 */
export async function sendByDmaController(bus: Bus, address: number, bytes: number): Promise<void> {
  const last = address + bytes - 1;
  if (
    last >= REACH ||
    address % 2 !== 0 ||
    Math.floor(address / PAGE_BYTES) !== Math.floor(last / PAGE_BYTES)
  )
    throw new MillraceError("ERR_DEVICE", `a DMA controller cannot move ${bytes} bytes at ${address}`, {
      hint: "below 16 MiB, even, and within one 128 KiB page; otherwise the bytes have to be copied there first",
    });
  const ports = bus.bar(0);
  const words = Math.ceil(bytes / 2) - 1;
  const start = (address % PAGE_BYTES) / 2;
  const seen = Atomics.load(bus.arena.u32, bus.counter(0) >>> 2);
  ports.write16(DEVICE_LENGTH, bytes);
  ports.write8(MASK, 4);
  ports.write8(CLEAR_FLIP_FLOP, 0);
  ports.write8(MODE, MODE_SINGLE_READ);
  ports.write8(ADDRESS, start & 0xff);
  ports.write8(ADDRESS, start >>> 8);
  ports.write8(PAGE, Math.floor(address / PAGE_BYTES) * 2);
  ports.write8(COUNT, words & 0xff);
  ports.write8(COUNT, words >>> 8);
  ports.write8(MASK, 0);
  await counterChange(bus.arena, bus.counter(0), seen, 1000);
  if ((ports.read8(STATUS) & 1) === 0) throw new MillraceError("ERR_DEVICE", `${bus.name} did not finish`);
}
