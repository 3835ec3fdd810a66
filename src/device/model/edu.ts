import type { MakeModel } from "./device.js";

// QEMU's educational device (docs/specs/edu.rst): registers in BAR 0, a DMA engine, a buffer of 4 KiB of its own.
const IDENTITY = 0x010000ed; // version 1.0
const BAR_BYTES = 1 << 20;
const BUFFER = 0x40000; // the buffer's address on the device's side of the DMA engine
const BUFFER_BYTES = 4096;
const STATUS_COMPUTING = 0x01;
const STATUS_INTERRUPT = 0x80;
const FACTORIAL_DONE = 0x01;
const DMA_DONE = 0x100;
const DMA_START = 0x01;
const DMA_TO_MEMORY = 0x02;
const DMA_INTERRUPT = 0x04;

/** The model of `edu`. It moves bytes only within its buffer, and drops address bits above its mask as QEMU's does. */
export const createEdu: MakeModel = (host) => {
  const addressMask = (1n << 28n) - 1n;
  const buffer = new Uint8Array(BUFFER_BYTES);
  let live = 0;
  let factorial = 0;
  let pending: number | undefined;
  let status = 0;
  let interrupts = 0;
  let dma = { source: 0n, destination: 0n, count: 0n, command: 0n };

  const raise = (reason: number) => {
    interrupts |= reason;
    if (interrupts !== 0) host.interrupt(0);
  };
  const move = () => {
    const toMemory = (Number(dma.command) & DMA_TO_MEMORY) !== 0;
    const inside = (toMemory ? dma.source : dma.destination) - BigInt(BUFFER);
    const outside = Number((toMemory ? dma.destination : dma.source) & addressMask);
    const fits =
      inside >= 0n && dma.count <= BigInt(BUFFER_BYTES) && inside <= BigInt(BUFFER_BYTES) - dma.count;
    if (fits) {
      const piece = buffer.subarray(Number(inside), Number(inside + dma.count));
      if (toMemory) host.dmaWrite(outside, piece);
      else host.dmaRead(outside, piece);
    }
    dma.command &= ~BigInt(DMA_START);
    if ((Number(dma.command) & DMA_INTERRUPT) !== 0) raise(DMA_DONE);
  };

  return {
    vendor: 0x1234,
    device: 0x11e8,
    revision: 0x10,
    classCode: 0x00ff00,
    bars: [{ index: 0, bytes: BAR_BYTES, space: "memory" }],
    vectors: 1,
    read: (_bar, offset) => {
      if (offset === 0x00) return IDENTITY;
      if (offset === 0x04) return live;
      if (offset === 0x08) return factorial;
      if (offset === 0x20) return status;
      if (offset === 0x24) return interrupts;
      if (offset === 0x80) return dma.source;
      if (offset === 0x88) return dma.destination;
      if (offset === 0x90) return dma.count;
      if (offset === 0x98) return dma.command;
      return 0xffffffff;
    },
    write: (_bar, offset, _bytes, value) => {
      const word = Number(BigInt.asUintN(32, BigInt(value)));
      if (offset === 0x04) live = ~word >>> 0;
      else if (offset === 0x08 && pending === undefined) {
        pending = word;
        status |= STATUS_COMPUTING;
      } else if (offset === 0x20) status = (status & STATUS_COMPUTING) | (word & STATUS_INTERRUPT);
      else if (offset === 0x60) raise(word);
      else if (offset === 0x64) interrupts &= ~word;
      else if ((Number(dma.command) & DMA_START) !== 0)
        return; // its registers keep still while it works
      else if (offset === 0x80) dma.source = BigInt(value);
      else if (offset === 0x88) dma.destination = BigInt(value);
      else if (offset === 0x90) dma.count = BigInt(value);
      else if (offset === 0x98) dma.command = BigInt(value);
    },
    asserted: () => interrupts !== 0,
    work: () => {
      let busy = false;
      if (pending !== undefined) {
        factorial = 1;
        for (let i = 2; i <= pending && factorial !== 0; i++) factorial = Math.imul(factorial, i) >>> 0;
        pending = undefined;
        status &= ~STATUS_COMPUTING;
        if ((status & STATUS_INTERRUPT) !== 0) raise(FACTORIAL_DONE);
        busy = true;
      }
      if ((Number(dma.command) & DMA_START) !== 0) {
        move();
        busy = true;
      }
      return busy;
    },
    reset: () => {
      live = factorial = status = interrupts = 0;
      pending = undefined;
      dma = { source: 0n, destination: 0n, count: 0n, command: 0n };
      buffer.fill(0);
    },
  };
};
