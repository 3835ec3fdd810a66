import type { Command } from "commander";
import type { Report } from "../flow/report.js";
import { emptySums, reportOf } from "../flow/report.js";
import { scatter } from "../flow/scatter.js";
import { bytes, namedNumber, seconds, wholeNumber } from "./options.js";
import { printJson } from "./output.js";
import { printReport } from "./report.js";
import { stopOnSignals, tellProgress } from "./session.js";

interface Flags {
  readonly from: string;
  readonly to: string;
  readonly layout: string;
  readonly variant?: string;
  readonly parameter?: Record<string, number>;
  readonly field?: Record<string, number>;
  readonly chunkSize?: number;
  readonly datagramSize?: number;
  readonly header?: string;
  readonly rate?: string;
  readonly repeat?: number;
  readonly json?: boolean;
  readonly interval?: number;
}

export function addScatterCommand(program: Command): void {
  program
    .command("scatter")
    .description("send a file as datagrams of a layout: the inverse of gather")
    .requiredOption("--from <file>", "a file, or - for standard input")
    .requiredOption("--to <locator>", "the port that sends, as udp://10.0.0.2:5004")
    .requiredOption("--layout <name|file>", "how datagrams are cut: a shipped layout or FILE.json")
    .option("--variant <case>", "the case of the layout that is sent, by its name, as extended of gvsp")
    .option("--parameter <name=number>", "a parameter of the layout", namedNumber)
    .option("--field <name=number>", "the value of one of the layout's fields", namedNumber)
    .option("--chunk-size <bytes>", "bytes of the file in one chunk (default: 1M)", bytes)
    .option("--datagram-size <bytes>", "bytes of a full datagram (default: 1440)", bytes)
    .option("--header <template>", "headers before each datagram: 'eth(dst=…)/ipv4(dst=…)/udp(dport=…)'")
    .option("--rate <rate>", "pace what is sent: 900mbit, 10kpps")
    .option("--repeat <n>", "send the file so many times", wholeNumber(1))
    .option("--json", "print the report as one JSON object")
    .option("--interval <seconds>", "report meanwhile, too", seconds)
    .addHelpText(
      "after",
      `
Example:
  millrace scatter --from programme.ts --to udp://127.0.0.1:5004 --layout rtp --datagram-size 1328 --rate 50mbit`,
    )
    .action(runScatter);
}

async function runScatter(flags: Flags): Promise<void> {
  const { from, to, json, interval, parameter, field, ...options } = flags;
  const { until, done } = stopOnSignals();
  let report: () => Report = () => reportOf(emptySums());
  const quiet = tellProgress(() => report(), { json, interval, to });
  try {
    const result = await scatter(from, to, {
      ...options,
      ...(parameter === undefined ? {} : { parameters: parameter }),
      ...(field === undefined ? {} : { fields: field }),
      until,
      onChunk: (now) => {
        report = now;
      },
    });
    quiet();
    if (json) await printJson(result, to);
    else printReport(result);
  } finally {
    quiet();
    done();
  }
}
