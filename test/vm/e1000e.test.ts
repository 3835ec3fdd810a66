// What the 82574L does beyond other cards: header split, RSS over two queues, VLAN tags.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { QUEUE_STRIDE, TDH } from "../../src/device/e1000e/registers.js";
import {
  META_FLAGS,
  META_HASH,
  META_HASHED,
  META_QUEUE,
  META_TAGGED,
  META_VLAN,
} from "../../src/kernels/structs.js";
import { DEFAULT_RSS_KEY, toeplitz } from "../../src/packet/toeplitz.js";
import { metaAt, putPacket } from "../device/cards.js";
import { udpFrame } from "../device/ipv4-frames.js";
import { eventually, ip, macOf } from "./peers.js";
import { boundSocket, isUdpTo, openRig, PLACES } from "./rig.js";

const [place] = PLACES;

test("e1000e: headers come in one frame, the data page-aligned in another", async () => {
  const rig = await openRig(place, { split: "" });
  const socket = await boundSocket(place.kernel, 0);
  try {
    assert.equal(rig.port.can.headerSplit, true);
    for (const length of [100, 1000, 1472]) socket.send(Buffer.alloc(length, length), 9, place.own);
    for (const { bytes, pieces, addresses } of await rig.receive(3, isUdpTo(9))) {
      const length = bytes.readUInt16BE(38) - 8;
      assert.deepEqual(pieces, [42, length]);
      assert.equal(addresses[1] % 4096, 0);
      assert.deepEqual(bytes.subarray(42), Buffer.alloc(length, length));
    }
  } finally {
    socket.close();
    await rig.close();
  }
});

test("e1000e: flows land on the queue that Toeplitz says, with their hash", async () => {
  const rig = await openRig(place, { queues: "2" });
  const attempts = Array.from({ length: 24 }, (_, i) => connect({ host: place.own, port: 1000 + i }));
  try {
    for (const attempt of attempts) attempt.on("error", () => {}); // nobody answers
    const syns = await rig.receive(
      24,
      ({ bytes }) => bytes.readUInt16BE(12) === 0x0800 && bytes[23] === 6 && bytes[47] === 2,
    );
    const queues = new Set<number>();
    for (const { bytes, meta } of syns) {
      const hash = toeplitz(DEFAULT_RSS_KEY, bytes.subarray(26, 38));
      assert.ok((meta.getUint16(META_FLAGS, true) & META_HASHED) !== 0);
      assert.equal(meta.getUint32(META_HASH, true), hash);
      assert.equal(meta.getUint8(META_QUEUE), (hash & 127) % 2);
      queues.add(meta.getUint8(META_QUEUE));
    }
    assert.equal(queues.size, 2);
  } finally {
    for (const attempt of attempts) attempt.destroy();
    await rig.close();
  }
});

test("e1000e: VLAN tags are taken off and put on by the card", async () => {
  const rig = await openRig(place, { vlan: "" });
  ip("link", "add", "link", rig.peer, "name", "tagged", "type", "vlan", "id", "5");
  try {
    ip("addr", "add", "10.9.5.1/24", "dev", "tagged");
    ip("link", "set", "tagged", "up");
    ip("neigh", "replace", "10.9.5.2", "lladdr", place.mac, "dev", "tagged");
    const socket = await boundSocket("10.9.5.1", 7);
    try {
      const heard: string[] = [];
      socket.on("message", (message) => heard.push(message.toString()));
      socket.send("to the card", 9, "10.9.5.2");
      const [{ bytes, meta }] = await rig.receive(1, isUdpTo(9));
      assert.equal(meta.getUint16(META_FLAGS, true) & META_TAGGED, META_TAGGED);
      assert.equal(meta.getUint16(META_VLAN, true), 5);
      assert.equal(bytes.toString("latin1", 42, 53), "to the card");

      const addresses = {
        ...rig.addresses,
        to: macOf("tagged"),
        source: "10.9.5.2",
        destination: "10.9.5.1",
      };
      const at = metaAt(
        rig.arena,
        rig.out,
        putPacket(rig.arena, rig.out, udpFrame(addresses, 9, 7, Buffer.from("from it"))),
      );
      rig.arena.u16[(at + META_FLAGS) >>> 1] = META_TAGGED;
      rig.arena.u16[(at + META_VLAN) >>> 1] = 5;
      await rig.sendAll();
      await eventually("the tagged interface hears it", () => heard[0] === "from it");
    } finally {
      socket.close();
    }
  } finally {
    ip("link", "del", "tagged");
    await rig.close();
  }
});

test("e1000e: packets leave over the queue with the number of the one they came in by", async () => {
  const rig = await openRig(place, { queues: "2" });
  const socket = await boundSocket(place.kernel, 7);
  try {
    const heard: number[] = [];
    socket.on("message", (message) => heard.push(message[0]));
    const queues = [0, 0, 1, 0, 1, 1, 1, 0, 1];
    for (const [i, queue] of queues.entries()) {
      const packet = putPacket(rig.arena, rig.out, udpFrame(rig.addresses, 9, 7, Buffer.alloc(20, i)));
      rig.arena.u8[metaAt(rig.arena, rig.out, packet) + META_QUEUE] = queue;
    }
    await rig.sendAll();
    await eventually("the kernel hears it", () => heard.length === queues.length);
    const registers = rig.nic.bus.bar(0);
    for (const queue of [0, 1]) {
      const numbers = queues.flatMap((each, i) => (each === queue ? [i] : []));
      assert.deepEqual(
        heard.filter((i) => queues[i] === queue),
        numbers,
      );
      assert.equal(registers.read32(TDH.offset + queue * QUEUE_STRIDE), numbers.length, "as the card says");
    }
  } finally {
    socket.close();
    await rig.close();
  }
});
