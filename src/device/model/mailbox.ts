import { MillraceError } from "../../errors.js";
import type { ArenaMemory } from "../../memory/arena.js";

// The bus between a driver's thread and the machine that holds the modelled device: a ring of requests in the
// arena, taken strictly in order. Writes are posted: the driver goes on. Reads wait for their answer, so, as on
// PCI Express, a read pushes every write before it ahead of itself. No register write is lost or merged, however
// fast two follow each other, and a read with side effects happens exactly once.
//
// Cost: a posted write is five stores and one load of shared memory; a read, or a port access, is a round trip
// between two threads (or one call of `step` where the machine runs in the driver's own thread).

/** Offsets within a mailbox. */
export const POSTED = 0; // u32, requests written; the driver's
export const TAKEN = 64; // u32, requests done; the machine's
export const ANSWERED = 128; // u32, number of the last request that was answered; the machine's
export const ANSWER_LOW = 132;
export const ANSWER_HIGH = 136;
export const ANSWER_OK = 140; // u32, 0: refused
export const FAULT_LOW = 192; // the last address the IOMMU stopped
export const FAULT_HIGH = 196;
export const FAULT_WRITE = 200; // u32, 1: it was a write
export const LEDGER = 256; // f64 each, see ledger.ts
export const COUNTERS = 1024; // one cache line a vector
export const COUNTER_STRIDE = 64;
export const ENTRIES = 8192;
export const ENTRY_SIZE = 16;
export const ENTRY_COUNT = 512;
export const MAILBOX_BYTES = 16384;

/** Offsets within the region that all devices of one machine share. */
export const MACHINE_WAKE = 0; // u32, notified when a request comes while the machine sleeps
export const MACHINE_SLEEPS = 4; // u32, 1: it wants to be notified
export const MACHINE_GONE = 8; // u32, 1: its thread has ended

/** What a request asks for. */
export const ASK_READ = 1;
export const ASK_WRITE = 2;
export const ASK_CONFIG_READ = 3;
export const ASK_CONFIG_WRITE = 4;
export const ASK_MAP = 5;
export const ASK_UNMAP = 6;
export const ASK_VECTORS = 7;
export const ASK_RESET = 8;
export const ASK_CLOSE = 9;
export const ASK_UNMASK = 10;

/** The driver's side of a mailbox. */
export interface MailboxClient {
  readonly arena: ArenaMemory;
  readonly mailbox: number;
  readonly machine: number;
  /** Drives the machine where it runs in this very thread. */
  readonly step?: (() => boolean) | undefined;
}

const PATIENCE = 30_000; // milliseconds without an answer until the machine counts as hung: a loaded host is slow

function gone(what: string): MillraceError {
  return new MillraceError("ERR_DEVICE", `the modelled device no longer answers (${what})`, {
    hint: "its machine has ended; open the device again",
  });
}

/** Waits, running or sleeping as the machine's place asks, until `done`. */
function waitUntil(client: MailboxClient, index: number, done: () => boolean): void {
  const { arena, machine, step } = client;
  for (let turn = 0; turn < 2000; turn++) {
    if (done()) return;
    step?.();
  }
  if (step !== undefined) throw gone("in step");
  const limit = performance.now() + PATIENCE;
  while (!done()) {
    if (Atomics.load(arena.u32, (machine + MACHINE_GONE) >>> 2) !== 0 || performance.now() > limit)
      throw gone("no answer");
    Atomics.wait(arena.i32, index, Atomics.load(arena.i32, index), 1);
  }
}

function waitForRoom(client: MailboxClient, number: number): void {
  const { u32 } = client.arena;
  const taken = (client.mailbox + TAKEN) >>> 2;
  waitUntil(client, taken, () => (number - Atomics.load(u32, taken)) >>> 0 < ENTRY_COUNT);
}

/** Appends one request; returns its number. Waits only while the ring is full. */
export function post(client: MailboxClient, word: number, offset: number, low: number, high: number): number {
  const { arena, mailbox, machine } = client;
  const { u32 } = arena;
  const number = u32[(mailbox + POSTED) >>> 2];
  if ((number - Atomics.load(u32, (mailbox + TAKEN) >>> 2)) >>> 0 >= ENTRY_COUNT) waitForRoom(client, number);
  const at = (mailbox + ENTRIES + (number % ENTRY_COUNT) * ENTRY_SIZE) >>> 2;
  u32[at] = word;
  u32[at + 1] = offset;
  u32[at + 2] = low;
  u32[at + 3] = high;
  Atomics.store(u32, (mailbox + POSTED) >>> 2, number + 1);
  if (Atomics.load(u32, (machine + MACHINE_SLEEPS) >>> 2) !== 0) {
    Atomics.add(u32, (machine + MACHINE_WAKE) >>> 2, 1);
    Atomics.notify(arena.i32, (machine + MACHINE_WAKE) >>> 2);
  }
  return (number + 1) >>> 0;
}

/** Appends one request and waits for its answer: false when it was refused. The value stands in ANSWER_LOW and _HIGH. */
export function ask(client: MailboxClient, word: number, offset: number, low: number, high: number): boolean {
  const { arena, mailbox } = client;
  const number = post(client, word, offset, low, high);
  const answered = (mailbox + ANSWERED) >>> 2;
  waitUntil(client, answered, () => Atomics.load(arena.u32, answered) === number);
  return arena.u32[(mailbox + ANSWER_OK) >>> 2] === 1;
}
