import { MillraceError } from "../../errors.js";
import { freeRegion } from "../../memory/region.js";
import type { Bar, Bus } from "../bus/bus.js";
import { countInterrupts, raise } from "../bus/interrupts.js";
import { checkAccess, createWindowBar } from "../bus/window.js";
import { COMMAND, COMMAND_BUS_MASTER } from "./config.js";
import type { ModelBar } from "./device.js";
import { enter, type Ledger, type LedgerField, readLedger } from "./ledger.js";
import type { Slot } from "./machine.js";
import {
  ANSWER_HIGH,
  ANSWER_LOW,
  ASK_CLOSE,
  ASK_CONFIG_READ,
  ASK_CONFIG_WRITE,
  ASK_MAP,
  ASK_READ,
  ASK_RESET,
  ASK_UNMAP,
  ASK_UNMASK,
  ASK_VECTORS,
  ASK_WRITE,
  ask,
  COUNTER_STRIDE,
  COUNTERS,
  FAULT_HIGH,
  FAULT_LOW,
  FAULT_WRITE,
  MAILBOX_BYTES,
  type MailboxClient,
  post,
} from "./mailbox.js";

/** A bus to a modelled device. What it can tell beyond a real one is for those who look on, never for a driver. */
export interface ModelBus extends Bus {
  ledger(): Ledger;
  /** The last access that the IOMMU stopped, if there was one. */
  lastFault(): { readonly iova: number; readonly write: boolean } | undefined;
}

export interface ModelBusPlace {
  readonly name: string;
  readonly slot: Slot;
  readonly bars: readonly ModelBar[];
  readonly dmaBits: number;
  /** Called once, after the device has left the machine. */
  readonly closed: () => Promise<void>;
}

/** The driver's side of a modelled device: every call becomes requests in the device's mailbox. */
export function createModelBus(client: MailboxClient, place: ModelBusPlace): ModelBus {
  const { arena, mailbox } = client;
  const { name, slot } = place;
  let open = true;
  const request = (word: number, offset: number, low = 0, high = 0) => {
    if (!open) throw new MillraceError("ERR_CLOSED", `${name} is closed`);
    return ask(client, word, offset, low, high);
  };
  const answer = () => arena.u32[(mailbox + ANSWER_LOW) >>> 2];
  const bus: ModelBus = {
    name,
    arena,
    get identity() {
      const ids = bus.configRead(0x00, 4);
      const kind = bus.configRead(0x08, 4);
      return { vendor: ids & 0xffff, device: ids >>> 16, revision: kind & 0xff, classCode: kind >>> 8 };
    },
    configRead: (offset, bytes) => {
      request(ASK_CONFIG_READ | (bytes << 16), offset);
      return answer();
    },
    configWrite: (offset, bytes, value) => {
      request(ASK_CONFIG_WRITE | (bytes << 16), offset, value);
    },
    bar: (index) => {
      const bar = place.bars.find((entry) => entry.index === index);
      if (bar === undefined) throw new MillraceError("ERR_DEVICE", `${name} has no BAR ${index}`);
      const window = slot.windows.get(index);
      if (window === undefined) return registerBar(client, bar, () => open, name);
      return entered(client, createWindowBar(arena, index, window, bar.bytes));
    },
    bias: slot.bias,
    map: (offset, bytes) => {
      const iova = offset + slot.bias;
      if (iova + bytes > 2 ** place.dmaBits)
        throw new MillraceError(
          "ERR_DEVICE",
          `${name} drives ${place.dmaBits} bits of address: it cannot reach ${iova + bytes - 1}`,
          { hint: "make a smaller arena" },
        );
      if (!request(ASK_MAP, offset, bytes))
        throw new MillraceError("ERR_DEVICE", `${name}: ${bytes} bytes at ${offset} cannot be mapped`, {
          hint: "both are multiples of 4096, and no byte is mapped twice",
        });
      return iova;
    },
    unmap: (offset, bytes) => {
      if (!request(ASK_UNMAP, offset, bytes))
        throw new MillraceError("ERR_DEVICE", `${name}: ${bytes} bytes at ${offset} are not mapped`);
    },
    interruptKind: slot.interruptKind,
    vectors: slot.vectors,
    enableInterrupts: (count) => {
      if (count > slot.vectors)
        throw new MillraceError("ERR_DEVICE", `${name} has ${slot.vectors} interrupt vectors, not ${count}`);
      request(ASK_VECTORS, 0, count);
    },
    counter: (vector) => mailbox + COUNTERS + vector * COUNTER_STRIDE,
    interrupts: (vector, signal) => countInterrupts(arena, bus.counter(vector), () => !open, signal),
    unmask: () => {
      if (slot.interruptKind === "intx") request(ASK_UNMASK, 0);
    },
    setBusMaster: (on) => {
      const command = bus.configRead(COMMAND, 2) & ~COMMAND_BUS_MASTER;
      bus.configWrite(COMMAND, 2, command | (on ? COMMAND_BUS_MASTER : 0) | 3);
    },
    reset: () => {
      request(ASK_RESET, 0);
    },
    close: async () => {
      if (!open) return;
      request(ASK_RESET, 0);
      request(ASK_CLOSE, 0);
      open = false;
      for (let vector = 0; vector < slot.vectors; vector++) raise(arena, bus.counter(vector), 0);
      await place.closed();
      freeRegion(arena, mailbox, MAILBOX_BYTES);
    },
    ledger: () => readLedger(arena, mailbox),
    lastFault: () => {
      if (readLedger(arena, mailbox).faults === 0) return undefined;
      const word = (at: number) => arena.u32[(mailbox + at) >>> 2];
      return { iova: word(FAULT_HIGH) * 2 ** 32 + word(FAULT_LOW), write: word(FAULT_WRITE) === 1 };
    },
  };
  return bus;
}

/** Registers, or port I/O: each access is one request. */
function registerBar(client: MailboxClient, bar: ModelBar, open: () => boolean, name: string): Bar {
  const { arena, mailbox } = client;
  const what = `BAR ${bar.index} of ${name}`;
  const check = (offset: number, width: number) => {
    if (!open()) throw new MillraceError("ERR_CLOSED", `${name} is closed`);
    checkAccess(what, bar.bytes, offset, width);
    return (bar.index << 8) | (width << 16);
  };
  const read = (offset: number, width: number) => {
    ask(client, ASK_READ | check(offset, width), offset, 0, 0);
    return arena.u32[(mailbox + ANSWER_LOW) >>> 2];
  };
  const submit = bar.space === "io" ? ask : post;
  const write = (offset: number, width: number, low: number, high = 0) => {
    submit(client, ASK_WRITE | check(offset, width), offset, low, high);
  };
  return {
    index: bar.index,
    bytes: bar.bytes,
    space: bar.space,
    window: undefined,
    read8: (offset) => read(offset, 1),
    read16: (offset) => read(offset, 2),
    read32: (offset) => read(offset, 4),
    read64: (offset) => {
      const low = BigInt(read(offset, 8));
      return (BigInt(arena.u32[(mailbox + ANSWER_HIGH) >>> 2]) << 32n) | low;
    },
    write8: (offset, value) => write(offset, 1, value & 0xff),
    write16: (offset, value) => write(offset, 2, value & 0xffff),
    write32: (offset, value) => write(offset, 4, value),
    write64: (offset, value) =>
      write(offset, 8, Number(BigInt.asUintN(32, value)), Number(BigInt.asUintN(32, value >> 32n))),
  };
}

/** The same range with its accesses entered in the ledger: the machine does not see accesses to plain memory. */
function entered(client: MailboxClient, bar: Bar): Bar {
  const count = <Result>(field: LedgerField, bytes: number, result: Result) => {
    enter(client.arena, client.mailbox, field, bytes);
    return result;
  };
  return {
    ...bar,
    read8: (offset) => count("mmioReads", 1, bar.read8(offset)),
    read16: (offset) => count("mmioReads", 2, bar.read16(offset)),
    read32: (offset) => count("mmioReads", 4, bar.read32(offset)),
    read64: (offset) => count("mmioReads", 8, bar.read64(offset)),
    write8: (offset, value) => count("mmioWrites", 1, bar.write8(offset, value)),
    write16: (offset, value) => count("mmioWrites", 2, bar.write16(offset, value)),
    write32: (offset, value) => count("mmioWrites", 4, bar.write32(offset, value)),
    write64: (offset, value) => count("mmioWrites", 8, bar.write64(offset, value)),
  };
}
