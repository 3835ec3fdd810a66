// Frames at the rate of a real source, from one thread to another: what share of a core each needs.
import { Worker } from "node:worker_threads";
import { type ArenaMemory, type ArenaShare, shareArena } from "../../src/memory/arena.js";

export interface PacedTask {
  readonly locator: string;
  readonly layout: string;
  readonly parameters?: Readonly<Record<string, number>>;
  /** Bytes of a full datagram, and of the data in it. */
  readonly datagramBytes: number;
  readonly dataBytes: number;
  readonly frameBytes: number;
  /** Of the frames' own bytes. */
  readonly bitsPerSecond: number;
  readonly frames: number;
}

export interface PacedSeed {
  readonly millrace: ArenaShare;
  readonly role: "send" | "receive";
  readonly task: PacedTask;
}

interface Used {
  readonly cpu: number;
  readonly seconds: number;
  /** Frames that were sent, or received whole. */
  readonly frames: number;
}

export type PacedMessage = Used | { readonly ready: true };

export interface Paced {
  /** Percent of a core that the receiving thread takes; the sender's says little, since it waits for its turns awake. */
  readonly receiver: number;
  /** Gbit/s of whole frames. */
  readonly gbits: number;
}

/** Runs a sender and a receiver in a thread each. Throws when a frame did not come whole. */
export async function paced(arena: ArenaMemory, task: PacedTask): Promise<Paced> {
  const receiving = start(arena, { role: "receive", task });
  await receiving.ready;
  const [, got] = await Promise.all([start(arena, { role: "send", task }).used, receiving.used]);
  if (got.frames < task.frames) throw new Error(`${task.frames - got.frames} frames did not come whole`);
  return {
    receiver: (100 * got.cpu) / got.seconds,
    gbits: (got.frames * task.frameBytes * 8) / got.seconds / 1e9,
  };
}

function start(
  arena: ArenaMemory,
  seed: Omit<PacedSeed, "millrace">,
): { readonly ready: Promise<void>; readonly used: Promise<Used> } {
  const workerData: PacedSeed = { millrace: shareArena(arena), ...seed };
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData });
  let ready = () => {};
  const whenReady = new Promise<void>((resolve) => {
    ready = resolve;
  });
  const used = new Promise<Used>((resolve, reject) => {
    worker.on("message", (message: PacedMessage) => {
      if ("ready" in message) ready();
      else resolve(message);
    });
    worker.on("error", reject);
    worker.on("exit", (status) => reject(new Error(`a thread ended with status ${status}`)));
  });
  return { ready: Promise.race([whenReady, used.then(() => undefined)]), used };
}
