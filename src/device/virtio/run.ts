import type { MillraceError } from "../../errors.js";
import { BURST_PACKETS } from "../../kernels/structs.js";
import { throwFault } from "../../memory/burst.js";
import { raise } from "../bus/interrupts.js";
import { stoodStill } from "../nic.js";
import { closeVirtioCard, linkIsUp, recover, type VirtioCard } from "./card.js";
import { queueCounters, queueFault } from "./queue.js";
import { readCommon, STATUS_NEEDS_RESET } from "./registers.js";

const HUNG_MILLISECONDS = 2000;

function usable(card: VirtioCard): void {
  if (card.failure !== undefined) throw card.failure as MillraceError;
}

/** A device that broke the rules in a queue is reset; one that does not stop is given up, with an ERR_DEVICE. */
function mend(card: VirtioCard, pair: number): void {
  const fault = queueFault(card.bus, card.rx[pair]) ?? queueFault(card.bus, card.tx[pair]);
  if (fault !== undefined) recover(card, fault);
}

/** Moves what queue pair number `pair` has received to the end of `burst`, at most `most` packets. Returns how many. */
export function receive(card: VirtioCard, pair: number, burst: number, most: number): number {
  usable(card);
  const { kernels } = card.arena;
  const queue = card.rx[pair];
  const received = kernels.virtioReceive(queue.own, burst, most);
  if (kernels.virtioFill(queue.own) > 0 && kernels.virtqueueKick(queue.own)) queue.notify();
  mend(card, pair);
  return received;
}

/** Gives what has been sent back to the pool, on all queue pairs. */
export function clean(card: VirtioCard): void {
  usable(card);
  for (let pair = 0; pair < card.pairs; pair++) {
    card.arena.kernels.virtioComplete(card.tx[pair].own);
    mend(card, pair);
  }
}

/**
 * As PortDriver.send, over queue pair number `pair`, of packets before number `end`: one notification at most,
 * however many packets.
 */
export function send(
  card: VirtioCard,
  pair: number,
  burst: number,
  first: number,
  end = card.arena.u32[(burst + BURST_PACKETS) >>> 2],
): number {
  usable(card);
  const { kernels } = card.arena;
  kernels.virtioComplete(card.tx[pair].own);
  mend(card, pair);
  const queue = card.tx[pair];
  const next = kernels.virtioSend(queue.own, burst, first, end);
  // A device that has gone to sleep over a full queue is woken whether it asked for that or not: QEMU's forgets
  // to ask when it has waited for its other side (packed ring with event index).
  const full = next >= 0 && next < end;
  if (kernels.virtqueueKick(queue.own) || full) queue.notify();
  return throwFault(card.arena, burst, next);
}

/** Lets interrupts come for receiving, sending or both. What is there already counts as one that came. */
export function arm(card: VirtioCard, what: { readonly receive: boolean; readonly transmit: boolean }): void {
  usable(card);
  acknowledge(card);
  for (let pair = 0; pair < card.pairs; pair++) {
    const queues = [...(what.receive ? [card.rx[pair]] : []), ...(what.transmit ? [card.tx[pair]] : [])];
    for (const { own } of queues)
      if (card.arena.kernels.virtqueueArm(own, 1)) raise(card.arena, card.bus.counter(vectorOf(card, pair)));
  }
}

/** Asks for no more interrupts; some may still be on their way. */
export function disarm(card: VirtioCard): void {
  for (const { own } of [...card.rx, ...card.tx]) card.arena.kernels.virtqueueArm(own, 0);
}

function vectorOf(card: VirtioCard, pair: number): number {
  return card.bus.interruptKind === "msix" && card.bus.vectors > card.pairs ? pair : 0;
}

/** The vectors that `arm` lets fire; a pair's two queues share one. */
export function vectorsOf(card: VirtioCard): number[] {
  if (card.bus.vectors === 0) return [];
  return [...new Set(Array.from({ length: card.pairs }, (_, pair) => vectorOf(card, pair)))];
}

/** Where the line is shared, reading the status lets it go [4.1.4.5]. */
function acknowledge(card: VirtioCard): void {
  if (card.bus.interruptKind !== "intx") return;
  card.structures.isr.bar.read8(card.structures.isr.offset);
  card.bus.unmask(0);
}

/**
 * Looks after the card, to be called a few times a second with the time in milliseconds: resets one that asks for
 * it or whose transmission hangs, gives up one that does not come back. Returns what it did.
 */
export function watch(card: VirtioCard, now: number): "fine" | "reset" | "gone" {
  if (card.failure !== undefined) return "gone";
  let reason: string | undefined;
  if ((readCommon(card.structures, "status") & STATUS_NEEDS_RESET) !== 0) reason = "it asks to be reset";
  clean(card);
  const up = linkIsUp(card);
  const still = stoodStill(card.watched, now);
  card.watched = now;
  for (const [pair, queue] of card.tx.entries()) {
    const { packets, outstanding } = queueCounters(card.bus, queue);
    const before = card.progress[pair];
    before.since += still;
    if (outstanding === 0 || !up || packets !== before.packets) card.progress[pair] = { packets, since: now };
    else if (now - before.since >= HUNG_MILLISECONDS) reason = `its transmit queue ${pair} hangs`;
    else queue.notify(); // it may have missed the last notification
  }
  if (reason === undefined) return "fine";
  try {
    recover(card, reason);
  } catch {
    return "gone"; // every later use throws the failure
  }
  return "reset";
}

/** Sends out what it has, for a while; then resets the card, gives everything back and closes its bus. */
export async function closeCard(card: VirtioCard, drainMilliseconds = 1000): Promise<void> {
  const limit = performance.now() + drainMilliseconds;
  const pending = () => card.tx.some((queue) => queueCounters(card.bus, queue).outstanding > 0);
  while (card.failure === undefined && linkIsUp(card) && pending() && performance.now() < limit) {
    try {
      clean(card);
    } catch {
      break; // given up: what was not sent is counted as lost
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  closeVirtioCard(card);
  await card.bus.close();
}
