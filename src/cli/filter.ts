import { readFileSync, writeSync } from "node:fs";
import { type Command, Option } from "commander";
import { MillraceError } from "../errors.js";
import type { ClassicProgram } from "../filter/classic.js";
import { DEFAULT_SNAPLEN, filterLinkType } from "../filter/compile.js";
import { emitXdpFilter, formatEbpf } from "../filter/ebpf.js";
import { formatAssembly, formatC, formatNumbers, readNumbers } from "../filter/listing.js";
import { compileProgram } from "../filter/program.js";
import { LINK_TYPES } from "../filter/state.js";
import { compileModule, instantiateClassifier } from "../filter/wasm.js";
import { BURST_METAS, BURST_PACKETS, META_SIZE, META_VERDICT, VERDICT_PASS } from "../kernels/structs.js";
import { createArenaMemory } from "../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../memory/burst.js";
import type { LinkType } from "../packet/types.js";
import { parseLocator } from "../ports/locator.js";
import { findOpener } from "../ports/registry.js";
import { wholeNumber } from "./options.js";
import { print, printJson } from "./output.js";

interface FilterCommandOptions {
  readonly d?: number;
  readonly wasm?: boolean;
  readonly ebpf?: boolean;
  readonly program?: string;
  readonly linkType?: string;
  readonly snaplen: number;
  readonly read?: string;
  readonly json?: boolean;
}

export function addFilterCommand(program: Command): void {
  program
    .command("filter")
    .description("show what a packet filter is compiled to, or which packets of a capture it matches")
    .argument("[expression...]", "pcap-filter(7) expression; the empty one matches everything")
    .addOption(
      new Option("-d", "print classic BPF as assembly; -dd as C, -ddd as numbers").argParser(
        (_: string, times: number | undefined) => (times ?? 0) + 1,
      ),
    )
    .option("--wasm", "write the WebAssembly module to standard output")
    .option("--ebpf", "print eBPF for XDP as assembly")
    .option(
      "--program <file>",
      "take classic BPF in numbers (tcpdump -ddd) from a file, - for standard input",
    )
    .option("-y, --link-type <name>", `link type of the packets: ${LINK_TYPES.join(", ")} (EN10MB)`)
    .option("-s, --snaplen <bytes>", "what a match returns: bytes to keep", wholeNumber(1), DEFAULT_SNAPLEN)
    .option("-r, --read <file>", "print a verdict for each packet of a capture file")
    .option("--json", "one JSON object in place of text")
    .addHelpText(
      "after",
      `
Examples:
  millrace filter -d 'tcp port 80 and host 10.0.0.1'
  millrace filter --read trace.pcapng 'udp portrange 5000-5010'
  tcpdump -ddd 'vlan 7' | millrace filter --program - --read trace.pcap --json`,
    )
    .action((words: readonly string[], options: FilterCommandOptions) => runFilter(words.join(" "), options));
}

async function runFilter(expression: string, options: FilterCommandOptions): Promise<void> {
  if (options.program !== undefined && expression !== "")
    throw new MillraceError("ERR_USAGE", "both an expression and a program were given", {
      hint: "leave one of them out",
    });
  if (options.read !== undefined) await printVerdicts(expression, options, options.read);
  else await printProgram(compile(expression, options, options.linkType ?? "EN10MB", false), options);
}

function compile(
  expression: string,
  options: FilterCommandOptions,
  linkType: LinkType | (string & {}),
  fromFile: boolean,
): ClassicProgram {
  if (options.program !== undefined) return readNumbers(readProgram(options.program));
  const known = filterLinkType(/^\d+$/.test(String(linkType)) ? Number(linkType) : (linkType as LinkType));
  return compileProgram(expression, { linkType: known, snaplen: options.snaplen, fromFile });
}

function readProgram(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (cause) {
    const { code = "EIO", errno, syscall } = cause as NodeJS.ErrnoException;
    const details = {
      cause,
      ...(errno === undefined ? {} : { errno }),
      ...(syscall === undefined ? {} : { syscall }),
    };
    throw new MillraceError(code, `"${file}" cannot be read: ${code}`, details);
  }
}

async function printProgram(program: ClassicProgram, options: FilterCommandOptions): Promise<void> {
  if (options.wasm) {
    if (process.stdout.isTTY)
      throw new MillraceError("ERR_USAGE", "a WebAssembly module is no text", {
        hint: "redirect standard output to a file",
      });
    writeAll(compileModule([program]));
  } else if (options.ebpf)
    await print(`${formatEbpf(emitXdpFilter(program, { context: 6, unwanted: "unwanted" }))}\n`);
  else if (options.json) await printJson({ program });
  else {
    const format = [formatAssembly, formatAssembly, formatC, formatNumbers][Math.min(options.d ?? 1, 3)];
    await print(`${format(program)}\n`);
  }
}

function writeAll(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

const BURST_DESCRIPTORS = 2048;

async function printVerdicts(expression: string, options: FilterCommandOptions, file: string): Promise<void> {
  const arena = createArenaMemory();
  const open = await findOpener("pcap");
  const signal = new AbortController().signal;
  const locator = parseLocator(file.startsWith("pcap:") ? file : `pcap:${file}`);
  const port = await open(arena, locator, { direction: "in", wait: "adaptive", signal });
  const burst = createBurst(arena, BURST_DESCRIPTORS);
  try {
    const program = compile(expression, options, options.linkType ?? port.can.linkType, true);
    const classifier = instantiateClassifier(compileModule([program]), arena.memory);
    let packets = 0;
    let matched = 0;
    for (;;) {
      const received = port.receive(burst);
      if (received === 0) {
        if (port.ended) break;
        await port.readable(signal);
        continue;
      }
      matched += classifier.classify(0, burst, 1, 0);
      if (!options.json) await print(verdictLines(arena.u8, arena.u32, burst, packets));
      packets += arena.u32[(burst + BURST_PACKETS) >>> 2];
      throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
    }
    await (options.json
      ? printJson({ packets, matched })
      : print(`${matched} of ${packets} packets match\n`));
  } finally {
    destroyBurst(arena, burst);
    await port.close();
  }
}

function verdictLines(u8: Uint8Array, u32: Uint32Array, burst: number, before: number): string {
  const metas = u32[(burst + BURST_METAS) >>> 2];
  const lines: string[] = [];
  for (let i = 0; i < u32[(burst + BURST_PACKETS) >>> 2]; i++) {
    const passed = u8[metas + i * META_SIZE + META_VERDICT] === VERDICT_PASS;
    lines.push(`${before + i + 1}\t${passed ? "match" : "no match"}\n`);
  }
  return lines.join("");
}
