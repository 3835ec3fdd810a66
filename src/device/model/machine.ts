import { MillraceError } from "../../errors.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import type { InterruptKind } from "../bus/bus.js";
import { raise } from "../bus/interrupts.js";
import {
  COMMAND,
  COMMAND_BUS_MASTER,
  type ConfigSpace,
  configRead,
  configWrite,
  createConfig,
} from "./config.js";
import type { MakeModel, ModelDevice, ModelHost } from "./device.js";
import { type Iommu, iommuMap, iommuUnmap, translate } from "./iommu.js";
import { enter } from "./ledger.js";
import {
  ANSWER_HIGH,
  ANSWER_LOW,
  ANSWER_OK,
  ANSWERED,
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
  COUNTER_STRIDE,
  COUNTERS,
  ENTRIES,
  ENTRY_COUNT,
  ENTRY_SIZE,
  FAULT_HIGH,
  FAULT_LOW,
  FAULT_WRITE,
  POSTED,
  TAKEN,
} from "./mailbox.js";

/** Where the driver finds a device that the machine has taken in. */
export interface Slot {
  readonly mailbox: number;
  /** Arena offset of the memory of each plain BAR, by index. */
  readonly windows: ReadonlyMap<number, number>;
  readonly bias: number;
  readonly interruptKind: InterruptKind;
  /** How many vectors it has so. */
  readonly vectors: number;
}

/** One device in the machine, with its configuration space, IOMMU and mailbox. */
interface Fitted extends Slot {
  readonly model: ModelDevice;
  readonly config: ConfigSpace;
  readonly iommu: Iommu;
  vectorsOn: number;
  /** INTx: the line was masked as it fired, and fires again only once it is unmasked. */
  masked: boolean;
  closed: boolean;
}

/** A computer's bus in software. It runs when `step` is called: in a thread of its own, or in the driver's. */
export interface Machine {
  readonly arena: ArenaMemory;
  readonly now: () => number;
  readonly devices: Fitted[];
}

export function createMachine(arena: ArenaMemory, now: () => number): Machine {
  return { arena, now, devices: [] };
}

const REQUESTS_A_STEP = 64;

/** Puts a device into the machine. Its driver reaches it through the slot's mailbox from then on. */
export function fitDevice(
  machine: Machine,
  make: MakeModel,
  mailbox: number,
  parameters: ReadonlyMap<string, string>,
): { readonly model: ModelDevice; readonly slot: Slot } {
  const { arena } = machine;
  const bias = Number(parameters.get("bias") ?? 0);
  if (!Number.isSafeInteger(bias) || bias < 0 || bias % 4096 !== 0)
    throw new MillraceError("ERR_DEVICE", `bias=${parameters.get("bias")} is not a multiple of 4096`);
  const interruptKind = readKind(parameters.get("interrupts") ?? "msix");
  const windows = new Map<number, number>();
  const iommu: Iommu = { ranges: [] };
  const host: ModelHost = {
    now: machine.now,
    interruptKind,
    dmaRead: (iova, into) => {
      const at = reach(fitted, arena, iova, into.length, false);
      if (at < 0) return false;
      into.set(arena.u8.subarray(at, at + into.length));
      enter(arena, mailbox, "dmaReads", into.length);
      return true;
    },
    dmaWrite: (iova, from) => {
      const at = reach(fitted, arena, iova, from.length, true);
      if (at < 0) return false;
      arena.u8.set(from, at);
      enter(arena, mailbox, "dmaWrites", from.length);
      return true;
    },
    dmaFlag: (iova, value) => {
      const at = reach(fitted, arena, iova, 4, true);
      if (at < 0) return false;
      Atomics.store(arena.u32, at >>> 2, value);
      enter(arena, mailbox, "dmaWrites", 4);
      return true;
    },
    interrupt: (vector) => {
      if (interruptKind === "intx") pullLine(arena, fitted);
      else if (interruptKind === "msi") fire(arena, fitted, 0);
      else fire(arena, fitted, vector);
    },
    plain: (bar) => {
      const at = windows.get(bar)!;
      return arena.u8.subarray(at, at + model.bars.find((entry) => entry.index === bar)!.bytes);
    },
  };
  const model = make(host, parameters);
  for (const bar of model.bars)
    if (bar.plain === true) windows.set(bar.index, allocateRegion(arena, bar.bytes));
  const kind = model.vectors === 0 ? "none" : interruptKind;
  const vectors = kind === "msix" || kind === "none" ? model.vectors : 1;
  const slot: Slot = { mailbox, windows, bias, interruptKind: kind, vectors };
  const config = createConfig(model, kind);
  const fitted: Fitted = { ...slot, model, config, iommu, vectorsOn: 0, masked: false, closed: false };
  machine.devices.push(fitted);
  return { model, slot };
}

function readKind(text: string): InterruptKind {
  if (text === "msix" || text === "msi" || text === "intx") return text;
  throw new MillraceError("ERR_DEVICE", `interrupts=${text} is none of msix, msi, intx`);
}

function fire(arena: ArenaMemory, fitted: Fitted, vector: number): void {
  if (vector >= fitted.vectorsOn) return;
  enter(arena, fitted.mailbox, "interrupts");
  raise(arena, fitted.mailbox + COUNTERS + vector * COUNTER_STRIDE);
}

/** An interrupt line is a level: it fires while it is asserted, and is masked as it fires so that it does so once. */
function pullLine(arena: ArenaMemory, fitted: Fitted): void {
  if (fitted.masked || fitted.vectorsOn === 0 || fitted.model.asserted?.() !== true) return;
  fitted.masked = true;
  fire(arena, fitted, 0);
}

/** The arena offset a bus master's access goes to, or -1 after entering the fault. */
function reach(fitted: Fitted, arena: ArenaMemory, iova: number, bytes: number, write: boolean): number {
  const mastering = (configRead(fitted.config, COMMAND, 2) & COMMAND_BUS_MASTER) !== 0;
  const at = mastering ? translate(fitted.iommu, iova, bytes) : -1;
  if (at >= 0) return at;
  const { mailbox } = fitted;
  enter(arena, mailbox, "faults");
  arena.u32[(mailbox + FAULT_LOW) >>> 2] = iova % 2 ** 32;
  arena.u32[(mailbox + FAULT_HIGH) >>> 2] = iova / 2 ** 32;
  arena.u32[(mailbox + FAULT_WRITE) >>> 2] = write ? 1 : 0;
  return -1;
}

/** Serves requests and lets each device work, a bounded piece. False: there was nothing to do. */
export function stepMachine(machine: Machine): boolean {
  let busy = false;
  for (const fitted of machine.devices) {
    if (serve(machine.arena, fitted)) busy = true;
    if (!fitted.closed && fitted.model.work()) busy = true;
  }
  for (let index = machine.devices.length - 1; index >= 0; index--)
    if (machine.devices[index].closed) machine.devices.splice(index, 1);
  return busy;
}

/** True while a request waits that no step has seen. */
export function hasRequests(machine: Machine): boolean {
  const { u32 } = machine.arena;
  return machine.devices.some(
    ({ mailbox }) =>
      Atomics.load(u32, (mailbox + POSTED) >>> 2) !== Atomics.load(u32, (mailbox + TAKEN) >>> 2),
  );
}

function serve(arena: ArenaMemory, fitted: Fitted): boolean {
  const { u32 } = arena;
  const { mailbox } = fitted;
  let taken = u32[(mailbox + TAKEN) >>> 2];
  const posted = Atomics.load(u32, (mailbox + POSTED) >>> 2);
  if (taken === posted) return false;
  for (let done = 0; done < REQUESTS_A_STEP && taken !== posted; done++) {
    const at = (mailbox + ENTRIES + (taken % ENTRY_COUNT) * ENTRY_SIZE) >>> 2;
    taken = (taken + 1) >>> 0;
    const answer = perform(arena, fitted, at);
    if (answer !== undefined) reply(arena, mailbox, taken, answer);
    Atomics.store(u32, (mailbox + TAKEN) >>> 2, taken);
  }
  Atomics.notify(arena.i32, (mailbox + TAKEN) >>> 2);
  return true;
}

/** What goes back to the driver: a value, `refused`, or nothing where the request was posted. */
type Answer = bigint | number | "refused" | undefined;

function perform(arena: ArenaMemory, fitted: Fitted, at: number): Answer {
  const { mailbox, model, config, iommu } = fitted;
  const [word, offset, low, high] = arena.u32.subarray(at, at + 4);
  const bar = (word >>> 8) & 0xff;
  const width = (word >>> 16) & 0xff;
  const port = model.bars.find((entry) => entry.index === bar)?.space === "io";
  switch (word & 0xff) {
    case ASK_READ:
      enter(arena, mailbox, port ? "portReads" : "mmioReads", width);
      return model.read(bar, offset, width);
    case ASK_WRITE:
      enter(arena, mailbox, port ? "portWrites" : "mmioWrites", width);
      model.write(bar, offset, width, width === 8 ? (BigInt(high) << 32n) | BigInt(low) : low);
      return port ? 0 : undefined;
    case ASK_CONFIG_READ:
      enter(arena, mailbox, "configReads");
      return configRead(config, offset, width);
    case ASK_CONFIG_WRITE:
      enter(arena, mailbox, "configWrites");
      configWrite(config, offset, width, low);
      return 0;
    case ASK_MAP:
      return iommuMap(iommu, offset + fitted.bias, offset, low) ? 0 : "refused";
    case ASK_UNMAP:
      return iommuUnmap(iommu, offset + fitted.bias, low) ? 0 : "refused";
    case ASK_VECTORS:
      fitted.vectorsOn = Math.min(low, fitted.vectors);
      fitted.masked = false;
      if (fitted.interruptKind === "intx") pullLine(arena, fitted);
      return 0;
    case ASK_UNMASK:
      fitted.masked = false;
      pullLine(arena, fitted);
      return 0;
    case ASK_RESET:
      configWrite(config, COMMAND, 2, configRead(config, COMMAND, 2) & ~COMMAND_BUS_MASTER);
      fitted.vectorsOn = 0;
      model.reset();
      return 0;
    case ASK_CLOSE:
      takeOut(arena, fitted);
      return 0;
    default:
      return "refused";
  }
}

function takeOut(arena: ArenaMemory, fitted: Fitted): void {
  fitted.closed = true;
  fitted.vectorsOn = 0;
  fitted.iommu.ranges.length = 0;
  fitted.model.close?.();
  for (const bar of fitted.model.bars) {
    const window = fitted.windows.get(bar.index);
    if (window !== undefined) freeRegion(arena, window, bar.bytes);
  }
}

function reply(
  arena: ArenaMemory,
  mailbox: number,
  number: number,
  answer: bigint | number | "refused",
): void {
  const value = BigInt.asUintN(64, answer === "refused" ? 0n : BigInt(answer));
  arena.u32[(mailbox + ANSWER_LOW) >>> 2] = Number(value & 0xffffffffn);
  arena.u32[(mailbox + ANSWER_HIGH) >>> 2] = Number(value >> 32n);
  arena.u32[(mailbox + ANSWER_OK) >>> 2] = answer === "refused" ? 0 : 1;
  Atomics.store(arena.u32, (mailbox + ANSWERED) >>> 2, number);
  Atomics.notify(arena.i32, (mailbox + ANSWERED) >>> 2);
}
