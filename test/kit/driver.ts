// Drives a port as the engine does, without the engine: bursts in and out, and nothing may be lost or leaked.
import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import {
  BURST_COUNT,
  BURST_DESCS,
  BURST_METAS,
  BURST_PACKETS,
  BURST_STARTS,
  META_FLAGS,
  META_PEER,
  META_SIZE,
  OWNER_LIMIT,
} from "../../src/kernels/structs.js";
import { libc } from "../../src/linux/libc.js";
import { CLONE_NEWNET, enterNetns } from "../../src/linux/thread.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { appendPacket, createBurst, destroyBurst, throwFault } from "../../src/memory/burst.js";
import { allocateRegion, freeRegion } from "../../src/memory/region.js";
import { parseLocator } from "../../src/ports/locator.js";
import type { PortDriver } from "../../src/ports/port.js";
import { findOpener } from "../../src/ports/registry.js";

export interface Bench {
  readonly arena: ArenaMemory;
  /** `namespace`: the network namespace the port is opened in. `prepare` is called before packets are let in. */
  open(
    locator: string,
    direction?: "in" | "out" | "both",
    namespace?: string,
    prepare?: (port: PortDriver) => void | Promise<void>,
  ): Promise<PortDriver>;
  /** Sends every packet, waiting where the port is full. `pieces`: bytes a descriptor, to make fragments; `flags`: META_FLAGS. */
  send(
    port: PortDriver,
    packets: readonly Uint8Array[],
    options?: { pieces?: number; peer?: number; flags?: number },
  ): Promise<void>;
  /** Receives until there are `count` packets or nothing came for `quiet` milliseconds. */
  receive(
    port: PortDriver,
    count: number,
    options?: { quiet?: number; capacity?: number },
  ): Promise<Received[]>;
  /** Closes what was opened; afterwards every frame must be free. */
  close(): Promise<void>;
}

export interface Received {
  readonly bytes: Buffer;
  readonly meta: DataView;
  readonly fragments: number;
}

/** A small arena with ports to be opened on it. */
export function createBench(bytes = 32 * 2 ** 20): Bench {
  const arena = createArenaMemory({ bytes });
  const ports: PortDriver[] = [];
  const out = createBurst(arena, 512);
  const before = freeFrames(arena);

  async function open(
    text: string,
    direction: "in" | "out" | "both" = "in",
    namespace?: string,
    prepare?: (port: PortDriver) => void | Promise<void>,
  ): Promise<PortDriver> {
    const locator = parseLocator(text);
    const opener = await findOpener(locator.kind);
    const signal = new AbortController().signal;
    const start = () => opener(arena, locator, { direction, wait: "interrupt", signal });
    const port = await (namespace === undefined ? start() : inNamespace(namespace, start));
    ports.push(port);
    await prepare?.(port);
    port.start?.();
    return port;
  }

  async function send(
    port: PortDriver,
    packets: readonly Uint8Array[],
    { pieces = arena.frameSize, peer = 0, flags = 0 } = {},
  ): Promise<void> {
    let next = 0;
    while (next < packets.length) {
      while (next < packets.length && put(packets[next], pieces, peer, flags)) next++;
      const all = arena.u32[(out + BURST_PACKETS) >>> 2];
      try {
        for (let sent = 0; sent < all; ) {
          sent = port.send(out, sent);
          if (sent < all) await port.writable(AbortSignal.timeout(60_000));
        }
      } finally {
        throwFault(arena, out, arena.kernels.burstRelease(out, 0));
      }
    }
  }

  function put(packet: Uint8Array, pieces: number, peer: number, flags: number): boolean {
    const count = Math.max(1, Math.ceil(packet.length / pieces));
    if (arena.u32[(out + BURST_COUNT) >>> 2] + count > 512) return false;
    const descs: number[] = [];
    for (let at = 0; at < count; at++) {
      const frame = arena.kernels.takeFrame() >>> 0;
      assert.notEqual(frame, 0, "the pool is empty");
      const piece = packet.subarray(at * pieces, (at + 1) * pieces);
      arena.u8.set(piece, frame + arena.frameSize - pieces);
      descs.push(frame + arena.frameSize - pieces, piece.length);
    }
    const number = appendPacket(arena, out, descs);
    const meta = arena.u32[(out + BURST_METAS) >>> 2] + number * META_SIZE;
    arena.u32[(meta + META_PEER) >>> 2] = peer;
    arena.u16[(meta + META_FLAGS) >>> 1] = flags;
    return true;
  }

  async function receive(
    port: PortDriver,
    count: number,
    { quiet = 2000, capacity = 256 } = {},
  ): Promise<Received[]> {
    const burst = createBurst(arena, capacity);
    const packets: Received[] = [];
    try {
      while (packets.length < count) {
        if (port.receive(burst) === 0) {
          const signal = AbortSignal.timeout(quiet);
          const ready = await port.readable(signal).then(
            () => true,
            () => false,
          );
          if (!ready) break;
        }
        packets.push(...readBurst(arena, burst));
        throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
      }
    } finally {
      destroyBurst(arena, burst);
    }
    return packets;
  }

  async function close(): Promise<void> {
    for (const port of ports) await port.close();
    assert.equal(freeFrames(arena), before, "frames leaked");
  }

  return { arena, open, send, receive, close };
}

/** Has this thread in a network namespace until `work` is done. */
async function inNamespace<T>(name: string, work: () => Promise<T>): Promise<T> {
  const own = openSync("/proc/thread-self/ns/net", "r");
  enterNetns(name);
  try {
    return await work();
  } finally {
    assert.equal(libc().setns(own, CLONE_NEWNET), 0);
    closeSync(own);
  }
}

/** The packets of a burst, copied. */
export function readBurst(arena: ArenaMemory, burst: number): Received[] {
  const { u8, u32 } = arena;
  const count = u32[(burst + BURST_PACKETS) >>> 2];
  const descs = u32[(burst + BURST_DESCS) >>> 2];
  const starts = u32[(burst + BURST_STARTS) >>> 2];
  const metas = u32[(burst + BURST_METAS) >>> 2];
  const packets: Received[] = [];
  for (let packet = 0; packet < count; packet++) {
    const start = u32[(starts + 4 * packet) >>> 2];
    const end = packet + 1 < count ? u32[(starts + 4 * packet + 4) >>> 2] : u32[(burst + BURST_COUNT) >>> 2];
    const pieces: Uint8Array[] = [];
    for (let index = start; index < end; index++) {
      const at = (descs + 16 * index) >>> 2;
      assert.equal(u32[at + 3], index + 1 < end ? 1 : 0);
      pieces.push(u8.slice(u32[at], u32[at] + u32[at + 2]));
    }
    const meta = u8.slice(metas + META_SIZE * packet, metas + META_SIZE * (packet + 1));
    packets.push({
      bytes: Buffer.concat(pieces),
      meta: new DataView(meta.buffer),
      fragments: end - start - 1,
    });
  }
  return packets;
}

/** Frames that nobody owns. */
export function freeFrames(arena: ArenaMemory): number {
  const bytes = 4 * OWNER_LIMIT;
  const table = allocateRegion(arena, bytes);
  arena.kernels.census(table);
  const free = arena.u32[table >>> 2];
  freeRegion(arena, table, bytes);
  return free;
}

/** A bound node:dgram socket and what it has received. */
export async function dgram(
  address: string,
): Promise<{ socket: Socket; port: number; messages: Buffer[]; from: string[] }> {
  const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4", recvBufferSize: 8 << 20 });
  const messages: Buffer[] = [];
  const from: string[] = [];
  socket.on("message", (message, peer) => {
    messages.push(message);
    from.push(`${peer.address}:${peer.port}`);
  });
  socket.bind(0, address);
  await once(socket, "listening");
  return { socket, port: socket.address().port, messages, from };
}

/** A UDP port number that was free a moment ago. */
export async function freePort(address = "127.0.0.1"): Promise<number> {
  const { socket, port } = await dgram(address);
  socket.close();
  await once(socket, "close");
  return port;
}

/** Bytes that differ from place to place, so that a wrong offset shows. */
export function pattern(length: number, seed = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + seed * 13) & 255;
  return bytes;
}

/** Moves packets from one port to the other until the signal, as a forwarder does. */
export async function pump(
  arena: ArenaMemory,
  from: PortDriver,
  to: PortDriver,
  signal: AbortSignal,
): Promise<void> {
  const burst = createBurst(arena, 512);
  try {
    while (!signal.aborted) {
      if (from.receive(burst) === 0) {
        await from.readable(signal);
        continue;
      }
      const all = arena.u32[(burst + BURST_PACKETS) >>> 2];
      for (let sent = 0; sent < all; ) {
        sent = to.send(burst, sent);
        if (sent < all) await to.writable(signal);
      }
      throwFault(arena, burst, arena.kernels.burstRelease(burst, 0));
      await new Promise((resolve) => setImmediate(resolve));
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    destroyBurst(arena, burst);
  }
}
