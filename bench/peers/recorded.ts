import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Packets from Ethernet captures of the test data, over and over. */
export function recordedPackets(count: number): Buffer[] {
  const folder = fileURLToPath(new URL("../../../test/data/captures", import.meta.url));
  const found: Buffer[] = [];
  for (const name of readdirSync(folder)) {
    const bytes = readFileSync(join(folder, name));
    if (!name.endsWith(".pcap") || bytes.readUInt32LE(0) !== 0xa1b2c3d4 || bytes.readUInt32LE(20) !== 1)
      continue;
    for (let at = 24; at + 16 <= bytes.length; ) {
      const length = bytes.readUInt32LE(at + 8);
      if (at + 16 + length > bytes.length) break;
      found.push(bytes.subarray(at + 16, at + 16 + length));
      at += 16 + length;
    }
  }
  return Array.from({ length: count }, (_, i) => found[i % found.length]);
}
