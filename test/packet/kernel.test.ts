// Linux as the oracle: it cuts the same super-frames, makes the same fragments, and reassembles ours.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { META_FLAGS, META_SEGMENT, META_TCP_SEGMENTS, META_UDP_SEGMENTS } from "../../src/kernels/structs.js";
import { check } from "../../src/linux/errno.js";
import { libc } from "../../src/linux/libc.js";
import {
  AF_INET,
  AF_INET6,
  AF_PACKET,
  encodeAddress,
  interfaceIndex,
  openSocket,
  SOCK_DGRAM,
  SOCK_RAW,
  setOption,
} from "../../src/linux/socket.js";
import { inNetns } from "../../src/linux/thread.js";
import { createBurst } from "../../src/memory/burst.js";
import { buildPacket } from "../../src/packet/build.js";
import { createBurstView } from "../../src/packet/burst.js";
import { finishChecksums } from "../../src/packet/checksum.js";
import { packetContext } from "../../src/packet/context.js";
import { ipv6Fragment, udp } from "../../src/packet/headers/index.js";
import { createReassembler } from "../../src/packet/reassemble.js";
import { fragmentPacket, segmentPacket } from "../../src/packet/segment.js";
import { parseTemplate } from "../../src/packet/template.js";
import { ip, makeNamespaces, makeVeth, runIn, startIn } from "../kit/netns.js";
import { until } from "../kit/until.js";
import { addPacket, cut, emptyBurst, makeBench } from "./arena.js";
import { readPcap } from "./captures.js";
import { needs } from "./oracle.js";

const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const MAC_A = "02:00:00:00:0a:01";
const MAC_B = "02:00:00:00:0b:01";

interface Wire {
  readonly a: string;
  readonly b: string;
  /** Runs `send` and returns the first `count` packets that arrive at b and match a tcpdump filter. */
  record(filter: string, count: number, send: () => void): Promise<readonly Buffer[]>;
}

async function makeWire(t: TestContext): Promise<Wire | undefined> {
  if (!needs(t, "tcpdump") || !needs(t, "ethtool")) return undefined;
  const names = makeNamespaces(t, "a", "b");
  if (names === undefined) return undefined;
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  makeVeth(
    { namespace: names.a, name: "ve", addresses: ["10.77.0.1/24", "fd77::1/64"], finish: true },
    { namespace: names.b, name: "ve", addresses: ["10.77.0.2/24", "fd77::2/64"], finish: true },
  );
  for (const [namespace, mac] of [
    [names.a, MAC_A],
    [names.b, MAC_B],
  ]) {
    ip("-n", namespace, "link", "set", "ve", "address", mac);
    runIn(namespace, "ethtool", "-K", "ve", "gso", "off", "tso", "off", "gro", "off");
  }
  for (const address of ["10.77.0.2", "fd77::2"])
    ip("-n", names.a, "neighbour", "replace", address, "lladdr", MAC_B, "dev", "ve", "nud", "permanent");
  let files = 0;
  const record = async (filter: string, count: number, send: () => void): Promise<readonly Buffer[]> => {
    const file = join(directory, `${files++}.pcap`);
    const args = ["-i", "ve", "-U", "-w", file, "-s", "0", "-c", String(count), ...filter.split(" ")];
    const child = startIn(t, names.b, "tcpdump", ...args);
    const exited = once(child, "exit");
    while (!existsSync(file) || readFileSync(file).length < 24) await sleep(10);
    send();
    await exited;
    return readPcap(file).packets;
  };
  return { a: names.a, b: names.b, record };
}

/** Sends frames out of `ve`, each behind a virtio_net_hdr where `offload` gives one. */
function sendRaw(frames: readonly Uint8Array[], offload?: Uint8Array): void {
  const fd = openSocket(AF_PACKET, SOCK_RAW, 0, "test");
  try {
    if (offload !== undefined) setOption(fd, SOL_PACKET, PACKET_VNET_HDR, 1, "test");
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(3, 2); // ETH_P_ALL
    address.writeInt32LE(interfaceIndex("ve"), 4);
    check(libc().bind(fd, address, address.length), "bind", "test");
    for (const frame of frames) {
      const whole = offload === undefined ? frame : Buffer.concat([offload, frame]);
      check(libc().sendto(fd, whole, whole.length, 0, null, 0), "sendto", "test");
    }
  } finally {
    libc().close(fd);
  }
}

function body(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 11 + (i >> 8)) & 255));
}

test("the kernel cuts super-frames into the very segments we cut", async (t) => {
  const wire = await makeWire(t);
  if (wire === undefined) return;
  const ETHERNET = `eth(src=${MAC_A},dst=${MAC_B})`;
  const cases = [
    {
      text: `${ETHERNET}/ipv4(src=10.77.0.1,dst=10.77.0.2,id=65535)/tcp(sport=7001,dport=7002,seq=4294966000,flags=0x99)`,
      gso: 1,
    },
    { text: `${ETHERNET}/ipv6(src=fd77::1,dst=fd77::2)/tcp(sport=7001,dport=7002,seq=5,flags=0x18)`, gso: 4 },
    { text: `${ETHERNET}/ipv4(src=10.77.0.1,dst=10.77.0.2,id=3)/udp(sport=7001,dport=7002)`, gso: 5 },
    { text: `${ETHERNET}/ipv6(src=fd77::1,dst=fd77::2)/udp(sport=7001,dport=7002)`, gso: 5 },
  ];
  for (const { text, gso } of cases) {
    const template = parseTemplate(text);
    const [transport] = template.checksums;
    const frame = buildPacket(template, body(5003));
    const isTcp = transport.protocol === 6;
    // virtio_net_hdr: the checksum is to be finished, and holds the pseudo-header's sum until then.
    const header = Buffer.alloc(10);
    header[0] = 1;
    header[1] = gso | (isTcp ? 0x80 : 0); // VIRTIO_NET_HDR_GSO_ECN: the super-frame has CWR
    if (isTcp && gso === 4) header[1] = gso;
    header.writeUInt16LE(template.bytes.length, 2);
    header.writeUInt16LE(1000, 4);
    header.writeUInt16LE(transport.from, 6);
    header.writeUInt16LE(transport.at - transport.from, 8);
    const partial = Buffer.from(frame);
    const length = frame.length - transport.from;
    let sum = transport.addresses + transport.protocol + length;
    sum = (sum & 0xffff) + (sum >>> 16);
    partial.writeUInt16BE(sum, transport.at);
    const filter = `${isTcp ? "tcp" : "udp"} port 7002 and ether src ${MAC_A}`;
    const theirs = await wire.record(filter, 6, () => inNetns(wire.a, () => sendRaw([partial], header)));

    const bench = makeBench();
    const context = packetContext(bench.arena);
    const out = createBurst(bench.arena, 256);
    addPacket(bench, cut(frame, 1999));
    const meta = bench.arena.u32[(bench.burst + 16) >>> 2];
    bench.arena.u16[(meta + META_SEGMENT) >>> 1] = 1000;
    bench.arena.u16[(meta + META_FLAGS) >>> 1] = isTcp ? META_TCP_SEGMENTS : META_UDP_SEGMENTS;
    assert.deepEqual(segmentPacket(context, bench.burst, 0, "EN10MB", out), { pieces: 6 });
    finishChecksums(context, out, "EN10MB", "partial");
    const ours = Array.from(createBurstView(bench.arena, out), (packet) => Buffer.from(packet.copy()));
    assert.deepEqual(
      ours.map((packet) => packet.toString("hex")),
      theirs.map((packet) => packet.toString("hex")),
      text,
    );
    emptyBurst(bench);
    emptyBurst({ arena: bench.arena, burst: out });
  }
});

test("fragments that the kernel made become the datagram it was given, and we cut it into the same fragments", async (t) => {
  const wire = await makeWire(t);
  if (wire === undefined) return;
  const payload = body(5001);
  for (const [family, address, protocol] of [
    [AF_INET, "10.77.0.2", "ip[6:2] & 0x3fff != 0"],
    [AF_INET6, "fd77::2", "ip6[6] == 44"],
  ] as const) {
    const theirs = await wire.record(protocol, 4, () =>
      inNetns(wire.a, () => {
        const fd = openSocket(family, SOCK_DGRAM, 0, "test");
        const to = encodeAddress({ address, port: 7003 });
        check(libc().sendto(fd, payload, payload.length, 0, to, to.length), "sendto", "test");
        libc().close(fd);
      }),
    );
    const bench = makeBench();
    const context = packetContext(bench.arena);
    const out = createBurst(bench.arena, 256);
    const reassembler = createReassembler(context, { linkType: "EN10MB" });
    const order = [2, 0, 3, 1];
    for (const number of order) addPacket(bench, cut(theirs[number], 100));
    const identification = createBurstView(bench.arena, bench.burst)
      .at(0)
      .header(ipv6Fragment)?.identification;
    order.forEach((_, i) => {
      assert.equal(reassembler.feed(bench.burst, i, out, 0), i === 3);
    });
    const whole = createBurstView(bench.arena, out).at(0);
    assert.equal(whole.header(udp)?.destination, 7003);
    assert.deepEqual(Buffer.from(whole.copy()).subarray(-payload.length), payload);

    const pieces = createBurst(bench.arena, 256);
    const options = { linkType: "EN10MB", mtu: 1500, identification: identification ?? 0 } as const;
    assert.deepEqual(fragmentPacket(context, out, 0, options, pieces), { pieces: 4 });
    assert.deepEqual(
      Array.from(createBurstView(bench.arena, pieces), (packet) =>
        Buffer.from(packet.copy()).toString("hex"),
      ),
      theirs.map((packet) => packet.toString("hex")),
    );
    reassembler.close();
  }
});

test("the kernel reassembles the fragments that we make", async (t) => {
  const wire = await makeWire(t);
  if (wire === undefined) return;
  const payload = body(4321);
  const ETHERNET = `eth(src=${MAC_A},dst=${MAC_B})`;
  for (const [family, address, text] of [
    [AF_INET, "10.77.0.2", `${ETHERNET}/ipv4(src=10.77.0.1,dst=10.77.0.2,id=99)/udp(dport=7004)`],
    [AF_INET6, "fd77::2", `${ETHERNET}/ipv6(src=fd77::1,dst=fd77::2)/udp(dport=7004)`],
  ] as const) {
    const bench = makeBench();
    const context = packetContext(bench.arena);
    const out = createBurst(bench.arena, 256);
    addPacket(bench, cut(buildPacket(parseTemplate(text), payload), 777));
    const options = { linkType: "EN10MB", mtu: 600, identification: 7 } as const;
    const { pieces } = fragmentPacket(context, bench.burst, 0, options, out);
    const frames = Array.from(createBurstView(bench.arena, out), (packet) => Buffer.from(packet.copy()));
    assert.equal(frames.length, pieces);
    const fd = inNetns(wire.b, () => {
      const socket = openSocket(family, SOCK_DGRAM, 0, "test");
      const own = encodeAddress({ address, port: 7004 });
      check(libc().bind(socket, own, own.length), "bind", "test");
      return socket;
    });
    inNetns(wire.a, () => sendRaw(frames.reverse()));
    const got = Buffer.alloc(9000);
    let length = -1;
    await until("the kernel has put the fragments together", () => {
      length = libc().recvfrom(fd, got, got.length, 0, null, null);
      return length >= 0;
    });
    libc().close(fd);
    assert.deepEqual(got.subarray(0, length), payload);
  }
});
