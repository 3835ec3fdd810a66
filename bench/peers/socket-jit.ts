// The kernel's JIT at packet sockets: `ip netns exec NAMESPACE node socket-jit.js FROM TO PROGRAM`, with two ends of a
// veth pair and a program in numbers, as tcpdump -ddd prints them. Prints what the program takes, in nanoseconds.
//
// 64 sockets take what arrives at TO, each under the program, which is made to match nothing: the kernel has done with
// a packet when the system call that sent it comes back. What the same takes where the program is nothing but a
// refusal is taken off, and what is left belongs to the sockets in equal parts.
import { readFileSync } from "node:fs";
import { RET } from "../../src/filter/classic.js";
import { interpret } from "../../src/filter/interpret.js";
import { readNumbers } from "../../src/filter/listing.js";
import { libc } from "../../src/linux/libc.js";
import { bindPacketSocket, openPacketSocket, packetStatistics } from "../../src/linux/packet-socket.js";
import { attachSocketFilter, TAKE_NOTHING } from "../../src/linux/socket.js";
import { recordedPackets } from "./recorded.js";

const SOCKETS = 64;
const PACKETS = 512;
const PASSES = 20;
const LONGEST = 1514;
const TAGS: ReadonlySet<number> = new Set([0x8100, 0x88a8, 0x9100]);

const [, , from, to, numbers] = process.argv;
const program = readNumbers(numbers);
const matchless = program.map((one) => ((one[0] & 7) === RET ? TAKE_NOTHING[0] : one));
// Of tagged packets a socket sees other bytes.
const packets = recordedPackets(4096)
  .filter((packet) => packet.length >= 14 && packet.length <= LONGEST && !TAGS.has(packet.readUInt16BE(12)))
  .slice(0, PACKETS);

const index = (name: string) => Number(readFileSync(`/sys/class/net/${name}/ifindex`, "utf8"));
const open = (name: string, receives: boolean) => {
  const fd = openPacketSocket(false, name);
  if (receives) attachSocketFilter(fd, TAKE_NOTHING, name);
  bindPacketSocket(fd, index(name), receives, name);
  return fd;
};
const sender = open(from, false);
const sockets = Array.from({ length: SOCKETS }, () => open(to, true));

function sendAll(): number {
  const { sendto } = libc();
  const started = process.hrtime.bigint();
  for (const packet of packets)
    if (sendto(sender, packet, packet.length, 0, null, 0) !== packet.length)
      throw new Error(`a packet of ${packet.length} bytes was not sent, errno ${libc().errno()}`);
  return Number(process.hrtime.bigint() - started);
}

// The sockets must be under the program for a figure to say anything: what it matches comes to one of them.
attachSocketFilter(sockets[0], program, to);
packetStatistics(sockets[0], false, to);
sendAll();
const { drops } = packetStatistics(sockets[0], false, to);
const wanted = packets.filter((packet) => interpret(program, packet) !== 0).length;
const into = new Uint8Array(2048);
let came = drops;
while (libc().recvfrom(sockets[0], into, into.length, 0, null, null) >= 0) came++;
if (came !== wanted) throw new Error(`${came} packets passed the program at a socket, not ${wanted}`);

let [under, without] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
for (let pass = 0; pass < PASSES; pass++) {
  for (const socket of sockets) attachSocketFilter(socket, matchless, to);
  under = Math.min(under, sendAll(), sendAll(), sendAll());
  for (const socket of sockets) attachSocketFilter(socket, TAKE_NOTHING, to);
  without = Math.min(without, sendAll(), sendAll(), sendAll());
}
console.log((under - without) / packets.length / SOCKETS);
