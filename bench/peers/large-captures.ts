// Capture files of 1 GB, and the whole commands that read them.

import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodePcap } from "../../test/packet/captures.js";
import { MAIN } from "../peers.js";

const BYTES = 1e9;
const PCAP_HEAD = 24;

export interface LargeCaptures {
  readonly list: readonly { readonly name: string; readonly file: string }[];
  remove(): void;
}

/** Writes 1 GB of recorded packets over and over, and of 60 bytes, the internet mix and 1,514 bytes, into memory where it can. */
export function makeLargeCaptures(recorded: readonly Uint8Array[]): LargeCaptures {
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "millrace-bench-"));
  const mean = Math.round(recorded.reduce((sum, { length }) => sum + length, 0) / recorded.length);
  const sizes: readonly (readonly [name: string, lengths: readonly number[]])[] = [
    ["60 bytes", [60]],
    ["the internet mix", [60, 590, 60, 1514, 60, 590, 60, 60, 590, 60, 60, 590]],
    ["1,514 bytes", [1514]],
  ];
  const list = [
    { name: `recorded packets, ${mean} bytes on average`, packets: recorded },
    ...sizes.map(([name, lengths]) => ({ name, packets: lengths.map(datagram) })),
  ].map(({ name, packets }, i) => {
    const file = join(folder, `${i}.pcap`);
    writeCapture(file, packets);
    return { name, file };
  });
  return { list, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** An Ethernet frame with a UDP datagram to port 9. */
function datagram(length: number): Uint8Array {
  const frame = new Uint8Array(length);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, (length - 14) >> 8, (length - 14) & 255]);
  frame.set([64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2, 4, 0, 0, 9], 22);
  return frame;
}

function writeCapture(file: string, packets: readonly Uint8Array[]): void {
  const fd = openSync(file, "w");
  const whole = encodePcap(1, packets);
  const once = whole.subarray(PCAP_HEAD);
  writeSync(fd, whole.subarray(0, PCAP_HEAD));
  const many = Buffer.concat(Array<Buffer>(Math.max(1, Math.ceil(4e6 / once.length))).fill(once));
  for (let written = 0; written < BYTES; written += many.length) writeSync(fd, many);
  closeSync(fd);
}

// Nothing of this process's environment: NODE_EXTRA_CA_CERTS alone has Node 20 read certificates for 34 ms at its start.
const environment = { PATH: process.env.PATH };

function seconds(command: string, words: readonly string[]): number {
  const started = performance.now();
  const { status, stderr } = spawnSync(command, words, { encoding: "utf8", env: environment });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
  return (performance.now() - started) / 1000;
}

/** `millrace capture` from its start to its end. */
export function wholeCommandSeconds(file: string, expression: string): number {
  return seconds(process.execPath, [MAIN, "capture", `pcap:${file}`, "-w", "/dev/null", expression]);
}

/** Node's start and end with nothing between. */
export function bareNodeSeconds(): number {
  return seconds(process.execPath, ["/dev/null"]);
}

export function tcpdumpSeconds(file: string, expression: string): number {
  return seconds("tcpdump", ["-r", file, "-w", "/dev/null", expression]);
}
