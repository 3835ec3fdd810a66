// Where the headers of a whole burst are. Most packets are linear, Ethernet, IP without options or extensions: for
// them everything stays in registers, and a record is four stores.
import {
  BURST_DESCS,
  BURST_PACKETS,
  BURST_STARTS,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SHIFT,
  LAYERS_SIZE,
} from "../structs";
import { dissectPacket } from "./dissect";

function big16(word: u32): u32 {
  return ((word & 0xff) << 8) | ((word >> 8) & 0xff);
}

// EtherTypes as they lie in memory, the two with the version behind them; IPv4 without options.
const IPV4: u32 = 0x450008;
const IPV6: u32 = 0x60dd86;
const VLAN: u32 = 0x0081;

/**
 * Writes the record of a plain packet; false: it is not plain, or not whole. A few bytes behind a short packet may be
 * read, but no record comes of them: the IP packet's end, which lies behind all that was read, is checked at last.
 */
function dissectPlain(base: u32, length: u32, out: u32): bool {
  let at = base; // 12 bytes before the EtherType
  let word = load<u32>(at, 12);
  while ((word & 0xffff) == VLAN && at + 40 <= base + length) {
    at += 4;
    word = load<u32>(at, 12);
  }
  // For each tag all that follows stands 4 bytes further on.
  const shift = at - base;
  let head: v128;
  let transport: u32;
  let end: u32;
  let protocol: u32;
  if ((word & 0xffffff) == IPV4) {
    // flags and offset
    if ((load<u16>(at, 20) & 0xff3f) != 0) return false;
    protocol = load<u8>(at, 23);
    transport = shift + 34;
    end = shift + 14 + big16(load<u16>(at, 16));
    // The protocol and the ports, 11 bytes on, among what is the same for all.
    const bytes = v128.load(at, 23);
    const model = i32x4(0x0400, 0x0800, 0, 14);
    head = i8x16.shuffle(bytes, model, 16, 17, 0, 19, 20, 21, 12, 11, 14, 13, 26, 27, 28, 29, 30, 31);
  } else if ((word & 0xf0ffff) == IPV6) {
    protocol = load<u8>(at, 20);
    transport = shift + 54;
    end = transport + big16(load<u16>(at, 18));
    const bytes = v128.load32_zero(at, 54);
    const model = i32x4(0x0600, 0x86dd, 0, 14);
    head = i8x16.shuffle(bytes, model, 16, 17, 18, 19, 20, 21, 1, 0, 3, 2, 26, 27, 28, 29, 30, 31);
    head = i8x16.replace_lane(head, 2, <u8>protocol);
  } else return false;
  // An IP length of 0 has a meaning of its own.
  if ((protocol != 6 && protocol != 17) || end < transport + 8 || end > length) return false;
  if (shift != 0) {
    head = i8x16.replace_lane(head, 3, <u8>(shift >> 2));
    head = i32x4.replace_lane(head, 3, shift + 14);
  }
  v128.store(out, head);
  store<u64>(out, <u64>transport | ((<u64>end) << 32), 16);
  store<u64>(out, 0, 24);
  return true;
}

/** Dissects every packet of the burst: one LAYERS_ record each at `out`. */
export function dissectBurst(burst: u32, link: u32, out: u32, scratch: u32): void {
  const packets = load<u32>(burst, BURST_PACKETS);
  const descs = load<u32>(burst, BURST_DESCS);
  const starts = load<u32>(burst, BURST_STARTS);
  // What ends a packet's only descriptor; no descriptor has it where nothing but Ethernet may be looked at so.
  const last: u32 = link == 1 ? 0 : 0xffffffff;
  for (let packet: u32 = 0; packet < packets; packet++) {
    const desc = descs + (load<u32>(starts + (packet << 2)) << DESC_SHIFT);
    const record = out + packet * LAYERS_SIZE;
    if (
      load<u32>(desc, DESC_OPTIONS) != last ||
      !dissectPlain(load<u32>(desc, DESC_ADDR), load<u32>(desc, DESC_LEN), record)
    )
      dissectPacket(burst, packet, link, record, scratch);
  }
}
