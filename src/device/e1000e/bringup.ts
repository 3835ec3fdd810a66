import { RXQ_TAIL } from "../../kernels/e1000e.js";
import { ALL_ONES, MASTER_MILLISECONDS, RECEIVE_BUFFER, RESET_MILLISECONDS, VECTORS } from "./assumptions.js";
import { broken, type Card, readRegister, registerBecomes, writeRegister } from "./card.js";
import { writeFilters } from "./filters.js";
import { HEADER_BYTES, type Queue, rewindReceive, rewindTransmit } from "./queues.js";
import * as r from "./registers.js";
import { writeRss } from "./rss.js";

/** Stops every access the card makes by itself, then resets it (as Linux does, e1000_reset_hw_82571). Throws ERR_DEVICE. */
export function resetCard(card: Card): void {
  writeRegister(card, r.IMC, ALL_ONES);
  writeRegister(card, r.RCTL, 0);
  writeRegister(card, r.TCTL, r.TCTL_PSP);
  writeRegister(card, r.CTRL, readRegister(card, r.CTRL) | r.CTRL_MASTER_DISABLE);
  // A master that does not come to rest is cut off by the reset itself: no reason to give up.
  registerBecomes(card, r.STATUS, r.STATUS_MASTER_ENABLED, 0, MASTER_MILLISECONDS);
  writeRegister(card, r.CTRL, readRegister(card, r.CTRL) | r.CTRL_RST);
  if (!registerBecomes(card, r.CTRL, r.CTRL_RST, 0, RESET_MILLISECONDS))
    throw broken(card, `is not back ${RESET_MILLISECONDS} ms after a reset`, "power it off and on");
  writeRegister(card, r.IMC, ALL_ONES);
  readRegister(card, r.ICR);
}

/** Sets a card that was just reset to work: link, filters, rings, offloads, interrupts. */
export function startCard(card: Card): void {
  const { settings } = card;
  for (const queue of card.rx) rewindReceive(card.arena, queue);
  for (const queue of card.tx) card.lost += rewindTransmit(card.arena, queue);
  writeLink(card);
  writeFilters(card);
  for (const queue of card.rx) writeReceiveQueue(card, queue);
  for (const queue of card.tx) writeTransmitQueue(card, queue);
  writeRss(card);
  writeRegister(card, r.RFCTL, readRegister(card, r.RFCTL) | r.RFCTL_EXSTEN);
  // RXCSUM: with PCSD the descriptor has room for the RSS hash, where the packet checksum stood before.
  writeRegister(card, r.RXCSUM, r.RXCSUM_IPOFL | r.RXCSUM_TUOFL | r.RXCSUM_PCSD);
  if (settings.headerSplit) writeRegister(card, r.PSRCTL, splitControl(card));
  writeInterrupts(card);
  card.bus.setBusMaster(true);
  writeRegister(card, r.TCTL, r.TCTL_EN | r.TCTL_PSP | (0x0f << 4) | (0x3f << 12));
  writeRegister(card, r.RCTL, receiveControl(card));
  for (const queue of card.rx) tellReceive(card, queue);
}

function writeLink(card: Card): void {
  const { settings } = card;
  // Auto-speed detection (bit 5) stays 0, as this card wants it (10.2.2.1): its PHY tells the speed.
  let control = r.CTRL_FULL_DUPLEX | r.CTRL_SLU;
  if (settings.flowControl) control |= r.CTRL_RFCE | r.CTRL_TFCE;
  if (settings.vlan) control |= r.CTRL_VME;
  writeRegister(card, r.CTRL, control);
  // IEEE 802.3x: address 01-80-C2-00-00-01 and type 0x8808.
  writeRegister(card, r.FCAL, 0x00c28001);
  writeRegister(card, r.FCAH, 0x0100);
  writeRegister(card, r.FCT, 0x8808);
  writeRegister(card, r.FCTTV, 0xffff);
  // Bytes of the card's own buffer at which it asks for a pause, and for its end: room for two more frames stays.
  const high = settings.flowControl ? (RECEIVE_BUFFER - 2 * (settings.mtu + 8)) & ~7 : 0;
  writeRegister(card, r.FCRTL, settings.flowControl ? ((high >>> 1) & ~7) | r.FCRTL_XON : 0);
  writeRegister(card, r.FCRTH, high);
  writeRegister(card, r.VET, 0x8100);
}

function writeReceiveQueue(card: Card, queue: Queue): void {
  const add = queue.index * r.QUEUE_STRIDE;
  const address = queue.descs + card.bus.bias;
  writeRegister(card, r.RDBAL, address % 2 ** 32, add);
  writeRegister(card, r.RDBAH, Math.floor(address / 2 ** 32), add);
  writeRegister(card, r.RDLEN, queue.descBytes, add);
  writeRegister(card, r.RDH, 0, add);
  writeRegister(card, r.RDT, 0, add);
  writeRegister(card, r.RXDCTL, r.DCTL_GRAN | (1 << 16), add);
  writeRegister(card, r.RDTR, 0, add);
}

function writeTransmitQueue(card: Card, queue: Queue): void {
  const add = queue.index * r.QUEUE_STRIDE;
  const address = queue.descs + card.bus.bias;
  writeRegister(card, r.TDBAL, address % 2 ** 32, add);
  writeRegister(card, r.TDBAH, Math.floor(address / 2 ** 32), add);
  writeRegister(card, r.TDLEN, queue.descBytes, add);
  writeRegister(card, r.TDH, 0, add);
  writeRegister(card, r.TDT, 0, add);
  // Bit 22 is reserved and to be written 1 (10.2.6.11).
  writeRegister(card, r.TXDCTL, r.DCTL_GRAN | (1 << 22) | (1 << 16), add);
}

function splitControl(card: Card): number {
  const kilobytes = card.arena.frameSize / 1024;
  const pages = Math.min(3, Math.ceil((card.settings.mtu + 4) / card.arena.frameSize));
  let value = HEADER_BYTES / 128;
  for (let page = 0; page < pages; page++) value |= kilobytes << (8 + 8 * page);
  return value;
}

function receiveControl(card: Card): number {
  const { settings, arena } = card;
  const standard = settings.mtu + 4 <= 2048;
  let value = r.RCTL_EN | r.RCTL_BAM | r.RCTL_SECRC;
  if (settings.promiscuous) value |= r.RCTL_UPE | r.RCTL_MPE;
  if (!standard) value |= r.RCTL_LPE;
  if (settings.headerSplit) value |= r.RCTL_DTYP_SPLIT;
  // BSIZE 0 without BSEX: 2,048 bytes; 3 with it: 4,096.
  else if (arena.frameSize === 4096 && !standard) value |= r.RCTL_BSEX | (3 << r.RCTL_BSIZE_SHIFT);
  return value;
}

/** Writes the tail when the kernel has given the card more to fill. */
export function tellReceive(card: Card, queue: Queue): void {
  const tail = card.arena.u32[(queue.state + RXQ_TAIL) >>> 2];
  if (tail === queue.told) return;
  queue.told = tail;
  card.bar.write32(r.RDT.offset + queue.index * r.QUEUE_STRIDE, tail);
}

function writeInterrupts(card: Card): void {
  const { settings, bus } = card;
  const interval = Math.round((settings.moderation * 1000) / 256);
  if (!card.ownVectors) {
    bus.enableInterrupts(Math.min(1, bus.vectors));
    writeRegister(card, r.ITR, interval);
    writeRegister(card, r.IMS, r.CAUSE_LINK);
    return;
  }
  bus.enableInterrupts(VECTORS);
  // Bit 31 stays 0: a descriptor is reported, and interrupts, only where that was asked for (10.2.4.9).
  let map = 0;
  for (let vector = 0; vector < VECTORS; vector++) {
    map |= (vector | r.IVAR_VALID) << (4 * vector);
    writeRegister(card, r.EITR, interval, 4 * vector);
  }
  writeRegister(card, r.IVAR, map);
  // These causes clear and mask themselves as their vector is sent, so no handler has to read ICR (EIAC).
  const queues = r.CAUSE_RXQ0 | r.CAUSE_RXQ1 | r.CAUSE_TXQ0 | r.CAUSE_TXQ1;
  writeRegister(card, r.EIAC, queues | r.CAUSE_OTHER);
  writeRegister(card, r.CTRL_EXT, readRegister(card, r.CTRL_EXT) | r.CTRL_EXT_EIAME | r.CTRL_EXT_PBA_CLR);
  writeRegister(card, r.IMS, r.CAUSE_LINK | r.CAUSE_OTHER);
}
