import { type Card, flushWrites, writeRegister } from "./card.js";
import {
  MRQC,
  MRQC_IPV4,
  MRQC_IPV6,
  MRQC_RSS,
  MRQC_TCP_IPV4,
  MRQC_TCP_IPV6,
  RETA,
  RETA_QUEUE_1,
  RSSRK,
} from "./registers.js";

/** Writes key and indirection table, and turns RSS on. It is on with one queue too: the hash is worth having. */
export function writeRss(card: Card): void {
  const { key } = card.settings;
  for (let word = 0; word < 10; word++) {
    const at = 4 * word;
    writeRegister(card, RSSRK, key[at] | (key[at + 1] << 8) | (key[at + 2] << 16) | (key[at + 3] << 24), at);
  }
  steer(card, card.settings.table);
  writeRegister(card, MRQC, MRQC_RSS | MRQC_TCP_IPV4 | MRQC_IPV4 | MRQC_TCP_IPV6 | MRQC_IPV6);
}

/** Which receive queue (0 or 1) the flows of each of the 128 low hash values go to. */
export function steer(card: Card, table: readonly number[]): void {
  for (let at = 0; at < 128; at += 4) {
    let word = 0;
    for (let i = 0; i < 4; i++) if (table[at + i] === 1) word |= RETA_QUEUE_1 << (8 * i);
    writeRegister(card, RETA, word, at);
  }
  flushWrites(card);
}
