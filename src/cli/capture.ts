import { type Command, Option } from "commander";
import { MillraceError } from "../errors.js";
import { formatOfName } from "../ports/pcap/port.js";
import { type CaptureOptions, runCapture } from "./capture/run.js";
import { oneOf, seconds, wholeNumber } from "./options.js";

interface Options {
  readonly i?: string;
  readonly w?: string;
  readonly r?: string;
  readonly c?: number;
  readonly s?: number;
  readonly C?: number;
  readonly G?: number;
  readonly W?: number;
  readonly z?: string;
  readonly B?: number;
  readonly Q?: "in" | "out" | "inout";
  readonly p?: boolean;
  readonly U?: boolean;
  readonly e?: boolean;
  readonly q?: boolean;
  readonly nano?: boolean;
  readonly json?: boolean;
  readonly print?: boolean;
  readonly format?: "pcap" | "pcapng";
  readonly wait?: "busy" | "interrupt" | "adaptive";
}

export function addCaptureCommand(program: Command): void {
  const repeats = { t: 0, x: 0, X: 0 };
  const command = program
    .command("capture")
    .description("write the packets of a port to a file, or print a line for each, with tcpdump's options")
    .argument(
      "[words...]",
      "LOCATOR, unless -i or -r names it, then a filter EXPRESSION as pcap-filter(7) has it",
    )
    .option("-i <locator>", "interface or any other port: eth0, xdp:eth0, udp://0.0.0.0:5000")
    .option("-r <file>", "read a capture file; - is standard input")
    .option("-w <file>", "write a capture file; - is standard output. .pcap makes pcap, all else pcapng")
    .option("-c <packets>", "stop after so many", wholeNumber(1))
    .option("-s <bytes>", "keep so many bytes of each packet; 0: 262144", wholeNumber(0))
    .option("-C <millions>", "begin a new file after so many millions of bytes", wholeNumber(1))
    .option(
      "-G <seconds>",
      "begin a new file after so many seconds; the name takes strftime(3) conversions",
      seconds,
    )
    .option("-W <files>", "with -C: a ring of so many files; with -G: stop after so many", wholeNumber(1))
    .option("-z <command>", "run with the name of each finished file")
    .option("-B <kib>", "size of the kernel's buffer", wholeNumber(64))
    .option("-Q <direction>", "in, out or inout, the default", oneOf("in", "out", "inout"))
    .option("-p", "do not make the interface promiscuous")
    .option("-U", "write each packet at once")
    .option("-l", "write each line at once, as is always done")
    .option("-n", "print numbers, not names, as is always done")
    .option("-e", "print the link header too")
    .option("-q", "print less")
    .option("-x", "print the bytes behind the link header; twice: with it")
    .option("-X", "the same, also as text")
    .option(
      "-t",
      "once: no time; twice: seconds since 1970; 3: since the packet before; 4: with the date; 5: since the first",
    )
    .option("--print", "print a line for each packet although -w is given")
    .option("--nano", "nanoseconds, printed and in pcap files; pcapng always has them")
    .addOption(new Option("--format <format>", "format of -w, whatever its name").choices(["pcap", "pcapng"]))
    .addOption(
      new Option("--wait <how>", "how to wait for packets").choices(["busy", "interrupt", "adaptive"]),
    )
    .option("--json", "one JSON object a packet; statistics at the end too")
    .addHelpText(
      "after",
      "\nExample:\n  millrace capture eth0 -w trace.pcapng udp port 5000\n  millrace capture -r trace.pcapng -n tcp\n  millrace capture eth0 -w 'eth0-%H%M.pcapng' -G 3600 -z gzip\n\nSIGUSR1 prints the counts so far, SIGINT ends.",
    );
  for (const letter of ["t", "x", "X"] as const) command.on(`option:${letter}`, () => repeats[letter]++);
  command.action((words: readonly string[], options: Options) =>
    runCapture(captureOptions(words, options, repeats)),
  );
}

function captureOptions(
  words: readonly string[],
  options: Options,
  repeats: { readonly t: number; readonly x: number; readonly X: number },
): CaptureOptions {
  if (options.i !== undefined && options.r !== undefined)
    throw new MillraceError("ERR_USAGE", "-i and -r exclude each other");
  const named = options.i ?? (options.r === undefined ? undefined : `pcap:${options.r}`);
  if (named === undefined && words.length === 0)
    throw new MillraceError("ERR_USAGE", "capture needs a port", {
      hint: "millrace capture eth0, or -r FILE; `millrace ports` lists what there is",
    });
  if (options.w === undefined && (options.C ?? options.G ?? options.z) !== undefined)
    throw new MillraceError("ERR_USAGE", "-C, -G and -z are about files: they need -w");
  if (options.W !== undefined && options.C === undefined && options.G === undefined)
    throw new MillraceError("ERR_USAGE", "-W needs -C or -G");
  if (options.w === "-" && (options.json === true || options.print === true))
    throw new MillraceError("ERR_USAGE", "standard output cannot carry both packets and text");
  const nano = options.nano === true;
  return {
    locator: named ?? words[0],
    fromFile: options.r !== undefined,
    expression: words.slice(named === undefined ? 1 : 0).join(" "),
    count: options.c,
    snaplen: options.s === undefined || options.s === 0 ? 262_144 : Math.min(options.s, 262_144),
    wait: options.wait ?? "adaptive",
    bufferKib: options.B,
    direction: options.Q ?? "inout",
    promiscuous: options.p !== true,
    json: options.json === true,
    file:
      options.w === undefined
        ? undefined
        : {
            pattern: options.w,
            format: options.format ?? formatOfName(options.w),
            nano,
            unbuffered: options.U === true,
            rotation: { megabytes: options.C, seconds: options.G, files: options.W },
            command: options.z,
          },
    lines:
      options.w === undefined || options.print === true
        ? {
            times: repeats.t,
            nano,
            link: options.e === true,
            quick: options.q === true,
            hex: repeats.x,
            ascii: repeats.X,
            json: options.json === true,
          }
        : undefined,
  };
}
