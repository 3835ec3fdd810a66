import type { Report } from "../flow/report.js";

/** How a command that runs for a while tells of itself. */
export interface Telling {
  readonly json: boolean;
  /** Seconds between reports; undefined: only the one at the end. */
  readonly interval?: number | undefined;
  /** True: standard output carries data, so that reports go to standard error. */
  readonly dataOnStdout: boolean;
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
export function tellProgress(report: () => Report, telling: Telling): () => void {
  const terminal = process.stderr.isTTY && !telling.json;
  const seconds = telling.interval ?? (terminal ? 1 : undefined);
  if (seconds === undefined) return () => {};
  const timer = setInterval(() => {
    if (telling.json) printJson(report(), telling);
    else process.stderr.write(`${terminal ? "\r\x1b[K" : ""}${oneLine(report())}${terminal ? "" : "\n"}`);
  }, seconds * 1000);
  timer.unref();
  return () => {
    clearInterval(timer);
    if (terminal) process.stderr.write("\r\x1b[K");
  };
}

export function printJson(report: Report, telling: Telling): void {
  (telling.dataOnStdout ? process.stderr : process.stdout).write(`${JSON.stringify(report)}\n`);
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** `1,2 = 3` of a record of counts; empty counts are left out. */
function counts(record: Readonly<Record<string, number>>): string {
  return Object.entries(record)
    .filter(([, value]) => value > 0)
    .map(([name, value]) => `${count(value)} ${name}`)
    .join(", ");
}

export function bitRate(bitsPerSecond: number): string {
  if (bitsPerSecond >= 1e9) return `${(bitsPerSecond / 1e9).toFixed(2)} Gbit/s`;
  return bitsPerSecond >= 1e6
    ? `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s`
    : `${(bitsPerSecond / 1e3).toFixed(1)} kbit/s`;
}

function oneLine(report: Report): string {
  const dropped = counts(report.dropped);
  return `${count(report.received.packets)} packets, ${count(report.chunks.complete)} chunks, ${bitRate(report.bitsPerSecond)}${dropped === "" ? "" : `, dropped: ${dropped}`}`;
}

/** The report as people read it, on standard error. */
export function printReport(report: Report): void {
  const lines: string[] = [];
  const line = (name: string, text: string) => {
    if (text !== "" && text !== "0") lines.push(`${name.padEnd(12)}${text}`);
  };
  const packets = ({ packets: n, bytes }: { packets: number; bytes: number }) =>
    n === 0 ? "" : `${count(n)} packets, ${count(bytes)} bytes`;
  line("received", packets(report.received));
  line("transmitted", packets(report.transmitted));
  line("delivered", packets(report.delivered));
  line("control", packets(report.control));
  line("created", counts(report.created));
  line("consumed", counts(report.consumed));
  line("dropped", counts(report.dropped));
  line("held", count(report.held));
  line("chunks", counts(report.chunks));
  line("gaps", counts(report.gaps));
  line("reordered", count(report.reordered));
  line("resync", count(report.resync));
  if (report.copies.bytes > 0)
    line(
      "copies",
      `${report.copies.perByte.toFixed(2)} a byte (${counts({ ...report.copies, bytes: 0, perByte: 0 })})`,
    );
  if (report.sources.length > 1)
    for (const { locator, datagrams, lost } of report.sources)
      line("source", `${locator}: ${count(datagrams)} datagrams, ${count(lost)} lost`);
  for (const mode of report.mode) line("port", mode);
  line("rate", `${bitRate(report.bitsPerSecond)} in ${report.seconds.toFixed(3)} s`);
  process.stderr.write(`${lines.join("\n")}\n`);
}
