// The unit of positions that count datagrams: learnt from each chunk's own, since only its last is short.
import {
  C_ADDRESS,
  C_ANCHOR,
  C_DATAGRAMS,
  C_EXPECTED,
  C_FLAGS,
  C_LENGTH,
  C_PACKETS,
  C_RANGES,
  C_RECEIVED,
  C_UNIT,
  CHUNK_SIZED,
  G_MAX_BYTES,
  G_MODE,
  LIST_COUNT,
  MODE_LINKED,
  N_MOVED,
  RANGE_END,
  RANGE_START,
  S_UNIT,
} from "../gather-structs";
import { chunkReserve, count, listAt } from "./gather-memory";

/** The chunk's unit given one more datagram of `length` bytes; 0: it contradicts what came before. */
export function learnUnit(g: u32, s: u32, c: u32, length: u32): u32 {
  const packets = load<u32>(c, C_PACKETS);
  const unit = load<u32>(c, C_UNIT);
  if (packets == 0) return max<u32>(length, load<u32>(s, S_UNIT));
  if (packets > 1) return length > unit ? 0 : unit;
  const larger = max<u32>(length, load<u32>(c, C_RECEIVED));
  return moveOnly(g, c, <u64>load<u32>(c, C_ANCHOR) * larger) ? larger : 0;
}

/**
 * Where all that came of a chunk is one datagram, its place is a guess: a unit as long as itself or as the stream's
 * last chunk had. What the chunk's leader and trailer say corrects it.
 */
export function settleOnly(g: u32, c: u32): void {
  const length = <u64>load<u32>(c, C_RECEIVED);
  const anchor = <u64>load<u32>(c, C_ANCHOR);
  if (load<u32>(c, C_PACKETS) != 1 || load<u32>(c, C_UNIT) == 0 || length == 0) return;
  const datagrams = <u64>load<u32>(c, C_DATAGRAMS);
  if (datagrams > anchor + 1) moveOnly(g, c, anchor * length);
  else if ((load<u32>(c, C_FLAGS) & CHUNK_SIZED) != 0) {
    // The last: it ends where the chunk does. Of one whose trailer is missing, that is sure only where it would lie beyond.
    const size = <u64>load<u32>(c, C_EXPECTED);
    const last = datagrams == anchor + 1 || <u64>load<u32>(c, C_LENGTH) > size;
    if (last && size >= (anchor + 1) * length) moveOnly(g, c, size - length);
  }
}

/** Moves the chunk's only datagram to `start`. False: it cannot lie there. */
function moveOnly(g: u32, c: u32, start: u64): bool {
  const length = load<u32>(c, C_RECEIVED);
  const ranges = load<u32>(c + C_RANGES, LIST_COUNT);
  if (length == 0 || ranges == 0) return true;
  const old = load<u32>(listAt(c + C_RANGES, 0), RANGE_START);
  if (start == old) return true;
  if (start + length > <u64>load<u32>(g, G_MAX_BYTES)) return false;
  if ((load<u32>(g, G_MODE) & MODE_LINKED) == 0) {
    if (!chunkReserve(g, c, <u32>start + length)) return false;
    const address = load<u32>(c, C_ADDRESS);
    memory.copy(<usize>(address + <u32>start), <usize>(address + old), <usize>length);
    count(g, N_MOVED, length);
  }
  for (let i: u32 = 0; i < ranges; i++) {
    const at = listAt(c + C_RANGES, i);
    store<u32>(at, load<u32>(at, RANGE_START) - old + <u32>start, RANGE_START);
    store<u32>(at, load<u32>(at, RANGE_END) - old + <u32>start, RANGE_END);
  }
  store<u32>(c, <u32>start + length, C_LENGTH);
  return true;
}
