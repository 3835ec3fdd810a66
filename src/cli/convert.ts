import { type Command, InvalidArgumentError, Option } from "commander";
import { createArenaMemory } from "../memory/arena.js";
import { convertCapture } from "../ports/pcap/convert.js";
import { formatOfName } from "../ports/pcap/port.js";

interface Options {
  readonly format?: "pcap" | "pcapng";
  readonly nano?: boolean;
  readonly range?: [number, number][];
  readonly truncated?: boolean;
}

export function addConvertCommand(program: Command): void {
  program
    .command("convert")
    .description("copy a capture file to another format, whole or in part")
    .argument("<in>", "pcap or pcapng file, compressed or not; - is standard input")
    .argument("<out>", "file to create; - is standard output")
    .addOption(
      new Option(
        "--format <format>",
        "format to write; by default the name tells (.pcap, else pcapng)",
      ).choices(["pcap", "pcapng"]),
    )
    .option("--nano", "pcap with nanoseconds; pcapng always has them")
    .option("--range <numbers>", "packets to keep, as 1-100,250,300-", parseRanges)
    .option("--truncated", "a file cut short is no failure")
    .addHelpText(
      "after",
      "\nExample:\n  millrace convert old.pcap new.pcapng\n  millrace convert --range 1-1000 big.pcapng.gz head.pcapng",
    )
    .action(convert);
}

/** `1-100,250,300-` as pairs of packet numbers. */
function parseRanges(text: string): [number, number][] {
  return text.split(",").map((part) => {
    const match = /^(\d+)(-(\d*))?$/.exec(part.trim());
    const from = match === null ? 0 : Number(match[1]);
    const to =
      match?.[2] === undefined ? from : match[3] === "" ? Number.POSITIVE_INFINITY : Number(match[3]);
    if (from < 1 || to < from)
      throw new InvalidArgumentError(`"${part}" is no range of packets; write 7, 1-100 or 300-`);
    return [from, to];
  });
}

async function convert(from: string, to: string, options: Options): Promise<void> {
  const report = await convertCapture(createArenaMemory(), from, to, {
    format: options.format ?? formatOfName(to),
    nano: options.nano === true,
    truncatedQuiet: options.truncated === true,
    ...(options.range === undefined ? {} : { ranges: options.range }),
  });
  const note = (count: number, what: string) => {
    if (count > 0) process.stderr.write(`millrace: ${count} ${what}\n`);
  };
  note(report.optionsLost, "packets have comments or other options that pcap cannot hold");
  note(report.blocksLost, "blocks were left out: pcap cannot hold them, or they ask not to be copied");
  note(report.clamped, "timestamps do not fit the format and were set to the nearest that does");
  process.stderr.write(`${report.packets} packets written\n`);
}
