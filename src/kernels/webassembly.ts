// The few parts of the WebAssembly API that millrace uses. Neither @types/node nor the es libraries declare
// it, and the dom library must not be asked of our users.

/** A shared memory of fixed size. */
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}
/** A compiled module; it can be handed to workers. */
export type WasmModule = object & { readonly wasmModule?: never };

/** A table of functions that a module calls by their place. */
export interface WasmTable {
  readonly length: number;
  grow(by: number): number;
  set(place: number, made: unknown): void;
}

interface WasmApi {
  readonly Memory: new (limits: { initial: number; maximum: number; shared: true }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports: { env: { memory: WasmMemory } },
  ) => { readonly exports: object };
}

/** The global `WebAssembly`, typed. */
export const WASM = (globalThis as unknown as { readonly WebAssembly: WasmApi }).WebAssembly;
