// The capabilities of this thread (capabilities(7)). Both calls act on the calling thread alone.
import { check } from "./errno.js";
import { libc } from "./libc.js";

/** Bit numbers of linux/capability.h, as far as millrace asks for them. */
const CAPABILITIES = {
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_IPC_LOCK: 14,
  CAP_SYS_RAWIO: 17,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_NICE: 23,
  CAP_PERFMON: 38,
  CAP_BPF: 39,
} as const;

export type CapabilityName = keyof typeof CAPABILITIES;

const VERSION_3 = 0x20080522;

/** The capabilities that are in effect in this thread. */
export function heldCapabilities(): ReadonlySet<CapabilityName> {
  const { effective } = readSets();
  const names = Object.keys(CAPABILITIES) as CapabilityName[];
  return new Set(names.filter((name) => (effective >> BigInt(CAPABILITIES[name])) & 1n));
}

/** The way out for a call that was not permitted: which of `wanted` this thread lacks. */
export function lackOf(...wanted: readonly CapabilityName[]): string {
  const held = heldCapabilities();
  const missing = wanted.filter((name) => !held.has(name));
  return missing.length === 0
    ? `${wanted.join(", ")} held, but not for the machine: it may be a container, or a user namespace`
    : `${missing.join(", ")} missing: run as root, or give Node the capability (docs/privileges.md)`;
}

/** Gives up every capability but `keep` in this thread, for good: effective, permitted and inheritable. */
export function dropCapabilities(keep: readonly CapabilityName[] = []): void {
  const mask = keep.reduce((bits, name) => bits | (1n << BigInt(CAPABILITIES[name])), 0n);
  const { effective, permitted } = readSets();
  writeSets(effective & mask, permitted & mask);
}

interface Sets {
  readonly effective: bigint;
  readonly permitted: bigint;
}

// struct __user_cap_data_struct, twice: the low 32 bits of effective, permitted, inheritable, then the high ones.
function readSets(): Sets {
  const data = new Uint32Array(6);
  check(libc().capget(new Uint32Array([VERSION_3, 0]), data), "capget", "reading capabilities");
  const wide = (index: number) => BigInt(data[index]) | (BigInt(data[index + 3]) << 32n);
  return { effective: wide(0), permitted: wide(1) };
}

function writeSets(effective: bigint, permitted: bigint): void {
  const low = (set: bigint) => Number(set & 0xffffffffn);
  const high = (set: bigint) => Number(set >> 32n);
  const data = new Uint32Array([low(effective), low(permitted), 0, high(effective), high(permitted), 0]);
  check(libc().capset(new Uint32Array([VERSION_3, 0]), data), "capset", "dropping capabilities");
}
