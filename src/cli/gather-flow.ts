import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { MillraceError } from "../errors.js";
import type { Chunk } from "../flow/chunk.js";
import type { End } from "../flow/ends.js";
import { type Flow, flow } from "../flow/flow.js";
import type { GatherOptions } from "../flow/gather-options.js";

/** The flags of `millrace gather`, which its workers are given too. */
export interface GatherFlags {
  readonly from: readonly string[];
  readonly to: string;
  readonly layout: string;
  readonly parameter?: Record<string, number>;
  readonly udpPort?: number;
  readonly chunkSize?: number;
  readonly window?: number;
  readonly open?: number;
  readonly timeout?: number;
  readonly gap?: "zero" | "skip" | "drop";
  readonly linked?: boolean;
  readonly swap?: "16" | "32" | "64";
  readonly transform?: string;
  readonly header?: string;
  readonly datagramSize?: number;
  readonly rate?: string;
  readonly filter?: string;
  readonly count?: number;
  readonly duration?: number;
  readonly maxStreams?: number;
  readonly maxBytes?: number;
  readonly checksum?: boolean;
  readonly json?: boolean;
  readonly interval?: number;
  readonly workers?: number;
}

/** The flow that the flags describe, from the given ends; the filter is the port's where one is open already. */
export async function gatherFlow(from: readonly End[], flags: GatherFlags): Promise<Flow<Chunk>> {
  const transforms = await transformsOf(flags);
  const packets = flow(from);
  const filtered =
    flags.filter === undefined || typeof from[0] !== "string" ? packets : packets.filter(flags.filter);
  let chunks = filtered.gather(gatherOptions(flags));
  for (const transform of transforms) chunks = chunks.transform(transform);
  return chunks.scatter({
    ...(flags.header === undefined ? {} : { header: flags.header }),
    ...(flags.datagramSize === undefined ? {} : { datagramSize: flags.datagramSize }),
    ...(flags.rate === undefined ? {} : { rate: flags.rate }),
  });
}

function gatherOptions(flags: GatherFlags): GatherOptions {
  const { layout, parameter, ...rest } = flags;
  const { udpPort, chunkSize, window, open, timeout, gap, linked, checksum, maxStreams, maxBytes } = rest;
  const given = { udpPort, chunkSize, window, open, timeout, gap, linked, checksum, maxStreams, maxBytes };
  return {
    layout,
    ...(parameter === undefined ? {} : { parameters: parameter }),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  };
}

async function transformsOf(flags: GatherFlags): Promise<((chunk: Chunk) => void)[]> {
  const transforms: ((chunk: Chunk) => void)[] = [];
  if (flags.swap !== undefined) {
    const bits = Number(flags.swap) as 16 | 32 | 64;
    transforms.push((chunk) => chunk.swap(bits));
  }
  if (flags.transform !== undefined) {
    const module = (await importModule(flags.transform)) as { readonly transform?: unknown };
    if (typeof module.transform !== "function")
      throw new MillraceError("ERR_USAGE", `${flags.transform} exports no function transform(chunk)`);
    transforms.push(module.transform as (chunk: Chunk) => void);
  }
  return transforms;
}

async function importModule(path: string): Promise<unknown> {
  try {
    return await import(pathToFileURL(resolve(path)).href);
  } catch (cause) {
    throw new MillraceError("ERR_USAGE", `the module ${path} cannot be loaded: ${(cause as Error).message}`, {
      cause,
    });
  }
}
