import type { ArenaMemory } from "../../memory/arena.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import { createModelBus, type ModelBus } from "./bus.js";
import type { MakeModel } from "./device.js";
import { createMachine, fitDevice, stepMachine } from "./machine.js";
import { MAILBOX_BYTES } from "./mailbox.js";

/** A machine in this very thread: nothing in it moves but by `step`, and time but by `advance`. */
export interface StillMachine {
  /** Lets the machine work once. False: nothing was to be done. */
  step(): boolean;
  /** Steps until nothing is left to be done. */
  settle(): void;
  /** Moves the machine's clock, in microseconds. */
  advance(microseconds: number): void;
  /** Puts a device in and gives its driver's side. */
  fit(
    name: string,
    make: MakeModel,
    options?: { readonly parameters?: ReadonlyMap<string, string>; readonly dmaBits?: number },
  ): ModelBus;
  close(): void;
}

const MOST_STEPS = 1_000_000; // a device that is never done is a defect of its model

/** The modelled bus without a thread of its own: the same code, for tests and for measuring a driver alone. */
export function createStillMachine(arena: ArenaMemory): StillMachine {
  const shared = allocateRegion(arena, MAILBOX_BYTES);
  let microseconds = 0;
  const machine = createMachine(arena, () => microseconds);
  const step = () => stepMachine(machine);
  return {
    step,
    settle: () => {
      for (let turn = 0; turn < MOST_STEPS; turn++) if (!step()) return;
      throw new Error("a modelled device is never done with its work");
    },
    advance: (by) => {
      microseconds += by;
    },
    fit: (name, make, options = {}) => {
      const mailbox = allocateRegion(arena, MAILBOX_BYTES);
      const { model, slot } = fitDevice(machine, make, mailbox, options.parameters ?? new Map());
      return createModelBus(
        { arena, mailbox, machine: shared, step },
        {
          name,
          slot,
          bars: model.bars,
          dmaBits: options.dmaBits ?? 64,
          closed: async () => {
            step(); // the machine lets go of a closed device at the end of a step
          },
        },
      );
    },
    close: () => freeRegion(arena, shared, MAILBOX_BYTES),
  };
}
