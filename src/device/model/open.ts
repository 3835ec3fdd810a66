import type { ArenaMemory } from "../../memory/arena.js";
import type { BusOptions } from "../bus/bus.js";
import type { ModelBus } from "./bus.js";
import { type RunningMachine, startMachine } from "./thread.js";

// Cards on one wire live in one machine, so a machine is found again by its arena and its wire's name.
const machines = new WeakMap<SharedArrayBuffer, Map<string, RunningMachine>>();

/**
 * Opens a modelled device by its name, `e1000e@model`, in a machine with a thread of its own. Devices with the
 * same `wire` parameter share a machine.
 */
export async function openModelBus(arena: ArenaMemory, name: string, options: BusOptions): Promise<ModelBus> {
  const model = name.replace(/@model$/, "");
  const parameters = options.parameters ?? new Map<string, string>();
  const wire = parameters.get("wire");
  const dmaBits = options.dmaBits ?? 64;
  if (wire === undefined) return startMachine(arena, () => {}).fit(name, model, parameters, dmaBits);
  const known = machines.get(arena.buffer) ?? new Map<string, RunningMachine>();
  machines.set(arena.buffer, known);
  let machine = known.get(wire);
  if (machine === undefined) {
    machine = startMachine(arena, () => known.delete(wire));
    known.set(wire, machine);
  }
  return machine.fit(name, model, parameters, dmaBits);
}
