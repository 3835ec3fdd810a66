import type { ArenaMemory } from "../../memory/arena.js";

// The bound sockets of this thread by arena and mode: any of them lends its registration of the frames to the
// next one, so that the range is pinned and counted once. A socket of another mode registers it again.
const bound = new WeakMap<SharedArrayBuffer, { copy: number[]; zeroCopy: number[] }>();

function socketsOf(arena: ArenaMemory, zeroCopy: boolean): number[] {
  let sockets = bound.get(arena.buffer);
  if (sockets === undefined) {
    sockets = { copy: [], zeroCopy: [] };
    bound.set(arena.buffer, sockets);
  }
  return zeroCopy ? sockets.zeroCopy : sockets.copy;
}

/** A bound socket whose registration of the arena's frames can be shared; undefined: there is none yet. */
export function sharedUmem(arena: ArenaMemory, zeroCopy: boolean): number | undefined {
  return socketsOf(arena, zeroCopy)[0];
}

export function joinUmem(arena: ArenaMemory, zeroCopy: boolean, fd: number): void {
  socketsOf(arena, zeroCopy).push(fd);
}

export function leaveUmem(arena: ArenaMemory, zeroCopy: boolean, fd: number): void {
  const sockets = socketsOf(arena, zeroCopy);
  const place = sockets.indexOf(fd);
  if (place >= 0) sockets.splice(place, 1);
}
