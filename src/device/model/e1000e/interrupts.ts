import * as r from "../../e1000e/registers.js";
import { type ModelCard, reg, setReg } from "./card.js";

const OTHER_CAUSES = r.CAUSE_LINK;
/** The cause that each field of IVAR routes, lowest first (10.2.4.9). */
const ROUTED = [r.CAUSE_RXQ0, r.CAUSE_RXQ1, r.CAUSE_TXQ0, r.CAUSE_TXQ1, r.CAUSE_OTHER];

function usesMsix(card: ModelCard): boolean {
  return (reg(card, r.IVAR) & 0x88888) !== 0;
}

/** A cause comes up: it stands in ICR until read or cleared, and signals where IMS lets it. */
export function raiseCause(card: ModelCard, cause: number): void {
  const other = (cause & OTHER_CAUSES) !== 0 ? r.CAUSE_OTHER : 0;
  setReg(card, r.ICR, reg(card, r.ICR) | cause | other);
  card.told &= ~(cause | other); // it happened again
  signal(card);
}

export function raiseReceive(card: ModelCard, queue: number): void {
  raiseCause(card, usesMsix(card) ? (queue === 0 ? r.CAUSE_RXQ0 : r.CAUSE_RXQ1) : r.CAUSE_RXT0);
}

export function raiseTransmit(card: ModelCard, queue: number): void {
  raiseCause(card, usesMsix(card) ? (queue === 0 ? r.CAUSE_TXQ0 : r.CAUSE_TXQ1) : r.CAUSE_TXDW);
}

/** Reading ICR returns the causes and clears them. */
export function readCauses(card: ModelCard): number {
  const causes = reg(card, r.ICR);
  const asserted = (causes & reg(card, r.IMS)) !== 0 ? r.CAUSE_ASSERTED : 0;
  setReg(card, r.ICR, 0);
  card.told = 0;
  return (causes | asserted) >>> 0;
}

/** Signals every cause that stands, is let through and was not told yet, as moderation allows. */
export function signal(card: ModelCard): void {
  if (card.signals === "mute") return;
  const open = reg(card, r.ICR) & reg(card, r.IMS) & ~card.told;
  card.postponed = 0;
  if (open === 0) return;
  if (!usesMsix(card)) {
    if (!allowed(card, 0, reg(card, r.ITR))) return;
    card.told |= open;
    card.host.interrupt(0);
    return;
  }
  ROUTED.forEach((cause, field) => {
    if ((open & cause) === 0) return;
    const route = (reg(card, r.IVAR) >>> (4 * field)) & 15;
    const vector = route & 7;
    if ((route & r.IVAR_VALID) === 0 || vector > 4 || !allowed(card, vector, reg(card, r.EITR, 4 * vector)))
      return;
    const clears = reg(card, r.EIAC) & cause;
    setReg(card, r.ICR, reg(card, r.ICR) & ~clears);
    setReg(card, r.IMS, reg(card, r.IMS) & ~clears);
    if (clears === 0) card.told |= cause;
    card.host.interrupt(vector);
  });
}

/** Moderation: at most one signal a vector in EITR × 256 ns. One that comes too early waits. */
function allowed(card: ModelCard, vector: number, interval: number): boolean {
  const now = card.host.now();
  if (now - card.signalled[vector] < ((interval & 0xffff) * 256) / 1000) {
    card.postponed |= 1 << vector;
    return false;
  }
  card.signalled[vector] = now;
  return true;
}

/** Microseconds until the first postponed signal may go; undefined: none waits. */
export function signalDue(card: ModelCard): number | undefined {
  if (card.postponed === 0) return undefined;
  let least = Number.POSITIVE_INFINITY;
  for (let vector = 0; vector < 5; vector++) {
    if ((card.postponed & (1 << vector)) === 0) continue;
    const interval = usesMsix(card) ? reg(card, r.EITR, 4 * vector) : reg(card, r.ITR);
    least = Math.min(least, card.signalled[vector] + ((interval & 0xffff) * 256) / 1000 - card.host.now());
  }
  return Math.max(0, least);
}
