// The error queue of a socket with SO_ZEROCOPY: notices that calls are done
// (Documentation/networking/msg_zerocopy.rst; struct sock_extended_err, linux/errqueue.h).

import { MESSAGE_CONTROL, MESSAGE_CONTROL_LENGTH } from "../../kernels/structs-messages.js";
import { libc } from "../../linux/libc.js";
import { MSG_DONTWAIT, MSG_ERRQUEUE } from "../../linux/socket.js";
import type { ArenaMemory } from "../../memory/arena.js";
import type { UdpSocket } from "./socket.js";
import type { UdpState } from "./state.js";

const SO_EE_ORIGIN_ZEROCOPY = 5;
const SO_EE_CODE_ZEROCOPY_COPIED = 1;
const CONTROL_BYTES = 128;

export interface Notifications {
  /** Takes what the kernel has said so far; the frames of finished calls go back to the pool. */
  reap(): void;
  /** Calls that the kernel copied after all. */
  copied(): number;
}

export function createNotifications(arena: ArenaMemory, socket: UdpSocket, state: UdpState): Notifications {
  const { recvmsg, addressOf } = libc();
  const control = new DataView(new ArrayBuffer(CONTROL_BYTES));
  const header = new DataView(new ArrayBuffer(56));
  let copied = 0;

  function reap(): void {
    for (;;) {
      header.setBigUint64(MESSAGE_CONTROL, addressOf(control), true);
      header.setBigUint64(MESSAGE_CONTROL_LENGTH, BigInt(CONTROL_BYTES), true);
      // EAGAIN: nothing more to tell. Any other error shows again, and is dealt with, where data is sent.
      if (recvmsg(socket.fd, header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
      const length = Math.min(CONTROL_BYTES, Number(header.getBigUint64(MESSAGE_CONTROL_LENGTH, true)));
      for (let at = 0; at + 16 <= length; ) {
        const size = Number(control.getBigUint64(at, true));
        if (size < 16 || size > length - at) break;
        if (size >= 32) note(at + 16);
        at += Math.ceil(size / 8) * 8;
      }
    }
  }

  function note(at: number): void {
    if (control.getUint8(at + 4) !== SO_EE_ORIGIN_ZEROCOPY) return;
    const low = control.getUint32(at + 8, true);
    const high = control.getUint32(at + 12, true);
    if (control.getUint8(at + 6) & SO_EE_CODE_ZEROCOPY_COPIED) copied += high - low + 1;
    arena.kernels.outboxCompleted(state.send, low, high);
  }

  return { reap, copied: () => copied };
}
