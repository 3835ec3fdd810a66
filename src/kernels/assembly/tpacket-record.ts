// TPACKET_V3 blocks on their way to a capture file: the heads of records and short packets go into a small block of
// output that stays in the caches, long packets are named where the kernel put them. Layouts: linux/if_packet.h.
import {
  OUTPUT_BYTES,
  OUTPUT_PACKETS,
  OUTPUT_PCAPNG,
  OUTPUT_SNAPLEN,
  OUTPUT_UNITS,
  RECORDS_ARENA,
  RECORDS_BLOCK,
  RECORDS_BLOCK_END,
  RECORDS_BYTES,
  RECORDS_COPIED,
  RECORDS_COUNT,
  RECORDS_LIMIT,
  RECORDS_TOUCHED,
  RECORDS_VECTORS,
} from "../captures";
import {
  TPACKET_BYTES,
  TPACKET_COOKED,
  TPACKET_ETHERNET,
  TPACKET_HELD,
  TPACKET_KINDS,
  TPACKET_LEFT,
  TPACKET_MALFORMED,
  TPACKET_NEXT,
  TPACKET_OPENED,
  TPACKET_PACKETS,
  TPACKET_RING,
  TPACKET_UNIT,
  TPACKET_UNIT_SIZE,
  TPACKET_UNITS,
  TPACKET_VNET,
  VECTOR_SIZE,
} from "../structs-messages";
import { copy } from "./capture-write";
import {
  ENHANCED_HEAD,
  expectOrdinary,
  head,
  OPTIONS,
  recordedBytes,
  recordOrdinary,
  stoppedAt,
  stoppedTo,
  tail,
} from "./record-ordinary";
import {
  ADDRESSES,
  add,
  COOKED,
  FAR,
  fetchStretch,
  nextUnit,
  PACKET_OUTGOING,
  releaseUnits,
  SHORTEST,
  SLL_PACKET_TYPE,
  SLL_SIZE,
  STATUS_USER,
  TAG,
  tagOf,
  V3_HEADER,
  writeCooked,
} from "./tpacket";

/** The most that one record takes of the block beside its packet: heads, padding, options, trailer. */
const OVERHEAD: u32 = 128;
/** Entries that are fetched at once, where they lie farther apart than the processor fetches ahead by itself. */
const GROUP: u32 = 16;

let base: u64 = 0;
let vector: u32 = 0;
let named: u32 = 0;

/** Appends a vector; those of the block, which come between packets, are empty at times. */
function name(from: u32, length: u32): void {
  store<u64>(vector, base + from);
  store<u64>(vector, length, 8);
  vector += VECTOR_SIZE;
  named += length;
}

/**
 * Reads the first bytes of entries for the caches' sake, and so few instructions lie between that the processor waits
 * for many at once. Entries mostly lie as far apart as the two before: guessed, since where the next one is stands in
 * a line that is still on its way. The result is to be used, or the reads are optimized away.
 */
function fetch(entry: u32, count: u32, end: u32): u32 {
  let stride: u32 = 0;
  let sum: u32 = 0;
  for (; count != 0 && entry < end; count--) {
    const step = load<u32>(entry);
    sum += step + load<u32>(entry, 60);
    if (step == stride) entry += stride;
    else {
      stride = step;
      entry += step;
    }
  }
  return sum;
}

/**
 * Makes records of up to `most` packets of TPACKET_V3 blocks, in the byte order of this machine, and names them in
 * order in the RECORDS_ structure, until that has no room or no packet is ready. What the call before has named must
 * have been written: its blocks go back to the kernel. `output` says how the file is made; its snap length must be 64
 * at least. Returns how many.
 */
export function tpacketRecord(state: u32, output: u32, records: u32, most: u32): u32 {
  releaseUnits(state);
  const size = load<u32>(state, TPACKET_UNIT_SIZE);
  const units = load<u32>(state, TPACKET_UNITS);
  const ring = load<u32>(state, TPACKET_RING);
  const kinds = load<u32>(state, TPACKET_KINDS);
  const least = V3_HEADER + SLL_SIZE + load<u32>(state, TPACKET_VNET);
  const tagged = load<u32>(state, TPACKET_ETHERNET) != 0;
  const cooked = load<u32>(state, TPACKET_COOKED) != 0;
  const snaplen = load<u32>(output, OUTPUT_SNAPLEN);
  const pcapng = load<u32>(output, OUTPUT_PCAPNG) != 0;
  const nano = load<u32>(output, OUTPUT_UNITS) == 1000000000;
  const copied = load<u32>(records, RECORDS_COPIED);
  const end = load<u32>(records, RECORDS_BLOCK_END) - copied - OVERHEAD;
  const list = load<u32>(records, RECORDS_VECTORS);
  const lastVector = list + (load<u32>(records, RECORDS_LIMIT) - 3) * VECTOR_SIZE;
  const longest: u32 = cooked ? 0 : min(copied, min(snaplen, FAR / 2));
  expectOrdinary(kinds, tagged, longest);
  base = load<u64>(records, RECORDS_ARENA);
  vector = list;
  named = 0;
  let begun = load<u32>(records, RECORDS_BLOCK); // where the stretch of the block starts that no vector names yet
  let to = begun;
  let packets: u32 = 0;
  let written: u64 = 0;
  let received: u64 = 0; // bytes behind the snap length too
  let unit = load<u32>(state, TPACKET_UNIT);
  let held: u32 = 0;
  let full = false;
  let touched: u32 = 0;
  while (!full && held < units) {
    const block = ring + unit * size;
    let at = load<u32>(state, TPACKET_NEXT);
    let left = load<u32>(state, TPACKET_LEFT);
    if (at == 0) {
      if ((atomic.load<u32>(block, 8) & STATUS_USER) == 0) break;
      left = load<u32>(block, 12);
      at = load<u32>(block, 16);
      add(state, TPACKET_OPENED, left);
    }
    let stride: u32 = 0;
    let fetched = at; // as far as stretches were
    let ahead: u32 = 0; // entries that were fetched
    while (left != 0) {
      if (at >= fetched && stride < FAR) fetched = fetchStretch(state, block, at, size);
      // The last entry names no next one, and those near the end of a block may lack room.
      if (stride < FAR && longest >= SHORTEST && left > 1 && at <= size - FAR && to < end) {
        const room = (end - to) / (longest + OVERHEAD);
        const run = recordOrdinary(
          block,
          at,
          size,
          to,
          pcapng,
          nano,
          min(room, min(left - 1, most - packets)),
          fetched,
        );
        at = stoppedAt;
        to = stoppedTo;
        packets += run;
        left -= run;
        written += recordedBytes;
        received += recordedBytes;
      }
      if (ahead == 0) {
        ahead = GROUP;
        if (stride >= FAR) touched += fetch(block + at, ahead, block + size - 64);
      }
      ahead--;
      if (packets == most || to > end || vector > lastVector) {
        full = true;
        break;
      }
      const entry = block + at;
      const room = size - at;
      const sound = at <= size && room >= least;
      const step: u32 = sound ? load<u32>(entry) : 0;
      const bytes: u32 = sound ? load<u32>(entry, 12) : 0;
      const mac: u32 = sound ? <u32>load<u16>(entry, 24) : 0;
      if (mac < least || mac > room || bytes > room - mac || (left != 1 && (step == 0 || step > size))) {
        add(state, TPACKET_MALFORMED, left);
        left = 0;
        break;
      }
      const kind = <u32>load<u8>(entry, V3_HEADER + SLL_PACKET_TYPE);
      if (((kinds >> (kind & 31)) & 1) != 0) {
        const tag: u32 =
          tagged && bytes >= ADDRESSES
            ? tagOf(load<u32>(entry, 20), load<u32>(entry, 32), load<u16>(entry, 36))
            : 0;
        const extra: u32 = cooked ? COOKED : tag != 0 ? TAG : 0;
        const total = bytes + extra;
        const captured = total < snaplen ? total : snaplen;
        const outgoing = kind == PACKET_OUTGOING;
        const length = ENHANCED_HEAD + ((captured + 3) & ~3) + (outgoing ? OPTIONS : 0) + 4;
        to = head(to, pcapng, nano, length, entry, captured, load<u32>(entry, 16) + extra);
        let from = entry + mac;
        let rest = captured;
        if (extra != 0) {
          if (cooked) writeCooked(to, entry + V3_HEADER);
          else {
            copy(to, from, ADDRESSES);
            store<u32>(to, tag, ADDRESSES);
            from += ADDRESSES;
            to += ADDRESSES;
            rest -= ADDRESSES;
          }
          to += extra;
          rest -= extra;
        }
        if (rest <= copied) {
          copy(to, from, rest);
          to += rest;
        } else {
          name(begun, to - begun);
          name(from, rest);
          begun = to;
        }
        if (pcapng) to = tail(to, captured, outgoing, length);
        packets++;
        written += captured;
        received += total;
      }
      left--;
      // Entries mostly lie as far apart as the two before: guessed, the next one can be fetched before this one is here.
      if (step == stride) at += stride;
      else {
        stride = step;
        at += step;
      }
    }
    if (left == 0) {
      at = 0;
      held++;
      unit = nextUnit(state, unit);
    }
    store<u32>(state, at, TPACKET_NEXT);
    store<u32>(state, left, TPACKET_LEFT);
  }
  store<u32>(state, held, TPACKET_HELD);
  if (packets == 0) releaseUnits(state);
  if (to != begun) name(begun, to - begun);
  store<u32>(records, (vector - list) / VECTOR_SIZE, RECORDS_COUNT);
  store<u32>(records, named, RECORDS_BYTES);
  store<u32>(records, touched, RECORDS_TOUCHED);
  add(output, OUTPUT_PACKETS, packets);
  add(output, OUTPUT_BYTES, written);
  add(state, TPACKET_PACKETS, packets);
  add(state, TPACKET_BYTES, received);
  return packets;
}
