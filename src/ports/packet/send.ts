import { BURST_PACKETS } from "../../kernels/structs.js";
import { OUTBOX_HEADERS, OUTBOX_LOOKED, OUTBOX_RANGES } from "../../kernels/structs-messages.js";
import { ERRNO, systemError } from "../../linux/errno.js";
import { libc } from "../../linux/libc.js";
import { arenaBase } from "../../linux/mapping.js";
import { MSG_DONTWAIT } from "../../linux/socket.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { throwFault } from "../../memory/burst.js";

export interface PacketSender {
  send(burst: number, first: number): number;
  /** The last call found the interface's queue full. */
  blocked(): boolean;
}

/** The sending side over sendmmsg: one message a packet, the network header before it. */
export function createPacketSender(
  arena: ArenaMemory,
  link: { readonly fd: number; readonly subject: string },
  outbox: number,
  errors: Record<string, number>,
): PacketSender {
  const { u32, kernels } = arena;
  const { sendmmsg, errno } = libc();
  const word = (offset: number) => u32[(outbox + offset) >>> 2];
  const headers = arenaBase(arena) + word(OUTBOX_HEADERS);
  let blocked = false;

  function send(burst: number, first: number): number {
    const packets = u32[(burst + BURST_PACKETS) >>> 2];
    let next = first;
    blocked = false;
    while (next < packets) {
      const built = throwFault(arena, burst, kernels.packetBuild(outbox, burst, next));
      if (built === 0) return word(OUTBOX_LOOKED);
      const sent = sendmmsg(link.fd, headers, built, MSG_DONTWAIT);
      if (sent >= 0) {
        next = kernels.outboxSent(outbox, burst, built, sent, 0) >>> 0;
        continue;
      }
      const code = errno();
      next = u32[word(OUTBOX_RANGES) >>> 2];
      if (code === ERRNO.EINTR) continue;
      if (code === ERRNO.EAGAIN || code === ERRNO.ENOBUFS) {
        blocked = code === ERRNO.ENOBUFS;
        return next;
      }
      const { code: name } = systemError(code, "sendmmsg", link.subject);
      errors[name] = (errors[name] ?? 0) + 1;
      next = kernels.outboxRefuse(outbox, burst) >>> 0;
    }
    return next;
  }

  return { send, blocked: () => blocked };
}
