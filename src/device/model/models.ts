import { MillraceError } from "../../errors.js";
import type { MakeModel } from "./device.js";

/** Every device there is a model of, one line each. A model is loaded when it is first opened. */
const MODELS: Readonly<Record<string, () => Promise<MakeModel>>> = {
  virtio: async () => (await import("./virtio/model.js")).makeVirtio,
  edu: async () => (await import("./edu.js")).createEdu,
  e1000e: async () => (await import("./e1000e/model.js")).makeE1000e,
};

/** What makes the model `name` (`e1000e`). Throws ERR_DEVICE for one that does not exist. */
export async function findModel(name: string): Promise<MakeModel> {
  const load = Object.hasOwn(MODELS, name) ? MODELS[name] : undefined;
  if (load === undefined)
    throw new MillraceError("ERR_DEVICE", `there is no model of a device "${name}"`, {
      hint: `the models are ${Object.keys(MODELS).join(", ")}`,
    });
  return load();
}
