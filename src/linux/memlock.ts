import { readFileSync } from "node:fs";

/** Bytes that this process may lock or pin without CAP_IPC_LOCK (RLIMIT_MEMLOCK, getrlimit(2)); Infinity: as many as there are. */
export function lockedMemoryLimit(): number {
  const [, limit] = /^Max locked memory\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
}
