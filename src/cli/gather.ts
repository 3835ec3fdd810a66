import type { Command } from "commander";
import { MillraceError } from "../errors.js";
import { workers } from "../flow/workers.js";
import { type GatherFlags, gatherFlow } from "./gather-flow.js";
import { bytes, namedNumber, oneOf, repeated, seconds, wholeNumber } from "./options.js";
import { printJson } from "./output.js";
import { printReport } from "./report.js";
import { stopOnSignals, tellProgress } from "./session.js";

export function addGatherCommand(program: Command): void {
  program
    .command("gather")
    .description("make contiguous chunks of the pieces that UDP datagrams carry, and send them on")
    .requiredOption("--from <locator>", "where packets come from; several carry the same stream", repeated)
    .requiredOption("--to <locator>", "file:NAME, file:frame-%08d.raw, - or a port")
    .requiredOption("--layout <name|file>", "how datagrams are cut: a shipped layout or FILE.json")
    .option("--parameter <name=number>", "a parameter of the layout", namedNumber)
    .option("--filter <expression>", "only packets that match, in the language of pcap-filter(7)")
    .option("--udp-port <port>", "only datagrams to this UDP port", wholeNumber(1))
    .option("--chunk-size <bytes>", "cut what has no end of its own, or too late a one", bytes)
    .option("--window <datagrams>", "how many are waited for, by sequence (default: 64)", wholeNumber(1))
    .option("--open <chunks>", "chunks under way a stream, by offset (default: 4)", wholeNumber(1))
    .option("--timeout <ms>", "without progress, until the waiting ends (default: 100)", wholeNumber(1))
    .option("--gap <what>", "zero fills, skip joins, drop drops the chunk", oneOf("zero", "skip", "drop"))
    .option("--linked", "copy nothing: a chunk is the list of payload slices")
    .option("--swap <bits>", "reverse the bytes of each word", oneOf("16", "32", "64"))
    .option("--transform <module>", "a module that exports transform(chunk)")
    .option("--header <template>", "headers before each datagram: 'eth(dst=…)/ipv4(dst=…)/udp(dport=…)'")
    .option("--datagram-size <bytes>", "data a datagram, where the sink sends packets (default: 1440)", bytes)
    .option("--rate <rate>", "pace what is sent: 900mbit, 10kpps")
    .option("--count <chunks>", "end after so many", wholeNumber(1))
    .option("--duration <seconds>", "end after so long", seconds)
    .option("--max-streams <n>", "streams kept apart (default: 1024)", wholeNumber(1))
    .option("--max-bytes <bytes>", "memory for chunks", bytes)
    .option("--checksum", "sum each chunk in the pass that copies it")
    .option(
      "--workers <n>",
      "spread the streams over so many; %w in --to is the worker's number",
      wholeNumber(1),
    )
    .option("--json", "print the report as one JSON object")
    .option("--interval <seconds>", "report meanwhile, too", seconds)
    .addHelpText(
      "after",
      `
Examples:
  millrace gather --from 'udp://239.1.1.1:5004?iface=eth1' --layout rtp --to file:programme.ts
  millrace gather --from camera.pcapng --layout gvsp --swap 16 --to file:frame-%08d.raw --json`,
    )
    .action(runGather);
}

async function runGather(flags: GatherFlags): Promise<void> {
  if ((flags.workers ?? 1) > 1) return runWorkers(flags);
  const chunks = await gatherFlow(flags.from, flags);
  const { until, done } = stopOnSignals();
  const quiet = tellProgress(() => chunks.report(), flags);
  try {
    const report = await chunks.to(flags.to, {
      until,
      ...(flags.count === undefined ? {} : { count: flags.count }),
      ...(flags.duration === undefined ? {} : { duration: flags.duration }),
    });
    quiet();
    if (flags.json) await printJson(report, flags.to);
    else printReport(report);
  } finally {
    quiet();
    done();
  }
}

/** One worker a queue, or by flow; each has a sink of its own. */
async function runWorkers(flags: GatherFlags): Promise<void> {
  const [from, ...more] = flags.from;
  if (more.length > 0 || flags.count !== undefined)
    throw new MillraceError("ERR_USAGE", "--workers goes neither with several --from nor with --count");
  if (/^(file:|-$)/.test(flags.to) && !flags.to.includes("%w"))
    throw new MillraceError("ERR_USAGE", `several workers cannot write one ${flags.to}`, {
      hint: "put %w into the name: file:out-%w.ts",
    });
  const { until, done } = stopOnSignals();
  try {
    const pool = await workers(from, new URL("./gather-worker.js", import.meta.url), {
      count: flags.workers ?? 1,
      data: flags,
      ...(flags.filter === undefined ? {} : { filter: flags.filter }),
    });
    const close = () => void pool.close().catch(() => {});
    const timer = flags.duration === undefined ? undefined : setTimeout(close, flags.duration * 1000);
    until.addEventListener("abort", close, { once: true });
    if (until.aborted) close();
    try {
      const report = await pool.done;
      if (flags.json) await printJson(report, flags.to);
      else printReport(report);
    } finally {
      clearTimeout(timer);
    }
  } finally {
    done();
  }
}
