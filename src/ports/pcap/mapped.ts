// A file mapped over the arena instead of read: its bytes are not copied, but for the packets that are kept.
import { fstatSync, statfsSync } from "node:fs";
import { type FileLease, leaseFile, mapFileOver } from "../../linux/file-mapping.js";
import { libc } from "../../linux/libc.js";
import { unmapOver, unmapOverLater } from "../../linux/mapping.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { freeRegion, reserveRegion } from "../../memory/region.js";
import { HEADROOM, type Window } from "./window.js";

/** A piece of the arena with room for a piece of the file. */
interface Slot {
  /** Address of the first byte that is mapped; HEADROOM bytes before it are the arena's own. */
  readonly offset: number;
  mapped: boolean;
}

/** A file that is mapped piece by piece. */
export interface MappedFile {
  readonly arena: ArenaMemory;
  readonly fd: number;
  /** Bytes of the file when it was leased. */
  readonly size: number;
  readonly region: number;
  /** Bytes that a slot has room for. */
  readonly slotBytes: number;
  readonly slots: readonly Slot[];
  readonly free: Slot[];
  readonly pending: Set<Promise<unknown>>;
  /** Where in the file the last window that was made ends. */
  mappedTo: number;
  lease: FileLease | undefined;
  /** Someone waits to write to the file: nothing more of it is mapped. */
  broken: boolean;
}

const PAGE = 4096;
const SLOTS = 3;
/** Bytes of a slot: many where there is room for them, since each costs turns of the event loop. */
const SLOT_BYTES = [64 << 20, 8 << 20];
/** Bytes of regions with which the largest slots can be had. */
export const MAPPING_BYTES = regionBytes(SLOT_BYTES[0]);
/** Bytes of a file from which on mapping is worth its preparations. */
const WORTH_MAPPING = 32 << 20;

// File systems whose files change through this machine's kernel only, which asks for the lease (statfs(2)).
const LOCAL: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0xf2f52010, // F2FS
  0x01021994, // tmpfs
  0x794c7630, // overlayfs
]);

function regionBytes(slotBytes: number): number {
  return SLOTS * (HEADROOM + slotBytes);
}

function reserve(arena: ArenaMemory): { readonly region: number; readonly slotBytes: number } | undefined {
  for (const slotBytes of SLOT_BYTES)
    try {
      return { region: reserveRegion(arena, regionBytes(slotBytes)), slotBytes };
    } catch {
      // a smaller one may fit
    }
  return undefined;
}

/** Gets ready to map a file; undefined where it had better be read. */
export function openMapped(arena: ArenaMemory, fd: number): MappedFile | undefined {
  if (fstatSync(fd).size < WORTH_MAPPING || !LOCAL.has(statfsSync(`/proc/self/fd/${fd}`).type))
    return undefined;
  try {
    libc();
  } catch {
    return undefined; // reading needs no system calls of our own
  }
  const room = reserve(arena);
  if (room === undefined) return undefined;
  const { region, slotBytes } = room;
  const lease = leaseFile(fd, () => void letGo(file));
  if (lease === undefined) {
    freeRegion(arena, region, regionBytes(slotBytes));
    return undefined;
  }
  const slots = Array.from({ length: SLOTS }, (_, i) => ({
    offset: region + i * (HEADROOM + slotBytes) + HEADROOM,
    mapped: false,
  }));
  const file: MappedFile = {
    ...{
      arena,
      fd,
      region,
      slotBytes,
      slots,
      lease,
      free: [...slots],
      pending: new Set(),
      mappedTo: 0,
      broken: false,
    },
    size: fstatSync(fd).size,
  };
  return file;
}

/** A window over the file from `offset` on and when its bytes can be looked at, or false; undefined: no room or no more. */
export function mapWindow(
  file: MappedFile,
  offset: number,
): { readonly window: Window; readonly ready: Promise<boolean> } | undefined {
  if (file.broken || offset >= file.size) return undefined;
  const slot = file.free.pop();
  if (slot === undefined) return undefined;
  const { arena, fd, slotBytes, pending } = file;
  const from = offset - (offset % PAGE);
  const bytes = Math.min(slotBytes, file.size - from);
  slot.mapped = true;
  file.mappedTo = from + bytes;
  const ready = mapFileOver(arena, slot.offset, Math.ceil(bytes / PAGE) * PAGE, fd, from).then((whole) => {
    pending.delete(ready);
    if (!whole) unmap(file, slot);
    return whole;
  });
  pending.add(ready);
  const limit = slot.offset + bytes;
  const window: Window = {
    first: 0,
    frames: 0,
    start: slot.offset + offset - from,
    end: limit,
    headroom: HEADROOM,
    limit,
    lent: () => (file.mappedTo < file.size ? file.free.push(slot) : unmapEarly(file, slot)),
  };
  return { window, ready };
}

function unmap({ arena, slotBytes }: MappedFile, slot: Slot): void {
  unmapOver(arena, slot.offset, slotBytes);
  slot.mapped = false;
}

/** What nobody will map over any more is unmapped while the rest is walked: at the end somebody waits for it. */
function unmapEarly(file: MappedFile, slot: Slot): void {
  const { arena, slotBytes, pending, lease } = file;
  if (lease === undefined) return; // closed: it is unmapped
  slot.mapped = false;
  const gone = unmapOverLater(arena, slot.offset, slotBytes).finally(() => pending.delete(gone));
  pending.add(gone);
}

/** Puts copies in the place of what is mapped, then lets those who wait write to the file. */
async function letGo(file: MappedFile): Promise<void> {
  file.broken = true;
  await Promise.allSettled(file.pending);
  if (file.lease === undefined) return; // closed meanwhile
  const { arena, slotBytes, slots } = file;
  for (const slot of slots.filter(({ mapped }) => mapped)) {
    const bytes = arena.u8.slice(slot.offset, slot.offset + slotBytes);
    unmap(file, slot);
    arena.u8.set(bytes, slot.offset);
  }
  file.lease.release();
}

/** Lets go of everything. No window of it is in use any more. */
export async function closeMapped(file: MappedFile): Promise<void> {
  file.broken = true;
  await Promise.allSettled(file.pending);
  const { arena, region, slotBytes, lease } = file;
  file.lease = undefined;
  for (const slot of file.slots) if (slot.mapped) unmap(file, slot);
  lease?.release();
  freeRegion(arena, region, regionBytes(slotBytes));
}
