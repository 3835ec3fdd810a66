// The program of a worker that forwards: its task comes as workerData, `stop` as a message.
import { parentPort, workerData } from "node:worker_threads";
import { defaultArena, memoryOf } from "./arena.js";
import { type ForwardMessage, type ForwardSeed, runTask, type TaskTelling } from "./forward-workers.js";

const { task } = workerData as ForwardSeed;
const stop = new AbortController();
const tell = (message: ForwardMessage) => parentPort?.postMessage(message);
let telling: TaskTelling | undefined;
/** How old the counts of a worker may be that dies without a word. */
const TELLING_MS = 1000;

tell({ owner: memoryOf(defaultArena()).worker });
parentPort?.once("message", () => stop.abort());
// process.exit() in a module of the user's, or an error that nobody catches.
process.once("exit", () => {
  if (telling !== undefined) tell({ report: telling.lastWord(), done: false });
});
const timer = setInterval(() => {
  if (telling !== undefined) tell({ soFar: telling.soFar() });
}, TELLING_MS).unref();
const { report, failure } = await runTask(task, stop.signal, (opened) => {
  telling = opened;
  tell({ soFar: opened.soFar() });
  tell({ open: true });
});
telling = undefined;
clearInterval(timer);
tell({ report, done: true });
if (failure !== undefined) throw failure;
parentPort?.close();
