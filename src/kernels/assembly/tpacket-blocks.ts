// TPACKET_V3 blocks, packet after packet, into pool frames.
import {
  BURST_CAPACITY,
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  CHECKSUM_GOOD,
  CHECKSUM_PARTIAL,
  DESC_ADDR,
  DESC_LEN,
  DESC_SIZE,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  META_HASH,
  META_HASHED,
  META_SHIFT,
  META_STAMPED,
  META_WIRE_LENGTH,
} from "../structs";
import {
  TPACKET_BYTES,
  TPACKET_COOKED,
  TPACKET_ETHERNET,
  TPACKET_KINDS,
  TPACKET_LEFT,
  TPACKET_MALFORMED,
  TPACKET_NEXT,
  TPACKET_OPENED,
  TPACKET_PACKETS,
  TPACKET_RING,
  TPACKET_STARVED,
  TPACKET_UNIT,
  TPACKET_UNIT_SIZE,
  TPACKET_VNET,
} from "../structs-messages";
import { frameShift, loadedMagazine, nextMagazine, soleWord, wordOf } from "./arena";
import { stampMeta } from "./meta";
import {
  add,
  append,
  FAR,
  fetchStretch,
  HEADROOM,
  kind,
  nextUnit,
  PACKET_OUTGOING,
  readEntry,
  releaseUnits,
  SHORTEST,
  SLL_PACKET_TYPE,
  SLL_SIZE,
  STATUS_CSUM_NOT_READY,
  STATUS_CSUM_VALID,
  STATUS_USER,
  STATUS_VLAN_VALID,
  V3_HEADER,
} from "./tpacket";

const LONGEST: u32 = 256;

let stoppedAt: u32 = 0;

/**
 * Appends up to `most` packets that are short, whole, untagged and came in, with nothing in their network header, and
 * start before `until`; the next one of each starts within the block too. From the entry at `at` on; returns how many.
 */
function appendOrdinary(state: u32, burst: u32, block: u32, at: u32, size: u32, most: u32, until: u32): u32 {
  const mac = <u32>load<u16>(block + at, 24);
  const vnet = load<u32>(state, TPACKET_VNET);
  const kinds = load<u32>(state, TPACKET_KINDS) & ~(1 << PACKET_OUTGOING);
  const odd: u32 = load<u32>(state, TPACKET_ETHERNET) != 0 ? STATUS_VLAN_VALID : 0;
  const compared: u64 = (0xffff << 32) | <u64>odd; // status, then where the packet starts
  const expected = (<u64>mac) << 32;
  const safe = min(size - FAR - LONGEST, until - 1);
  const count = load<u32>(burst, BURST_COUNT);
  const packets = load<u32>(burst, BURST_PACKETS);
  const sole = soleWord();
  stoppedAt = at;
  most = min(most, load<u32>(burst, BURST_CAPACITY) - count);
  if (load<u32>(state, TPACKET_COOKED) != 0 || mac < V3_HEADER + SLL_SIZE + vnet || mac >= FAR) return 0;
  let magazine = loadedMagazine();
  let held = load<u32>(magazine, MAGAZINE_COUNT);
  let desc = load<u32>(burst, BURST_DESCS) + count * DESC_SIZE;
  let meta = load<u32>(burst, BURST_METAS) + (packets << META_SHIFT);
  let start = load<u32>(burst, BURST_STARTS) + (packets << 2);
  let sum: u64 = 0;
  let done: u32 = 0;
  while (done < most && at <= safe) {
    const entry = block + at;
    const step = load<u32>(entry);
    const bytes = load<u32>(entry, 12);
    const status = load<u32>(entry, 20);
    const from = entry + mac;
    if (
      bytes - SHORTEST > LONGEST - SHORTEST ||
      step - 1 >= size ||
      (load<u64>(entry, 20) & compared) != expected ||
      ((kinds >> (<u32>load<u8>(entry, V3_HEADER + SLL_PACKET_TYPE) & 31)) & 1) == 0 ||
      (vnet != 0 && load<u16>(from - vnet) != 0)
    )
      break;
    if (held == 0) {
      if (!nextMagazine()) break;
      magazine = loadedMagazine();
      held = load<u32>(magazine, MAGAZINE_COUNT);
    }
    // The table first, as takeFrame() does it.
    const frame = load<u32>(magazine + (--held << 2), MAGAZINE_ENTRIES);
    store<u32>(wordOf(frame >> frameShift), sole);
    store<u32>(magazine, held, MAGAZINE_COUNT);
    const to = frame + HEADROOM + (((frame >> frameShift) & 15) << 6);
    const end = bytes - 16;
    // Without a loop as far as the shortest packets of Ethernet go: there is room for so much on both sides.
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    v128.store(to, v128.load(from, 32), 32);
    for (let byte: u32 = 48; byte < end; byte += 16) v128.store(to + byte, v128.load(from + byte));
    v128.store(to + end, v128.load(from + end));
    store<u64>(desc, to, DESC_ADDR);
    store<u64>(desc, bytes, DESC_LEN); // and no options
    const hash = load<u32>(entry, 28);
    let flags: u32 = META_STAMPED;
    if ((status & STATUS_CSUM_NOT_READY) != 0) flags |= CHECKSUM_PARTIAL;
    else if ((status & STATUS_CSUM_VALID) != 0) flags |= CHECKSUM_GOOD;
    if (hash != 0) flags |= META_HASHED;
    v128.store(meta, i64x2.splat(0), 16);
    stampMeta(meta, load<u32>(entry, 4), load<u32>(entry, 8), flags);
    store<u32>(meta, hash, META_HASH);
    store<u32>(meta, load<u32>(entry, 16), META_WIRE_LENGTH);
    store<u32>(start, count + done);
    desc += DESC_SIZE;
    meta += 1 << META_SHIFT;
    start += 4;
    sum += bytes;
    at += step;
    done++;
  }
  stoppedAt = at;
  store<u32>(burst, count + done, BURST_COUNT);
  store<u32>(burst, packets + done, BURST_PACKETS);
  add(state, TPACKET_PACKETS, done);
  add(state, TPACKET_BYTES, sum);
  return done;
}

/** Copies packets out of TPACKET_V3 blocks until the burst is full or no block is ready. Returns how many. */
export function tpacketBlocks(state: u32, burst: u32): u32 {
  const before = load<u32>(burst, BURST_PACKETS);
  store<u32>(state, 0, TPACKET_STARVED);
  releaseUnits(state);
  const size = load<u32>(state, TPACKET_UNIT_SIZE);
  const ring = load<u32>(state, TPACKET_RING);
  const kinds = load<u32>(state, TPACKET_KINDS);
  let unit = load<u32>(state, TPACKET_UNIT);
  while (true) {
    const block = ring + unit * size;
    let at = load<u32>(state, TPACKET_NEXT);
    let left = load<u32>(state, TPACKET_LEFT);
    if (at == 0) {
      if ((atomic.load<u32>(block, 8) & STATUS_USER) == 0) break;
      left = load<u32>(block, 12);
      at = load<u32>(block, 16);
      add(state, TPACKET_OPENED, left);
    }
    let full = false;
    let fetched = at; // as far as stretches were
    let step: u32 = 0;
    while (left != 0) {
      if (at >= fetched && step < FAR) fetched = fetchStretch(state, block, at, size);
      // The last entry names no next one, and those near the end of a block may lack room.
      if (step < FAR && left > 1 && at <= size - FAR - LONGEST) {
        left -= appendOrdinary(state, burst, block, at, size, left - 1, fetched);
        at = stoppedAt;
      }
      if (at > size || !readEntry(state, block + at, block + size)) {
        add(state, TPACKET_MALFORMED, left);
        left = 0;
        break;
      }
      if (((kinds >> (kind & 31)) & 1) != 0) {
        full = !append(state, burst);
        if (full) break;
      }
      left--;
      step = load<u32>(block + at);
      if (left != 0 && (step == 0 || step > size)) {
        add(state, TPACKET_MALFORMED, left);
        left = 0;
        break;
      }
      at += step;
    }
    if (full) {
      store<u32>(state, at, TPACKET_NEXT);
      store<u32>(state, left, TPACKET_LEFT);
      break;
    }
    store<u32>(state, 0, TPACKET_NEXT);
    atomic.store<u32>(block, 0, 8);
    unit = nextUnit(state, unit);
  }
  return load<u32>(burst, BURST_PACKETS) - before;
}
