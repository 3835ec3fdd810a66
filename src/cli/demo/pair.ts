import { Worker } from "node:worker_threads";
import { type ArenaMemory, shareArena } from "../../memory/arena.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";
import type { DemoMessage, DemoSeed, DemoTask } from "./task.js";

/** What one half of a run came to. */
export type Result = Extract<DemoMessage, { readonly result: unknown }>["result"];

/** Runs the two halves of a job in two workers. */
export async function pair(
  arena: ArenaMemory,
  send: DemoTask,
  gather: DemoTask,
): Promise<{ sent: Result; got: Result }> {
  const progress = allocateRegion(arena, 4);
  const gathering = half(arena, { ...gather, progress });
  await gathering.ready;
  const [sent, got] = await Promise.all([half(arena, { ...send, progress }).result, gathering.result]);
  freeRegion(arena, progress, 4);
  return { sent, got };
}

/** One half of a job, in a worker. */
export function half(
  arena: ArenaMemory,
  task: DemoTask,
): { readonly ready: Promise<void>; readonly result: Promise<Result> } {
  const seed: DemoSeed = { millrace: shareArena(arena), task };
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: seed });
  let ready = () => {};
  const whenReady = new Promise<void>((resolve) => {
    ready = resolve;
  });
  const result = new Promise<Result>((resolve, reject) => {
    worker.on("message", (message: DemoMessage) => {
      if ("ready" in message) ready();
      else resolve(message.result);
    });
    worker.on("error", reject);
  });
  return { ready: Promise.race([whenReady, result.then(() => undefined)]), result };
}
