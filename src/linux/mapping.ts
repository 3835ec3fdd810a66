// Absolute addresses and what is mapped there. An arena is never unmapped in part: what was mapped over a
// piece of it is replaced by anonymous pages, or another thread could take the hole.
import { MillraceError } from "../errors.js";
import { check, type Hints } from "./errno.js";
import { callLater, libc, loadKoffi } from "./libc.js";

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
export const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
export const MAP_POPULATE = 0x8000;

const MADV_HUGEPAGE = 14;
const KERNEL_PAGE = 4096;

/** An arena, as far as this room needs to know it. */
export interface Mapped {
  readonly buffer: SharedArrayBuffer;
}

const bases = new WeakMap<SharedArrayBuffer, number>();

/** Absolute address of an arena's offset 0. Offsets become addresses at the moment they go to the kernel, nowhere else. */
export function arenaBase(arena: Mapped): number {
  let base = bases.get(arena.buffer);
  if (base === undefined) {
    base = Number(loadKoffi().address(new Uint8Array(arena.buffer)));
    bases.set(arena.buffer, base);
  }
  return base;
}

/** What is to be seen at a piece of the arena. */
export interface Mapping {
  readonly fd: number;
  /** Offset within the descriptor's object, for mmap. */
  readonly at: number;
  /** PROT_READ | PROT_WRITE unless given. A store to a read-only page from JavaScript ends the process. */
  readonly protection?: number;
  /** Further flags beside MAP_SHARED and MAP_FIXED. */
  readonly flags?: number;
}

/**
 * Maps foreign memory over `[offset, offset + bytes)` of the arena: a kernel's ring, a sealed memfd, a BAR. The
 * range must be a region of the caller's and must not be registered with the kernel or a device. The descriptor
 * may be closed afterwards where the object allows it; `unmapOver` ends it.
 */
export function mapOver(
  arena: Mapped,
  offset: number,
  bytes: number,
  mapping: Mapping,
  subject: string,
  hints: Hints = {},
): void {
  checkRange(arena, offset, bytes);
  const { fd, at, protection = PROT_READ | PROT_WRITE, flags = 0 } = mapping;
  const address = arenaBase(arena) + offset;
  check(
    libc().mmap(address, bytes, protection, MAP_SHARED | MAP_FIXED | flags, fd, at),
    "mmap",
    subject,
    hints,
  );
}

/** Puts fresh zeroed pages over `[offset, offset + bytes)` of the arena, and so lets go of what was mapped there. */
export function unmapOver(arena: Mapped, offset: number, bytes: number): void {
  check(libc().mmap(...freshPages(arena, offset, bytes)), "mmap", "unmapping from the arena");
}

/** The same by one of Node's threads, which takes some 14 ms a GiB off this one. */
export async function unmapOverLater(arena: Mapped, offset: number, bytes: number): Promise<void> {
  const pages = freshPages(arena, offset, bytes);
  if ((await callLater("mmap", ...pages)) !== pages[0]) unmapOver(arena, offset, bytes); // tells why
}

/** What mmap(2) is told. */
function freshPages(arena: Mapped, offset: number, bytes: number) {
  checkRange(arena, offset, bytes);
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  return [arenaBase(arena) + offset, bytes, PROT_READ | PROT_WRITE, flags, -1, 0] as const;
}

/** Asks for transparent huge pages in a range; false where the kernel does not give them. */
export function adviseHugePages(arena: Mapped, offset: number, bytes: number): boolean {
  checkRange(arena, offset, bytes);
  return libc().madvise(arenaBase(arena) + offset, bytes, MADV_HUGEPAGE) === 0;
}

/** Throws ERR_MEMORY for what is no range of whole pages of the arena. */
export function checkRange(arena: Mapped, offset: number, bytes: number): void {
  const size = arena.buffer.byteLength;
  const aligned = offset % KERNEL_PAGE === 0 && bytes % KERNEL_PAGE === 0;
  if (aligned && bytes > 0 && bytes <= size && offset >= 0 && offset <= size - bytes) return;
  throw new MillraceError(
    "ERR_MEMORY",
    `[${offset}, ${offset} + ${bytes}) is no range of whole pages of the arena`,
  );
}
