import { Worker } from "node:worker_threads";
import { MillraceError, reviveError } from "../errors.js";
import { type ArenaMemory, shareArena } from "../memory/arena.js";
import { sweepWorker } from "../memory/owners.js";
import { freeRegionBytes } from "../memory/region.js";
import { parseLocator } from "../ports/locator.js";
import { readPacketLocator, usualRingBytes } from "../ports/packet/options.js";
import { sweepAttachments } from "../ports/xdp/directory.js";
import { defaultArena, memoryOf } from "./arena.js";
import { createDistributor, type Distributor } from "./distribute.js";
import { hasQueues, locatorForWorker } from "./forward-workers.js";
import { type OpenOptions, type OpenPort, openPort } from "./port.js";
import { emptySums, mergeReports, type Report, reportOf } from "./report.js";
import type { WorkerMessage, WorkerSeed } from "./worker-task.js";

export interface WorkerOptions<Data> extends Omit<OpenOptions, "direction"> {
  /** How many; 2 by default. */
  readonly count?: number;
  /** Processors to pin them to, in turn. */
  readonly cpus?: readonly number[];
  /** Key of the Toeplitz hash, 40 bytes, where flows are spread in software; SYMMETRIC_RSS_KEY keeps both directions together. */
  readonly key?: Uint8Array;
  /** Handed to each worker's `run`, cloned. */
  readonly data?: Data;
}

/** Workers under way. */
export interface Workers extends AsyncDisposable {
  /** The sum of their reports, when all have ended. Rejects with the first failure, when all have ended. */
  readonly done: Promise<Report>;
  /** Owner numbers of the workers in the arena, and whether each is alive. */
  readonly alive: readonly boolean[];
  /** The indirection table: a worker for each of 128 hash values, or fewer repeated. No flow is put out of order. Throws ERR_USAGE where queues are the card's. */
  steer(table: readonly number[]): void;
  /** Ends a worker at once, as a crash would: its flows go to the others, what it held is taken back. */
  terminate(index: number): Promise<void>;
  /** Ends them in good order. */
  close(): Promise<Report>;
}

/** One worker, as its starter sees it. */
interface Member {
  readonly thread: Worker;
  /** Its port is open and its module loaded; rejects as `ended` does. */
  readonly opened: Promise<void>;
  readonly ended: Promise<Report>;
  alive: boolean;
  owner: number;
}

let loopNames = 0;

/**
 * Starts one worker a queue of the port or, where it has one queue, spreads its flows over workers by hash. The
 * module exports `run(port, context)`; it runs in each worker with a port of its own. Nothing but `data` crosses
 * over. Throws ERR_LOCATOR, ERR_CAPABILITY, ERR_USAGE as open() does.
 */
export async function workers<Data = undefined>(
  locator: string,
  module: URL,
  options: WorkerOptions<Data> = {},
): Promise<Workers> {
  const count = options.count ?? 2;
  if (!(Number.isInteger(count) && count >= 1 && count <= 32))
    throw new MillraceError("ERR_USAGE", `${count} workers cannot be started`, { hint: "1 to 32" });
  const memory = memoryOf(options.arena ?? defaultArena());
  const stop = new AbortController();
  const spreads = count > 1 && !hasQueues(locator);
  const { count: _, cpus, key, data, arena: __, ...openOptions } = options;
  const port = spreads ? await openPort(locator, options) : undefined;
  const names = Array.from({ length: count }, (_, index) => nameFor(memory, locator, index, count, port));
  const loops = port === undefined ? [] : await Promise.all(names.map((name) => openPort(name, options)));
  let distributor: Distributor | undefined;
  const members = names.map((name, index): Member => {
    const seed: WorkerSeed = {
      millrace: shareArena(memory),
      worker: {
        index,
        locator: name,
        module: module.href,
        cpu: cpus?.[index % cpus.length],
        wait: options.wait,
        filter: spreads || typeof openOptions.filter !== "string" ? undefined : openOptions.filter,
        data,
      },
    };
    return startMember(seed, (member) => {
      distributor?.exclude(index);
      loops[index]?.driver.bury?.();
      if (member.owner !== 0) sweepWorker(memory, member.owner);
      sweepAttachments(memory);
    });
  });
  if (port !== undefined) distributor = createDistributor(port, loops, key);
  const opened = await Promise.allSettled(members.map((member) => member.opened));
  const spreading = distributor?.run(stop.signal).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  const finish = async (): Promise<Report> => {
    try {
      await spreading;
      for (const loop of loops) await loop.close();
      const results = await Promise.allSettled(members.map(({ ended }) => ended));
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined && !stop.signal.aborted) throw (failed as PromiseRejectedResult).reason;
      const reports = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
      return port === undefined || distributor === undefined
        ? mergeReports(reports)
        : withDistributor(mergeReports(reports), port, distributor);
    } finally {
      distributor?.close();
      await port?.close();
    }
  };
  const done = finish();
  done.catch(() => {}); // whoever asks for it hears of it
  const close = () => {
    stop.abort(new MillraceError("ERR_CLOSED", "the workers are being closed"));
    for (const { thread, alive } of members) if (alive) thread.postMessage("stop");
    return done;
  };
  const refused = opened.find((result) => result.status === "rejected");
  if (refused !== undefined) {
    await close().catch(() => {});
    throw (refused as PromiseRejectedResult).reason;
  }
  options.signal?.addEventListener("abort", () => void close().catch(() => {}), { once: true });
  return {
    done,
    get alive() {
      return members.map(({ alive }) => alive);
    },
    steer(table) {
      if (distributor === undefined)
        throw new MillraceError("ERR_USAGE", "these workers read queues of the port's own", {
          hint: "the card's own table spreads over them",
        });
      if (
        table.length === 0 ||
        table.some((worker) => !(Number.isInteger(worker) && worker >= 0 && worker < count))
      )
        throw new MillraceError("ERR_USAGE", `a table of ${table.join(",")} does not fit ${count} workers`);
      distributor.steer(table);
    },
    async terminate(index) {
      await members[index].thread.terminate();
      await members[index].ended.catch(() => {});
    },
    close,
    async [Symbol.asyncDispose]() {
      await close();
    },
  };
}

function nameFor(
  memory: ArenaMemory,
  locator: string,
  index: number,
  count: number,
  port: OpenPort | undefined,
): string {
  if (port === undefined)
    return count === 1 ? locator : `${locatorForWorker(locator, index)}${ringShare(memory, locator, count)}`;
  const link = { EN10MB: "ether", DATAGRAM: "datagram" }[String(port.can.linkType)] ?? "raw";
  return `loop:workers-${process.pid}-${loopNames++}-${index}?link=${link}`;
}

/** What gives each worker a packet: ring as large as the others', where the arena has no room for the usual ones. */
function ringShare(memory: ArenaMemory, locator: string, count: number): string {
  const parsed = parseLocator(locator);
  if (parsed.kind !== "packet") return "";
  const { buffer, delay } = readPacketLocator(parsed);
  const each = freeRegionBytes(memory) / 2 / count;
  const enough = buffer !== undefined || each >= usualRingBytes(memory.buffer.byteLength, delay);
  return enough ? "" : `&buffer=${Math.floor(each / 1024)}`;
}

function startMember(seed: WorkerSeed, onDeath: (member: Member) => void): Member {
  const thread = new Worker(new URL("./worker-entry.js", import.meta.url), { workerData: seed });
  let failure: unknown;
  let report: Report | undefined;
  let open = () => {};
  const opening = new Promise<void>((resolve) => {
    open = resolve;
  });
  const ended = new Promise<Report>((resolve, reject) => {
    thread.on("message", (message: WorkerMessage) => {
      if ("owner" in message) member.owner = message.owner;
      else if ("open" in message) open();
      else report = message.report;
    });
    thread.on("error", (error) => {
      failure = reviveError(error);
    });
    thread.on("exit", (status) => {
      member.alive = false;
      // One that ended in good order has closed its port; the arena still has its magazines and regions.
      onDeath(member);
      if (report !== undefined) resolve(report);
      else
        reject(
          failure ??
            new MillraceError(
              "ERR_CLOSED",
              `worker ${seed.worker.index} ended with status ${status} and no report`,
            ),
        );
    });
  });
  ended.catch(() => {});
  const opened = Promise.race([opening, ended.then(() => undefined)]);
  opened.catch(() => {});
  const member: Member = { thread, opened, ended, alive: true, owner: 0 };
  return member;
}

/** The workers' report with what happened before their loops: the port's drops, and what no worker took. */
function withDistributor(report: Report, port: OpenPort, { counts }: Distributor): Report {
  const counters = port.driver.counters();
  const kernel = counters.dropped.kernel ?? 0;
  const lost = counts.sent - report.received.packets; // with workers that died
  const dropped: Record<string, number> = { ...report.dropped };
  for (const [reason, packets] of Object.entries(counts.dropped))
    dropped[reason] = (dropped[reason] ?? 0) + packets;
  if (kernel > 0) dropped.kernel = (dropped.kernel ?? 0) + kernel;
  if (lost > 0) dropped.worker = (dropped.worker ?? 0) + lost;
  return reportOf({
    ...emptySums(),
    ...report,
    chunks: { ...report.chunks },
    gaps: { ...report.gaps },
    copies: { ...report.copies },
    created: { ...report.created },
    consumed: { ...report.consumed },
    delivered: { ...report.delivered },
    transmitted: { ...report.transmitted },
    control: { ...report.control },
    sources: [...report.sources],
    mode: [...report.mode, `${port.locator}: ${port.can.mode}`],
    received: { packets: counts.received + kernel, bytes: counts.bytes },
    dropped,
  });
}
