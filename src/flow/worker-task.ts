import type { ArenaShare } from "../memory/arena.js";
import type { Port } from "./port.js";
import type { Report } from "./report.js";

/** What a worker's module exports as `run`: the code of the main thread, unchanged. */
export type Run<Data = undefined> = (
  port: Port,
  context: { readonly index: number; readonly data: Data; readonly signal: AbortSignal },
) => Promise<Report | undefined> | Promise<void>;

/** What a worker is told; goes through `workerData` as it stands. */
export interface WorkerSeed {
  readonly millrace: ArenaShare;
  readonly worker: {
    readonly index: number;
    readonly locator: string;
    readonly module: string;
    readonly cpu: number | undefined;
    readonly wait: "busy" | "interrupt" | "adaptive" | undefined;
    readonly filter: string | undefined;
    readonly data: unknown;
  };
}

/** From a worker to its starter. */
export type WorkerMessage =
  | { readonly owner: number }
  | { readonly open: true }
  | { readonly report: Report };
