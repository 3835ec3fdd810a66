import { readFileSync } from "node:fs";
import { isIPv4, isIPv6 } from "node:net";
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";

/** How long the resolver may take, in milliseconds. */
const PATIENCE = 30_000;

const LOOKUP = `
const { workerData: { name, port, done } } = require("node:worker_threads");
require("node:dns").lookup(name, { all: true, verbatim: true }, (error, found) => {
  port.postMessage(error ? [] : found.map(({ address }) => address));
  Atomics.store(done, 0, 1);
  Atomics.notify(done, 0);
});`;

/** The addresses of a host, by the system's resolver; none when it is unknown. Waits for the answer. */
export function hostAddresses(name: string): string[] {
  if (isIPv4(name) || isIPv6(name)) return [name];
  const done = new Int32Array(new SharedArrayBuffer(4));
  const { port1, port2 } = new MessageChannel();
  const workerData = { name, port: port2, done };
  const worker = new Worker(LOOKUP, { eval: true, workerData, transferList: [port2], execArgv: [] });
  worker.unref();
  Atomics.wait(done, 0, 0, PATIENCE);
  const answer: { message: string[] } | undefined = receiveMessageOnPort(port1);
  port1.close();
  void worker.terminate();
  return answer?.message ?? [];
}

/** The lines of a file of the machine, as words without comments; none where there is no such file. */
function table(path: string): string[][] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return text.split("\n").map((line) => line.replace(/#.*/, "").trim().split(/\s+/));
}

/** The Ethernet address that /etc/ethers gives a host. */
export function etherAddress(name: string): number[] | undefined {
  const line = table("/etc/ethers").find(([, host]) => host?.toLowerCase() === name.toLowerCase());
  return line === undefined ? undefined : parseMac(line[0]);
}

/** The IPv4 network number that /etc/networks gives a name. */
export function networkNumber(name: string): number | undefined {
  const line = table("/etc/networks").find(([first, , ...aliases]) =>
    [first, ...aliases].some((each) => each?.toLowerCase() === name.toLowerCase()),
  );
  if (line === undefined || !/^\d+(\.\d+){0,3}$/.test(line[1] ?? "")) return undefined;
  const bytes = line[1].split(".").map(Number);
  while (bytes.length > 1 && bytes.at(-1) === 0) bytes.pop();
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0) >>> 0;
}

/** Six bytes from any of the ways to write an Ethernet address. */
export function parseMac(text: string): number[] {
  const parts = text.split(/[:.-]/);
  if (parts.length === 6) return parts.map((part) => Number.parseInt(part, 16));
  return [...(parts.join("").match(/../g) ?? [])].map((part) => Number.parseInt(part, 16));
}

/** Eight groups of an IPv6 address as four 32-bit words; undefined where it is malformed. */
export function parseIpv6(text: string): number[] | undefined {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  let plain = text;
  if (dotted !== null) {
    const [a, b, c, d] = dotted.slice(2).map(Number);
    plain = `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  if (!isIPv6(text) || !isIPv6(plain)) return undefined;
  const [head, tail] = plain.split("::");
  const groups = (part: string | undefined) => (part ? part.split(":") : []);
  const first = groups(head);
  const last = groups(tail);
  const middle = Array<string>(8 - first.length - last.length).fill("0");
  const words = [...first, ...middle, ...last].map((group) => Number.parseInt(group, 16));
  return [0, 2, 4, 6].map((i) => ((words[i] << 16) | words[i + 1]) >>> 0);
}
