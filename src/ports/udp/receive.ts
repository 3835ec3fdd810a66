import { BURST_CAPACITY, BURST_COUNT } from "../../kernels/structs.js";
import { INBOX_CURSOR, INBOX_READY } from "../../kernels/structs-messages.js";
import { ERRNO, systemError } from "../../linux/errno.js";
import { libc } from "../../linux/libc.js";
import { arenaBase } from "../../linux/mapping.js";
import { MSG_DONTWAIT } from "../../linux/socket.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { UdpSocket } from "./socket.js";
import type { UdpState } from "./state.js";

/** What ICMP told about datagrams that were sent, by the name of its errno. */
export type IcmpCounts = Record<string, number>;

// What a socket reports once about the past and that does not concern the call which gets it.
const ICMP_ERRORS: Readonly<Record<number, string>> = {
  [ERRNO.ECONNREFUSED]: "ECONNREFUSED",
  [ERRNO.EHOSTUNREACH]: "EHOSTUNREACH",
  [ERRNO.ENETUNREACH]: "ENETUNREACH",
  [ERRNO.EPROTO]: "EPROTO",
};

/** Counts an errno that ICMP caused; false for any other. */
export function countIcmp(icmp: IcmpCounts, errno: number): boolean {
  const name = ICMP_ERRORS[errno];
  if (name === undefined) return false;
  icmp[name] = (icmp[name] ?? 0) + 1;
  return true;
}

/**
 * No burst has many more descriptors than this: some 8 GRO buffers, half a megabyte. Its frames are still in the
 * second-level cache when gather copies out of them, and again when the next burst is received into them.
 */
const WARM_DESCRIPTORS = 512;

export interface UdpReceiver {
  receive(burst: number): number;
  /** Datagrams lie in the arena that no burst has taken yet. */
  pending(): boolean;
  /** The pool had no frame left to receive into at the last call. */
  starved(): boolean;
}

/** The receiving side of one port. */
export function createReceiver(
  arena: ArenaMemory,
  socket: UdpSocket,
  state: UdpState,
  icmp: IcmpCounts,
): UdpReceiver {
  const { u32, kernels } = arena;
  const { recvmmsg, errno } = libc();
  const headers = arenaBase(arena) + state.headers.receive;
  const at = state.receive;
  let starved = false;
  let density = 1; // descriptors a message, as last seen: how many messages to ask for

  const pending = () => u32[(at + INBOX_CURSOR) >>> 2] < u32[(at + INBOX_READY) >>> 2];

  /** Receives at most `most` messages; 0: nothing there. */
  function fetch(most: number): number {
    for (;;) {
      const count = recvmmsg(socket.fd, headers, most, MSG_DONTWAIT, null);
      if (count >= 0) return count;
      const code = errno();
      if (code === ERRNO.EAGAIN) return 0;
      if (code === ERRNO.EINTR || countIcmp(icmp, code)) continue;
      throw systemError(code, "recvmmsg", socket.subject);
    }
  }

  function receive(burst: number): number {
    const capacity = Math.min(u32[(burst + BURST_CAPACITY) >>> 2], WARM_DESCRIPTORS);
    let packets = 0;
    starved = false;
    if (pending()) packets = kernels.inboxSplit(at, burst);
    while (!pending()) {
      const before = u32[(burst + BURST_COUNT) >>> 2];
      const wanted = Math.floor((capacity - before) / density);
      if (wanted < 1 && before > 0) break;
      const posted = kernels.inboxPost(at);
      starved = posted === 0;
      const most = Math.min(posted, Math.max(wanted, 1));
      const count = starved ? 0 : fetch(most);
      if (count === 0) break;
      kernels.inboxReceived(at, count);
      packets += kernels.inboxSplit(at, burst);
      if (!pending()) density = Math.max(1, Math.ceil((u32[(burst + BURST_COUNT) >>> 2] - before) / count));
      if (count < most) break;
    }
    return packets;
  }

  return { receive, pending, starved: () => starved };
}
