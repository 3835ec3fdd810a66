/// <reference types="node" preserve="true" />
export { type ErrorCode, type FaultPlace, MillraceError } from "./errors.js";
export { compileFilter, type Filter, type FilterOptions } from "./filter/compile.js";
export { type Arena, createArena } from "./flow/arena.js";
export type { Chunk, HeldChunk } from "./flow/chunk.js";
export type { End } from "./flow/ends.js";
export { type Flow, flow, type ToOptions } from "./flow/flow.js";
export type { Gap, GapNotice } from "./flow/gap.js";
export type { GatherOptions } from "./flow/gather-options.js";
export type { ScatterOptions } from "./flow/packetize.js";
export { type OpenOptions, open, type Port, type PortStats } from "./flow/port.js";
export type { Report } from "./flow/report.js";
export { type ScatterFileOptions, scatter } from "./flow/scatter.js";
export type { Run } from "./flow/worker-task.js";
export { type WorkerOptions, type Workers, workers } from "./flow/workers.js";
export { findLayout } from "./layout/find.js";
export { parseLayout } from "./layout/parse.js";
export type {
  Field as LayoutField,
  Layout,
  LayoutCase,
  LayoutRules,
  Length as LayoutLength,
  Match as LayoutMatch,
} from "./layout/types.js";
export * from "./packet/headers/index.js";
export { SYMMETRIC_RSS_KEY } from "./packet/rss.js";
export { summarize } from "./packet/summary.js";
export type { Burst, Header, HeaderType, HeaderView, HeldPacket, LinkType, Packet } from "./packet/types.js";
export type { Capabilities, Count } from "./ports/port.js";
