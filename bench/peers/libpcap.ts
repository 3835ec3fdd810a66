// libpcap in this process: its compiler, and its interpreter called by a loop in machine code.
import { createRequire } from "node:module";
import type { ClassicProgram } from "../../src/filter/classic.js";
import { nativeLoop } from "./native-loop.js";

const RTLD_NOW = 2;

export interface Libpcap {
  /** Nanoseconds that the interpreter takes for all packets, calls and all. */
  filter(program: ClassicProgram): number;
  compile(expression: string): ClassicProgram;
}

/** Packets and their headers (struct pcap_pkthdr, 24 bytes) where libpcap can see them. */
export function openLibpcap(packets: readonly Uint8Array[]): Libpcap {
  const koffi = createRequire(import.meta.url)("koffi");
  const library = koffi.load("libpcap.so.0.8");
  koffi.struct("bpf_insn", { code: "uint16_t", jt: "uint8_t", jf: "uint8_t", k: "uint32_t" });
  koffi.struct("bpf_program", { length: "uint32_t", instructions: "bpf_insn *" });
  const openDead = library.func("void *pcap_open_dead(int, int)");
  const compileExpression = library.func(
    "int pcap_compile(void *, _Out_ bpf_program *, const char *, int, uint32_t)",
  );
  const libc = koffi.load("libc.so.6");
  const dlopen = libc.func("size_t dlopen(const char *, int)");
  const dlsym = libc.func("size_t dlsym(size_t, const char *)");
  const offlineFilter: number = dlsym(dlopen("libpcap.so.0.8", RTLD_NOW), "pcap_offline_filter");
  const loop = nativeLoop();
  const dead = openDead(1, 262_144);
  const bytes = Buffer.concat(
    packets.map((packet) => Buffer.concat([packet, Buffer.alloc(-packet.length & 63)])),
  );
  const headers = Buffer.alloc(24 * packets.length);
  packets.forEach(({ length }, i) => {
    headers.writeUInt32LE(length, 24 * i + 16);
    headers.writeUInt32LE(length, 24 * i + 20);
  });
  const addressOf = (buffer: Buffer) => Number(koffi.address(buffer));
  const headersAt = addressOf(headers);
  const places = Buffer.alloc(8 * packets.length);
  let next = addressOf(bytes);
  packets.forEach(({ length }, i) => {
    places.writeBigUInt64LE(BigInt(next), 8 * i);
    next += (length + 63) & ~63;
  });
  const kept: Buffer[] = []; // not to be collected while libpcap looks at them
  return {
    filter(program) {
      const code = Buffer.alloc(8 * program.length);
      program.forEach(([op, jt, jf, k], i) => {
        code.writeUInt16LE(op, 8 * i);
        code[8 * i + 2] = jt;
        code[8 * i + 3] = jf;
        code.writeUInt32LE(k, 8 * i + 4);
      });
      const head = Buffer.alloc(16);
      head.writeUInt32LE(program.length, 0);
      head.writeBigUInt64LE(BigInt(addressOf(code)), 8);
      const at = addressOf(head);
      const started = process.hrtime.bigint();
      loop(offlineFilter, at, headersAt, addressOf(places), packets.length);
      const took = Number(process.hrtime.bigint() - started);
      kept.length = 0;
      kept.push(bytes, headers, places, code, head);
      return took;
    },
    compile(expression) {
      const made = { length: 0, instructions: null };
      if (compileExpression(dead, made, expression, 1, 0) !== 0)
        throw new Error(`libpcap refuses ${expression}`);
      const list: { code: number; jt: number; jf: number; k: number }[] = koffi.decode(
        made.instructions,
        "bpf_insn",
        made.length,
      );
      return list.map(({ code, jt, jf, k }) => [code, jt, jf, k] as const);
    },
  };
}
