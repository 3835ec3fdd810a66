import { CONTROL_XDP } from "../../kernels/structs.js";
import type { XdpMode } from "../../linux/bpf.js";
import { libc } from "../../linux/libc.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { countUses, recordUse, releaseOwner } from "../../memory/owners.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";

// What of this process is attached where, for all threads of an arena: one record an interface. The kernel
// decides who attaches (one program an interface); who did publishes a record, the others join it. Who uses a record
// stands in the arena's owner table, so that a worker that dies is no user any more.
const STATE = 0; // u32: 0 free, or one of those below
const NETNS = 1; // u32: inode of the network namespace
const INDEX = 2; // u32: of the interface in it
const MODE = 3; // u32: 1 native, 2 generic
const LINK = 4; // u32: descriptor of the bpf link
const MAP = 5; // u32: descriptor of the XSKMAP
const WORDS = 8;
const RECORDS = 512;
const WRITING = 1; // someone fills it in, or takes down
const READY = 2;
const COMING = 3; // whose user attaches at this moment
/** The arena's first thread: what belongs to it outlives the workers. */
const FIRST_WORKER = 1;

export interface Record {
  readonly mode: XdpMode;
  readonly link: number;
  readonly map: number;
  /** The last user closes the descriptors. */
  leave(): void;
}

function directoryOf(arena: ArenaMemory): number {
  const word = (arena.control + CONTROL_XDP) >>> 2;
  const known = Atomics.load(arena.u32, word);
  if (known !== 0) return known >>> 2;
  const made = allocateRegion({ ...arena, worker: FIRST_WORKER }, 4 * WORDS * RECORDS);
  const other = Atomics.compareExchange(arena.u32, word, 0, made);
  if (other === 0) return made >>> 2;
  freeRegion(arena, made, 4 * WORDS * RECORDS);
  return other >>> 2;
}

function recordAt(arena: ArenaMemory, at: number, use: number): Record {
  const { u32 } = arena;
  return {
    mode: u32[at + MODE] === 1 ? "native" : "generic",
    link: u32[at + LINK],
    map: u32[at + MAP],
    leave() {
      releaseOwner(arena, use);
      closeUnused(arena, at);
    },
  };
}

/** Closes a record's descriptors when nobody uses it any more. Whoever ends a use has to call it. */
function closeUnused(arena: ArenaMemory, at: number): void {
  const { u32 } = arena;
  // Once more where a use came and went while the record was being looked at: its user saw that and left it to us.
  while (countUses(arena, 4 * at) === 0) {
    if (Atomics.compareExchange(u32, at + STATE, READY, WRITING) !== READY) return;
    const unused = countUses(arena, 4 * at) === 0;
    if (unused) {
      libc().close(u32[at + LINK]);
      libc().close(u32[at + MAP]);
    }
    Atomics.store(u32, at + STATE, unused ? 0 : READY);
    if (unused) return;
  }
}

/** Detaches the programs that only workers which are gone used. To be called when these have been swept up after. */
export function sweepAttachments(arena: ArenaMemory): void {
  if (Atomics.load(arena.u32, (arena.control + CONTROL_XDP) >>> 2) === 0) return;
  const first = directoryOf(arena);
  for (let at = first; at < first + WORDS * RECORDS; at += WORDS) {
    const state = Atomics.load(arena.u32, at + STATE);
    if (state === READY) closeUnused(arena, at);
    // Who was attaching is gone.
    else if (state === COMING && countUses(arena, 4 * at) === 0)
      Atomics.compareExchange(arena.u32, at + STATE, COMING, 0);
  }
}

/** Joins what another queue of this process has attached to an interface; undefined: nothing. */
export function joinAttachment(arena: ArenaMemory, netns: number, index: number): Record | undefined {
  const { u32 } = arena;
  const first = directoryOf(arena);
  for (let at = first; at < first + WORDS * RECORDS; at += WORDS) {
    if (Atomics.load(u32, at + STATE) !== READY || !isOf(u32, at, netns, index)) continue;
    // Once the use is recorded a record that is ready stays; one that is not is being taken down.
    const use = recordUse(arena, 4 * at);
    if (Atomics.load(u32, at + STATE) === READY && isOf(u32, at, netns, index))
      return recordAt(arena, at, use);
    releaseOwner(arena, use);
    closeUnused(arena, at);
  }
  return undefined;
}

function isOf(u32: Uint32Array, at: number, netns: number, index: number): boolean {
  return u32[at + NETNS] === netns && u32[at + INDEX] === index;
}

/** A record of what a thread is about to attach. */
export interface Announcement {
  /** Lets other threads join. */
  publish(attached: { readonly mode: XdpMode; readonly link: number; readonly map: number }): Record;
  /** It came to nothing. */
  withdraw(): void;
}

/** Says what this thread is going to attach; undefined when the directory is full: nobody can join it then. */
export function announceAttachment(
  arena: ArenaMemory,
  netns: number,
  index: number,
): Announcement | undefined {
  const { u32 } = arena;
  const first = directoryOf(arena);
  for (let at = first; at < first + WORDS * RECORDS; at += WORDS) {
    if (Atomics.compareExchange(u32, at + STATE, 0, WRITING) !== 0) continue;
    u32.set([netns, index], at + NETNS);
    const use = recordUse(arena, 4 * at);
    Atomics.store(u32, at + STATE, COMING);
    return {
      publish({ mode, link, map }) {
        u32.set([mode === "native" ? 1 : 2, link, map], at + MODE);
        Atomics.store(u32, at + STATE, READY);
        return recordAt(arena, at, use);
      },
      withdraw() {
        Atomics.store(u32, at + STATE, 0);
        releaseOwner(arena, use);
      },
    };
  }
  return undefined;
}

/** True while another thread of this arena is attaching to an interface, or taking down what was there. */
export function attachmentUnderWay(arena: ArenaMemory, netns: number, index: number): boolean {
  const { u32 } = arena;
  const first = directoryOf(arena);
  for (let at = first; at < first + WORDS * RECORDS; at += WORDS)
    if (Atomics.load(u32, at + STATE) !== 0 && isOf(u32, at, netns, index)) return true;
  return false;
}
