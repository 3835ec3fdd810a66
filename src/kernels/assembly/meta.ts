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
