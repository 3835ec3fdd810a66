// Reports as people read them, on standard error: standard output is for what was asked for.
import type { Report } from "../flow/report.js";
import type { SendReport } from "../flow/sending.js";
import type { Count } from "../ports/port.js";

/** What a flow has done so far, in a line. */
export function oneLine(report: Report): string {
  const dropped = counts(report.dropped);
  return `${count(report.received.packets)} packets, ${count(report.chunks.complete)} chunks, ${bitRate(report.bitsPerSecond)}${dropped === "" ? "" : `, dropped: ${dropped}`}`;
}

/** The report of a flow, and lines of a command's own behind it. */
export function printReport(report: Report, more: readonly string[] = []): void {
  const lines: string[] = [];
  const line = (name: string, text: string) => {
    if (text !== "" && text !== "0") lines.push(`${name.padEnd(12)}${text}`);
  };
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
  for (const mode of new Set(report.mode)) line("port", mode);
  const sent = report.transmitted.packets;
  const rate =
    sent > 0 && report.seconds > 0 ? `${count(Math.round(sent / report.seconds))} packets/s, ` : "";
  line("rate", `${rate}${bitRate(report.bitsPerSecond)} in ${report.seconds.toFixed(3)} s`);
  process.stderr.write(`${[...lines, ...more].join("\n")}\n`);
}

/** The report of a command that sends packets alone. */
export function printSendReport(report: SendReport): void {
  const { transmitted, dropped, seconds, packetsPerSecond, bitsPerSecond, held, filteredIn } = report;
  const lines = [
    `${transmitted.packets} packets sent, ${transmitted.bytes} bytes`,
    ...Object.entries(dropped)
      .filter(([, packets]) => packets > 0)
      .map(([reason, packets]) => `${packets} packets dropped: ${reason}`),
    ...(filteredIn === undefined ? [] : [`filter in ${filteredIn}`]),
    ...(held > 0 ? [`${held} packets not yet on their way`] : []),
    `${packetsPerSecond.toFixed(0)} packets/s, ${bitRate(bitsPerSecond)} in ${seconds.toFixed(3)} s`,
  ];
  process.stderr.write(`${lines.join("\n")}\n`);
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

function packets({ packets, bytes }: Count): string {
  return packets === 0 ? "" : `${count(packets)} packets, ${count(bytes)} bytes`;
}

/** `2 lost, 1 filter` of a record of counts; those of nothing are left out. */
function counts(record: Readonly<Record<string, number>>): string {
  return Object.entries(record)
    .filter(([, value]) => value > 0)
    .map(([name, value]) => `${count(value)} ${name}`)
    .join(", ");
}

function bitRate(bitsPerSecond: number): string {
  if (bitsPerSecond >= 1e9) return `${(bitsPerSecond / 1e9).toFixed(2)} Gbit/s`;
  return bitsPerSecond >= 1e6
    ? `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s`
    : `${(bitsPerSecond / 1e3).toFixed(1)} kbit/s`;
}
