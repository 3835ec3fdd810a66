import { Worker } from "node:worker_threads";
import { reviveError } from "../../errors.js";
import { type ArenaMemory, shareArena } from "../../memory/arena.js";
import { sweepWorker } from "../../memory/owners.js";
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
    let owner = 0;
    let came: Result | undefined;
    worker.on("message", (message: DemoMessage) => {
      if ("owner" in message) owner = message.owner;
      else if ("ready" in message) ready();
      else came = message.result;
    });
    worker.on("error", (error) => reject(reviveError(error)));
    worker.on("exit", (status) => {
      if (owner !== 0) sweepWorker(arena, owner); // its number and its magazines
      if (came !== undefined) resolve(came);
      else reject(new Error(`a worker of the demo ended with status ${status}`));
    });
  });
  return { ready: Promise.race([whenReady, result.then(() => undefined)]), result };
}
