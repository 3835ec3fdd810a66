// The program of a worker that forwards: its task comes as workerData, `stop` as a message.
import { parentPort, workerData } from "node:worker_threads";
import { type ForwardMessage, type ForwardSeed, runTask } from "./forward-workers.js";

const { task } = workerData as ForwardSeed;
const stop = new AbortController();
const tell = (message: ForwardMessage) => parentPort?.postMessage(message);
parentPort?.once("message", () => stop.abort());
const report = await runTask(task, stop.signal, () => tell({ open: true }));
tell({ report });
parentPort?.close();
