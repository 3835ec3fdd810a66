import type { Command } from "commander";
import { createArenaMemory } from "../memory/arena.js";
import { describeLinkType, linkTypeOf } from "../ports/pcap/link-types.js";
import { type CaptureSummary, type Moment, summarizeCapture } from "../ports/pcap/summary.js";
import { EXIT_FAILURE, tell } from "./failure.js";
import { print, printJson } from "./output.js";

export function addInfoCommand(program: Command): void {
  program
    .command("info")
    .description("tell what capture files hold: packets, bytes, times, interfaces, comments")
    .argument("<file...>", "pcap or pcapng files, compressed or not; - is standard input")
    .option("--json", "one JSON object a file, one a line")
    .addHelpText("after", "\nExample:\n  millrace info trace.pcapng\n  millrace info --json *.pcap.gz")
    .action(info);
}

async function info(files: readonly string[], options: { readonly json?: boolean }): Promise<void> {
  const arena = createArenaMemory();
  for (const [index, file] of files.entries()) {
    try {
      const summary = await summarizeCapture(arena, file);
      if (options.json) await printJson(toJson(summary));
      else await print(`${index > 0 ? "\n" : ""}${toText(summary)}\n`);
      if (summary.fault !== undefined) process.exitCode = tell(summary.fault);
    } catch (error) {
      process.exitCode = Math.max(EXIT_FAILURE, tell(error));
    }
  }
}

/** Seconds between two moments, exact to the nanosecond as far as a Number is. */
function between(from: Moment, to: Moment): number {
  return to.seconds - from.seconds + (to.nanoseconds - from.nanoseconds) / 1e9;
}

function epoch({ seconds, nanoseconds }: Moment): string {
  return `${seconds}.${String(nanoseconds).padStart(9, "0")}`;
}

/** UTC with nanoseconds; what a Date cannot hold stays seconds since the epoch. */
function utc(moment: Moment): string {
  const date = new Date(moment.seconds * 1000);
  if (Number.isNaN(date.getTime())) return epoch(moment);
  return `${date.toISOString().slice(0, 19)}.${String(moment.nanoseconds).padStart(9, "0")}Z`;
}

function resolutionOf({ base, exponent }: { readonly base: number; readonly exponent: number }): string {
  return `${base}^-${exponent} s`;
}

function bigAsNumber(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? Number(value) : value;
}

/** The object of --json. Numbers are bytes, packets and seconds; times are UTC and epoch strings, exact to 1 ns. */
function toJson(summary: CaptureSummary): unknown {
  const { first, last, fault, sections, interfaces, ...rest } = summary;
  const duration = first === undefined || last === undefined ? undefined : between(first, last);
  const plain = {
    ...rest,
    ...(first === undefined ? {} : { first: utc(first), firstEpoch: epoch(first) }),
    ...(last === undefined ? {} : { last: utc(last), lastEpoch: epoch(last) }),
    ...(duration === undefined ? {} : { duration }),
    sections: sections.map(({ options, bigEndian, ...section }) => ({
      ...section,
      byteOrder: bigEndian ? "big" : "little",
    })),
    interfaces: interfaces.map(({ options, statistics, linkFlags, ...one }) => ({
      ...one,
      linkType: linkTypeOf(one.linkType),
      linkTypeNumber: one.linkType,
      ...(statistics.length === 0 ? {} : { statistics: statistics[statistics.length - 1] }),
    })),
    ...(fault === undefined ? {} : { fault: { code: fault.code, message: fault.message, at: fault.at } }),
  };
  return JSON.parse(JSON.stringify(plain, bigAsNumber));
}

function toText(summary: CaptureSummary): string {
  const lines: [string, string][] = [];
  const add = (name: string, value: string | number | undefined) => {
    if (value !== undefined) lines.push([name, String(value)]);
  };
  const { packets, wireBytes, first, last, interfaces, sections, cut } = summary;
  const compressed = summary.compression === undefined ? "" : `, compressed with ${summary.compression}`;
  add("File name", summary.file);
  add("File type", `${summary.variant}${compressed}`);
  const types = [...new Set(interfaces.map((one) => one.linkType))];
  add(
    "Link type",
    types.length === 0 ? "none: no interface is described" : types.map(describeLinkType).join(", "),
  );
  if (cut.packets > 0) add("Cut packets", `${cut.packets}, to ${cut.least} to ${cut.most} bytes`);
  add("Packets", packets);
  add("File size", summary.fileSize === undefined ? undefined : `${summary.fileSize} bytes`);
  add("Data size", `${wireBytes} bytes on the wire, ${summary.capturedBytes} in the file`);
  if (first !== undefined && last !== undefined) {
    const seconds = between(first, last);
    add("First packet", utc(first));
    add("Last packet", utc(last));
    add("Duration", `${seconds.toFixed(9)} s`);
    if (seconds > 0) {
      add("Data rate", `${((wireBytes * 8) / seconds).toFixed(0)} bit/s`);
      add("Packet rate", `${(packets / seconds).toFixed(1)} packets/s`);
    }
    add("Strict time order", summary.strictTimeOrder ? "yes" : "no");
  }
  if (packets > 0) add("Average size", `${(wireBytes / packets).toFixed(2)} bytes`);
  for (const section of sections) {
    const prefix = sections.length > 1 ? `Section ${section.number} ` : "";
    add(`${prefix}Hardware`.trim(), section.hardware);
    add(`${prefix}Operating system`.trim(), section.os);
    add(`${prefix}Application`.trim(), section.application);
    for (const comment of section.comments) add(`${prefix}Comment`.trim(), comment);
    if (section.bigEndian) add(`${prefix}Byte order`.trim(), "big endian");
  }
  if (summary.names > 0) add("Name blocks", summary.names);
  if (summary.secrets > 0) add("Decryption secrets", summary.secrets);
  for (const { packet, text } of summary.comments) add(`Comment on packet ${packet}`, text);
  add("Interfaces", interfaces.length);
  for (const one of interfaces) {
    const inside = sections.length > 1 ? ` (number ${one.index} of section ${one.section})` : "";
    add(
      `Interface ${one.number}`,
      `${one.name ?? "without a name"}${inside}, ${describeLinkType(one.linkType)}`,
    );
    add("  Description", one.description);
    add("  Hardware", one.hardware);
    add("  Operating system", one.os);
    add("  Filter", one.filter);
    add("  Speed", one.speed === undefined ? undefined : `${one.speed} bit/s`);
    for (const comment of one.comments) add("  Comment", comment);
    add("  Snap length", one.snaplen === 0 ? "none" : `${one.snaplen} bytes`);
    add("  Time unit", resolutionOf(one.resolution));
    if (one.offset !== 0n) add("  Time offset", `${one.offset} s`);
    add("  Packets", one.packets);
    for (const { received, dropped, filtered, droppedBySystem, delivered, comments } of one.statistics) {
      add("  Received", received === undefined ? undefined : `${received}`);
      add("  Dropped", dropped === undefined ? undefined : `${dropped}`);
      add("  Past the filter", filtered === undefined ? undefined : `${filtered}`);
      add("  Dropped by system", droppedBySystem === undefined ? undefined : `${droppedBySystem}`);
      add("  Delivered", delivered === undefined ? undefined : `${delivered}`);
      for (const comment of comments) add("  Comment", comment);
    }
  }
  const width = Math.max(...lines.map(([name]) => name.length)) + 2;
  return lines.map(([name, value]) => `${`${name}:`.padEnd(width)}${value}`).join("\n");
}
