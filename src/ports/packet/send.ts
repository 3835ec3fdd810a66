import { MillraceError } from "../../errors.js";
import { BURST_PACKETS } from "../../kernels/structs.js";
import {
  OUTBOX_HEADERS,
  OUTBOX_LOOKED,
  OUTBOX_MESSAGES,
  OUTBOX_RANGES,
} from "../../kernels/structs-messages.js";
import { ERRNO, systemError } from "../../linux/errno.js";
import { libc } from "../../linux/libc.js";
import { arenaBase } from "../../linux/mapping.js";
import { MSG_DONTWAIT } from "../../linux/socket.js";
import type { Watch } from "../../linux/watch.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { throwFault } from "../../memory/burst.js";
import { pause } from "../pause.js";
import type { SendRing } from "./send-ring.js";

/** Fewer than this go faster in one sendmmsg than over the ring, before which the MTU is looked up. */
const RING_FROM = 4;

export interface PacketSender {
  send(burst: number, first: number): number;
  /** Resolves when what the last call found full may have room again. Rejects with the signal's reason. */
  writable(signal: AbortSignal): Promise<void>;
}

/** The socket's descriptor, and the only watch on it. */
export interface PacketSocket {
  readonly fd: number;
  readonly watching: Watch;
  readonly subject: string;
}

/**
 * The sending side over sendmmsg: one message a packet, the network header before it. With a `ring`, over that, and
 * what is not for the ring, or what the kernel refuses of it, over sendmmsg, whose errno says why.
 */
export function createPacketSender(
  arena: ArenaMemory,
  { fd, watching, subject }: PacketSocket,
  outbox: number,
  errors: Record<string, number>,
  ring: SendRing | undefined,
): PacketSender {
  const { u32, kernels } = arena;
  const { sendmmsg, errno } = libc();
  const word = (offset: number) => u32[(outbox + offset) >>> 2];
  const headers = arenaBase(arena) + word(OUTBOX_HEADERS);
  let wait = watching.writable;
  let full = false;

  function send(burst: number, first: number): number {
    const packets = u32[(burst + BURST_PACKETS) >>> 2];
    let next = first;
    full = false;
    while (next < packets && !full) {
      if (ring !== undefined) next = sendOverRing(ring, burst, next, packets);
      if (next < packets && !full) next = sendMessages(burst, next);
    }
    return next;
  }

  /** As far as the ring goes. Returns the first packet that it did not send. */
  function sendOverRing(ring: SendRing, burst: number, first: number, packets: number): number {
    let next = first;
    while (packets - next >= RING_FROM) {
      const { filled, sent, room } = ring.send(burst, next);
      next = filled > 0 ? kernels.outboxSent(outbox, burst, filled, sent, 0) >>> 0 : word(OUTBOX_LOOKED);
      if (room !== undefined) waitFor(room, "ring-full");
      if (room !== undefined || sent < word(OUTBOX_MESSAGES)) break;
    }
    return next;
  }

  /** As many as one call takes. Returns the first packet that it did not deal with. */
  function sendMessages(burst: number, first: number): number {
    const built = throwFault(arena, burst, kernels.packetBuild(outbox, burst, first));
    if (built === 0) return word(OUTBOX_LOOKED);
    const sent = sendmmsg(fd, headers, built, MSG_DONTWAIT);
    if (sent >= 0) return kernels.outboxSent(outbox, burst, built, sent, 0) >>> 0;
    const code = errno();
    if (code === ERRNO.EINTR || code === ERRNO.EAGAIN || code === ERRNO.ENOBUFS) {
      if (code !== ERRNO.EINTR) waitFor(code === ERRNO.ENOBUFS ? pause : watching.writable, "queue-full");
      return u32[word(OUTBOX_RANGES) >>> 2];
    }
    if (code === ERRNO.ENXIO || code === ERRNO.ENODEV)
      throw new MillraceError("ENODEV", `${subject}: the interface is gone`, {
        syscall: "sendmmsg",
        errno: -ERRNO.ENODEV,
      });
    const { code: name } = systemError(code, "sendmmsg", subject);
    errors[name] = (errors[name] ?? 0) + 1;
    return kernels.outboxRefuse(outbox, burst) >>> 0;
  }

  function waitFor(room: (signal: AbortSignal) => Promise<void>, name: string): void {
    full = true;
    wait = room;
    errors[name] = (errors[name] ?? 0) + 1;
  }

  return { send, writable: (signal) => (full ? wait(signal) : watching.writable(signal)) };
}
