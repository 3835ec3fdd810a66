import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { MillraceError } from "../../errors.js";
import { type ArenaMemory, shareArena } from "../../memory/arena.js";
import { sweepWorker } from "../../memory/owners.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import { createModelBus, type ModelBus } from "./bus.js";
import type { ModelBar } from "./device.js";
import type { Slot } from "./machine.js";
import { MACHINE_GONE, MACHINE_WAKE, MAILBOX_BYTES } from "./mailbox.js";

export interface FitMessage {
  readonly model: string;
  readonly mailbox: number;
  readonly parameters: ReadonlyMap<string, string>;
}
export type FitAnswer =
  | {
      readonly ok: true;
      readonly bars: readonly ModelBar[];
      readonly slot: Slot;
      /** The machine's owner number in the arena. */
      readonly seat: number;
    }
  | { readonly ok: false; readonly message: string };

/** A machine in a thread of its own, as hardware runs beside the processor. */
export interface RunningMachine {
  fit(
    name: string,
    model: string,
    parameters: ReadonlyMap<string, string>,
    dmaBits: number,
  ): Promise<ModelBus>;
}

/** Starts a machine. It ends when the last of its devices is closed; `ended` is called then. */
export function startMachine(arena: ArenaMemory, ended: () => void): RunningMachine {
  const shared = allocateRegion(arena, MAILBOX_BYTES);
  const worker = new Worker(new URL("./worker.js", import.meta.url), {
    workerData: { share: shareArena(arena), shared },
    name: "millrace-machine",
  });
  worker.unref();
  let failure: unknown;
  worker.on("error", (error) => {
    failure = error;
    Atomics.store(arena.u32, (shared + MACHINE_GONE) >>> 2, 1);
  });
  let devices = 0;
  let seat = 0;
  let turn: Promise<unknown> = Promise.resolve();
  const stop = async () => {
    devices--;
    if (devices > 0) return;
    ended();
    await worker.terminate();
    if (seat !== 0) sweepWorker(arena, seat);
    freeRegion(arena, shared, MAILBOX_BYTES);
  };
  const fit: RunningMachine["fit"] = async (name, model, parameters, dmaBits) => {
    const mailbox = allocateRegion(arena, MAILBOX_BYTES);
    worker.ref();
    worker.postMessage({ model, mailbox, parameters } satisfies FitMessage);
    Atomics.add(arena.u32, (shared + MACHINE_WAKE) >>> 2, 1);
    Atomics.notify(arena.i32, (shared + MACHINE_WAKE) >>> 2);
    const [reply] = (await once(worker, "message")) as [FitAnswer];
    worker.unref();
    if (!reply.ok) {
      freeRegion(arena, mailbox, MAILBOX_BYTES);
      throw new MillraceError("ERR_DEVICE", `${name}: ${reply.message}`, { cause: failure });
    }
    seat = reply.seat;
    return createModelBus(
      { arena, mailbox, machine: shared },
      { name, slot: reply.slot, bars: reply.bars, dmaBits, closed: stop },
    );
  };
  return {
    fit: (name, model, parameters, dmaBits) => {
      devices++;
      const next = turn.then(() => fit(name, model, parameters, dmaBits));
      turn = next.catch(() => stop()); // one at a time: an answer belongs to the last question
      return next;
    },
  };
}
