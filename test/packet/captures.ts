// Capture files for tests, read without the code under test, and what tshark says of them.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

export interface Captured {
  readonly linkType: number;
  readonly packets: readonly Buffer[];
  /** Bytes that each had on the wire. */
  readonly wire: readonly number[];
}

/** Classic pcap in either byte order. Stops at what is cut off. */
export function readPcap(file: string): Captured {
  return parsePcap(readFileSync(file), file);
}

/** As readPcap, of the bytes of such a file. */
export function parsePcap(data: Buffer, file: string): Captured {
  const magic = data.readUInt32LE(0);
  const little = magic === 0xa1b2c3d4 || magic === 0xa1b23c4d;
  const u32 = (at: number) => (little ? data.readUInt32LE(at) : data.readUInt32BE(at));
  assert.ok(little || u32(0) === 0xa1b2c3d4 || u32(0) === 0xa1b23c4d, `${file} is no classic pcap`);
  const packets: Buffer[] = [];
  const wire: number[] = [];
  for (let at = 24; at + 16 <= data.length; ) {
    const length = u32(at + 8);
    if (at + 16 + length > data.length) break;
    packets.push(data.subarray(at + 16, at + 16 + length));
    wire.push(u32(at + 12));
    at += 16 + length;
  }
  return { linkType: u32(20) & 0xffff, packets, wire };
}

/** Writes packets of one link type as a classic pcap; `wire` has their lengths where some were cut. */
export function encodePcap(
  linkType: number,
  packets: readonly Uint8Array[],
  wire: readonly number[] = packets.map(({ length }) => length),
): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262_144, 16);
  header.writeUInt32LE(linkType, 20);
  const records = packets.map((packet, i) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(1_700_000_000 + i, 0);
    record.writeUInt32LE(packet.length, 8);
    record.writeUInt32LE(wire[i], 12);
    return Buffer.concat([record, packet]);
  });
  return Buffer.concat([header, ...records]);
}

export interface Tree {
  readonly [name: string]: Node;
}
export type Node = string | Tree | readonly (string | Tree)[];

const OPTIONS = [
  ...["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE"],
  ...["ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE"],
];

/** Each packet's layers as tshark has them. */
export function tsharkLayers(file: string, options: readonly string[] = OPTIONS): Tree[] {
  const args = ["-n", "-r", file, "-T", "json", "--no-duplicate-keys", ...options.flatMap((o) => ["-o", o])];
  const text = execFileSync("tshark", args, {
    maxBuffer: 2 ** 30,
    stdio: ["ignore", "pipe", "ignore"],
    encoding: "utf8",
  });
  return (JSON.parse(text) as { _source: { layers: Tree } }[]).map((packet) => packet._source.layers);
}

/** The first of what may stand several times. */
export function first(node: Node | undefined): string | Tree | undefined {
  return Array.isArray(node) ? node[0] : (node as string | Tree | undefined);
}

/** The first value under a name, anywhere below: tshark nests bit fields in trees of their own. */
export function find(node: Node | undefined, name: string): string | undefined {
  const tree = first(node);
  if (tree === undefined || typeof tree === "string") return undefined;
  const value = first(tree[name]);
  if (typeof value === "string") return value;
  for (const below of Object.values(tree)) {
    const found = find(below, name);
    if (found !== undefined) return found;
  }
  return undefined;
}
