import { MillraceError } from "../errors.js";
import {
  C_FLAGS,
  C_RANGES,
  CHUNK_LINKED,
  LIST_ADDRESS,
  LIST_COUNT,
  RANGE_ADDRESS,
  RANGE_END,
  RANGE_SIZE,
} from "../kernels/gather-structs.js";
import {
  SEND_DATA,
  SEND_DATA_LENGTH,
  SEND_HEADER,
  SEND_HEADER_LENGTH,
  SEND_SIZE,
} from "../kernels/structs.js";
import { findLayout } from "../layout/find.js";
import { compileScatter, type ScatterPlan } from "../layout/scatter.js";
import type { Layout } from "../layout/types.js";
import type { ArenaMemory } from "../memory/arena.js";
import { appendPacket, createBurst, destroyBurst, throwFault } from "../memory/burst.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { applyTemplate } from "../packet/build.js";
import { packetContext } from "../packet/context.js";
import { parseTemplate, type Template } from "../packet/template.js";
import type { PortDriver } from "../ports/port.js";
import { DATAGRAM_BYTES } from "./chunk.js";
import { BURST_DESCRIPTORS } from "./source.js";

export interface ScatterOptions {
  /** A shipped layout's name, or one of the user's own; without one, datagrams are data from end to end. */
  readonly layout?: string | Layout;
  readonly parameters?: Readonly<Record<string, number>>;
  /** Bytes of a full datagram, the layout's header among them; 1,440 by default. */
  readonly datagramSize?: number;
  /** The case of the layout that is sent, by its name, as `extended` of gvsp; the layout itself if absent. */
  readonly variant?: string;
  /** Values for the layout's fields. */
  readonly fields?: Readonly<Record<string, number | bigint>>;
  /** Headers before each datagram, as `eth(dst=…)/ipv4(dst=…)/udp(dport=…)`; lengths and checksums are computed. */
  readonly header?: string;
  /** As `900mbit` or `10kpps`; counts whole packets as handed to the port. */
  readonly rate?: string;
}

/** What can be cut into packets: pieces of the arena, one behind the other. */
export interface Pieces {
  readonly length: number;
  /** Offset of RANGE_ entries, and how many. */
  readonly list: number;
  readonly count: number;
}

/** Cuts chunks into packets over their memory, a burst at a time. */
export interface Packetizer {
  readonly burst: number;
  /** Begins with a chunk, whose memory must stay until next() has returned 0. */
  begin(pieces: Pieces): void;
  /** Begins with what says that the stream stops, where the layout has such. */
  beginStop(): void;
  /** Fills the (empty) burst with the next packets; how many. 0: all are made. */
  next(): number;
  /** One piece of contiguous memory, as begin() takes it; valid until the next call. */
  single(address: number, length: number): Pieces;
  readonly made: number;
  /** Bytes copied because the port takes linear packets only. */
  readonly linearized: number;
  close(): void;
}

const TABLE = 256; // packets described at a time
/** Room before a datagram for the headers that a port or a user puts there. */
const HEADROOM = 256;

/** The pieces of a finished chunk's record. */
export function piecesOf(arena: ArenaMemory, record: number): Pieces | undefined {
  const { u32 } = arena;
  if ((u32[(record + C_FLAGS) >>> 2] & CHUNK_LINKED) === 0) return undefined;
  return {
    length: 0,
    list: u32[(record + C_RANGES + LIST_ADDRESS) >>> 2],
    count: u32[(record + C_RANGES + LIST_COUNT) >>> 2],
  };
}

function planOf(options: ScatterOptions, size: number): ScatterPlan | undefined {
  if (options.layout === undefined) return undefined;
  const layout = typeof options.layout === "string" ? findLayout(options.layout) : options.layout;
  return compileScatter(layout, {
    ...(options.parameters === undefined ? {} : { parameters: options.parameters }),
    ...(options.fields === undefined ? {} : { fields: options.fields }),
    ...(options.variant === undefined ? {} : { variant: options.variant }),
    datagramSize: size,
  });
}

function templateOf(options: ScatterOptions, driver: PortDriver): Template | undefined {
  const bare = driver.can.linkType === "DATAGRAM";
  if (options.header === undefined) {
    if (bare) return undefined;
    throw new MillraceError("ERR_USAGE", "this port sends frames, and a chunk has no headers", {
      hint: "say which: --header 'eth(dst=…)/ipv4(dst=…)/udp(dport=…)'; for a file of the chunks alone, file:PATH",
    });
  }
  if (bare)
    throw new MillraceError("ERR_USAGE", "this port sends datagrams, which have no headers of their own", {
      hint: "leave --header out, or send frames through packet:, xdp: or pcap:",
    });
  return parseTemplate(options.header, driver.can.addresses ?? {});
}

/** Makes a packetizer for one port. Throws ERR_USAGE, ERR_LAYOUT, ERR_TEMPLATE. */
export function createPacketizer(
  arena: ArenaMemory,
  driver: PortDriver,
  options: ScatterOptions,
): Packetizer {
  const size = options.datagramSize ?? DATAGRAM_BYTES;
  if (!(Number.isInteger(size) && size >= 1 && size <= 65_507))
    throw new MillraceError("ERR_USAGE", `datagrams of ${size} bytes cannot be sent`, {
      hint: "1 to 65507 bytes",
    });
  const { u32, kernels } = arena;
  const template = templateOf(options, driver);
  const plan = planOf(options, size);
  const dataBytes = plan?.dataBytes ?? size;
  const headerBytes = plan?.headerBytes ?? 0;
  const tailBytes = plan?.tailBytes ?? 0;
  const linear = driver.can.fragments === 0 || dataBytes === 0;
  if (linear && HEADROOM + headerBytes + dataBytes + tailBytes > arena.frameSize)
    throw new MillraceError(
      "ERR_USAGE",
      `this port takes linear packets only, and ${size} bytes do not fit a frame`,
      {
        hint: `datagrams of at most ${arena.frameSize - HEADROOM} bytes`,
      },
    );
  const heads = linear || headerBytes + tailBytes > 0 || template !== undefined;
  const context = packetContext(arena);
  const burst = createBurst(arena, BURST_DESCRIPTORS);
  const tableBytes = TABLE * SEND_SIZE;
  const regionBytes = RANGE_SIZE + tableBytes + (plan?.regionBytes ?? 0);
  const region = allocateRegion(arena, regionBytes);
  const table = region + RANGE_SIZE;
  const scatterer = plan?.instantiate(arena.memory, table + tableBytes);
  let pieces: Pieces = { length: 0, list: 0, count: 0 };
  let before = 0;
  let datagrams = 0;
  let after = 0;
  let stops = 0;
  let at = 0; // packets of this chunk made so far
  let chunks = 0;
  let made = 0;
  let linearized = 0;

  const noFrames = () =>
    new MillraceError("ERR_MEMORY", `no frames are left to send a datagram of ${size} bytes`, {
      hint: "make a larger arena, or smaller datagrams",
    });
  /** One control datagram, alone in the burst. */
  const control = (write: (address: number) => number): number => {
    const frame = kernels.takeFrame() >>> 0;
    if (frame === 0) throw noFrames();
    appendPacket(arena, burst, [frame + HEADROOM, write(frame + HEADROOM)]);
    return 1;
  };
  const describe = (first: number, count: number) => {
    for (let i = 0; i < count; i++) {
      const entry = (table + i * SEND_SIZE) >>> 2;
      if (!heads) u32[entry + SEND_HEADER / 4] = 0;
      u32[entry + SEND_HEADER_LENGTH / 4] = 0;
      u32[entry + SEND_DATA / 4] = (first + i) * dataBytes;
      u32[entry + SEND_DATA_LENGTH / 4] = Math.min(dataBytes, pieces.length - (first + i) * dataBytes);
    }
  };
  const data = (first: number): number => {
    let count = Math.min(TABLE, datagrams - first);
    if (heads) count = kernels.scatterFrames(table, count, HEADROOM);
    if (count === 0) throw noFrames();
    if (scatterer === undefined) describe(first, count);
    else scatterer.headers(table, first, count);
    const done = kernels.scatterPackets(
      burst,
      pieces.list,
      pieces.count,
      table,
      count,
      tailBytes,
      linear ? 1 : 0,
    );
    if (done === 0) throw noFrames();
    if (linear) linearized += Math.min(done * dataBytes, pieces.length);
    return done;
  };
  const finish = (packets: number): number => {
    if (template !== undefined)
      for (let packet = 0; packet < packets; packet++) applyTemplate(context, template, burst, packet);
    at += packets;
    made += packets;
    return packets;
  };

  return {
    burst,
    begin(given) {
      pieces = given;
      at = 0;
      stops = 0;
      if (scatterer === undefined) {
        [before, datagrams, after] = [0, Math.ceil(given.length / dataBytes), 0];
        return;
      }
      const shape = scatterer.begin(given.length, chunks++);
      ({ before, datagrams, after } = shape);
    },
    beginStop() {
      [before, datagrams, after, at] = [0, 0, 0, 0];
      stops = scatterer?.stops ?? 0;
    },
    next() {
      throwFault(arena, burst, kernels.burstRelease(burst, 0));
      if (at < before) return finish(control((address) => scatterer?.control(at, address) ?? 0));
      if (at < before + datagrams) return finish(data(at - before));
      if (at < before + datagrams + after)
        return finish(control((address) => scatterer?.control(at - datagrams, address) ?? 0));
      const stop = at - before - datagrams - after;
      if (stop < stops) return finish(control((address) => scatterer?.stop(stop, address) ?? 0));
      return 0;
    },
    single(address, length) {
      u32.fill(0, region >>> 2, (region + RANGE_SIZE) >>> 2);
      u32[(region + RANGE_END) >>> 2] = length;
      u32[(region + RANGE_ADDRESS) >>> 2] = address;
      return { length, list: region, count: 1 };
    },
    get made() {
      return made;
    },
    get linearized() {
      return linearized;
    },
    close() {
      destroyBurst(arena, burst);
      freeRegion(arena, region, regionBytes);
    },
  };
}
