// A card of the guest as a port, cabled to an interface of the guest's kernel.
import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { openBus } from "../../src/device/bus/open.js";
import { type Nic, openNic } from "../../src/device/nic.js";
import { BURST_PACKETS } from "../../src/kernels/structs.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { createNicPort } from "../../src/ports/nic/nic.js";
import type { DriverOptions, PortDriver } from "../../src/ports/port.js";
import { drainBurst, freeFrames, newBurst, type Received } from "../device/cards.js";
import type { Addresses } from "../device/ipv4-frames.js";
import { eventually, macOf, PATIENCE, setUpPeer } from "./peers.js";

export interface Place {
  readonly name: "e1000e" | "virtio" | "line";
  readonly card: string;
  readonly mac: string;
  /** Where the kernel's interface is. */
  readonly peer: string;
  /** IPv4 addresses: the kernel's and the card's. */
  readonly kernel: string;
  readonly own: string;
}

export const PLACES: readonly Place[] = [
  {
    name: "e1000e",
    card: "0000:00:10.0",
    mac: "52:54:00:00:10:01",
    peer: "0000:00:18.0",
    kernel: "10.9.1.1",
    own: "10.9.1.2",
  },
  {
    name: "virtio",
    card: "0000:00:11.0",
    mac: "52:54:00:00:11:01",
    peer: "0000:00:19.0",
    kernel: "10.9.2.1",
    own: "10.9.2.2",
  },
];

/** A virtio card with an interrupt line and nothing else. */
export const LINE_PLACE: Place = {
  name: "line",
  card: "0000:00:13.0",
  mac: "52:54:00:00:13:01",
  peer: "0000:00:1a.0",
  kernel: "10.9.4.1",
  own: "10.9.4.2",
};

export interface Rig {
  readonly place: Place;
  readonly arena: ArenaMemory;
  readonly nic: Nic;
  readonly port: PortDriver;
  /** Bursts for either direction. */
  readonly out: number;
  readonly into: number;
  /** The kernel's interface. */
  readonly peer: string;
  readonly addresses: Addresses;
  /** Sends all of `out`, waiting where the card is full, and until the card reports that it is sent. */
  sendAll(): Promise<void>;
  /** Receives until `wanted` packets passed `accept`. Throws when they never come. */
  receive(wanted: number, accept: (packet: Received) => boolean): Promise<Received[]>;
  /** Closes the port; every frame must be back. */
  close(): Promise<void>;
}

export function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

/** Opens the card with the options of a locator, once its link is up. */
export async function openRig(
  place: Place,
  options: Readonly<Record<string, string>> = {},
  wait: DriverOptions["wait"] = "adaptive",
): Promise<Rig> {
  const arena = createArenaMemory({ bytes: 48 * 2 ** 20, frameSize: 4096 });
  const probe = newBurst(arena);
  const free = freeFrames(arena, probe);
  const parameters = new Map(Object.entries(options));
  const nic = await openNic(await openBus(arena, place.card, { parameters }), parameters);
  await eventually("the card's link is up", () => nic.linkUp(0));
  const port = createNicPort(arena, nic, wait);
  const mac = macBytes(place.mac);
  const peer = await setUpPeer(place.peer, place.kernel, place.own, mac);
  const out = newBurst(arena);
  const into = newBurst(arena);
  const rig: Rig = {
    place,
    arena,
    nic,
    port,
    out,
    into,
    peer,
    addresses: { from: mac, to: macOf(peer), source: place.own, destination: place.kernel },
    sendAll: async () => {
      const packets = arena.u32[(out + BURST_PACKETS) >>> 2];
      const limit = AbortSignal.timeout(PATIENCE);
      for (let first = port.send(out, 0); first < packets; first = port.send(out, first))
        await port.writable(limit);
      while (port.counters().held > 0) await port.writable(limit);
      drainBurst(arena, out);
    },
    receive: async (wanted, accept) => {
      const got: Received[] = [];
      const limit = AbortSignal.timeout(PATIENCE);
      while (got.length < wanted) {
        port.receive(into);
        got.push(...drainBurst(arena, into).filter(accept));
        if (got.length < wanted) await port.readable(limit);
      }
      return got;
    },
    close: async () => {
      drainBurst(arena, into);
      drainBurst(arena, out);
      await port.close();
      assert.equal(freeFrames(arena, probe), free, "every frame is back in the pool");
    },
  };
  return rig;
}

/** A socket of the guest's kernel. */
export async function boundSocket(address: string, port: number): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.bind(port, address);
  await once(socket, "listening");
  return socket;
}

/** True for a UDP datagram over IPv4 to `port`. */
export function isUdpTo(port: number): (packet: Pick<Received, "bytes">) => boolean {
  return ({ bytes }) =>
    bytes.length >= 42 &&
    bytes.readUInt16BE(12) === 0x0800 &&
    bytes[23] === 17 &&
    bytes.readUInt16BE(36) === port;
}
