import { type Card, flushWrites, readRegister, writeRegister } from "./card.js";
import { MTA, RAH, RAH_VALID, RAL, RCTL, RCTL_MPE, RCTL_UPE, RCTL_VFE, VFTA } from "./registers.js";

/** The station address that the card holds now. */
function readMac(card: Card): Uint8Array {
  const low = readRegister(card, RAL);
  const high = readRegister(card, RAH);
  return Uint8Array.of(low, low >>> 8, low >>> 16, low >>> 24, high, high >>> 8);
}

/** Writes the filters as the settings want them: one exact address, no group, no VLAN. The card was just reset. */
export function writeFilters(card: Card): void {
  if (card.settings.mac !== undefined) writeMac(card, 0, card.settings.mac);
  card.mac = readMac(card);
  for (let entry = 1; entry < 16; entry++) writeMac(card, entry, undefined);
  for (let word = 0; word < 128; word++) {
    writeRegister(card, MTA, 0, 4 * word);
    writeRegister(card, VFTA, 0, 4 * word);
  }
}

/** Puts an exact address into entry 0 to 15 of the receive filter, or takes it out. */
export function writeMac(card: Card, entry: number, mac: Uint8Array | undefined): void {
  const bytes = mac ?? new Uint8Array(6);
  const low = bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24);
  const high = bytes[4] | (bytes[5] << 8);
  writeRegister(card, RAL, low, 8 * entry);
  writeRegister(card, RAH, mac === undefined ? 0 : high | RAH_VALID, 8 * entry);
  flushWrites(card);
}

/** Where a group address falls in the multicast table with RCTL.MO 0: 12 bits of its last two bytes (10.2.5.21). */
export function multicastBit(mac: Uint8Array): number {
  return ((mac[4] >>> 4) | (mac[5] << 4)) & 0xfff;
}

/** Accepts these group addresses, and whatever else shares their hashes, and no others. */
export function setMulticast(card: Card, groups: readonly Uint8Array[]): void {
  const words = new Uint32Array(128);
  for (const group of groups) {
    const bit = multicastBit(group);
    words[bit >>> 5] |= 1 << (bit & 31);
  }
  words.forEach((word, index) => {
    writeRegister(card, MTA, word, 4 * index);
  });
  flushWrites(card);
}

/** Accepts only frames of these VLANs and untagged ones; without an argument, of all. */
export function setVlans(card: Card, vlans?: readonly number[]): void {
  const words = new Uint32Array(128);
  for (const vlan of vlans ?? []) words[vlan >>> 5] |= 1 << (vlan & 31);
  words.forEach((word, index) => {
    writeRegister(card, VFTA, word, 4 * index);
  });
  const control = readRegister(card, RCTL) & ~RCTL_VFE;
  writeRegister(card, RCTL, vlans === undefined ? control : control | RCTL_VFE);
  flushWrites(card);
}

export function setPromiscuous(card: Card, on: boolean): void {
  const control = readRegister(card, RCTL) & ~(RCTL_UPE | RCTL_MPE);
  writeRegister(card, RCTL, on ? control | RCTL_UPE | RCTL_MPE : control);
  flushWrites(card);
}
