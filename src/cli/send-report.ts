import type { SendReport } from "../flow/sending.js";
import { bitRate } from "./session.js";

/** The report of a command that sends: for people on standard error, or as one object on standard output. */
export function printSendReport(report: SendReport, json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return;
  }
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
