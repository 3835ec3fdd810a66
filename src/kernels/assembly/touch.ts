import { DATAGRAM_HEAD, DATAGRAM_HEAD_LENGTH, DATAGRAM_SIZE } from "../structs";

let sink: u32 = 0;

/**
 * Reads the first cache lines of every datagram of a table, and does nothing with them: in so short a loop the
 * processor waits for many of them at once, where the programs that follow would wait for one after the other.
 */
export function touchDatagrams(table: u32, count: u32, lines: u32): void {
  let seen: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const at = table + i * DATAGRAM_SIZE;
    const head = load<u32>(at, DATAGRAM_HEAD);
    const end = head + min<u32>(load<u32>(at, DATAGRAM_HEAD_LENGTH), lines << 6);
    for (let line = head; line < end; line += 64) seen += load<u8>(line);
  }
  sink = seen;
}
