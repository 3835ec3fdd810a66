// The checksums of a whole burst: verified as they come, or finished before they go.
import {
  BURST_METAS,
  BURST_PACKETS,
  CHECKSUM_BAD,
  CHECKSUM_GOOD,
  CHECKSUM_MASK,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNKNOWN,
  DESC_ADDR,
  DESC_LEN,
  FINISH_ALL,
  FINISH_BAD,
  FINISH_DONE,
  LAYERS_IS_FRAGMENT,
  LAYERS_IS_OTHER,
  LAYERS_IS_WHOLE,
  META_FLAGS,
  META_SHIFT,
  META_VERDICT,
  VERDICT_MOVED,
} from "../structs";
import { exclusive } from "./arena";
import { checksum, packetChecksum } from "./checksum";
import {
  base,
  destination,
  dissect,
  end,
  family,
  network,
  oversize,
  protocol,
  show,
  transport,
  transportHas,
  u16At,
} from "./dissect";
import { descriptorAt, packetStart, packetWrite } from "./packet";
import { dissectNext } from "./tunnel";

/** Packets within packets whose checksums are looked at. */
const TUNNELS: u32 = 8;

/** Offset of the checksum within the transport header; 0: the protocol has no internet checksum. */
function fieldOf(): u32 {
  if (protocol == 6) return transportHas(20) ? 16 : 0;
  if (protocol == 17) return transportHas(8) ? 6 : 0;
  if (protocol == 1 && family == 4) return transportHas(4) ? 2 : 0;
  if (protocol == 58 && family == 6) return transportHas(4) ? 2 : 0;
  return 0;
}

/** Bytes that the transport checksum covers; 0: the packet contradicts itself. */
function coverage(): u32 {
  const length = end - transport;
  if (protocol != 17) return length;
  const said = u16At(transport + 4);
  if (said == 0) return length;
  return said < 8 || said > length ? 0 : said;
}

/** Sum over addresses, length and protocol (RFC 9293 section 3.1, RFC 8200 section 8.1). */
function pseudoSum(length: u32): u32 {
  if (protocol == 1) return 0;
  const addresses =
    family == 4
      ? checksum(base + network + 12, 8)
      : checksum(base + network + 8, 16) + checksum(base + destination, 16);
  return addresses + protocol + (length >> 16) + (length & 0xffff);
}

/** A sum of less than 2^32, folded to 16 bits. */
export function folded(sum: u32): u32 {
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

function mark(meta: u32, state: u32): void {
  store<u16>(meta, (<u32>load<u16>(meta, META_FLAGS) & ~CHECKSUM_MASK) | state, META_FLAGS);
}

/** What the checksums of the dissected packet say: CHECKSUM_GOOD, CHECKSUM_BAD or CHECKSUM_UNKNOWN. */
function verdictOf(burst: u32, packet: u32, state: u32, scratch: u32): u32 {
  if (state == LAYERS_IS_OTHER) return CHECKSUM_UNKNOWN;
  if (family == 4 && checksum(base + network, transport - network) != 0xffff) return CHECKSUM_BAD;
  if (state != LAYERS_IS_WHOLE || oversize) return CHECKSUM_UNKNOWN;
  if (protocol == 47) return verdictOfGre(burst, packet, scratch);
  const field = fieldOf();
  if (field == 0 || (family == 6 && destination == 0)) return CHECKSUM_UNKNOWN;
  const length = coverage();
  if (length == 0) return CHECKSUM_BAD;
  if (protocol == 17 && load<u16>(base + transport + 6) == 0)
    return family == 4 || tunnelled() ? CHECKSUM_UNKNOWN : CHECKSUM_BAD; // RFC 768, RFC 8200 section 8.1, RFC 6935
  const sum = packetChecksum(burst, packet, transport, length) + pseudoSum(length);
  return folded(sum) == 0xffff ? CHECKSUM_GOOD : CHECKSUM_BAD;
}

/** True for UDP that carries packets, which may go without a checksum in IPv6 too. */
function tunnelled(): bool {
  const port = u16At(transport + 2);
  return port == 4789 || port == 8472 || port == 6081 || port == 6635;
}

/** A GRE checksum covers the payload too (RFC 2784 section 2.3). */
function verdictOfGre(burst: u32, packet: u32, scratch: u32): u32 {
  if (!show(burst, packet, transport, 4, scratch) || (u16At(transport) & 0xc007) != 0x8000)
    return CHECKSUM_UNKNOWN;
  return packetChecksum(burst, packet, transport, end - transport) == 0xffff ? CHECKSUM_GOOD : CHECKSUM_BAD;
}

/** As `verdictOf`, of the packet and of those that it carries: bad if one is, good if the innermost that has one is. */
function verdictOfAll(burst: u32, packet: u32, link: u32, scratch: u32): u32 {
  let state = dissect(burst, packet, link, scratch);
  let verdict = verdictOf(burst, packet, state, scratch);
  for (let depth: u32 = 0; depth < TUNNELS; depth++) {
    if (verdict == CHECKSUM_BAD || state != LAYERS_IS_WHOLE) break;
    state = dissectNext(burst, packet, scratch);
    if (state != LAYERS_IS_WHOLE && state != LAYERS_IS_FRAGMENT) break;
    const inner = verdictOf(burst, packet, state, scratch);
    if (inner != CHECKSUM_UNKNOWN) verdict = inner;
  }
  return verdict;
}

/**
 * Verifies IPv4 header and transport checksums of every packet that is still the burst's, and of the packets within it,
 * and writes what was found into its metadata. Packets already known to be good, or not yet finished by their sender, stay so.
 * Returns how many are bad.
 */
export function checksumVerify(burst: u32, link: u32, scratch: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  let bad: u32 = 0;
  for (let packet: u32 = 0; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    const known = <u32>load<u16>(meta, META_FLAGS) & CHECKSUM_MASK;
    if (<u32>load<u8>(meta, META_VERDICT) == VERDICT_MOVED) continue;
    if (known == CHECKSUM_GOOD || known == CHECKSUM_PARTIAL) continue;
    const state = verdictOfAll(burst, packet, link, scratch);
    mark(meta, state);
    if (state == CHECKSUM_BAD) bad++;
  }
  return bad;
}

/** True when this worker may write the packet's first `bytes` bytes. */
function headExclusive(burst: u32, packet: u32, bytes: u32): bool {
  let at = descriptorAt(burst, packetStart(burst, packet));
  let covered: u32 = 0;
  while (covered < bytes) {
    if (!exclusive(load<u32>(at, DESC_ADDR))) return false;
    covered += load<u32>(at, DESC_LEN);
    at += 16;
  }
  return true;
}

/** Writes a checksum, in network order, at offset `at` of the packet. */
function put(burst: u32, packet: u32, at: u32, sum: u32, scratch: u32): void {
  store<u16>(scratch, bswap<u16>(<u16>sum));
  packetWrite(burst, packet, at, 2, scratch);
}

/**
 * Writes the IPv4 header and transport checksums of packets from `first` on whose sender left them to be
 * finished (CHECKSUM_PARTIAL) or, with `which` FINISH_ALL, of all. Stops at a packet whose header frames are
 * shared and returns its number: it is to be unshared first. Otherwise returns the number of packets. Counts in
 * u32 at `tally`: FINISH_DONE, and FINISH_BAD, packets in which there was nothing to finish.
 */
export function checksumFinish(burst: u32, first: u32, link: u32, which: u32, tally: u32, scratch: u32): u32 {
  const packets = load<u32>(burst, BURST_PACKETS);
  const metas = load<u32>(burst, BURST_METAS);
  for (let packet = first; packet < packets; packet++) {
    const meta = metas + (packet << META_SHIFT);
    const flags = <u32>load<u16>(meta, META_FLAGS);
    if (<u32>load<u8>(meta, META_VERDICT) == VERDICT_MOVED) continue;
    if (which != FINISH_ALL && (flags & CHECKSUM_MASK) != CHECKSUM_PARTIAL) continue;
    const state = dissect(burst, packet, link, scratch + 16);
    if (state != LAYERS_IS_WHOLE && state != LAYERS_IS_FRAGMENT) {
      store<u32>(tally, load<u32>(tally, FINISH_BAD) + 1, FINISH_BAD);
      mark(meta, CHECKSUM_UNKNOWN);
      continue;
    }
    const field = state == LAYERS_IS_WHOLE && (family == 4 || destination != 0) ? fieldOf() : 0;
    if (!headExclusive(burst, packet, field == 0 ? transport : transport + field + 2)) return packet;
    if (family == 4) {
      const header = transport - network;
      const old = <u32>load<u16>(base + network + 10);
      // The header may be a copy in scratch: sum it without its old checksum, then write into the packet.
      const sum = checksum(base + network, header) + (~((old >> 8) | ((old & 0xff) << 8)) & 0xffff);
      put(burst, packet, network + 10, ~folded(sum) & 0xffff, scratch);
    }
    const length = field == 0 ? 0 : coverage();
    if (length == 0) {
      mark(meta, CHECKSUM_UNKNOWN);
      if (field != 0) store<u32>(tally, load<u32>(tally, FINISH_BAD) + 1, FINISH_BAD);
      continue;
    }
    put(burst, packet, transport + field, 0, scratch);
    let sum = ~folded(packetChecksum(burst, packet, transport, length) + pseudoSum(length)) & 0xffff;
    if (sum == 0 && protocol == 17) sum = 0xffff;
    put(burst, packet, transport + field, sum, scratch);
    mark(meta, CHECKSUM_GOOD);
    store<u32>(tally, load<u32>(tally, FINISH_DONE) + 1, FINISH_DONE);
  }
  return packets;
}
