import type { ArenaMemory } from "../../memory/arena.js";

// The bound sockets of this thread by arena and mode: any of them lends its registration of the frames to the
// next one, so that the range is pinned and counted once. A socket of another mode registers it again.
const bound = new WeakMap<SharedArrayBuffer, { copy: BoundSocket[]; zeroCopy: BoundSocket[] }>();

export interface BoundSocket {
  readonly fd: number;
  /** Bound with XDP_USE_SG, which those that share its registration inherit, or have to do without. */
  readonly fragments: boolean;
}

function socketsOf(arena: ArenaMemory, zeroCopy: boolean): BoundSocket[] {
  let sockets = bound.get(arena.buffer);
  if (sockets === undefined) {
    sockets = { copy: [], zeroCopy: [] };
    bound.set(arena.buffer, sockets);
  }
  return zeroCopy ? sockets.zeroCopy : sockets.copy;
}

/** A bound socket whose registration of the arena's frames can be shared; undefined: there is none yet. */
export function sharedUmem(arena: ArenaMemory, zeroCopy: boolean): BoundSocket | undefined {
  return socketsOf(arena, zeroCopy)[0];
}

export function joinUmem(arena: ArenaMemory, zeroCopy: boolean, socket: BoundSocket): void {
  socketsOf(arena, zeroCopy).push(socket);
}

export function leaveUmem(arena: ArenaMemory, zeroCopy: boolean, fd: number): void {
  const sockets = socketsOf(arena, zeroCopy);
  const place = sockets.findIndex((socket) => socket.fd === fd);
  if (place >= 0) sockets.splice(place, 1);
}
