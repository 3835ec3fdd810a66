import { VERDICT_PASS } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import type { EdgeCounters } from "../packet/edge.js";

/** Adds `by` under `name`, unless it is 0. */
export function add(to: Record<string, number>, name: string, by: number): void {
  if (by !== 0) to[name] = (to[name] ?? 0) + by;
}

/** Adds every count of `from` to those of `to`. */
export function addAll(to: Record<string, number>, from: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(from)) add(to, name, count);
}

/** Bytes of all packets in a burst that are still to be sent. */
export function burstBytesOf(arena: ArenaMemory, burst: number): number {
  return arena.kernels.burstBytes(burst, VERDICT_PASS);
}

/** True for drops that the kernel reports of packets which never came to the port: `kernel`, `kernel-…`. */
export function isKernelDrop(reason: string): boolean {
  return reason === "kernel" || reason.startsWith("kernel-");
}

/** Adds what an outlet did to the sums: segments made of super-frames. */
export function addEdge(
  sums: { readonly created: Record<string, number>; readonly consumed: Record<string, number> },
  edge: EdgeCounters,
): void {
  add(sums.created, "segment", edge.segments);
  add(sums.consumed, "segment", edge.segmented);
}
