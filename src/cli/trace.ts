import type { Command } from "commander";
import { type Batch, compareWays, countBatches, type Way } from "../device/ways/compare.js";
import { MillraceError } from "../errors.js";
import { createArenaMemory } from "../memory/arena.js";

const BATCHES = [1, 4, 16, 32, 64, 256];
const BATCH_PACKETS = 256;

interface TraceOptions {
  readonly bus?: true;
  readonly bytes: string;
  readonly json?: true;
}

/** `millrace trace --bus`: what each way of handing a packet to a device costs in bus transactions. */
export function addTraceCommand(program: Command): void {
  program
    .command("trace")
    .description("show what moving a packet takes, transaction by transaction, on modelled hardware")
    .option("--bus", "the same packet by port I/O, memory-mapped buffer, DMA controller and bus master")
    .option("--bytes <count>", "bytes of the packet, 60 to 1514", "1514")
    .option("--json", "one JSON object a line")
    .action(async (options: TraceOptions) => {
      const bytes = Number(options.bytes);
      if (options.bus !== true)
        throw new MillraceError("ERR_USAGE", "nothing to trace", { hint: "say --bus" });
      if (!(Number.isInteger(bytes) && bytes >= 60 && bytes <= 1514))
        throw new MillraceError(
          "ERR_USAGE",
          `--bytes ${options.bytes} is not a whole number from 60 to 1514`,
        );
      const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
      const ways = await compareWays(arena, bytes);
      const batches = await countBatches(arena, bytes, BATCHES, BATCH_PACKETS);
      if (options.json === true)
        for (const line of [...ways, ...batches]) console.log(JSON.stringify({ bytes, ...line }));
      else console.log(`${waysTable(ways, bytes)}\n\n${batchTable(batches)}`);
    });
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function waysTable(ways: readonly Way[], bytes: number): string {
  const rows: [string, (way: Way) => number][] = [
    ["port reads", ({ ledger }) => ledger.portReads],
    ["port writes", ({ ledger }) => ledger.portWrites],
    ["MMIO reads", ({ ledger }) => ledger.mmioReads],
    ["MMIO writes", ({ ledger }) => ledger.mmioWrites],
    ["bytes by the processor", ({ ledger }) => ledger.portWriteBytes + ledger.mmioWriteBytes],
    ["DMA reads", ({ ledger }) => ledger.dmaReads],
    ["DMA bytes read", ({ ledger }) => ledger.dmaReadBytes],
    ["DMA writes", ({ ledger }) => ledger.dmaWrites],
    ["DMA bytes written", ({ ledger }) => ledger.dmaWriteBytes],
    ["interrupts", ({ ledger }) => ledger.interrupts],
  ];
  return table([
    [`one packet of ${bytes} bytes`, ...ways.map(({ name }) => name)],
    ...rows.map(([label, value]) => [label, ...ways.map((way) => String(value(way)))]),
  ]);
}

function batchTable(batches: readonly Batch[]): string {
  const each = (value: number, { packets }: Batch) => (value / packets).toFixed(3);
  return table([
    ["bus master, a packet", ...batches.map(({ batch }) => `batch ${batch}`)],
    ["MMIO writes", ...batches.map((entry) => each(entry.ledger.mmioWrites, entry))],
    ["DMA reads", ...batches.map((entry) => each(entry.ledger.dmaReads, entry))],
    ["DMA writes", ...batches.map((entry) => each(entry.ledger.dmaWrites, entry))],
    ["interrupts", ...batches.map((entry) => each(entry.ledger.interrupts, entry))],
  ]);
}
