import { BURST_PACKETS } from "../../kernels/structs.js";
import {
  OUTBOX_FRAME_HEAD,
  OUTBOX_FRAME_TAIL,
  OUTBOX_HELD,
  OUTBOX_ID_HEAD,
  OUTBOX_ID_TAIL,
  OUTBOX_LOOKED,
  OUTBOX_RANGES,
  OUTBOX_SEGMENT_LIMIT,
} from "../../kernels/structs-messages.js";
import { ERRNO, systemError } from "../../linux/errno.js";
import { libc } from "../../linux/libc.js";
import { arenaBase } from "../../linux/mapping.js";
import { MSG_DONTWAIT, MSG_ZEROCOPY } from "../../linux/socket.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { throwFault } from "../../memory/burst.js";
import { createNotifications } from "./notifications.js";
import { countIcmp, type IcmpCounts } from "./receive.js";
import type { UdpSocket } from "./socket.js";
import type { UdpState } from "./state.js";

export interface UdpSender {
  send(burst: number, first: number): number;
  /** Takes the kernel's notices that it has done with frames. */
  reap(): void;
  /** Packets whose frames the kernel still reads. */
  held(): number;
  /** Calls under MSG_ZEROCOPY that the kernel answered by a copy after all. */
  copiedAfterAll(): number;
}

/** The sending side of one port. */
export function createSender(
  arena: ArenaMemory,
  socket: UdpSocket,
  state: UdpState,
  icmp: IcmpCounts,
): UdpSender {
  const { u32, kernels } = arena;
  const { sendmmsg, errno } = libc();
  const headers = arenaBase(arena) + state.headers.send;
  const at = state.send;
  const word = (offset: number) => u32[(at + offset) >>> 2];
  const notices = createNotifications(arena, socket, state);
  let zeroCopy = socket.zeroCopy;

  function send(burst: number, first: number): number {
    const packets = u32[(burst + BURST_PACKETS) >>> 2];
    let next = first;
    let retried = -1; // the packet whose message was tried again after an error
    while (next < packets) {
      if (zeroCopy) notices.reap();
      const built = throwFault(arena, burst, kernels.udpBuild(at, burst, next));
      const messages = zeroCopy ? Math.min(built, kernels.outboxCalls(at)) : built;
      if (messages === 0) return built === 0 ? word(OUTBOX_LOOKED) : u32[word(OUTBOX_RANGES) >>> 2];
      const flags = MSG_DONTWAIT | (zeroCopy ? MSG_ZEROCOPY : 0);
      const sent = sendmmsg(socket.fd, headers, messages, flags);
      if (sent >= 0) {
        next = kernels.outboxSent(at, burst, built, sent, zeroCopy ? 1 : 0) >>> 0;
        zeroCopy = socket.zeroCopy;
        continue;
      }
      const code = errno();
      next = u32[word(OUTBOX_RANGES) >>> 2];
      const again = retried === next;
      retried = next;
      if (code === ERRNO.EAGAIN) return next;
      if (code === ERRNO.EINTR) continue;
      if (code === ERRNO.EBADF || code === ERRNO.ENOTSOCK)
        throw systemError(code, "sendmmsg", socket.subject);
      if (zeroCopy && (code === ERRNO.EMSGSIZE || code === ERRNO.ENOBUFS)) {
        zeroCopy = false; // more pieces than a zero-copy packet takes, or no memory to pin: copy this call
        continue;
      }
      if (code === ERRNO.ENOBUFS || code === ERRNO.ENOMEM) return next;
      const segment = kernels.outboxSegment(at);
      if (segment !== 0 && (code === ERRNO.EMSGSIZE || code === ERRNO.EINVAL || code === ERRNO.EIO)) {
        // The way out does not take segments of that size (EIO: of any size): send them one by one.
        u32[(at + OUTBOX_SEGMENT_LIMIT) >>> 2] = code === ERRNO.EIO ? 0 : segment - 1;
        continue;
      }
      if (countIcmp(icmp, code) && !again) continue;
      next = kernels.outboxRefuse(at, burst) >>> 0;
    }
    return next;
  }

  return {
    send,
    reap: notices.reap,
    held: () => word(OUTBOX_HELD),
    copiedAfterAll: notices.copied,
  };
}

/** Whether the kernel reads frames of calls made with MSG_ZEROCOPY. */
export function zeroCopyOpen(arena: ArenaMemory, state: UdpState): boolean {
  const word = (offset: number) => arena.u32[(state.send + offset) >>> 2];
  return word(OUTBOX_ID_HEAD) !== word(OUTBOX_ID_TAIL) || word(OUTBOX_FRAME_HEAD) !== word(OUTBOX_FRAME_TAIL);
}
