// One packet read from a tap into the frames of an inbox, with struct virtio_net_hdr before it.
import { BURST_METAS, BURST_PACKETS, META_FLAGS, META_SHIFT } from "../structs";
import { INBOX_HEADER } from "../structs-messages";
import { inboxFill, inboxSplit } from "./inbox";
import { readVnet } from "./vnet";

/** Appends the packet of `length` bytes to the burst. Returns 1, or 0 where an empty burst could not take it. */
export function tapReceived(inbox: u32, burst: u32, length: u32, vnet: u32): u32 {
  inboxFill(inbox, length);
  if (inboxSplit(inbox, burst) == 0) return 0;
  const meta = load<u32>(burst, BURST_METAS) + ((load<u32>(burst, BURST_PACKETS) - 1) << META_SHIFT);
  store<u16>(meta, 0, META_FLAGS);
  if (vnet != 0) readVnet(load<u32>(inbox, INBOX_HEADER), meta);
  return 1;
}
