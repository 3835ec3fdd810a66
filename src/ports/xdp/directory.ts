import { CONTROL_XDP } from "../../kernels/structs.js";
import type { XdpMode } from "../../linux/bpf.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { allocateRegion, freeRegion } from "../../memory/region.js";

// What of this process is attached where, for all threads of an arena: one record an interface. The kernel
// decides who attaches (one program an interface); who did publishes a record, the others join it.
const STATE = 0; // u32: 0 free, 1 being written, 2 ready
const NETNS = 1; // u32: inode of the network namespace
const INDEX = 2; // u32: of the interface in it
const MODE = 3; // u32: 1 native, 2 generic
const LINK = 4; // u32: descriptor of the bpf link
const MAP = 5; // u32: descriptor of the XSKMAP
const USERS = 6; // u32: queues open; at 0 the last one closes the descriptors
const WORDS = 8;
const RECORDS = 512;
const READY = 2;
/** The arena's first thread: what belongs to it outlives the workers. */
const FIRST_WORKER = 1;

export interface Record {
  readonly mode: XdpMode;
  readonly link: number;
  readonly map: number;
  /** True for the last user, who then closes the descriptors. */
  leave(): boolean;
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

function recordAt(arena: ArenaMemory, at: number): Record {
  const { u32 } = arena;
  return {
    mode: u32[at + MODE] === 1 ? "native" : "generic",
    link: u32[at + LINK],
    map: u32[at + MAP],
    leave() {
      if (Atomics.sub(u32, at + USERS, 1) !== 1) return false;
      Atomics.store(u32, at + STATE, 0);
      return true;
    },
  };
}

/** Joins what another queue of this process has attached to an interface; undefined: nothing. */
export function joinAttachment(arena: ArenaMemory, netns: number, index: number): Record | undefined {
  const { u32 } = arena;
  const first = directoryOf(arena);
  for (let at = first; at < first + WORDS * RECORDS; at += WORDS) {
    if (Atomics.load(u32, at + STATE) !== READY) continue;
    if (u32[at + NETNS] !== netns || u32[at + INDEX] !== index) continue;
    // Only while someone else still uses it: at 0 it is being taken down.
    for (let users = Atomics.load(u32, at + USERS); users > 0; users = Atomics.load(u32, at + USERS))
      if (Atomics.compareExchange(u32, at + USERS, users, users + 1) === users) return recordAt(arena, at);
  }
  return undefined;
}

/** Publishes what this thread has attached; undefined when the directory is full, and then nobody can join. */
export function publishAttachment(
  arena: ArenaMemory,
  netns: number,
  index: number,
  attached: { readonly mode: XdpMode; readonly link: number; readonly map: number },
): Record | undefined {
  const { u32 } = arena;
  const first = directoryOf(arena);
  for (let at = first; at < first + WORDS * RECORDS; at += WORDS) {
    if (Atomics.compareExchange(u32, at + STATE, 0, 1) !== 0) continue;
    const mode = attached.mode === "native" ? 1 : 2;
    u32.set([netns, index, mode, attached.link, attached.map, 1], at + NETNS);
    Atomics.store(u32, at + STATE, READY);
    return recordAt(arena, at);
  }
  return undefined;
}
