// Coalescing against Linux's GRO: the same segments, written to a tap whose descriptor has NAPI, come out of the kernel
// as super-frames with their struct virtio_net_hdr. Ours must be the same, byte for byte.
import assert from "node:assert/strict";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { BURST_METAS, META_SEGMENT, META_SIZE } from "../../src/kernels/structs.js";
import { check } from "../../src/linux/errno.js";
import { libc } from "../../src/linux/libc.js";
import { bindPacketSocket, enableVnetHeader, ignoreOutgoing } from "../../src/linux/packet-socket.js";
import { AF_PACKET, interfaceIndex, openSocket, SOCK_RAW, setReceiveBuffer } from "../../src/linux/socket.js";
import { inNetns } from "../../src/linux/thread.js";
import { createBurst } from "../../src/memory/burst.js";
import { createBurstView } from "../../src/packet/burst.js";
import { addSums, complement, sumBytes, verifyChecksums } from "../../src/packet/checksum.js";
import { coalesceBurst } from "../../src/packet/coalesce.js";
import { packetContext } from "../../src/packet/context.js";
import { ethernet, ipv4, ipv6, tcp, udp } from "../../src/packet/headers/index.js";
import { ip, makeNamespaces, runIn } from "../kit/netns.js";
import { addPacket, emptyBurst, freeFrames, makeBench } from "./arena.js";
import { needs } from "./oracle.js";

const TUNSETIFF = 0x400454ca;
const IFF_TAP_NAPI = 0x1012; // IFF_TAP | IFF_NAPI | IFF_NO_PI
const FLUSH_AFTER = 10_000_000; // nanoseconds for which GRO keeps what it has

interface Segment {
  readonly flow: number;
  readonly length: number;
  /** In what it differs from the one before it. */
  readonly quirk: string;
}

/** What came out: the packet, and the size of its segments, 0 for one alone. */
interface Frame {
  readonly bytes: string;
  readonly segment: number;
}

interface Kind {
  readonly family: 4 | 6;
  readonly protocol: 6 | 17;
}

// ── The segments

const BOTH = ["", "", "", "", "", "", "", "", "ttl", "dscp", "id", "short", "long"];
const QUIRKS = {
  6: [...BOTH, "empty", "psh", "fin", "ece", "urg", "rst", "syn", "cwr", "gap", "window", "ack", "options"],
  17: BOTH,
} as const;
const FLAGS: Readonly<Record<string, number>> = {
  ...{ psh: 0x18, fin: 0x11, ece: 0x50, urg: 0x30, rst: 0x14, syn: 0x12, cwr: 0x90 },
};
const SIZES: Readonly<Record<string, number>> = { short: 199, long: 600, empty: 0 };

/** Whole frames, in order. Flows differ in their ports. */
function makeFrames({ family, protocol }: Kind, segments: readonly Segment[]): Buffer[] {
  const flows = [0, 1].map(() => ({ sequence: 2 ** 32 - 1500, id: 65_530, window: 500, ack: 9, time: 1 }));
  return segments.map(({ flow, quirk, length }, number) => {
    const state = flows[flow];
    if (quirk === "gap") state.sequence += 7;
    if (quirk === "id") state.id += 3;
    if (quirk === "window") state.window++;
    if (quirk === "ack") state.ack++;
    if (quirk === "options") state.time++;
    const size = SIZES[quirk] ?? length;
    const payload = Buffer.alloc(size, number + 1);
    const ports = { source: 7001, destination: 7002 + flow };
    const options = Buffer.from([1, 1, 8, 10, 0, 0, 0, state.time, 0, 0, 0, 0]);
    const tcpFields = { flags: FLAGS[quirk] ?? 0x10, sequence: state.sequence % 2 ** 32, options };
    const header =
      protocol === 6
        ? tcp.encode({
            ...{ ...ports, ...tcpFields, window: state.window, acknowledgement: state.ack },
            headerLength: 32,
          })
        : udp.encode({ ...ports, length: 8 + size });
    const covered = header.length + size;
    const shared = { ...(quirk === "dscp" ? { dscp: 9 } : {}) };
    const hops = quirk === "ttl" ? 63 : 64;
    const network = Buffer.from(
      family === 4
        ? ipv4.encode({
            ...{ ...shared, ttl: hops, protocol, totalLength: 20 + covered },
            identification: state.id % 65_536,
          })
        : ipv6.encode({ ...shared, hopLimit: hops, nextHeader: protocol, payloadLength: covered }),
    );
    if (family === 4) network.writeUInt16BE(complement(sumBytes(network)), 10);
    const transport = Buffer.concat([header, payload]);
    const addresses = sumBytes(network.subarray(family === 4 ? 12 : 8));
    const sum = addSums(addresses, sumBytes(transport, protocol + covered));
    if (quirk !== "unsealed") transport.writeUInt16BE(complement(sum) || 0xffff, protocol === 6 ? 16 : 6);
    state.sequence += size;
    state.id++;
    const type = family === 4 ? 0x0800 : 0x86dd;
    return Buffer.concat([ethernet.encode({ type }), network, transport]);
  });
}

/** The destination port: the flow. */
function portOf(bytes: Buffer): number {
  return bytes.readUInt16BE(14 + (bytes[12] === 8 ? 20 : 40) + 2);
}

function byFlow(frames: readonly Frame[]): Frame[][] {
  return [7002, 7003].map((port) => frames.filter(({ bytes }) => portOf(Buffer.from(bytes, "hex")) === port));
}

// ── The two that coalesce

const bench = makeBench(512);
const out = createBurst(bench.arena, 512);

function coalesced(frames: readonly Buffer[]): Frame[] {
  const { arena } = bench;
  const context = packetContext(arena);
  for (const frame of frames) addPacket(bench, [frame]);
  verifyChecksums(context, bench.burst, "EN10MB");
  coalesceBurst(context, bench.burst, { linkType: "EN10MB", fragments: 200 }, out);
  const metas = arena.u32[(out + BURST_METAS) >>> 2];
  const result = Array.from(createBurstView(arena, out), (packet, i) => ({
    bytes: Buffer.from(packet.copy()).toString("hex"),
    segment: arena.u16[(metas + i * META_SIZE + META_SEGMENT) >>> 1],
  }));
  emptyBurst(bench);
  emptyBurst({ arena, burst: out });
  return result;
}

/** A tap with GRO in a namespace of its own: frames go in at one descriptor and come out of a packet socket. */
function makeTap(
  t: TestContext,
): { send(frames: readonly Buffer[]): void; receive(): Frame | undefined } | undefined {
  if (!needs(t, "ethtool")) return undefined;
  const names = makeNamespaces(t, "gro");
  if (names === undefined) return undefined;
  const { gro } = names;
  const tap = inNetns(gro, () => {
    const fd = openSync("/dev/net/tun", constants.O_RDWR);
    const request = Buffer.alloc(40);
    request.write("gro0");
    request.writeUInt16LE(IFF_TAP_NAPI, 16);
    check(libc().ioctl(fd, TUNSETIFF, request), "TUNSETIFF", "test");
    return fd;
  });
  t.after(() => closeSync(tap));
  runIn(gro, "sysctl", "-q", "-w", "net.ipv6.conf.gro0.disable_ipv6=1");
  runIn(gro, "ethtool", "-K", "gro0", "gro", "on", "rx-udp-gro-forwarding", "on");
  runIn(gro, "sh", "-c", `echo ${FLUSH_AFTER} > /sys/class/net/gro0/gro_flush_timeout`);
  ip("-n", gro, "link", "set", "gro0", "up");
  const socket = inNetns(gro, () => {
    const fd = openSocket(AF_PACKET, SOCK_RAW, 0, "test");
    assert.ok(enableVnetHeader(fd) > 0 && ignoreOutgoing(fd));
    setReceiveBuffer(fd, 8 * 2 ** 20, "test");
    bindPacketSocket(fd, interfaceIndex("gro0"), true, "test");
    return fd;
  });
  t.after(() => libc().close(socket));
  const buffer = Buffer.alloc(70_000);
  return {
    send(frames) {
      for (const frame of frames) writeSync(tap, frame);
    },
    receive() {
      const length = libc().recvfrom(socket, buffer, buffer.length, 0, null, null);
      if (length < 10) return undefined;
      const segment = buffer[1] === 0 ? 0 : buffer.readUInt16LE(4);
      return { bytes: buffer.toString("hex", 10, length), segment };
    },
  };
}

/** How many segments a frame is made of. */
function segmentsIn({ bytes, segment }: Frame, { family, protocol }: Kind): number {
  const headers = 14 + (family === 4 ? 20 : 40) + (protocol === 6 ? 32 : 8);
  return segment === 0 ? 1 : Math.ceil((bytes.length / 2 - headers) / segment);
}

/**
 * Datagrams that cannot be joined at all (without bytes, or without a checksum) overtake those that Linux holds; here
 * they never do. They are put first.
 */
function inOrder(frames: readonly Frame[]): Frame[] {
  const overtakes = ({ bytes }: Frame) => {
    const packet = Buffer.from(bytes, "hex");
    const isIpv4 = packet[12] === 8;
    const transport = packet.subarray(isIpv4 ? 34 : 54);
    return packet[isIpv4 ? 23 : 20] === 17 && (transport.length === 8 || transport.readUInt16BE(6) === 0);
  };
  return [...frames.filter(overtakes), ...frames.filter((frame) => !overtakes(frame))];
}

const ATTEMPTS = 60;

for (const kind of [
  { family: 4, protocol: 6 },
  { family: 6, protocol: 6 },
  { family: 4, protocol: 17 },
  { family: 6, protocol: 17 },
] as const) {
  const name = `${kind.protocol === 6 ? "TCP" : "UDP"} over IPv${kind.family}`;
  test(`${name} is coalesced into the super-frames that Linux makes of it`, async (t) => {
    const tap = makeTap(t);
    if (tap === undefined) return;
    const total = freeFrames(bench.arena);
    const receive = async (count: number): Promise<Frame[]> => {
      const frames: Frame[] = [];
      const deadline = Date.now() + 20_000;
      for (let seen = 0; seen < count; ) {
        const frame = tap.receive();
        if (frame === undefined) {
          assert.ok(Date.now() < deadline, `${seen} of ${count} segments came`);
          await sleep(2);
          continue;
        }
        seen += segmentsIn(frame, kind);
        frames.push(frame);
      }
      return frames;
    };
    // Time can only make the kernel join less than it might: it is asked again until it had the time.
    const agree = async (segments: readonly Segment[]): Promise<void> => {
      const frames = makeFrames(kind, segments);
      const ours = byFlow(inOrder(coalesced(frames)));
      for (let attempt = 1; ; attempt++) {
        tap.send(frames);
        const theirs = byFlow(inOrder(await receive(frames.length)));
        if (attempt < ATTEMPTS && JSON.stringify(theirs) !== JSON.stringify(ours)) continue;
        assert.deepEqual(ours, theirs);
        return;
      }
    };
    const plain = (count: number, length: number): Segment[] =>
      Array.from({ length: count }, () => ({ flow: 0, length, quirk: "" }));
    await agree(plain(20, 1000));
    await agree([...plain(20, 1000), ...plain(3, 200)]);
    await agree(plain(150, 90)); // more datagrams than Linux joins
    await agree(plain(70, 1400)); // more bytes than an IP packet can have
    if (kind.protocol === 17)
      for (const quirk of ["empty", "unsealed"])
        await agree([...plain(4, 400), { flow: 0, length: 400, quirk }, { flow: 0, length: 400, quirk }]);
    const segment = fc.record({
      flow: fc.constantFrom(0, 0, 0, 1),
      length: fc.constant(400),
      quirk: fc.constantFrom<string>(...QUIRKS[kind.protocol]),
    });
    await fc.assert(fc.asyncProperty(fc.array(segment, { minLength: 2, maxLength: 24 }), agree), {
      numRuns: Number(process.env.MILLRACE_RUNS ?? 40),
      endOnFailure: true,
      includeErrorInReport: true,
    });
    assert.equal(freeFrames(bench.arena), total);
  });
}
