// libpcap, through tcpdump: which programs it makes of an expression, and what it says of packets.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ClassicProgram } from "../../src/filter/classic.js";

export const DATA = fileURLToPath(new URL("../../../test/data", import.meta.url));

/** tcpdump's program for an expression; undefined: it refuses it. Unoptimized with `plain`. */
export function tcpdumpProgram(
  linkType: string,
  expression: string,
  plain = false,
): ClassicProgram | undefined {
  const flags = ["-y", linkType, "-ddd", ...(plain ? ["-O"] : []), "--", expression];
  const { status, stdout, error } = spawnSync("tcpdump", flags, { encoding: "utf8" });
  if (error) throw error;
  if (status !== 0) return undefined;
  const lines = stdout.trim().split("\n").slice(1);
  return lines.map((line) => line.split(" ").map(Number) as unknown as ClassicProgram[number]);
}

export interface CapturedPacket {
  readonly bytes: Uint8Array;
  /** Bytes on the wire, before a snap length cut them. */
  readonly wireLength: number;
}

const LINK_TYPES: Readonly<Record<number, string>> = {
  0: "NULL",
  1: "EN10MB",
  101: "RAW",
  108: "LOOP",
  113: "LINUX_SLL",
  228: "IPV4",
  229: "IPV6",
  276: "LINUX_SLL2",
};

/** A classic capture file, read plainly; undefined for link types without filters, and for other formats. */
export function readCapture(path: string): { linkType: string; packets: CapturedPacket[] } | undefined {
  const file = readFileSync(path);
  const little = file[0] === 0xd4 || file[0] === 0x4d;
  if (!little && file[0] !== 0xa1) return undefined;
  const u32 = (at: number) => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  const linkType = LINK_TYPES[u32(20) & 0xffff];
  if (linkType === undefined) return undefined;
  const packets: CapturedPacket[] = [];
  for (let at = 24; at + 16 <= file.length; ) {
    const length = u32(at + 8);
    if (at + 16 + length > file.length) break;
    packets.push({
      bytes: new Uint8Array(file.subarray(at + 16, at + 16 + length)),
      wireLength: u32(at + 12),
    });
    at += 16 + length;
  }
  return { linkType, packets };
}

const HEADERS: Readonly<Record<string, (ipv6: boolean) => readonly number[]>> = {
  RAW: () => [],
  IPV4: () => [],
  IPV6: () => [],
  NULL: (ipv6) => [ipv6 ? 10 : 2, 0, 0, 0],
  LOOP: (ipv6) => [0, 0, 0, ipv6 ? 10 : 2],
  LINUX_SLL: (ipv6) => [0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, ...(ipv6 ? [0x86, 0xdd] : [8, 0])],
  LINUX_SLL2: (ipv6) => [
    ...(ipv6 ? [0x86, 0xdd] : [8, 0]),
    ...[0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 1, 2, 3, 4, 5, 6, 0, 0],
  ],
};

/** A few packets of each capture in the test data, by link type; IP packets from Ethernet stand in for scarce ones. */
export function capturedPackets(each: number): Map<string, CapturedPacket[]> {
  const packets = new Map<string, CapturedPacket[]>(Object.values(LINK_TYPES).map((name) => [name, []]));
  for (const folder of ["captures", "filter/pcap"])
    for (const name of readdirSync(join(DATA, folder))) {
      const capture = name.endsWith(".pcap") ? readCapture(join(DATA, folder, name)) : undefined;
      if (capture !== undefined) packets.get(capture.linkType)!.push(...capture.packets.slice(0, each));
    }
  for (const { bytes, wireLength } of packets.get("EN10MB")!) {
    const ipv6 = bytes[12] === 0x86 && bytes[13] === 0xdd;
    if (!ipv6 && !(bytes[12] === 8 && bytes[13] === 0)) continue;
    for (const [name, header] of Object.entries(HEADERS)) {
      if ((name === "IPV4" && ipv6) || (name === "IPV6" && !ipv6)) continue;
      const made = [...header(ipv6), ...bytes.subarray(14)];
      packets
        .get(name)!
        .push({ bytes: Uint8Array.from(made), wireLength: wireLength - 14 + header(ipv6).length });
    }
  }
  return packets;
}

/** The packets and, of each, one with some bytes changed and one cut short. */
export function mutated(packets: readonly CapturedPacket[], random: () => number): CapturedPacket[] {
  return packets.flatMap(({ bytes, wireLength }) => {
    const changed = Uint8Array.from(bytes);
    for (let i = 0; i < 3 && changed.length > 0; i++)
      changed[Math.floor(random() * Math.min(64, changed.length))] = Math.floor(random() * 256);
    const cut = bytes.slice(0, Math.floor(random() * bytes.length));
    return [
      { bytes, wireLength },
      { bytes: changed, wireLength },
      { bytes: cut, wireLength },
    ];
  });
}
