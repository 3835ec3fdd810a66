import {
  META_FLAGS,
  META_NANOSECONDS,
  META_SECONDS,
  META_SIZE,
  META_STAMPED,
} from "../../kernels/structs.js";
import type { ArenaMemory } from "../../memory/arena.js";

/** Gives packets of a burst, from number `first` on, the time it is now. */
export function stamp(arena: ArenaMemory, metas: number, first: number, count: number): void {
  const { f64, u32, u16 } = arena;
  const now = performance.timeOrigin + performance.now();
  const seconds = Math.floor(now / 1000);
  const nanoseconds = Math.floor((now - seconds * 1000) * 1e6);
  const end = metas + (first + count) * META_SIZE;
  for (let meta = metas + first * META_SIZE; meta < end; meta += META_SIZE) {
    f64[(meta + META_SECONDS) >>> 3] = seconds;
    u32[(meta + META_NANOSECONDS) >>> 2] = nanoseconds;
    u16[(meta + META_FLAGS) >>> 1] |= META_STAMPED;
  }
}
