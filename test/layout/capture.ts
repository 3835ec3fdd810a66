// What tcpdump captures: records with it, and reads the UDP payloads of an Ethernet capture without any of
// millrace's own packet code.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import { runIn, startIn } from "../kit/netns.js";
import { until } from "../kit/until.js";

export interface CapturedDatagram {
  /** The sender's address. */
  readonly from: string;
  readonly source: number;
  readonly destination: number;
  readonly payload: Uint8Array;
}

export function readDatagrams(file: string | URL): CapturedDatagram[] {
  const bytes = readFileSync(file);
  const datagrams: CapturedDatagram[] = [];
  for (let at = 24; at < bytes.length; ) {
    const captured = at + 16 > bytes.length ? bytes.length : bytes.readUInt32LE(at + 8);
    if (at + 16 + captured > bytes.length) break; // tcpdump is still writing
    const packet = bytes.subarray(at + 16, at + 16 + captured);
    at += 16 + captured;
    if (packet.readUInt16BE(12) !== 0x0800 || packet[23] !== 17) continue;
    const udp = 14 + 4 * (packet[14] & 15);
    const length = packet.readUInt16BE(udp + 4);
    datagrams.push({
      from: packet.subarray(26, 30).join("."),
      source: packet.readUInt16BE(udp),
      destination: packet.readUInt16BE(udp + 2),
      payload: Uint8Array.from(packet.subarray(udp + 8, udp + length)),
    });
  }
  return datagrams;
}

/** UDP datagrams that a namespace has sent, as its kernel counts them. */
export function datagramsSent(namespace: string): number {
  const [names, values] = runIn(namespace, "cat", "/proc/net/snmp")
    .split("\n")
    .filter((line) => line.startsWith("Udp:"))
    .map((line) => line.split(/\s+/));
  return Number(values[names.indexOf("OutDatagrams")]);
}

/**
 * Starts tcpdump on a namespace's interface; what that returns ends it once its file holds as many datagrams as
 * were sent to the interface, since tcpdump forgets at its end what it has not read. The ring holds 64 MiB, more
 * than any test sends, so that nothing is dropped however late tcpdump runs; not in immediate mode, in which
 * libpcap's ring has a slot of the largest packet's size for each packet.
 */
export async function record(
  t: TestContext,
  namespace: string,
  device: string,
  file: string,
): Promise<(sent: () => number, counts?: (datagram: CapturedDatagram) => boolean) => Promise<void>> {
  const args = ["-i", device, "-n", "-B", "65536", "-U", "-Z", "root", "-w", file, "udp"];
  const tcpdump = startIn(t, namespace, "tcpdump", ...args);
  let told = "";
  tcpdump.stderr?.on("data", (text) => {
    told += String(text);
  });
  await until(`tcpdump listens: ${told}`, () => told.includes("listening on"));
  return async (sent, counts = () => true) => {
    await until(`${file} holds all that was sent`, () => readDatagrams(file).filter(counts).length >= sent());
    tcpdump.kill("SIGINT");
    await once(tcpdump, "close");
    if (!told.includes("\n0 packets dropped by kernel")) throw new Error(`tcpdump: ${told}`);
  };
}
