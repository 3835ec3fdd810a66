import type { Report } from "../flow/report.js";
import { printJson } from "./output.js";
import { oneLine } from "./report.js";

/** How a command that runs for a while tells of itself. */
export interface Telling {
  readonly json?: boolean | undefined;
  /** Seconds between reports; undefined: only the one at the end. */
  readonly interval?: number | undefined;
  /** Where packets or chunks go: what they share standard output with goes to standard error. */
  readonly to: string;
}

/** Aborts at the first SIGINT or SIGTERM, or stop(); a second one ends the process as it would without us. */
export function stopOnSignals(): { readonly until: AbortSignal; stop(): void; done(): void } {
  const controller = new AbortController();
  const stop = () => {
    controller.abort();
    done();
  };
  const done = () => {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  return { until: controller.signal, stop, done };
}

/** Reports while a flow runs: JSON lines, or one line on a terminal. Returns what ends it. */
export function tellProgress(report: () => Report, { json = false, interval, to }: Telling): () => void {
  const terminal = process.stderr.isTTY && !json;
  const seconds = interval ?? (terminal ? 1 : undefined);
  if (seconds === undefined) return () => {};
  const timer = setInterval(() => {
    if (json) void printJson(report(), to);
    else process.stderr.write(`${terminal ? "\r\x1b[K" : ""}${oneLine(report())}${terminal ? "" : "\n"}`);
  }, seconds * 1000);
  timer.unref();
  return () => {
    clearInterval(timer);
    if (terminal) process.stderr.write("\r\x1b[K");
  };
}
