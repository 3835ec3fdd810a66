// What a thread that was terminated leaves behind: rings mapped over the arena, and the sockets they belong to.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { libc } from "./libc.js";
import { arenaBase, type Mapped, unmapOver } from "./mapping.js";

/**
 * Puts anonymous pages over every socket's ring that is mapped over the arena where `abandoned` says so of its
 * offset, and closes these sockets. To be called before the pages are used for anything else: the kernel goes on
 * writing to a ring for as long as its socket is open. Returns how many sockets were closed.
 */
export function releaseAbandonedRings(arena: Mapped, abandoned: (offset: number) => boolean): number {
  const maps = readFileSync("/proc/self/maps", "utf8");
  if (!maps.includes("socket:[")) return 0; // no ring anywhere, and nothing to load koffi for
  const base = arenaBase(arena);
  const sockets = new Set<string>();
  for (const line of maps.split("\n")) {
    const [, start, end, name] = /^([0-9a-f]+)-([0-9a-f]+) .* (socket:\[\d+\])$/.exec(line) ?? [];
    if (name === undefined) continue;
    const offset = Number.parseInt(start, 16) - base;
    const bytes = Number.parseInt(end, 16) - Number.parseInt(start, 16);
    if (offset < 0 || offset + bytes > arena.buffer.byteLength || !abandoned(offset)) continue;
    unmapOver(arena, offset, bytes);
    sockets.add(name);
  }
  let closed = 0;
  for (const fd of readdirSync("/proc/self/fd"))
    if (sockets.has(linkOf(fd))) closed += libc().close(Number(fd)) + 1;
  return closed;
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return ""; // closed meanwhile: the descriptor of the directory itself, for one
  }
}
