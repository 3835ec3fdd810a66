import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Command, InvalidArgumentError, Option } from "commander";
import { MillraceError } from "../errors.js";
import {
  type ForwardTask,
  runTask,
  runWorkers,
  type WorkerOutcome,
  type WorkersOutcome,
} from "../flow/forward-workers.js";
import { parseLocator } from "../ports/locator.js";
import { seconds, wholeNumber } from "./options.js";
import { printJson } from "./output.js";
import { count, printReport } from "./report.js";
import { stopOnSignals } from "./session.js";

/** The arena has numbers for 63 threads: this one, and a few to spare. */
const MOST_WORKERS = 60;

interface ForwardArguments {
  readonly oneWay?: boolean;
  readonly swapMac?: boolean;
  readonly setMac?: string;
  readonly filter?: string;
  readonly workers: number;
  readonly cpus?: readonly number[];
  readonly wait: "busy" | "interrupt" | "adaptive";
  readonly duration?: number;
  readonly transform?: string;
  readonly json?: boolean;
}

export function addForwardCommand(program: Command): void {
  program
    .command("forward")
    .description("pass packets on between two ports, both ways, and account for each of them")
    .argument("<locator>", "one port")
    .argument("<locator>", "the other port")
    .option("--one-way", "only from the first to the second")
    .option("--swap-mac", "swap source and destination hardware address")
    .option("--set-mac <destination[,source]>", "set the hardware addresses; either may be empty")
    .option("--filter <expression>", "only packets that match, in the language of pcap-filter(7)")
    .option("--workers <n>", "threads, each with one queue of both ports", wholeNumber(1, MOST_WORKERS), 1)
    .option("--cpus <list>", "processors to pin the workers to, in turn, as 0,2", cpuList)
    .addOption(
      new Option("--wait <how>", "how a worker waits for packets")
        .choices(["busy", "interrupt", "adaptive"])
        .default("adaptive"),
    )
    .option("--duration <seconds>", "end by itself", seconds)
    .option("--transform <module>", "JavaScript module whose export stage(burst) sees every burst")
    .option("--json", "print the report as one JSON object")
    .addHelpText(
      "after",
      "\nExamples:\n  millrace forward xdp:eth0 xdp:eth1\n  millrace forward packet:eth0 out.pcapng --one-way --duration 10",
    )
    .action(forward);
}

function cpuList(text: string): readonly number[] {
  const cpus = text.split(",").map((cpu) => (cpu.trim() === "" ? Number.NaN : Number(cpu)));
  if (cpus.some((cpu) => !Number.isInteger(cpu) || cpu < 0))
    throw new InvalidArgumentError("numbers of processors, separated by commas, are wanted.");
  return cpus;
}

async function forward(from: string, to: string, options: ForwardArguments): Promise<void> {
  const [destination, source, ...more] = (options.setMac ?? "").split(",");
  const kinds = [from, to].map((text) => parseLocator(text).kind);
  const task: ForwardTask = {
    from,
    to,
    oneWay: options.oneWay ?? false,
    wait: options.wait,
    rewrite: {
      swap: options.swapMac ?? false,
      destination: destination || undefined,
      source: source || undefined,
    },
    filter: options.filter,
    module: options.transform === undefined ? undefined : pathToFileURL(resolve(options.transform)).href,
    dropPrivileges: kinds.some((kind) => PRIVILEGED.has(kind)),
    cpus: options.cpus ?? [],
  };
  if (options.setMac !== undefined && ((!destination && !source) || more.length > 0))
    throw new MillraceError("ERR_USAGE", `--set-mac ${options.setMac} is not one address or two`, {
      hint: "--set-mac 02:00:00:00:00:02, or ,02:00:00:00:00:01 for the source alone",
    });
  const { until, stop, done } = stopOnSignals();
  let timer: NodeJS.Timeout | undefined;
  const opened = () => {
    process.stderr.write(`millrace: forwarding between ${from} and ${to}\n`);
    if (options.duration !== undefined) timer = setTimeout(stop, options.duration * 1000);
  };
  try {
    const failure = await forwardAndPrint(task, options, until, opened);
    if (failure !== undefined) throw failure;
  } finally {
    clearTimeout(timer);
    done();
  }
}

/** Forwards and prints the report, also of what failed on the way; resolves with that failure. */
async function forwardAndPrint(
  task: ForwardTask,
  { workers, json }: ForwardArguments,
  until: AbortSignal,
  opened: () => void,
): Promise<unknown> {
  if (workers === 1) {
    const { report, failure } = await runTask(task, until, opened);
    if (json) await printJson(report, task.to);
    else printReport(report);
    return failure;
  }
  const outcome = await runWorkers(task, workers, until, opened);
  if (json) await printJson(workersObject(outcome), task.to);
  else printReport(outcome.report, workerLines(outcome));
  return outcome.failure;
}

/** Kinds whose capabilities are of use only while they open. */
const PRIVILEGED: ReadonlySet<string> = new Set(["xdp", "packet", "tap"]);

/** The report of all workers, with that of each beside it. */
function workersObject({ report, workers }: WorkersOutcome): object {
  const each = workers.map(({ report, complete, failure, frames }) => ({
    report: report ?? null,
    ...(complete ? {} : { complete }),
    ...(failure === undefined ? {} : { failure: (failure as Error).message, framesTakenBack: frames }),
  }));
  return { ...report, workers: each };
}

function workerLines({ workers }: WorkersOutcome): string[] {
  const line = ({ report, complete, failure, frames }: WorkerOutcome) => {
    const counted = complete ? "" : "; it was counted for the last time up to a second before";
    const ended =
      failure === undefined ? "" : `; it died, ${frames} frames of its own were taken back${counted}`;
    if (report === undefined) return `no report${ended}`;
    const dropped = Object.values(report.dropped).reduce((sum, packets) => sum + packets, 0);
    return `${count(report.received.packets)} packets received, ${count(report.transmitted.packets)} transmitted, ${count(dropped)} dropped${ended}`;
  };
  return workers.map((worker, index) => `${`worker ${index}`.padEnd(12)}${line(worker)}`);
}
