import { MillraceError } from "../errors.js";
import { instantiateKernels, type Kernels } from "../kernels/kernels.js";
import {
  APART,
  CONTROL_DEPOT_EMPTY,
  CONTROL_DEPOT_FULL,
  CONTROL_FRAME_SHIFT,
  CONTROL_FRAMES,
  CONTROL_LOOPS,
  CONTROL_MAGAZINES,
  CONTROL_MAGIC,
  CONTROL_MAGIC_VALUE,
  CONTROL_OWNERS,
  CONTROL_PAGE_COUNT,
  CONTROL_PAGES,
  CONTROL_POISON,
  CONTROL_POOL_FRAMES,
  CONTROL_REGIONS,
  CONTROL_SIZE,
  CONTROL_TABLE,
  LOOP_DIRECTORY_BYTES,
  MAGAZINE_CAPACITY,
  MAGAZINE_COUNT,
  MAGAZINE_ENTRIES,
  MAGAZINE_NEXT,
  MAGAZINE_SIZE,
  OWNER_LIMIT,
  OWNER_PARENT,
  OWNER_SIZE,
  REGION_PAGE_SHIFT,
  WORKER_LIMIT,
} from "../kernels/structs.js";
import { WASM, type WasmMemory } from "../kernels/webassembly.js";
import { startWorker } from "./owners.js";

/**
 * One memory that this thread, its WebAssembly and the kernel see alike. From the bottom up: frames (number 0
 * is never handed out), the control block with its tables, then regions for rings and the like.
 */
export interface ArenaMemory {
  readonly memory: WasmMemory;
  readonly buffer: SharedArrayBuffer;
  readonly u8: Uint8Array<SharedArrayBuffer>;
  readonly u16: Uint16Array<SharedArrayBuffer>;
  readonly u32: Uint32Array<SharedArrayBuffer>;
  readonly i32: Int32Array<SharedArrayBuffer>;
  readonly u64: BigUint64Array<SharedArrayBuffer>;
  readonly f64: Float64Array<SharedArrayBuffer>;
  /** Offset of the control block, which names everything else. */
  readonly control: number;
  readonly frameShift: number;
  readonly frameSize: number;
  /** All frames, pool and runs together; the region registered with the kernel or a card is [0, frames × frameSize). */
  readonly frames: number;
  /** This thread's owner number, 1 to 63. */
  readonly worker: number;
  readonly kernels: Kernels;
}

/** What another thread needs to attach to an arena; goes through `workerData` as it stands. */
export interface ArenaShare {
  readonly memory: WasmMemory;
  readonly control: number;
}

export interface ArenaOptions {
  /** Size of all of the arena in bytes: 16 MiB to 4,078 MiB, 256 MiB by default. Committed as it is touched. */
  readonly bytes?: number;
  /** 2,048 or 4,096 bytes, the default. */
  readonly frameSize?: 2048 | 4096;
}

/** How an arena is made where its user is known. */
export interface ArenaPlan extends ArenaOptions {
  /** Bytes for regions; an eighth, and 32 MiB where that is no more than half, unless given. */
  readonly regionBytes?: number;
}

const PAGE = 1 << 16;
/** The most bytes that an arena can have. */
export const LARGEST_BYTES = 65_248 * PAGE; // below x86's MSI window, so that no end offset wraps

/** What rings, tables and one gather want, where the arena is large enough. */
const REGION_BYTES = 32 * 2 ** 20;

export const DEFAULT_BYTES = 256 * 2 ** 20;
const DEFAULT_FRAME_SIZE = 4096;

/** How many frames an arena of so many bytes has: all that the regions leave. */
function framesIn(bytes: number, frameSize: number, regionBytes?: number): number {
  const forRegions = regionBytes ?? Math.max(bytes / 8, Math.min(REGION_BYTES, bytes / 2));
  return Math.floor((bytes - forRegions) / frameSize);
}

/** Bytes of the default arena's frames, which AF_XDP registers whole. */
export const DEFAULT_FRAME_BYTES = framesIn(DEFAULT_BYTES, DEFAULT_FRAME_SIZE) * DEFAULT_FRAME_SIZE;

/** Makes an arena: a quarter of its frames for the pool, the rest for chunks; an eighth of it or more for regions. */
export function createArenaMemory(options: ArenaPlan = {}): ArenaMemory {
  const bytes = Math.ceil((options.bytes ?? DEFAULT_BYTES) / PAGE) * PAGE;
  const frameSize = options.frameSize ?? DEFAULT_FRAME_SIZE;
  if (!(bytes >= 16 * 2 ** 20 && bytes <= LARGEST_BYTES))
    throw new MillraceError("ERR_MEMORY", `an arena of ${options.bytes} bytes cannot be made`, {
      hint: `give it 16 MiB to ${LARGEST_BYTES / 2 ** 20} MiB`,
    });
  if (frameSize !== 2048 && frameSize !== 4096)
    throw new MillraceError("ERR_MEMORY", `frames cannot have ${String(frameSize)} bytes`, {
      hint: "a frame has 2048 or 4096 bytes",
    });
  const memory = new WASM.Memory({ initial: bytes / PAGE, maximum: bytes / PAGE, shared: true });
  const frames = framesIn(bytes, frameSize, options.regionBytes);
  const control = layOut(new Uint32Array(memory.buffer), bytes, frameSize, frames);
  return attachArena({ memory, control });
}

/** The views and kernels of this thread over an arena that another thread made, with an owner number of its own. */
export function attachArena(share: ArenaShare): ArenaMemory {
  const { memory, control } = share;
  const buffer = memory.buffer;
  const u32 = new Uint32Array(buffer);
  if (u32[(control + CONTROL_MAGIC) >>> 2] !== CONTROL_MAGIC_VALUE)
    throw new MillraceError("ERR_MEMORY", `no arena has its control block at offset ${control}`);
  const frameShift = u32[(control + CONTROL_FRAME_SHIFT) >>> 2];
  const unowned = {
    memory,
    buffer,
    u8: new Uint8Array(buffer),
    u16: new Uint16Array(buffer),
    u32,
    i32: new Int32Array(buffer),
    u64: new BigUint64Array(buffer),
    f64: new Float64Array(buffer),
    control,
    frameShift,
    frameSize: 1 << frameShift,
    frames: u32[(control + CONTROL_FRAMES) >>> 2],
    worker: 0,
    kernels: instantiateKernels(memory),
  };
  const arena = { ...unowned, worker: startWorker(unowned) };
  arena.kernels.attach(control, arena.worker);
  return arena;
}

/** What to hand to a worker thread so that it can attach. */
export function shareArena(arena: ArenaMemory): ArenaShare {
  return { memory: arena.memory, control: arena.control };
}

/** So many magazines, and their frames' words in the table, take more than a page. */
const MAGAZINES_APART = 8;

function alignUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

/** Writes the control block and its tables into fresh memory; returns the control block's offset. */
function layOut(
  u32: Uint32Array<SharedArrayBuffer>,
  bytes: number,
  frameSize: number,
  frames: number,
): number {
  const poolFrames = (frames >>> 2) & -MAGAZINE_CAPACITY;
  const fullMagazines = poolFrames / MAGAZINE_CAPACITY;
  // Two for each worker, and one to spare for each: an empty one is then always to be had.
  const magazineCount = 1 + fullMagazines + 3 * WORKER_LIMIT;
  const control = frames * frameSize;
  const table = alignUp(control + CONTROL_SIZE, APART);
  const magazines = alignUp(table + 4 * frames, APART);
  const owners = magazines + magazineCount * MAGAZINE_SIZE;
  const loops = owners + OWNER_LIMIT * OWNER_SIZE;
  const pages = loops + LOOP_DIRECTORY_BYTES;
  const regions = alignUp(pages + 4 * ((bytes - pages) >>> REGION_PAGE_SHIFT), 1 << REGION_PAGE_SHIFT);
  const set = (offset: number, value: number) => {
    u32[(control + offset) >>> 2] = value;
  };
  set(CONTROL_FRAME_SHIFT, Math.log2(frameSize));
  set(CONTROL_FRAMES, frames);
  set(CONTROL_POOL_FRAMES, poolFrames);
  set(CONTROL_TABLE, table);
  set(CONTROL_PAGES, pages);
  set(CONTROL_PAGE_COUNT, (bytes - regions) >>> REGION_PAGE_SHIFT);
  set(CONTROL_REGIONS, regions);
  set(CONTROL_MAGAZINES, magazines);
  set(CONTROL_OWNERS, owners);
  set(CONTROL_LOOPS, loops);
  set(CONTROL_POISON, process.env.MILLRACE_POISON === "1" ? 1 : 0);
  const stack = (number: number) => {
    const at = magazines + number * MAGAZINE_SIZE;
    // Frame 0 is left out of the first; every other holds frames whose words fill whole lines of the table.
    const first = Math.max(1, (number - 1) * MAGAZINE_CAPACITY);
    const count = number <= fullMagazines ? number * MAGAZINE_CAPACITY - first : 0;
    for (let i = 0; i < count; i++) u32[(at + MAGAZINE_ENTRIES + 4 * i) >>> 2] = (first + i) * frameSize;
    u32[(at + MAGAZINE_COUNT) >>> 2] = count;
    const depot = count > 0 ? CONTROL_DEPOT_FULL : CONTROL_DEPOT_EMPTY;
    u32[(at + MAGAZINE_NEXT) >>> 2] = u32[(control + depot) >>> 2];
    set(depot, number);
  };
  // Processors fetch ahead, up to the page's end: what two workers take one after the other lies pages apart.
  for (let offset = 1; offset <= MAGAZINES_APART; offset++)
    for (let number = offset; number < magazineCount; number += MAGAZINES_APART) stack(number);
  u32[(owners + OWNER_PARENT) >>> 2] = 1; // owner 0 means free and is never handed out
  set(CONTROL_MAGIC, CONTROL_MAGIC_VALUE);
  return control;
}
