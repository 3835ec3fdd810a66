import { check } from "./errno.js";
import { libc } from "./libc.js";
import { AF_INET, openSocket, SOCK_DGRAM } from "./socket.js";

export const SIOCGIFMTU = 0x8921;

/** An interface's MTU in bytes, in this thread's network namespace. Throws ENODEV where there is none of that name. */
export function interfaceMtu(name: string): number {
  const subject = `MTU of ${name}`;
  const fd = openSocket(AF_INET, SOCK_DGRAM, 0, subject);
  try {
    return mtuBy(fd, interfaceRequest(name), subject);
  } finally {
    libc().close(fd);
  }
}

/** The same by a socket of the caller's and an interfaceRequest(). */
export function mtuBy(fd: number, request: DataView, subject: string): number {
  check(libc().ioctl(fd, SIOCGIFMTU, request), "ioctl SIOCGIFMTU", subject);
  return request.getInt32(16, true);
}

/** A struct ifreq: a name of 16 bytes, then a union; `data` becomes its pointer. */
export function interfaceRequest(name: string, data?: ArrayBufferView): DataView {
  const bytes = new Uint8Array(40);
  bytes.set(new TextEncoder().encode(name).subarray(0, 15));
  const view = new DataView(bytes.buffer);
  if (data !== undefined) view.setBigUint64(16, libc().addressOf(data), true);
  return view;
}
