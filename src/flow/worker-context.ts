import { isMainThread, workerData } from "node:worker_threads";
import type { ArenaShare } from "../memory/arena.js";

/** What a worker of ours is given by the thread that starts it. */
export interface WorkerSeed {
  readonly millrace: ArenaShare;
}

/** The arena that this thread's starter shared; undefined on the main thread and in workers of others. */
export function workerArena(): ArenaShare | undefined {
  if (isMainThread) return undefined;
  const seed = workerData as Partial<WorkerSeed> | null | undefined;
  return seed?.millrace;
}
