import { META_FLAGS, META_NANOSECONDS, META_SECONDS } from "../structs";

// A packet's metadata, 32 bytes, as two vectors: memory.copy and memory.fill are calls out of WebAssembly and cost
// more than the packet.

export function copyMeta(to: u32, from: u32): void {
  v128.store(to, v128.load(from));
  v128.store(to, v128.load(from, 16), 16);
}

export function clearMeta(at: u32): void {
  v128.store(at, v128.splat<i64>(0));
  v128.store(at, v128.splat<i64>(0), 16);
}

/** When the packet came, and META_STAMPED among its flags. */
export function stampMeta(meta: u32, seconds: f64, nanoseconds: u32, flags: u32): void {
  store<f64>(meta, seconds, META_SECONDS);
  store<u32>(meta, nanoseconds, META_NANOSECONDS);
  store<u16>(meta, <u16>flags, META_FLAGS);
}
