// The thread behind one worker of workers(): opens its port, runs the user's module, tells its report.
import { parentPort, workerData } from "node:worker_threads";
import { MillraceError } from "../errors.js";
import { defaultArena, memoryOf } from "./arena.js";
import { openPort } from "./port.js";
import { emptySums, type Report, reportOf } from "./report.js";
import type { Run, WorkerMessage, WorkerSeed } from "./worker-task.js";

const { worker } = workerData as WorkerSeed;
const tell = (message: WorkerMessage) => parentPort?.postMessage(message);
const controller = new AbortController();
parentPort?.on("message", () =>
  controller.abort(new MillraceError("ERR_CLOSED", "the workers are being closed")),
);

tell({ owner: memoryOf(defaultArena()).worker });
if (worker.cpu !== undefined) {
  const { pinThread } = await import("../linux/thread.js");
  pinThread(worker.cpu);
}
const port = await openPort(worker.locator, {
  ...(worker.wait === undefined ? {} : { wait: worker.wait }),
  ...(worker.filter === undefined ? {} : { filter: worker.filter }),
});
try {
  const module = (await import(worker.module)) as { readonly run?: unknown };
  if (typeof module.run !== "function")
    throw new MillraceError("ERR_USAGE", `${worker.module} exports no function run(port, context)`);
  tell({ open: true });
  const run = module.run as Run<unknown>;
  const report = await run(port, { index: worker.index, data: worker.data, signal: controller.signal }).catch(
    (error: unknown) => {
      if (!controller.signal.aborted) throw error;
    },
  );
  tell({ report: report ?? portReport() });
} finally {
  await port.close();
  parentPort?.close();
}

/** What the port alone can tell, where the module returns no report. */
function portReport(): Report {
  const stats = port.stats();
  return reportOf({
    ...emptySums(),
    received: { packets: stats.received.packets + (stats.dropped.kernel ?? 0), bytes: stats.received.bytes },
    delivered: { ...stats.delivered },
    dropped: { ...stats.dropped },
    held: stats.held,
  });
}
