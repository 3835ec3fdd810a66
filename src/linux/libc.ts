// The C library through koffi, loaded when the first port needs it. Nothing else in millrace loads koffi.
import { createRequire } from "node:module";
import { MillraceError } from "../errors.js";

/** Memory handed to the kernel: a typed array (the call sees its bytes), an absolute address, or null. */
export type Pointer = ArrayBufferView | number | null;

/**
 * The system calls that millrace uses, as in their manual pages. Each returns -1 on failure; then `errno()`
 * must be the very next call, or `check` around this one.
 */
export interface Libc {
  errno(): number;
  /** Absolute address of a typed array's bytes, for structures that name others. The caller keeps the array alive. */
  addressOf(bytes: ArrayBufferView): bigint;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Pointer, length: number): number;
  connect(fd: number, address: Pointer, length: number): number;
  setsockopt(fd: number, level: number, option: number, value: Pointer, length: number): number;
  getsockopt(fd: number, level: number, option: number, value: Pointer, length: Pointer): number;
  sendto(fd: number, data: Pointer, length: number, flags: number, to: Pointer, toLength: number): number;
  recvfrom(
    fd: number,
    data: Pointer,
    length: number,
    flags: number,
    from: Pointer,
    fromLength: Pointer,
  ): number;
  recvmsg(fd: number, message: Pointer, flags: number): number;
  sendmmsg(fd: number, messages: Pointer, count: number, flags: number): number;
  recvmmsg(fd: number, messages: Pointer, count: number, flags: number, timeout: Pointer): number;
  read(fd: number, data: Pointer, length: number): number;
  write(fd: number, data: Pointer, length: number): number;
  readv(fd: number, vectors: Pointer, count: number): number;
  writev(fd: number, vectors: Pointer, count: number): number;
  close(fd: number): number;
  ioctl(fd: number, request: number, argument: Pointer): number;
  poll(set: Pointer, count: number, milliseconds: number): number;
  epoll_create1(flags: number): number;
  epoll_ctl(epoll: number, operation: number, fd: number, event: Pointer): number;
  epoll_wait(epoll: number, events: Pointer, count: number, milliseconds: number): number;
  dup3(fd: number, onto: number, flags: number): number;
  eventfd(initial: number, flags: number): number;
  memfd_create(name: string, flags: number): number;
  mmap(
    address: number,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ): number;
  madvise(address: number, length: number, advice: number): number;
  mincore(address: number, length: number, resident: Pointer): number;
  fcntl(fd: number, command: number, argument: number): number;
  unshare(flags: number): number;
  setns(fd: number, type: number): number;
  sched_setaffinity(pid: number, length: number, mask: Pointer): number;
  sched_getaffinity(pid: number, length: number, mask: Pointer): number;
  capget(header: Pointer, data: Pointer): number;
  capset(header: Pointer, data: Pointer): number;
  if_nametoindex(name: string): number;
  /** Any system call by number (x86-64), with up to six integer or pointer arguments: `call(…)` fills with 0. */
  syscall(number: number, a: Pointer, b: Pointer, c: Pointer, d: Pointer, e: Pointer, f: Pointer): number;
}

type CType =
  | "int"
  | "uint"
  | "long"
  | "ulong"
  | "size_t"
  | "int64_t"
  | "intptr_t"
  | "uintptr_t"
  | "void *"
  | "str";

// Variadic functions (ioctl, fcntl, syscall) are declared with fixed arguments: the same registers on x86-64 and arm64 Linux.
const PROTOTYPES: Readonly<
  Record<Exclude<keyof Libc, "errno" | "addressOf">, readonly [result: CType, ...CType[]]>
> = {
  socket: ["int", "int", "int", "int"],
  bind: ["int", "int", "void *", "uint"],
  connect: ["int", "int", "void *", "uint"],
  setsockopt: ["int", "int", "int", "int", "void *", "uint"],
  getsockopt: ["int", "int", "int", "int", "void *", "void *"],
  sendto: ["long", "int", "void *", "size_t", "int", "void *", "uint"],
  recvfrom: ["long", "int", "void *", "size_t", "int", "void *", "void *"],
  recvmsg: ["long", "int", "void *", "int"],
  sendmmsg: ["int", "int", "void *", "uint", "int"],
  recvmmsg: ["int", "int", "void *", "uint", "int", "void *"],
  read: ["long", "int", "void *", "size_t"],
  write: ["long", "int", "void *", "size_t"],
  readv: ["long", "int", "void *", "int"],
  writev: ["long", "int", "void *", "int"],
  close: ["int", "int"],
  ioctl: ["int", "int", "ulong", "void *"],
  poll: ["int", "void *", "ulong", "int"],
  epoll_create1: ["int", "int"],
  epoll_ctl: ["int", "int", "int", "int", "void *"],
  epoll_wait: ["int", "int", "void *", "int", "int"],
  dup3: ["int", "int", "int", "int"],
  eventfd: ["int", "uint", "int"],
  memfd_create: ["int", "str", "uint"],
  mmap: ["intptr_t", "uintptr_t", "size_t", "int", "int", "int", "int64_t"],
  madvise: ["int", "uintptr_t", "size_t", "int"],
  mincore: ["int", "uintptr_t", "size_t", "void *"],
  fcntl: ["int", "int", "int", "long"],
  unshare: ["int", "int"],
  setns: ["int", "int", "int"],
  sched_setaffinity: ["int", "int", "size_t", "void *"],
  sched_getaffinity: ["int", "int", "size_t", "void *"],
  capget: ["int", "void *", "void *"],
  capset: ["int", "void *", "void *"],
  if_nametoindex: ["uint", "str"],
  syscall: ["long", "long", "void *", "void *", "void *", "void *", "void *", "void *"],
};

/** What is used of koffi; its own declarations are too loose for strict code. */
export interface Koffi {
  load(path: string): { func(name: string, result: string, parameters: readonly string[]): unknown };
  address(value: ArrayBufferView): bigint;
  errno(): number;
}

/** The version that package.json pins. */
export const KOFFI_VERSION = "3.3.4";

let koffi: Koffi | undefined;
let loaded: Libc | undefined;

/**
 * koffi's binary from where npm puts it, beside koffi: looking for it koffi's own way takes longer than loading it.
 * Undefined where it is elsewhere, or another version's.
 */
function requireBinary(require: NodeJS.Require): unknown {
  try {
    const binary = require(`@koromix/koffi-linux-${process.arch}`) as { readonly version?: unknown };
    return binary.version === KOFFI_VERSION ? binary : undefined;
  } catch {
    return undefined;
  }
}

/** koffi itself. Throws ERR_CAPABILITY where its binary is not installed. */
export function loadKoffi(): Koffi {
  if (koffi !== undefined) return koffi;
  const require = createRequire(import.meta.url);
  try {
    koffi = (requireBinary(require) ?? require("koffi")) as Koffi;
  } catch (cause) {
    throw new MillraceError(
      "ERR_CAPABILITY",
      "system calls are not available: koffi's binary for this platform is missing",
      {
        cause,
        hint: "install millrace with its optional packages (npm install, without --omit=optional)",
      },
    );
  }
  return koffi;
}

/** The C library. Throws ERR_CAPABILITY where koffi or the library cannot be loaded. */
export function libc(): Libc {
  if (loaded !== undefined) return loaded;
  const native = loadKoffi();
  const functions: Record<string, unknown> = {
    errno: () => native.errno(),
    addressOf: (bytes: ArrayBufferView) => native.address(bytes),
  };
  try {
    const library = native.load("libc.so.6");
    for (const [name, [result, ...parameters]] of Object.entries(PROTOTYPES))
      functions[name] = library.func(name, result, parameters);
  } catch (cause) {
    throw new MillraceError("ERR_CAPABILITY", "the C library cannot be loaded as libc.so.6", {
      cause,
      hint: "millrace's kernel ports need Linux with glibc",
    });
  }
  loaded = functions as unknown as Libc;
  return loaded;
}

type Later = (...args: readonly unknown[]) => void;

/** A call that takes its time, by one of Node's threads: what it returns. There is no errno to be had of it. */
export function callLater(name: "mmap", ...args: readonly number[]): Promise<number> {
  const call = libc()[name] as unknown as { readonly async: Later };
  return new Promise((resolve, reject) => {
    const told = (error: Error | null, result: number) => (error === null ? resolve(result) : reject(error));
    call.async(...args, told);
  });
}
