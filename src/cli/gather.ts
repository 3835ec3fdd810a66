import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { MillraceError } from "../errors.js";
import type { Chunk } from "../flow/chunk.js";
import { flow } from "../flow/flow.js";
import type { GatherOptions } from "../flow/gather-options.js";
import { bytes, namedNumber, oneOf, repeated, seconds, wholeNumber } from "./options.js";
import { printJson, printReport, stopOnSignals, type Telling, tellProgress } from "./session.js";

interface Flags {
  readonly from: readonly string[];
  readonly to: string;
  readonly layout: string;
  readonly parameter?: Record<string, number>;
  readonly udpPort?: number;
  readonly chunkSize?: number;
  readonly window?: number;
  readonly open?: number;
  readonly timeout?: number;
  readonly gap?: "zero" | "skip" | "drop";
  readonly linked?: boolean;
  readonly swap?: "16" | "32" | "64";
  readonly transform?: string;
  readonly header?: string;
  readonly datagramSize?: number;
  readonly rate?: string;
  readonly filter?: string;
  readonly count?: number;
  readonly duration?: number;
  readonly maxStreams?: number;
  readonly maxBytes?: number;
  readonly checksum?: boolean;
  readonly json?: boolean;
  readonly interval?: number;
}

export function addGatherCommand(program: Command): void {
  program
    .command("gather")
    .description("Make contiguous chunks of the pieces that UDP datagrams carry, and send them on.")
    .requiredOption("--from <locator>", "where packets come from; several carry the same stream", repeated)
    .requiredOption("--to <locator>", "file:NAME, file:frame-%08d.raw, - or a port")
    .requiredOption("--layout <name|file>", "how datagrams are cut: a shipped layout or FILE.json")
    .option("--parameter <name=number>", "a parameter of the layout", namedNumber)
    .option("--filter <expression>", "only packets that match, in the language of pcap-filter(7)")
    .option("--udp-port <port>", "only datagrams to this UDP port", wholeNumber(1))
    .option("--chunk-size <bytes>", "cut what has no end of its own, or too late a one", bytes)
    .option("--window <datagrams>", "how many are waited for, by sequence (default 64)", wholeNumber(1))
    .option("--open <chunks>", "chunks under way a stream, by offset (default 4)", wholeNumber(1))
    .option("--timeout <ms>", "without progress, until the waiting ends (default 100)", wholeNumber(1))
    .option("--gap <what>", "zero fills, skip joins, drop drops the chunk", oneOf("zero", "skip", "drop"))
    .option("--linked", "copy nothing: a chunk is the list of payload slices")
    .option("--swap <bits>", "reverse the bytes of each word", oneOf("16", "32", "64"))
    .option("--transform <module>", "a module that exports transform(chunk)")
    .option("--header <template>", "headers before each datagram: 'eth(dst=…)/ipv4(dst=…)/udp(dport=…)'")
    .option("--datagram-size <bytes>", "data a datagram, where the sink sends packets (default 1440)", bytes)
    .option("--rate <rate>", "pace what is sent: 900mbit, 10kpps")
    .option("--count <chunks>", "end after so many", wholeNumber(1))
    .option("--duration <seconds>", "end after so long", seconds)
    .option("--max-streams <n>", "streams kept apart (default 1024)", wholeNumber(1))
    .option("--max-bytes <bytes>", "memory for chunks", bytes)
    .option("--checksum", "sum each chunk in the pass that copies it")
    .option("--json", "one object on standard output at the end")
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

async function runGather(flags: Flags): Promise<void> {
  const telling: Telling = {
    json: flags.json ?? false,
    interval: flags.interval,
    dataOnStdout: flags.to === "-",
  };
  const transforms = await transformsOf(flags);
  const packets = flow(flags.from.length === 1 ? flags.from[0] : flags.from);
  let chunks = (flags.filter === undefined ? packets : packets.filter(flags.filter)).gather(
    gatherOptions(flags),
  );
  for (const transform of transforms) chunks = chunks.transform(transform);
  chunks = chunks.scatter({
    ...(flags.header === undefined ? {} : { header: flags.header }),
    ...(flags.datagramSize === undefined ? {} : { datagramSize: flags.datagramSize }),
    ...(flags.rate === undefined ? {} : { rate: flags.rate }),
  });
  const { until, done } = stopOnSignals();
  const quiet = tellProgress(() => chunks.report(), telling);
  try {
    const report = await chunks.to(flags.to, {
      until,
      ...(flags.count === undefined ? {} : { count: flags.count }),
      ...(flags.duration === undefined ? {} : { duration: flags.duration }),
    });
    quiet();
    if (telling.json) printJson(report, telling);
    else printReport(report);
  } finally {
    quiet();
    done();
  }
}

function gatherOptions(flags: Flags): GatherOptions {
  const { layout, parameter, ...rest } = flags;
  const { udpPort, chunkSize, window, open, timeout, gap, linked, checksum, maxStreams, maxBytes } = rest;
  const given = { udpPort, chunkSize, window, open, timeout, gap, linked, checksum, maxStreams, maxBytes };
  return {
    layout,
    ...(parameter === undefined ? {} : { parameters: parameter }),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  };
}

async function transformsOf(flags: Flags): Promise<((chunk: Chunk) => void)[]> {
  const transforms: ((chunk: Chunk) => void)[] = [];
  if (flags.swap !== undefined) {
    const bits = Number(flags.swap) as 16 | 32 | 64;
    transforms.push((chunk) => chunk.swap(bits));
  }
  if (flags.transform !== undefined) {
    const module = (await importModule(flags.transform)) as { readonly transform?: unknown };
    if (typeof module.transform !== "function")
      throw new MillraceError("ERR_USAGE", `${flags.transform} exports no function transform(chunk)`);
    transforms.push(module.transform as (chunk: Chunk) => void);
  }
  return transforms;
}

async function importModule(path: string): Promise<unknown> {
  try {
    return await import(pathToFileURL(resolve(path)).href);
  } catch (cause) {
    throw new MillraceError("ERR_USAGE", `the module ${path} cannot be loaded: ${(cause as Error).message}`, {
      cause,
    });
  }
}
