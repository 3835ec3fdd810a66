// The program of a worker that forwards: its task comes as workerData, `stop` as a message.
import { parentPort, workerData } from "node:worker_threads";
import { defaultArena, memoryOf } from "./arena.js";
import { type ForwardMessage, type ForwardSeed, runTask } from "./forward-workers.js";
import type { Report } from "./report.js";

const { task } = workerData as ForwardSeed;
const stop = new AbortController();
const tell = (message: ForwardMessage) => parentPort?.postMessage(message);
let lastWord: (() => Report) | undefined;

tell({ owner: memoryOf(defaultArena()).worker });
parentPort?.once("message", () => stop.abort());
// process.exit() in a module of the user's, or an error that nobody catches.
process.once("exit", () => {
  if (lastWord !== undefined) tell({ report: lastWord(), done: false });
});
const { report, failure } = await runTask(task, stop.signal, (last) => {
  lastWord = last;
  tell({ open: true });
});
lastWord = undefined;
tell({ report, done: true });
if (failure !== undefined) throw failure;
parentPort?.close();
