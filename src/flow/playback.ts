import { MillraceError } from "../errors.js";
import { compileFilter } from "../filter/compile.js";
import {
  BURST_METAS,
  META_NANOSECONDS,
  META_SECONDS,
  META_SIZE,
  META_VERDICT,
  VERDICT_ASIDE,
  VERDICT_PASS,
} from "../kernels/structs.js";
import { linkTypeNumber, linkTypeOf } from "../ports/pcap/link-types.js";
import { captureReadable, closeReader, openReader, readCapture } from "../ports/pcap/reader.js";
import { createPacer, paceGroup, type Rate, sleepUntil } from "./pace.js";
import type { OpenPort } from "./port.js";
import { burstFilter, type PortFilter } from "./port-filter.js";
import {
  closeSending,
  createSending,
  releaseSending,
  type Sending,
  type SendReport,
  sendReport,
  sendUntil,
} from "./sending.js";

/** When the packets of a capture are sent. */
export type Tempo =
  | { readonly kind: "capture"; readonly speed: number }
  | { readonly kind: "rate"; readonly rate: Rate }
  | { readonly kind: "top" };

export interface PlaybackOptions {
  readonly file: string;
  readonly tempo: Tempo;
  /** How often; Infinity: until aborted. */
  readonly loops: number;
  readonly until: AbortSignal;
  /** Only packets that match are sent, in the language of pcap-filter(7). */
  readonly filter?: string | undefined;
}

/** A capture file being sent out of a port. */
export interface Playback {
  run(): Promise<void>;
  report(): SendReport;
  close(): void;
}

/** Packets sent between two looks at the pacer, at most. */
const GROUP = 32;

export function createPlayback(port: OpenPort, options: PlaybackOptions): Playback {
  const { linkType } = port.can;
  const filter =
    options.filter === undefined
      ? undefined
      : burstFilter(port.memory, compileFilter(options.filter, { linkType, fromFile: true }));
  const sending = createSending(port.memory, port.driver, options.until);
  return {
    async run() {
      try {
        for (let loop = 0; loop < options.loops; loop++) {
          options.until.throwIfAborted();
          await playOnce(port, sending, filter, options);
        }
      } catch (error) {
        if (!options.until.aborted) throw error;
      }
    },
    report: () => ({
      ...sendReport(sending),
      ...(filter === undefined ? {} : { filteredIn: filter.place }),
    }),
    close: () => closeSending(sending),
  };
}

async function playOnce(
  port: OpenPort,
  sending: Sending,
  filter: PortFilter | undefined,
  { file, tempo, until }: PlaybackOptions,
): Promise<void> {
  const { arena, burst } = sending;
  const reader = await openReader(arena, file, { linkType: "first" });
  try {
    const linkType = reader.interfaces[0]?.linkType ?? 1;
    // By number: some have several names.
    if (linkTypeNumber(linkTypeOf(linkType)) !== linkTypeNumber(port.can.linkType))
      throw new MillraceError(
        "ERR_USAGE",
        `"${file}" holds packets of link type ${linkTypeOf(linkType)}, ${port.locator} takes ${port.can.linkType}`,
        { hint: "the link types must be the same" },
      );
    const send = sender(sending, tempo);
    for (;;) {
      const packets = readCapture(reader, burst);
      if (packets === 0) {
        if (reader.ended) return;
        await captureReadable(reader, until);
        continue;
      }
      sending.created += packets;
      filter?.apply(burst);
      try {
        sending.edge.fit(burst);
        await send(packets);
      } finally {
        arena.kernels.burstVerdict(burst, VERDICT_ASIDE, VERDICT_PASS);
        releaseSending(sending);
      }
    }
  } finally {
    await closeReader(reader);
  }
}

/** What sends the packets of the burst in the tempo asked for. */
function sender(sending: Sending, tempo: Tempo): (packets: number) => Promise<void> {
  if (tempo.kind === "top") return (packets) => sendUntil(sending, 0, packets);
  if (tempo.kind === "rate") return atRate(sending, tempo.rate);
  return asCaptured(sending, tempo.speed);
}

function release(sending: Sending, from: number, to: number): number {
  const { arena, burst } = sending;
  const metas = arena.u32[(burst + BURST_METAS) >>> 2];
  let bytes = 0;
  for (let packet = from; packet < to; packet++) {
    const verdict = metas + packet * META_SIZE + META_VERDICT;
    if (arena.u8[verdict] !== VERDICT_ASIDE) continue;
    arena.u8[verdict] = VERDICT_PASS;
    bytes += arena.kernels.packetLength(burst, packet);
  }
  return bytes;
}

function atRate(sending: Sending, rate: Rate): (packets: number) => Promise<void> {
  const pacer = createPacer(rate);
  const { arena, burst, until } = sending;
  const group = paceGroup(rate, GROUP);
  return async (packets) => {
    arena.kernels.burstVerdict(burst, VERDICT_PASS, VERDICT_ASIDE);
    for (let from = 0; from < packets; from += group) {
      const to = Math.min(packets, from + group);
      const bytes = release(sending, from, to);
      await sendUntil(sending, from, to);
      const pause = pacer.sent(to - from, bytes, until);
      if (pause !== undefined) await pause;
    }
  };
}

/** With the gaps of the capture, divided by `speed`. Times that run backwards leave no gap. */
function asCaptured(sending: Sending, speed: number): (packets: number) => Promise<void> {
  const { arena, burst, until } = sending;
  const begun = performance.now();
  let first: number | undefined;
  const base = { seconds: 0 };
  const due = (packet: number) => {
    const meta = arena.u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
    const seconds = arena.f64[(meta + META_SECONDS) / 8];
    const milliseconds = arena.u32[(meta + META_NANOSECONDS) >>> 2] / 1e6;
    if (first === undefined) {
      first = milliseconds;
      base.seconds = seconds;
    }
    return begun + ((seconds - base.seconds) * 1000 + milliseconds - first) / speed;
  };
  return async (packets) => {
    arena.kernels.burstVerdict(burst, VERDICT_PASS, VERDICT_ASIDE);
    for (let from = 0; from < packets; ) {
      await sleepUntil(due(from), until);
      const now = performance.now();
      let to = from + 1;
      while (to < packets && due(to) <= now) to++;
      release(sending, from, to);
      await sendUntil(sending, from, to);
      from = to;
    }
  };
}
