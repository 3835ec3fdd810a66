// TUN and TAP interfaces (Documentation/networking/tuntap.rst, linux/if_tun.h).
import { closeSync, constants, openSync, readSync } from "node:fs";
import { MillraceError } from "../errors.js";
import { lackOf } from "./capabilities.js";
import { check, ERRNO } from "./errno.js";
import { libc } from "./libc.js";

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN = 1;
const IFF_TAP = 2;
const IFF_MULTI_QUEUE = 0x100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;
const VNET_HEADER = 10; // struct virtio_net_hdr

export interface Tap {
  readonly fd: number;
  /** The interface's name: the kernel fills in a `%d`. */
  readonly name: string;
  /** Bytes of struct virtio_net_hdr before each packet, both ways. */
  readonly vnet: number;
}

export interface TapOptions {
  /** 2: Ethernet frames (TAP); 3: IP packets (TUN). */
  readonly layer: 2 | 3;
  /** Several descriptors may attach, each to a queue of its own. */
  readonly multiQueue: boolean;
}

/** Makes the interface, or attaches to one that is there. It goes with its last descriptor unless it was made persistent. */
export function openTap(name: string, { layer, multiQueue }: TapOptions, subject: string): Tap {
  const fd = openDevice(subject);
  try {
    // struct ifreq: the name, then the flags
    const request = new Uint8Array(40);
    request.set(new TextEncoder().encode(name).subarray(0, 15));
    const kind = layer === 2 ? IFF_TAP : IFF_TUN;
    const flags = kind | IFF_NO_PI | IFF_VNET_HDR | (multiQueue ? IFF_MULTI_QUEUE : 0);
    new DataView(request.buffer).setUint16(16, flags, true);
    check(libc().ioctl(fd, TUNSETIFF, request), "ioctl TUNSETIFF", subject, {
      get EPERM() {
        return `${lackOf("CAP_NET_ADMIN")}, or attach to an interface that \`ip tuntap add … user NAME\` made for you`;
      },
      EBUSY: "another program has it; multi=1 shares one that was made with several queues",
      EINVAL: "an interface of that name is there and is of another kind: other layer, other multi=",
    });
    offerOffloads(fd);
    const made = new TextDecoder().decode(request.subarray(0, request.indexOf(0)));
    return { fd, name: made, vnet: VNET_HEADER };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Closes the descriptor. Node opened it and keeps book of it, so Node must close it. */
export function closeTap({ fd }: Tap): void {
  closeSync(fd);
}

// What the kernel may leave to us: as much as it knows of. UDP segments came with Linux 6.2.
function offerOffloads(fd: number): void {
  const older = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  if (libc().ioctl(fd, TUNSETOFFLOAD, older | TUN_F_USO4 | TUN_F_USO6) < 0)
    libc().ioctl(fd, TUNSETOFFLOAD, older);
}

function openDevice(subject: string): number {
  try {
    return openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    const { code, errno } = cause as NodeJS.ErrnoException;
    throw new MillraceError(code ?? "ERR_CAPABILITY", `${subject}: /dev/net/tun cannot be opened (${code})`, {
      cause,
      syscall: "open",
      ...(errno === undefined ? {} : { errno }),
      hint:
        code === "EACCES"
          ? "run as root, or give yourself access to /dev/net/tun"
          : "`modprobe tun` makes it",
    });
  }
}

/** True for the errno of a read or write on an interface that is gone. */
export function tapIsGone(errno: number): boolean {
  return errno === ERRNO_EBADFD || errno === ERRNO.ENODEV;
}
const ERRNO_EBADFD = 77; // asm-generic/errno.h; not among Node's constants

/** Reads an interface's drop counter, in the network namespace of the moment it was made. */
export interface DropCounter {
  /** Packets that the kernel wanted to hand to the program and dropped as nobody read them. */
  read(): number;
  close(): void;
}

export function createDropCounter(name: string): DropCounter {
  const fd = openSync("/proc/thread-self/net/dev", "r");
  const buffer = Buffer.alloc(1 << 20);
  let last = 0;
  return {
    read() {
      const text = buffer.toString("latin1", 0, readSync(fd, buffer, 0, buffer.length, 0));
      const line = text.split("\n").find((row) => row.trimStart().startsWith(`${name}:`));
      // Eight columns of receiving, then bytes, packets, errors and drops of sending.
      if (line !== undefined) last = Number(line.split(":")[1].trim().split(/\s+/)[11]);
      return last;
    },
    close: () => closeSync(fd),
  };
}
