// Files seen through the arena. Where a file is cut short under a mapping, a look at what is gone ends the process
// (SIGBUS), so that a file is only mapped under a lease (fcntl(2), F_SETLEASE): the kernel then has whoever wants to
// write to it or cut it wait until the lease is given back, and tells us by SIGIO.
import { isMainThread } from "node:worker_threads";
import { callLater, libc } from "./libc.js";
import {
  arenaBase,
  checkRange,
  MAP_FIXED,
  MAP_POPULATE,
  MAP_SHARED,
  type Mapped,
  PROT_READ,
} from "./mapping.js";

const F_SETLEASE = 1024;
const F_GETLEASE = 1025;
const F_RDLCK = 0;
const F_UNLCK = 2;
const KERNEL_PAGE = 4096;

/** A lease on an open file, to read it. */
export interface FileLease {
  /** Gives it back: whoever waits to write may. Idempotent. */
  release(): void;
}

const leases = new Map<number, () => void>();
let listening = false;

// Never taken off again: SIGIO ends a process that does not expect it, and one may be on its way.
function listen(): void {
  if (listening) return;
  listening = true;
  process.on("SIGIO", () => {
    for (const [fd, broken] of [...leases]) if (libc().fcntl(fd, F_GETLEASE, 0) !== F_RDLCK) broken();
  });
}

/**
 * A lease on a file that is open for reading; `broken` is called, later than this returns, when someone wants to write to
 * it and waits. It must then be released, within /proc/sys/fs/lease-break-time, 45 s. Undefined where there is none to be had:
 * another user's file, one that is open for writing, a file system without leases, a thread that gets no signals.
 */
export function leaseFile(fd: number, broken: () => void): FileLease | undefined {
  if (!isMainThread) return undefined;
  listen();
  leases.set(fd, broken);
  const release = () => {
    if (leases.delete(fd)) libc().fcntl(fd, F_SETLEASE, F_UNLCK);
  };
  if (libc().fcntl(fd, F_SETLEASE, F_RDLCK) === 0) return { release };
  leases.delete(fd);
  return undefined;
}

/**
 * Has one of Node's threads map whole pages of a file over `[offset, offset + bytes)` of the arena, to be read only,
 * and find them in memory or fetch them. False where they cannot all be had; `unmapOver` ends it either way.
 */
export async function mapFileOver(
  arena: Mapped,
  offset: number,
  bytes: number,
  fd: number,
  at: number,
): Promise<boolean> {
  checkRange(arena, offset, bytes);
  const address = arenaBase(arena) + offset;
  const flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
  if ((await callLater("mmap", address, bytes, PROT_READ, flags, fd, at)) !== address) return false;
  // mmap does not tell what the disk did not give; a look at such a page would end the process.
  const resident = new Uint8Array(bytes / KERNEL_PAGE);
  return libc().mincore(address, bytes, resident) === 0 && !resident.includes(0);
}
