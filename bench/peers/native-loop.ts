// A loop in machine code, so that a peer's function is called as a C program calls it.
import { createRequire } from "node:module";

// x86-64, System V: rdi points at { function, first argument, headers, packets, count }; each round calls
// function(first argument, header, packet) and goes on by 24 bytes of headers and one pointer to a packet.
const LOOP = [
  ...[0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56], // push rbx, rbp, r12, r13, r14
  ...[0x48, 0x89, 0xfb], // mov rbx, rdi
  ...[0x48, 0x8b, 0x6b, 0x10], // mov rbp, [rbx + 16]
  ...[0x4c, 0x8b, 0x63, 0x18], // mov r12, [rbx + 24]
  ...[0x4c, 0x8b, 0x6b, 0x20], // mov r13, [rbx + 32]
  ...[0x45, 0x31, 0xf6], // xor r14d, r14d
  ...[0x48, 0x8b, 0x7b, 0x08], // again: mov rdi, [rbx + 8]
  ...[0x48, 0x89, 0xee], // mov rsi, rbp
  ...[0x49, 0x8b, 0x14, 0x24], // mov rdx, [r12]
  ...[0xff, 0x13], // call [rbx]
  ...[0x49, 0x01, 0xc6], // add r14, rax
  ...[0x48, 0x83, 0xc5, 0x18], // add rbp, 24
  ...[0x49, 0x83, 0xc4, 0x08], // add r12, 8
  ...[0x49, 0xff, 0xcd], // dec r13
  ...[0x75, 0xe3], // jnz again
  ...[0x4c, 0x89, 0xf0], // mov rax, r14
  ...[0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3], // pop, ret
];
const PAGE = 4096;
const PROT_READ_WRITE = 3;
const PROT_READ_EXEC = 5;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** Calls `target`, an address, for each packet; returns the sum of what it returned. */
export type NativeLoop = (
  target: number,
  first: number,
  headers: number,
  packets: number,
  count: number,
) => number;

/** The loop, ready to run. Throws on other machines than x86-64. */
export function nativeLoop(): NativeLoop {
  if (process.arch !== "x64")
    throw new Error(`the peer's loop is written for x86-64, this is ${process.arch}`);
  const koffi = createRequire(import.meta.url)("koffi");
  const libc = koffi.load("libc.so.6");
  const mmap = libc.func("size_t mmap(size_t, size_t, int, int, int, size_t)");
  const mprotect = libc.func("int mprotect(size_t, size_t, int)");
  const memcpy = libc.func("size_t memcpy(size_t, const void *, size_t)");
  const page = mmap(0, PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  memcpy(page, Buffer.from(LOOP), LOOP.length);
  if (mprotect(page, PAGE, PROT_READ_EXEC) !== 0) throw new Error("no page of memory can be made executable");
  // A library's function of two arguments that calls the address it is given: bsearch, over one element.
  const bsearch = libc.func("size_t bsearch(const void *, size_t, size_t, size_t, size_t)");
  return (target, first, headers, packets, count) => {
    const block = Buffer.alloc(40);
    [target, first, headers, packets, count].forEach((value, i) => {
      block.writeBigUInt64LE(BigInt(value), 8 * i);
    });
    return bsearch(block, page, 1, 1, page);
  };
}
