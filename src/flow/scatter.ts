import { type FileHandle, open as openFile } from "node:fs/promises";
import { MillraceError } from "../errors.js";
import { parseLocator } from "../ports/locator.js";
import { add, addAll, addEdge, burstBytesOf } from "./account.js";
import { type Arena, defaultArena, memoryOf } from "./arena.js";
import { DATAGRAM_BYTES } from "./chunk.js";
import { type End, openEnds } from "./ends.js";
import { createOutlet, type Outlet } from "./outlet.js";
import { createPacer, parseRate } from "./pace.js";
import { createPacketizer, type Packetizer, type ScatterOptions } from "./packetize.js";
import type { OpenPort } from "./port.js";
import { emptySums, type Report, reportOf } from "./report.js";

export interface ScatterFileOptions extends ScatterOptions {
  /** Bytes of the file in one chunk; 1 MiB by default. The last may be shorter. */
  readonly chunkSize?: number;
  /** How many times the file is sent; 1 by default. `-` is sent once. */
  readonly repeat?: number;
  /** Ends at once: rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Ends in good order: what is under way still goes out, and it resolves. */
  readonly until?: AbortSignal;
  /** Called with the report so far, after each chunk. */
  readonly onChunk?: (report: () => Report) => void;
  readonly arena?: Arena;
}

/**
 * Sends a file, or standard input (`-`), as datagrams of a layout out of a port: the inverse of a gather.
 * Resolves with what was sent. Throws ERR_LOCATOR, ERR_LAYOUT, ERR_USAGE, or an errno's name.
 */
export async function scatter(from: string, to: End, options: ScatterFileOptions = {}): Promise<Report> {
  const path = from === "-" ? "-" : from.replace(/^file:/, "");
  const file = path === "-" ? undefined : await openInput(path);
  const memory = memoryOf(options.arena ?? defaultArena());
  const chunkSize = options.chunkSize ?? 2 ** 20;
  const frames = Math.ceil(chunkSize / memory.frameSize);
  const started = performance.now();
  let ends: Awaited<ReturnType<typeof openEnds>> | undefined;
  let packetizer: Packetizer | undefined;
  let outlet: Outlet | undefined;
  let address = 0;
  let sent = 0;
  const signal = options.signal ?? new AbortController().signal;
  try {
    ends = await openEnds([to], "out");
    const [port] = ends.ports;
    const { driver } = port;
    const arena = port.memory;
    const size = options.datagramSize ?? Math.min(DATAGRAM_BYTES, port.can.mtu);
    const maker = createPacketizer(arena, driver, { ...options, datagramSize: size });
    packetizer = maker;
    const way = createOutlet(arena, driver);
    outlet = way;
    const rate = options.rate ?? parseLocator(port.locator).parameters.get("rate");
    const pacer = rate === undefined ? undefined : createPacer(parseRate(rate));
    address = arena.kernels.claimFrames(frames) >>> 0;
    if (address === 0)
      throw new MillraceError("ERR_MEMORY", `the arena has no ${chunkSize} contiguous bytes for a chunk`, {
        hint: "give a smaller chunk size, or make a larger arena",
      });
    const report = () => reportOf(sumUp(port, maker, way, sent, (performance.now() - started) / 1000));
    const sendAll = async () => {
      for (let packets = maker.next(); packets > 0; packets = maker.next()) {
        const bytes = pacer === undefined ? 0 : burstBytesOf(arena, maker.burst);
        await way.send(maker.burst, signal);
        const wait = pacer?.sent(packets, bytes, signal);
        if (wait !== undefined) await wait;
      }
    };
    for await (const length of readChunks(
      file,
      path,
      () => arena.u8.subarray(address, address + chunkSize),
      options,
    )) {
      signal.throwIfAborted();
      maker.begin(maker.single(address, length));
      await sendAll();
      // The port may still read from the chunk: a fresh one is taken while it does.
      if (!arena.kernels.alone(address, frames)) {
        arena.kernels.releaseFrames(address, frames);
        address = await claimAgain(port, frames, signal);
      }
      sent += length;
      options.onChunk?.(report);
      if (options.until?.aborted) break;
    }
    maker.beginStop();
    await sendAll();
    const [only] = ends.own;
    await only?.close();
    return report();
  } finally {
    outlet?.close();
    packetizer?.close();
    if (address !== 0) memory.kernels.releaseFrames(address, frames);
    await ends?.close();
    await file?.close();
  }
}

async function openInput(path: string): Promise<FileHandle> {
  try {
    return await openFile(path, "r");
  } catch (error) {
    const { code = "ERR_INPUT" } = error as NodeJS.ErrnoException;
    throw new MillraceError(code, `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

async function claimAgain(port: OpenPort, frames: number, signal: AbortSignal): Promise<number> {
  for (;;) {
    const address = port.memory.kernels.claimFrames(frames) >>> 0;
    if (address !== 0) return address;
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Fills `target` again and again; yields how many bytes it holds now. */
async function* readChunks(
  file: FileHandle | undefined,
  path: string,
  memory: () => Uint8Array<SharedArrayBuffer>,
  options: ScatterFileOptions,
): AsyncGenerator<number, void, undefined> {
  if (file === undefined) {
    yield* readStandardInput(memory);
    return;
  }
  for (let round = 0; round < (options.repeat ?? 1); round++) {
    let position = 0;
    for (;;) {
      let length = 0;
      const target = memory();
      while (length < target.length) {
        const { bytesRead } = await file.read(target, length, target.length - length, position);
        if (bytesRead === 0) break;
        length += bytesRead;
        position += bytesRead;
      }
      if (length > 0) yield length;
      if (length < target.length) break;
    }
    if (position === 0) throw new MillraceError("ERR_INPUT", `${path} is empty`);
  }
}

async function* readStandardInput(
  memory: () => Uint8Array<SharedArrayBuffer>,
): AsyncGenerator<number, void, undefined> {
  let length = 0;
  for await (const data of process.stdin as AsyncIterable<Uint8Array>) {
    let rest = data;
    while (rest.length > 0) {
      const target = memory();
      const part = rest.subarray(0, target.length - length);
      target.set(part, length);
      length += part.length;
      rest = rest.subarray(part.length);
      if (length < target.length) continue;
      yield length;
      length = 0;
    }
  }
  if (length > 0) yield length;
}

function sumUp(
  port: OpenPort,
  packetizer: Packetizer,
  { counters: edge }: Outlet,
  bytes: number,
  seconds: number,
) {
  const sums = emptySums();
  const counters = port.driver.counters();
  sums.transmitted = { ...counters.transmitted };
  add(sums.created, "scatter", packetizer.made);
  addAll(sums.created, counters.created ?? {});
  addEdge(sums, edge);
  addAll(sums.dropped, counters.dropped);
  sums.held = counters.held;
  sums.copies.linearize = packetizer.linearized + (counters.copies.linearize ?? 0);
  sums.copies.kernel = (counters.copies.kernel ?? 0) + bytes; // read from the file
  sums.mode.push(`${port.locator}: ${port.can.mode}`);
  sums.seconds = seconds;
  return sums;
}
