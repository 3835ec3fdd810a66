// One worker of `millrace gather --workers`.
import type { Run } from "../flow/worker-task.js";
import { type GatherFlags, gatherFlow } from "./gather-flow.js";

export const run: Run<GatherFlags> = async (port, { index, data, signal }) => {
  const chunks = await gatherFlow([port], data);
  return chunks.to(data.to.replaceAll("%w", String(index)), { until: signal });
};
