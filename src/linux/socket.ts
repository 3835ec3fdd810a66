// Sockets: making them, their options by number, their addresses (sys/socket.h, netinet/in.h).
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { MillraceError } from "../errors.js";
import { check, type Hints } from "./errno.js";
import { libc } from "./libc.js";

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const AF_XDP = 44;

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;

export const SOL_SOCKET = 1;
export const MSG_DONTWAIT = 0x40;
export const MSG_ERRQUEUE = 0x2000;
export const MSG_TRUNC = 0x20;
export const MSG_ZEROCOPY = 0x4000000;

const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const SO_RCVBUFFORCE = 33;

/** Makes a socket that does not block and is not inherited by child processes. */
export function openSocket(
  domain: number,
  type: number,
  protocol: number,
  subject: string,
  hints: Hints = {},
): number {
  return check(
    libc().socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol),
    "socket",
    subject,
    hints,
  );
}

/** Sets an option whose value is an int. Throws the system call's error. */
export function setOption(
  fd: number,
  level: number,
  option: number,
  value: number | ArrayBufferView,
  subject: string,
  hints: Hints = {},
): void {
  const bytes = typeof value === "number" ? new Int32Array([value]) : value;
  check(libc().setsockopt(fd, level, option, bytes, bytes.byteLength), "setsockopt", subject, hints);
}

/** Sets an option that the kernel may lack or forbid; false where it does. */
export function tryOption(
  fd: number,
  level: number,
  option: number,
  value: number | ArrayBufferView,
): boolean {
  const bytes = typeof value === "number" ? new Int32Array([value]) : value;
  return libc().setsockopt(fd, level, option, bytes, bytes.byteLength) === 0;
}

/** Reads an option into `value`; returns how many bytes the kernel wrote. */
export function getOption(
  fd: number,
  level: number,
  option: number,
  value: ArrayBufferView,
  subject: string,
): number {
  const length = new Uint32Array([value.byteLength]);
  check(libc().getsockopt(fd, level, option, value, length), "getsockopt", subject);
  return length[0];
}

/**
 * Asks for a receive buffer of `bytes`, past net.core.rmem_max where CAP_NET_ADMIN allows it. Returns the bytes
 * obtained, in the same measure (the kernel doubles what it is asked for, and getsockopt reports the double).
 */
export function setReceiveBuffer(fd: number, bytes: number, subject: string): number {
  if (!tryOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes)) setOption(fd, SOL_SOCKET, SO_RCVBUF, bytes, subject);
  const value = new Int32Array(1);
  getOption(fd, SOL_SOCKET, SO_RCVBUF, value, subject);
  return value[0] / 2;
}

/** An Internet address with its port. */
export interface InetAddress {
  /** Dotted or colon notation, without a zone. */
  readonly address: string;
  readonly port: number;
  /** Interface index of a link-local IPv6 address; 0: none. */
  readonly scope?: number;
}

/** Bytes of the larger of the two structures, sockaddr_in6. */
export const SOCKADDR_SIZE = 28;

/** struct sockaddr_in or sockaddr_in6, by the address's notation. */
export function encodeAddress({ address, port, scope = 0 }: InetAddress): Uint8Array {
  const version = isIP(address);
  if (version === 0) throw new MillraceError("ERR_LOCATOR", `"${address}" is not an IP address`);
  const bytes = ipaddr.parse(address).toByteArray();
  const view = new DataView(new ArrayBuffer(version === 4 ? 16 : SOCKADDR_SIZE));
  view.setUint16(0, version === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  const out = new Uint8Array(view.buffer);
  out.set(bytes, version === 4 ? 4 : 8);
  if (version === 6) view.setUint32(24, scope, true);
  return out;
}

/** The address in a sockaddr_in or sockaddr_in6 that the kernel wrote; undefined for any other family. */
export function decodeAddress(bytes: Uint8Array): InetAddress | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 16) return undefined;
  const family = view.getUint16(0, true);
  const port = view.getUint16(2);
  if (family === AF_INET)
    return { address: ipaddr.fromByteArray([...bytes.subarray(4, 8)]).toString(), port };
  if (family !== AF_INET6 || bytes.byteLength < SOCKADDR_SIZE) return undefined;
  const address = ipaddr.fromByteArray([...bytes.subarray(8, 24)]).toString();
  return { address, port, scope: view.getUint32(24, true) };
}

/** `10.0.0.2:5000`, `[::1]:5000`. */
export function formatAddress({ address, port }: InetAddress): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The index of an interface. Throws ENODEV, naming it, where there is none. */
export function interfaceIndex(name: string): number {
  const index = libc().if_nametoindex(name);
  if (index > 0) return index;
  throw new MillraceError("ENODEV", `there is no interface "${name}"`, {
    syscall: "if_nametoindex",
    hint: "`millrace ports --all` lists what there is",
  });
}

/** A program that takes nothing: BPF_RET | BPF_K, not a byte of any packet. */
export const TAKE_NOTHING = [[0x06, 0, 0, 0]] as const;

/** Puts a classic BPF program (struct sock_filter each: code, jt, jf, k) before the socket. */
export function attachSocketFilter(
  fd: number,
  program: readonly (readonly [code: number, jt: number, jf: number, k: number])[],
  subject: string,
): void {
  const code = new DataView(new ArrayBuffer(8 * program.length));
  program.forEach(([operation, jt, jf, k], index) => {
    code.setUint16(8 * index, operation, true);
    code.setUint8(8 * index + 2, jt);
    code.setUint8(8 * index + 3, jf);
    code.setUint32(8 * index + 4, k, true);
  });
  // struct sock_fprog
  const head = new DataView(new ArrayBuffer(16));
  head.setUint16(0, program.length, true);
  head.setBigUint64(8, libc().addressOf(code), true);
  setOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, head, subject, {
    EINVAL: "the kernel does not take this filter",
    ENOMEM: "net.core.optmem_max is the limit",
  });
}
