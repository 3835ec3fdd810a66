import type { Command } from "commander";
import { type FlowPorts, traceIommu, traceModeration, traceRss, traceSplit } from "../device/ways/card.js";
import { type Batch, compareWays, countBatches, type Way } from "../device/ways/compare.js";
import { MillraceError } from "../errors.js";
import { type ArenaMemory, createArenaMemory } from "../memory/arena.js";
import { wholeNumber } from "./options.js";
import { print, printJson, table } from "./output.js";

const BATCHES = [1, 4, 16, 32, 64, 256];
const BATCH_PACKETS = 256;

const FLOWS: readonly FlowPorts[] = [
  ...[4000, 4001, 4002, 4003].map((source) => ({ protocol: "tcp", source, destination: 80 }) as const),
  { protocol: "udp", source: 4000, destination: 80 },
  { protocol: "udp", source: 4001, destination: 80 },
];

interface TraceOptions {
  readonly bus?: true;
  readonly card?: true;
  readonly bytes: number;
  readonly json?: true;
}

type Tell = (results: readonly object[], text: string) => Promise<void>;

/** `millrace trace`: what each way of handing a packet to a device costs, and what a card does with it. */
export function addTraceCommand(program: Command): void {
  program
    .command("trace")
    .description("show what moving a packet takes, transaction by transaction, on modelled hardware")
    .option("--bus", "the same packet by port I/O, memory-mapped buffer, DMA controller and bus master")
    .option("--card", "what a network card does: RSS, header split, interrupt moderation, IOMMU")
    .option("--bytes <count>", "bytes of the packet, 60 to 1514", wholeNumber(60, 1514), 1514)
    .option("--json", "one JSON object a line")
    .addHelpText("after", "\nExample:\n  millrace trace --bus")
    .action(async (options: TraceOptions) => {
      if (options.bus !== true && options.card !== true)
        throw new MillraceError("ERR_USAGE", "nothing to trace", { hint: "say --bus or --card" });
      const arena = createArenaMemory({ bytes: 32 * 2 ** 20 });
      const tell: Tell = async (results, text) => {
        if (options.json === true) for (const result of results) await printJson(result);
        else await print(`${text}\n\n`);
      };
      if (options.bus === true) {
        const ways = await compareWays(arena, options.bytes);
        await tell(ways, waysTable(ways, options.bytes));
        const batches = await countBatches(arena, options.bytes, BATCHES, BATCH_PACKETS);
        await tell(batches, batchTable(batches));
      }
      if (options.card === true) await traceCard(arena, tell);
    });
}

async function traceCard(arena: ArenaMemory, tell: Tell): Promise<void> {
  const flows = await traceRss(arena, FLOWS);
  await tell(
    flows,
    table([
      ["RSS: flow", "hash", "table entry", "queue"],
      ...flows.map(({ protocol, source, destination, hash, entry, queue }) => [
        `${protocol} ${source} to ${destination}`,
        hash.toString(16).padStart(8, "0"),
        String(entry),
        String(queue),
      ]),
    ]),
  );
  const packets = await traceSplit(arena, [
    { protocol: "tcp", source: 4000, destination: 80, payload: 1400 },
    { protocol: "udp", source: 4000, destination: 80, payload: 1400 },
    { protocol: "tcp", source: 4000, destination: 80, payload: 0 },
  ]);
  await tell(
    packets,
    table([
      ["header split: packet", "bytes", "pieces (bytes at offset in its frame)"],
      ...packets.map(({ protocol, bytes, pieces }) => [
        protocol,
        String(bytes),
        pieces.map((piece) => `${piece.bytes} at ${piece.offset}`).join(", "),
      ]),
    ]),
  );
  const interrupts = await traceModeration(arena, [0, 20, 100, 500], 1000, 5);
  await tell(
    interrupts,
    table([
      ["moderation: 1000 packets, 5 µs apart", ...interrupts.map(({ moderation }) => `${moderation} µs`)],
      ["interrupts", ...interrupts.map((entry) => String(entry.interrupts))],
      ["packets an interrupt", ...interrupts.map((entry) => (entry.packets / entry.interrupts).toFixed(1))],
    ]),
  );
  const guarded = await traceIommu(arena);
  await tell(
    guarded,
    table([
      ["IOMMU", "completed", "stopped at"],
      ...guarded.map(({ what, packets: count, stopped }) => [
        what,
        String(count),
        stopped === undefined ? "-" : `0x${stopped.toString(16)}`,
      ]),
    ]),
  );
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
