import type { Count } from "../ports/port.js";

/**
 * What a flow did. In packets, exactly:
 * received + Σ created = transmitted + delivered + control + Σ consumed + Σ dropped + held.
 */
export interface Report {
  /** Packets that came to the sources, those that the kernel dropped among them. */
  readonly received: Count;
  /** Packets that left through a sink. */
  readonly transmitted: Count;
  /** Packets that reached the flow's end otherwise: gathered into chunks that arrived, or read by the program. Bytes of payload. */
  readonly delivered: Count;
  /** Datagrams that carry no data: leaders, trailers, reports. */
  readonly control: Count;
  /** Packets made here, by name: `scatter`, `clone`, `split`, `segment` … */
  readonly created: Readonly<Record<string, number>>;
  /** Packets that went into others, by name. */
  readonly consumed: Readonly<Record<string, number>>;
  /** Packets under way at this moment. */
  readonly held: number;
  /** Packets dropped, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  /** `lost`: chunks of which nothing came, where ids count; `dropped`: given up for a gap or for lack of memory. */
  readonly chunks: {
    readonly complete: number;
    readonly incomplete: number;
    readonly lost: number;
    readonly dropped: number;
  };
  /** What never came. */
  readonly gaps: { readonly datagrams: number; readonly bytes: number };
  readonly reordered: number;
  /** Restarts of a stream. */
  readonly resync: number;
  readonly streams: number;
  /** Each source of a gather: data datagrams it brought, and how many of all that the streams had it did not. */
  readonly sources: readonly {
    readonly locator: string;
    readonly datagrams: number;
    readonly lost: number;
  }[];
  /** Bytes copied, by reason, and copies a byte delivered. */
  readonly copies: {
    readonly bytes: number;
    readonly perByte: number;
    readonly linearize: number;
    readonly copybreak: number;
    readonly chunk: number;
    readonly kernel: number;
  };
  /** How each port works: `zero-copy`, or `copy` and why. */
  readonly mode: readonly string[];
  readonly seconds: number;
  /** Payload delivered. */
  readonly bitsPerSecond: number;
}

export interface Sums {
  received: { packets: number; bytes: number };
  transmitted: { packets: number; bytes: number };
  delivered: { packets: number; bytes: number };
  control: { packets: number; bytes: number };
  created: Record<string, number>;
  consumed: Record<string, number>;
  held: number;
  dropped: Record<string, number>;
  chunks: { complete: number; incomplete: number; lost: number; dropped: number };
  gaps: { datagrams: number; bytes: number };
  reordered: number;
  resync: number;
  streams: number;
  sources: { locator: string; datagrams: number; lost: number }[];
  copies: { linearize: number; copybreak: number; chunk: number; kernel: number };
  mode: string[];
  seconds: number;
}

export function emptySums(): Sums {
  const count = () => ({ packets: 0, bytes: 0 });
  return {
    received: count(),
    transmitted: count(),
    delivered: count(),
    control: count(),
    created: {},
    consumed: {},
    held: 0,
    dropped: {},
    chunks: { complete: 0, incomplete: 0, lost: 0, dropped: 0 },
    gaps: { datagrams: 0, bytes: 0 },
    reordered: 0,
    resync: 0,
    streams: 0,
    sources: [],
    copies: { linearize: 0, copybreak: 0, chunk: 0, kernel: 0 },
    mode: [],
    seconds: 0,
  };
}

/** The report of the sums. */
export function reportOf(sums: Sums): Report {
  const { copies, delivered, seconds, transmitted } = sums;
  const bytes = copies.linearize + copies.copybreak + copies.chunk + copies.kernel;
  const through = delivered.bytes > 0 ? delivered.bytes : transmitted.bytes;
  return {
    ...sums,
    copies: { bytes, perByte: through === 0 ? 0 : bytes / through, ...copies },
    bitsPerSecond: seconds === 0 ? 0 : (through * 8) / seconds,
  };
}

/** The reports of several workers as one: counts add up, the time is the longest. */
export function mergeReports(reports: readonly Report[]): Report {
  const sums = emptySums();
  for (const report of reports) {
    for (const key of ["received", "transmitted", "delivered", "control"] as const) {
      sums[key].packets += report[key].packets;
      sums[key].bytes += report[key].bytes;
    }
    for (const key of ["created", "consumed", "dropped"] as const)
      for (const [name, count] of Object.entries(report[key]))
        sums[key][name] = (sums[key][name] ?? 0) + count;
    for (const key of ["held", "reordered", "resync", "streams"] as const) sums[key] += report[key];
    for (const key of ["complete", "incomplete", "lost", "dropped"] as const)
      sums.chunks[key] += report.chunks[key];
    for (const key of ["datagrams", "bytes"] as const) sums.gaps[key] += report.gaps[key];
    for (const key of ["linearize", "copybreak", "chunk", "kernel"] as const)
      sums.copies[key] += report.copies[key];
    sums.sources.push(...report.sources);
    sums.mode.push(...report.mode);
    sums.seconds = Math.max(sums.seconds, report.seconds);
  }
  return reportOf(sums);
}

/** received + created − (transmitted + delivered + control + consumed + dropped + held): 0, or packets vanished. */
export function imbalance(report: Report): number {
  const total = (counts: Readonly<Record<string, number>>) =>
    Object.values(counts).reduce((a, b) => a + b, 0);
  return (
    report.received.packets +
    total(report.created) -
    report.transmitted.packets -
    report.delivered.packets -
    report.control.packets -
    total(report.consumed) -
    total(report.dropped) -
    report.held
  );
}
