// Where the headers of a whole burst are. Most packets are linear, Ethernet, IP without options or extensions: for
// them everything stays in registers, and a record is four stores.
import {
  BURST_DESCS,
  BURST_PACKETS,
  BURST_STARTS,
  CONTINUED,
  DESC_ADDR,
  DESC_LEN,
  DESC_OPTIONS,
  DESC_SHIFT,
  LAYERS_SIZE,
} from "../structs";
import { dissectPacket } from "./dissect";

function big16(at: u32): u32 {
  return <u32>bswap<u16>(load<u16>(at));
}

/** Writes the record of a plain packet; false: it is not plain, or not whole. */
function dissectPlain(base: u32, length: u32, out: u32): bool {
  if (length < 34) return false;
  let network: u32 = 14;
  let type = big16(base + 12);
  let tags: u32 = 0;
  while (type == 0x8100 && network + 24 <= length) {
    type = big16(base + network + 2);
    network += 4;
    tags++;
  }
  const at = base + network;
  let protocol: u32;
  let transport: u32;
  let end: u32;
  let family: u32;
  if (type == 0x0800) {
    // version 4 and no options; no fragment
    if (load<u8>(at) != 0x45 || (load<u16>(at, 6) & 0xff3f) != 0) return false;
    transport = network + 20;
    end = network + big16(at + 2);
    protocol = load<u8>(at, 9);
    family = 4;
  } else if (type == 0x86dd && network + 40 <= length) {
    if ((load<u8>(at) & 0xf0) != 0x60) return false;
    transport = network + 40;
    end = transport + big16(at + 4);
    protocol = load<u8>(at, 6);
    family = 6;
  } else return false;
  // An IP length of 0 has a meaning of its own.
  if ((protocol != 6 && protocol != 17) || end < transport + 8 || end > length) return false;
  const source = big16(base + transport);
  const destination = big16(base + transport + 2);
  const head = (family << 8) | (protocol << 16) | (tags << 24);
  store<u64>(out, <u64>head | ((<u64>type) << 32) | ((<u64>source) << 48));
  store<u64>(out, <u64>destination | ((<u64>network) << 32), 8);
  store<u64>(out, <u64>transport | ((<u64>end) << 32), 16);
  store<u64>(out, 0, 24);
  return true;
}

/** Dissects every packet of the burst: one LAYERS_ record each at `out`. */
export function dissectBurst(burst: u32, link: u32, out: u32, scratch: u32): void {
  const packets = load<u32>(burst, BURST_PACKETS);
  const descs = load<u32>(burst, BURST_DESCS);
  const starts = load<u32>(burst, BURST_STARTS);
  for (let packet: u32 = 0; packet < packets; packet++, out += LAYERS_SIZE) {
    const at = descs + (load<u32>(starts + (packet << 2)) << DESC_SHIFT);
    if (
      link == 1 &&
      (load<u32>(at, DESC_OPTIONS) & CONTINUED) == 0 &&
      dissectPlain(load<u32>(at, DESC_ADDR), load<u32>(at, DESC_LEN), out)
    )
      continue;
    dissectPacket(burst, packet, link, out, scratch);
  }
}
