import {
  RX_DONE,
  RXD_STATUS,
  RXQ_COUNT,
  RXQ_FILLED,
  RXQ_NEXT,
  TXQ_MARK_FIRST,
  TXQ_MARK_NEXT,
  TXQ_TAIL,
} from "../../kernels/e1000e.js";
import { BURST_PACKETS } from "../../kernels/structs.js";
import { throwFault } from "../../memory/burst.js";
import { stoodStill, waitForLink } from "../nic.js";
import { ALL_ONES, HUNG_MILLISECONDS, LINK_MILLISECONDS } from "./assumptions.js";
import { resetCard, startCard, tellReceive } from "./bringup.js";
import { broken, type Card, isGone, readRegister, writeRegister } from "./card.js";
import { destroyQueue, type Queue, unmapQueue } from "./queues.js";
import * as r from "./registers.js";
import { collect } from "./statistics.js";

const STATUS_PAUSED = 1 << 4; // TXOFF: the other side asked for a pause

/** Appends what queue number `index` has received to the burst, at most `most` packets. Returns how many. */
export function receive(card: Card, index: number, burst: number, most: number): number {
  if (card.failure !== undefined) throw card.failure;
  const queue = card.rx[index];
  const packets = card.arena.kernels.e1000eReceive(queue.state, burst, most);
  tellReceive(card, queue);
  return packets;
}

/**
 * As PortDriver.send, over transmit queue number `index`, of packets before number `end`: one write to a register,
 * however many packets.
 */
export function send(
  card: Card,
  index: number,
  burst: number,
  first: number,
  end = card.arena.u32[(burst + BURST_PACKETS) >>> 2],
): number {
  if (card.failure !== undefined) throw card.failure;
  const { arena } = card;
  const queue = card.tx[index];
  arena.kernels.e1000eClean(queue.state);
  const result = arena.kernels.e1000eSend(queue.state, burst, first, end);
  const tail = arena.u32[(queue.state + TXQ_TAIL) >>> 2];
  if (tail !== queue.told) {
    queue.told = tail;
    card.bar.write32(r.TDT.offset + index * r.QUEUE_STRIDE, tail);
  }
  return throwFault(arena, burst, result);
}

/** Frees what the card has reported sent, on all queues. */
export function clean(card: Card): void {
  for (const queue of card.tx) card.arena.kernels.e1000eClean(queue.state);
}

/** Lets interrupts come for receiving, sending or both; each vector masks itself when it fires. */
export function arm(card: Card, what: { readonly receive: boolean; readonly transmit: boolean }): void {
  let causes = 0;
  if (card.ownVectors) {
    if (what.receive) causes |= card.settings.queues === 2 ? r.CAUSE_RXQ0 | r.CAUSE_RXQ1 : r.CAUSE_RXQ0;
    if (what.transmit) causes |= card.settings.queues === 2 ? r.CAUSE_TXQ0 | r.CAUSE_TXQ1 : r.CAUSE_TXQ0;
  } else {
    readRegister(card, r.ICR); // clears what was told already; what comes now raises it anew
    card.bus.unmask(0);
    if (what.receive) causes |= r.CAUSE_RXT0;
    if (what.transmit) causes |= r.CAUSE_TXDW;
  }
  writeRegister(card, r.IMS, causes);
  // A packet whose cause was cleared just now is told by hand.
  if (!card.ownVectors && what.receive && card.rx.some((queue) => hasArrived(card, queue)))
    writeRegister(card, r.ICS, r.CAUSE_RXT0);
}

/** True when the card has completed the next descriptor of a receive queue. */
function hasArrived(card: Card, queue: Queue): boolean {
  const { u32 } = card.arena;
  const word = (offset: number) => u32[(queue.state + offset) >>> 2];
  const next = word(RXQ_NEXT);
  if (next === word(RXQ_FILLED)) return false; // it has been given none
  const slot = next & (word(RXQ_COUNT) - 1);
  const size = queue.descBytes / word(RXQ_COUNT);
  return (Atomics.load(u32, (queue.descs + slot * size + RXD_STATUS) >>> 2) & RX_DONE) !== 0;
}

/** The vectors that `arm` lets fire. */
export function vectorsOf(
  card: Card,
  what: { readonly receive: boolean; readonly transmit: boolean },
): number[] {
  if (!card.ownVectors) return [0];
  const queues = card.settings.queues === 2 ? [0, 1] : [0];
  return [...(what.receive ? queues : []), ...(what.transmit ? queues.map((queue) => queue + 2) : [])];
}

/** What to do when the link's vector fires: reads and clears the cause, and looks at the link. */
export function serveLink(card: Card): void {
  readRegister(card, r.ICR);
  updateLink(card);
  writeRegister(card, r.IMS, r.CAUSE_LINK | r.CAUSE_OTHER);
}

export function updateLink(card: Card): boolean {
  const status = readRegister(card, r.STATUS);
  card.linkUp = status !== ALL_ONES && (status & r.STATUS_LINK_UP) !== 0;
  return card.linkUp;
}

/** Waits until the link is up, for at most so many milliseconds. */
export function linkUp(card: Card, milliseconds = LINK_MILLISECONDS): Promise<boolean> {
  return waitForLink(() => updateLink(card), milliseconds);
}

/**
 * Looks after the card, to be called a few times a second with the time in milliseconds: gives up one that no
 * longer answers, resets one whose transmission hangs. Returns what it did.
 */
export function watch(card: Card, now: number): "fine" | "reset" | "gone" {
  if (card.failure !== undefined) return "gone";
  if (isGone(card)) {
    card.failure = broken(
      card,
      "no longer answers: every register reads all ones",
      "it was pulled, or lost power",
    );
    return "gone";
  }
  collect(card);
  updateLink(card);
  clean(card);
  const still = stoodStill(card.watched, now);
  card.watched = now;
  const paused = (readRegister(card, r.STATUS) & STATUS_PAUSED) !== 0;
  let hung = false;
  card.tx.forEach((queue, index) => {
    const mark = card.arena.u32[(queue.state + TXQ_MARK_FIRST) >>> 2];
    const waits = mark !== card.arena.u32[(queue.state + TXQ_MARK_NEXT) >>> 2];
    const before = card.progress[index];
    before.since += still;
    if (!waits || paused || !card.linkUp || before.mark !== mark) card.progress[index] = { mark, since: now };
    else if (now - before.since >= HUNG_MILLISECONDS) hung = true;
  });
  if (!hung) return "fine";
  recover(card);
  return card.failure === undefined ? "reset" : "gone";
}

/** Takes the card through a reset and back to work. What lay in its transmit rings is lost, and counted. */
export function recover(card: Card): void {
  card.resets++;
  try {
    collect(card);
    card.bus.setBusMaster(false);
    clean(card); // what it had sent by now is not lost
    resetCard(card);
    startCard(card);
  } catch (cause) {
    card.failure = broken(card, `does not come back from a reset (${String(cause)})`, "power it off and on");
  }
  for (const progress of card.progress) progress.since = performance.now();
}

/** Sends out what it has, for a while, and then makes the card reach nothing any more. */
export async function quietCard(card: Card, drainMilliseconds: number): Promise<void> {
  const limit = performance.now() + drainMilliseconds;
  const pending = () =>
    card.tx.some(
      ({ state }) =>
        card.arena.u32[(state + TXQ_MARK_FIRST) >>> 2] !== card.arena.u32[(state + TXQ_MARK_NEXT) >>> 2],
    );
  for (clean(card); card.failure === undefined && card.linkUp && pending(); clean(card)) {
    if (performance.now() >= limit) break;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  if (card.failure === undefined && !isGone(card)) {
    collect(card);
    writeRegister(card, r.IMC, ALL_ONES);
    writeRegister(card, r.RCTL, 0);
    writeRegister(card, r.TCTL, 0);
  }
  endReach(card);
  clean(card);
  for (const queue of card.tx) card.lost += card.arena.kernels.e1000eFlush(queue.state);
}

/** Ends all access of the card to the arena; only then may anyone else have its frames. */
export function endReach(card: Card): void {
  card.bus.setBusMaster(false);
  card.bus.reset();
  for (const queue of [...card.rx, ...card.tx]) unmapQueue(card.bus, queue);
  card.bus.unmap(0, card.arena.frames * card.arena.frameSize);
}

/** Gives the memory and frames of a card back that reaches nothing any more, and closes its bus. */
export async function releaseCard(card: Card): Promise<void> {
  releaseQueues(card);
  await card.bus.close();
}

export function releaseQueues(card: Card): void {
  for (const queue of [...card.rx, ...card.tx]) destroyQueue(card.arena, queue);
}

/** Both: drains for at most `drainMilliseconds`, quiets the card and gives everything back. */
export async function closeCard(card: Card, drainMilliseconds = 1000): Promise<void> {
  await quietCard(card, drainMilliseconds);
  await releaseCard(card);
}
