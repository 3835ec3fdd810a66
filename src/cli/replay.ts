import { type Command, InvalidArgumentError } from "commander";
import { MillraceError } from "../errors.js";
import { parseRate } from "../flow/pace.js";
import { createPlayback, type Tempo } from "../flow/playback.js";
import { openPort } from "../flow/port.js";
import { wholeNumber } from "./options.js";
import { printJson } from "./output.js";
import { printSendReport } from "./report.js";
import { stopOnSignals } from "./session.js";

interface Options {
  readonly speed?: number;
  readonly rate?: string;
  readonly topspeed?: boolean;
  readonly loop: number;
  readonly filter?: string;
  readonly json?: boolean;
}

export function addReplayCommand(program: Command): void {
  program
    .command("replay")
    .description("send the packets of a capture file out of a port, as they were recorded or at another pace")
    .argument("<file>", "pcap or pcapng file")
    .argument("<locator>", "port to send from")
    .option("--speed <factor>", "times as fast as recorded", factor)
    .option("--rate <rate>", "as 900mbit or 10kpps, whatever the times in the file")
    .option("--topspeed", "as fast as the port takes them")
    .option("--filter <expression>", "only packets that match, in the language of pcap-filter(7)")
    .option("--loop <times>", "send the file so often; 0: until stopped", wholeNumber(0), 1)
    .option("--json", "print the report as one JSON object")
    .addHelpText(
      "after",
      "\nExample:\n  millrace replay trace.pcapng eth0 --speed 2\n  millrace replay trace.pcapng xdp:eth0 --rate 1mpps --loop 0",
    )
    .action(replay);
}

function factor(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value)))
    throw new InvalidArgumentError(`${text} is not a number above 0`);
  return value;
}

function tempoOf({ speed, rate, topspeed }: Options): Tempo {
  if ([speed, rate, topspeed].filter((given) => given !== undefined).length > 1)
    throw new MillraceError("ERR_USAGE", "--speed, --rate and --topspeed exclude each other");
  if (topspeed === true) return { kind: "top" };
  return rate === undefined
    ? { kind: "capture", speed: speed ?? 1 }
    : { kind: "rate", rate: parseRate(rate) };
}

async function replay(file: string, locator: string, options: Options): Promise<void> {
  const tempo = tempoOf(options);
  const loops = options.loop === 0 ? Number.POSITIVE_INFINITY : options.loop;
  const { until, done } = stopOnSignals();
  const port = await openPort(locator, { direction: "out" });
  const playback = createPlayback(port, { file, tempo, loops, until, filter: options.filter });
  try {
    await playback.run();
  } finally {
    done();
    await port.close();
    if (options.json) await printJson(playback.report(), locator);
    else printSendReport(playback.report());
    playback.close();
  }
}
