import type { ArenaMemory } from "../../memory/arena.js";
import { LEDGER } from "./mailbox.js";

/** What a ledger counts, in the order in which the counters stand in a mailbox (f64 each). */
const LEDGER_FIELDS = [
  "configReads",
  "configWrites",
  "mmioReads",
  "mmioReadBytes",
  "mmioWrites",
  "mmioWriteBytes",
  "portReads",
  "portReadBytes",
  "portWrites",
  "portWriteBytes",
  "dmaReads",
  "dmaReadBytes",
  "dmaWrites",
  "dmaWriteBytes",
  "interrupts",
  "faults",
] as const;

export type LedgerField = (typeof LEDGER_FIELDS)[number];

/** Every transaction of one modelled device since it was opened: how many, and how many bytes they moved. */
export type Ledger = Readonly<Record<LedgerField, number>>;

/** Adds one transaction, and its bytes in the field after it where `bytes` is given. */
export function enter(arena: ArenaMemory, mailbox: number, field: LedgerField, bytes?: number): void {
  const at = ((mailbox + LEDGER) >>> 3) + LEDGER_FIELDS.indexOf(field);
  arena.f64[at] += 1;
  if (bytes !== undefined) arena.f64[at + 1] += bytes;
}

export function readLedger(arena: ArenaMemory, mailbox: number): Ledger {
  const at = (mailbox + LEDGER) >>> 3;
  const entries = LEDGER_FIELDS.map((field, index) => [field, arena.f64[at + index]]);
  return Object.fromEntries(entries) as Ledger;
}

/** What was entered between two readings. */
export function ledgerBetween(before: Ledger, after: Ledger): Ledger {
  return Object.fromEntries(LEDGER_FIELDS.map((field) => [field, after[field] - before[field]])) as Ledger;
}
