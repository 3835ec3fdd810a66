import { existsSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { MillraceError } from "../errors.js";
import { createGenerator, IMIX } from "../flow/generator.js";
import { parseRate } from "../flow/pace.js";
import { openPort } from "../flow/port.js";
import { seconds, wholeNumber } from "./options.js";
import { printJson } from "./output.js";
import { printSendReport } from "./report.js";
import { stopOnSignals } from "./session.js";

interface Options {
  readonly template?: string;
  readonly size?: readonly number[];
  readonly rate?: string;
  readonly flows?: number;
  readonly count?: number;
  readonly duration?: number;
  readonly json?: boolean;
}

export function addGenerateCommand(program: Command): void {
  program
    .command("generate")
    .description("send made-up packets out of a port")
    .argument("<locator>", "port to send from")
    .option(
      "--template <template>",
      "headers, as eth(dst=…)/ipv4(dst=…)/udp(dport=…), or a capture file to send from",
    )
    .option(
      "--size <bytes>",
      "bytes of a packet without frame check sequence, 60 by default, or imix (60, 590, 1514 at 7:4:1)",
      sizes,
    )
    .option("--rate <rate>", "as 900mbit or 10kpps; as fast as the port takes them unless given")
    .option("--flows <n>", "so many source ports in turns", wholeNumber(1))
    .option("--count <packets>", "stop after so many", wholeNumber(1))
    .option("--duration <seconds>", "stop after so long", seconds)
    .option("--json", "print the report as one JSON object")
    .addHelpText(
      "after",
      "\nExample:\n  millrace generate eth0 --size imix --rate 1gbit --duration 10\n  millrace generate xdp:eth0 --template 'eth(dst=02:00:00:00:00:02)/ipv4(src=10.0.0.1,dst=10.0.0.2)/udp(dport=5000)' --flows 100",
    )
    .action(generate);
}

function sizes(text: string): readonly number[] {
  if (text === "imix") return IMIX;
  const size = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(size >= 1 && size <= 65_535))
    throw new InvalidArgumentError(`${text} is neither imix nor 1 to 65535 bytes`);
  return [size];
}

/** A template is told from a file by its brackets, or by a file of that name being there. */
function isFile(template: string): boolean {
  return /\.(pcap|pcapng|cap|dmp)(\.(gz|br|zst))?$/.test(template) || existsSync(template);
}

async function generate(locator: string, options: Options): Promise<void> {
  const rate = options.rate === undefined ? undefined : parseRate(options.rate);
  const { template, duration, size, flows } = options;
  const fromFile = template !== undefined && isFile(template);
  if (fromFile && (size ?? flows) !== undefined)
    throw new MillraceError("ERR_USAGE", "--size and --flows are for packets that are made here", {
      hint: `those of "${template}" are sent as they are: leave both out`,
    });
  const { until, stop, done } = stopOnSignals();
  let timer: NodeJS.Timeout | undefined;
  const port = await openPort(locator, { direction: "out" });
  try {
    const generator = await createGenerator(port, {
      ...(fromFile ? { file: template } : { template }),
      ...{ sizes: size ?? [60], flows: flows ?? 1, rate, until },
      count: options.count ?? Number.POSITIVE_INFINITY,
    });
    try {
      if (duration !== undefined) timer = setTimeout(stop, duration * 1000);
      await generator.run();
    } finally {
      await port.close();
      if (options.json) await printJson(generator.report(), locator);
      else printSendReport(generator.report());
      generator.close();
    }
  } finally {
    clearTimeout(timer);
    done();
    await port.close();
  }
}
