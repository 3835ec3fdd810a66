import { check } from "./errno.js";
import { libc } from "./libc.js";
import { AF_INET, openSocket, SOCK_DGRAM } from "./socket.js";

const SIOCGIFMTU = 0x8921;

/** An interface's MTU in bytes, in this thread's network namespace. Throws ENODEV where there is none of that name. */
export function interfaceMtu(name: string): number {
  const subject = `MTU of ${name}`;
  const fd = openSocket(AF_INET, SOCK_DGRAM, 0, subject);
  try {
    const request = Buffer.alloc(40); // struct ifreq: a name of 16 bytes, then a union
    request.write(name, 0, 15);
    check(libc().ioctl(fd, SIOCGIFMTU, request), "ioctl SIOCGIFMTU", subject);
    return request.readInt32LE(16);
  } finally {
    libc().close(fd);
  }
}
