import { Worker } from "node:worker_threads";
import { MillraceError, reviveError } from "../errors.js";
import {
  type ArenaMemory,
  type ArenaShare,
  DEFAULT_BYTES,
  LARGEST_BYTES,
  shareArena,
} from "../memory/arena.js";
import { sweepWorker } from "../memory/owners.js";
import { parseLocator } from "../ports/locator.js";
import { sweepAttachments } from "../ports/xdp/directory.js";
import { type Arena, createArena, defaultArena, memoryOf } from "./arena.js";
import { createForwarding, type ForwardStage } from "./forward.js";
import type { MacRewrite } from "./forward-edge.js";
import { openPort } from "./port.js";
import { mergeReports, type Report, reportOf } from "./report.js";
import type { Wait } from "./source.js";

/** What a worker that forwards is told; goes through `workerData` as it stands. */
export interface ForwardTask {
  readonly from: string;
  readonly to: string;
  readonly oneWay: boolean;
  readonly wait: Wait;
  readonly rewrite: MacRewrite;
  /** Only packets that match are passed on, in the language of pcap-filter(7). */
  readonly filter?: string | undefined;
  /** URL of a module that exports `stage`, or a default, for each burst. */
  readonly module: string | undefined;
  /** Give up every capability once the ports are open. */
  readonly dropPrivileges: boolean;
  /** Processors to pin the workers to, in turn; none: they run where the kernel puts them. */
  readonly cpus: readonly number[];
}

export interface ForwardSeed {
  readonly millrace: ArenaShare;
  readonly task: ForwardTask;
}

/** From a worker to its starter. A report without `done` is the last word of one that dies. */
export type ForwardMessage =
  | { readonly owner: number }
  | { readonly open: true }
  /** What it has counted so far, for one that dies without a word. */
  | { readonly soFar: Report }
  | { readonly report: Report; readonly done: boolean };

/** What workers did together, each for itself, and why they ended before they were told to. */
export interface WorkersOutcome {
  readonly report: Report;
  readonly workers: readonly WorkerOutcome[];
  /** The first failure; it names its worker. */
  readonly failure: unknown;
}

export interface WorkerOutcome {
  /** Undefined: it died before it forwarded. */
  readonly report: Report | undefined;
  /** False: it died without a word, of memory for instance; its report is what it had counted up to a second before. */
  readonly complete: boolean;
  /** Why it ended before it was told to. */
  readonly failure: unknown;
  /** Frames that it held when it died, taken back. */
  readonly frames: number;
}

/** What one thread forwarded. */
export interface TaskOutcome {
  readonly report: Report;
  /** Why it ended before it was told to; undefined: it did not. */
  readonly failure: unknown;
}

/** What tells of a forwarding under way. */
export interface TaskTelling {
  soFar(): Report;
  /** Ends it at once, for a thread that is about to die: its ports stay open. */
  lastWord(): Report;
}

/**
 * Opens the ports of a task and forwards until `until` aborts or a port fails; resolves when all is closed. Rejects
 * when it cannot begin. `opened` is given what tells of the forwarding while it runs.
 */
export async function runTask(
  task: ForwardTask,
  until: AbortSignal,
  opened: (telling: TaskTelling) => void,
): Promise<TaskOutcome> {
  const stage = await loadStage(task.module);
  if (task.cpus.length > 0) await pin(task.cpus[0]);
  const [first, second] = task.oneWay ? (["in", "out"] as const) : (["both", "both"] as const);
  const filter = task.filter === undefined ? {} : { filter: task.filter };
  const a = await openPort(task.from, { direction: first, wait: task.wait, ...filter });
  try {
    const linkType = a.can.linkType;
    const b = await openPort(task.to, {
      ...{ direction: second, wait: task.wait, linkType },
      ...(task.oneWay ? {} : filter),
    });
    try {
      if (task.dropPrivileges) (await loadDropAll())();
      const { oneWay, wait, rewrite } = task;
      const forwarding = createForwarding(a, b, { oneWay, wait, rewrite, stage, until });
      opened({
        soFar: () => reportOf(forwarding.sums()),
        lastWord() {
          forwarding.close();
          return reportOf(forwarding.sums());
        },
      });
      let failure: unknown;
      try {
        await forwarding.run();
      } catch (error) {
        failure = error;
      }
      forwarding.close();
      await a.close();
      await b.close();
      return { report: reportOf(forwarding.sums()), failure };
    } finally {
      await b.close();
    }
  } finally {
    await a.close();
  }
}

async function pin(cpu: number): Promise<void> {
  const { pinThread } = await import("../linux/thread.js");
  pinThread(cpu);
}

/** What gives up every capability of the calling thread. */
async function loadDropAll(): Promise<() => void> {
  return (await import("../linux/capabilities.js")).dropCapabilities;
}

async function loadStage(url: string | undefined): Promise<ForwardStage | undefined> {
  if (url === undefined) return undefined;
  let module: { readonly stage?: unknown; readonly default?: unknown };
  try {
    module = await import(url);
  } catch (cause) {
    throw new MillraceError("ERR_TRANSFORM", `${url} cannot be loaded: ${(cause as Error).message}`, {
      cause,
    });
  }
  const stage = module.stage ?? module.default;
  if (typeof stage !== "function")
    throw new MillraceError("ERR_TRANSFORM", `${url} exports no function named "stage"`, {
      hint: "export function stage(burst) { for (const packet of burst) … }",
    });
  return stage as ForwardStage;
}

/** Locators for worker `index` of several: one queue each. Throws ERR_USAGE for a kind without queues. */
export function locatorForWorker(text: string, index: number, port: 0 | 1 = 0): string {
  const { kind, parameters } = parseLocator(text);
  const parameter = QUEUE_PARAMETERS[kind];
  if (parameter === undefined)
    throw new MillraceError("ERR_USAGE", `${text}: several workers need a port with queues`, {
      hint: `leave --workers out, or use ${Object.keys(QUEUE_PARAMETERS).join(" or ")}`,
    });
  for (const taken of ["queue", "queues", "fanout", "multi"])
    if (parameters.has(taken))
      throw new MillraceError("ERR_USAGE", `${text}: --workers chooses the queues itself`, {
        hint: `leave ${taken}= out`,
      });
  return `${text}${text.includes("?") ? "&" : "?"}${parameter(index, port)}`;
}

/** True for a kind of port of which each worker can open a queue of its own. */
export function hasQueues(text: string): boolean {
  return Object.hasOwn(QUEUE_PARAMETERS, parseLocator(text).kind);
}

/** What makes a locator one queue of several: by worker, and by which of the two ports it is. */
const QUEUE_PARAMETERS: Readonly<Record<string, (index: number, port: 0 | 1) => string>> = {
  null: (index) => `queue=${index}`,
  xdp: (index) => `queue=${index}`,
  // A fanout group belongs to one interface.
  packet: (_index, port) => `fanout=${(2 * process.pid + port) & 0xffff}`,
  tap: () => "multi=1",
};

/**
 * Runs a task in `count` workers, each on queues of its own, until `until` aborts or one of them fails: then the
 * others end in good order. Rejects with the first failure when not all of them came to forward.
 */
export async function runWorkers(
  task: ForwardTask,
  count: number,
  until: AbortSignal,
  opened: () => void,
): Promise<WorkersOutcome> {
  const arena = memoryOf(arenaFor(task, count));
  const millrace = shareArena(arena);
  const tasks = Array.from({ length: count }, (_, index) => ({
    ...task,
    from: locatorForWorker(task.from, index, 0),
    to: locatorForWorker(task.to, index, 1),
    cpus: task.cpus.length === 0 ? [] : [task.cpus[index % task.cpus.length]],
  }));
  const stop = new AbortController();
  const either = AbortSignal.any([until, stop.signal]);
  const dropAll = task.dropPrivileges ? await loadDropAll() : () => {};
  let open = 0;
  let first: unknown;
  const started = () => {
    open++;
    if (open < count) return;
    dropAll(); // each thread has its own: the workers have given up theirs
    opened();
  };
  const workers = await Promise.all(
    tasks.map(async (one, index) => {
      const outcome = await runWorker(arena, { millrace, task: one }, index, either, started);
      first ??= outcome.failure;
      if (outcome.failure !== undefined) stop.abort(); // the others end in good order
      return outcome;
    }),
  );
  if (open < count && first !== undefined) throw first;
  const reports = workers.flatMap(({ report }) => (report === undefined ? [] : [report]));
  return { report: mergeReports(reports), workers, failure: first };
}

/** An eighth of the default arena holds the rings of two packet: ports; there are more with several workers. */
function arenaFor({ from, to }: ForwardTask, count: number): Arena {
  const rings = count * [from, to].filter((text) => parseLocator(text).kind === "packet").length;
  if (rings <= 2) return defaultArena();
  return createArena({ bytes: Math.min(LARGEST_BYTES, (DEFAULT_BYTES / 2) * rings) });
}

function runWorker(
  arena: ArenaMemory,
  seed: ForwardSeed,
  index: number,
  until: AbortSignal,
  opened: () => void,
): Promise<WorkerOutcome> {
  const worker = new Worker(new URL("./forward-worker.js", import.meta.url), { workerData: seed });
  const stop = () => worker.postMessage("stop");
  return new Promise((resolve) => {
    let owner = 0;
    let report: Report | undefined;
    let complete = false;
    let done = false;
    let failure: unknown;
    worker.on("message", (message: ForwardMessage) => {
      if ("owner" in message) owner = message.owner;
      else if ("open" in message) opened();
      else if ("soFar" in message) report = message.soFar;
      else {
        ({ report, done } = message);
        complete = true;
      }
    });
    worker.on("error", (error) => {
      failure = inWorker(index, seed.task, reviveError(error));
    });
    worker.on("exit", (status) => {
      until.removeEventListener("abort", stop);
      if (!done) failure ??= inWorker(index, seed.task, `it ended with status ${status}`);
      // What a worker that has closed its ports still has is its magazines and regions.
      const frames = owner === 0 ? 0 : sweepWorker(arena, owner);
      sweepAttachments(arena);
      resolve({ report, complete, failure, frames: failure === undefined ? 0 : frames });
    });
    if (until.aborted) stop();
    until.addEventListener("abort", stop, { once: true });
  });
}

/** A worker's failure, with its name before it. */
function inWorker(index: number, { from, to }: ForwardTask, cause: unknown): MillraceError {
  const subject = `worker ${index} (${from} to ${to})`;
  if (typeof cause === "string") return new MillraceError("ERR_CLOSED", `${subject}: ${cause}`);
  if (!(cause instanceof MillraceError))
    return new MillraceError("ERR_TRANSFORM", `${subject}: ${cause}`, { cause });
  const { code, message, hint, syscall, errno, at } = cause;
  return new MillraceError(code, `${subject}: ${message}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
    ...(syscall === undefined ? {} : { syscall }),
    ...(errno === undefined ? {} : { errno }),
    ...(at === undefined ? {} : { at }),
  });
}
