import { MillraceError } from "../../errors.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { Bus, BusOptions, OpenBus } from "./bus.js";

/** The ways to a device: what its name looks like, and who opens it, loaded when first used. */
const BUSES: readonly { readonly name: RegExp; readonly load: () => Promise<OpenBus> }[] = [
  {
    name: /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/,
    load: async () => (await import("../vfio/bus.js")).openVfioBus,
  },
  { name: /@model$/, load: async () => (await import("../model/open.js")).openModelBus },
];

/** Opens the way to the device `name`: `0000:00:10.0` bound to vfio-pci, or `e1000e@model`. Throws ERR_DEVICE. */
export async function openBus(arena: ArenaMemory, name: string, options: BusOptions = {}): Promise<Bus> {
  const bus = BUSES.find((candidate) => candidate.name.test(name));
  if (bus === undefined)
    throw new MillraceError("ERR_DEVICE", `"${name}" names no device`, {
      hint: "write a PCI address as 0000:00:10.0, or a model as e1000e@model",
    });
  return (await bus.load())(arena, name, options);
}
