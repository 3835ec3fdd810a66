// What belongs to the calling thread: its CPU and its namespaces.
import { closeSync, openSync } from "node:fs";
import { MillraceError } from "../errors.js";
import { check } from "./errno.js";
import { libc } from "./libc.js";

export const CLONE_NEWNET = 0x40000000;
const MASK_BYTES = 128; // cpu_set_t: 1,024 CPUs

/** Binds this thread to one CPU, by its number. */
export function pinThread(cpu: number): void {
  if (!Number.isInteger(cpu) || cpu < 0 || cpu >= MASK_BYTES * 8)
    throw new MillraceError("ERR_USAGE", `${cpu} is not the number of a CPU`);
  const mask = new Uint8Array(MASK_BYTES);
  mask[cpu >>> 3] = 1 << (cpu & 7);
  check(libc().sched_setaffinity(0, MASK_BYTES, mask), "sched_setaffinity", `CPU ${cpu}`, {
    EINVAL: "`nproc --all` and /sys/devices/system/cpu/online say which CPUs there are",
  });
}

/** The CPUs this thread may run on. */
export function threadCpus(): number[] {
  const mask = new Uint8Array(MASK_BYTES);
  check(libc().sched_getaffinity(0, MASK_BYTES, mask), "sched_getaffinity", "reading the CPU mask");
  return [...Array(MASK_BYTES * 8).keys()].filter((cpu) => (mask[cpu >>> 3] >>> (cpu & 7)) & 1);
}

/**
 * Moves this thread into a network namespace that `ip netns add` made. Only this thread moves: sockets opened
 * here afterwards are in the namespace, those of other threads are not.
 */
export function enterNetns(name: string): void {
  enterNamespaceFile(`/run/netns/${name}`, `network namespace "${name}"`);
}

/** Runs `work` in the named network namespace and comes back, also when it throws. `work` must not be async. */
export function inNetns<T>(name: string, work: () => T): T {
  const own = openSync("/proc/thread-self/ns/net", "r");
  try {
    enterNetns(name);
    try {
      return work();
    } finally {
      check(libc().setns(own, CLONE_NEWNET), "setns", "returning to the own network namespace");
    }
  } finally {
    closeSync(own);
  }
}

function enterNamespaceFile(path: string, subject: string): void {
  const fd = openSync(path, "r");
  try {
    check(libc().setns(fd, CLONE_NEWNET), "setns", subject, { EPERM: "it needs CAP_SYS_ADMIN" });
  } finally {
    closeSync(fd);
  }
}
