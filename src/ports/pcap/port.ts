import { MillraceError } from "../../errors.js";
import {
  CAPTURE_BYTES,
  CAPTURE_COPIED,
  CAPTURE_PACKETS,
  CAPTURE_PASSED,
  CAPTURE_PASSED_BYTES,
} from "../../kernels/captures.js";
import type { ArenaMemory } from "../../memory/arena.js";
import { checkParameters, type Locator, numberParameter } from "../locator.js";
import type { Capabilities, DriverCounters, DriverOptions, PortDriver } from "../port.js";
import { attachReaderFilter, rejectedOf } from "./filter.js";
import { linkTypeNumber, linkTypeOf, parseLinkType } from "./link-types.js";
import { captureReadable, closeReader, openReader, readCapture } from "./reader.js";
import {
  closeWriter,
  openWriter,
  SNAPLEN,
  setFallbackTime,
  writeBurst,
  writerReady,
  writeStatistics,
  writtenPackets,
} from "./writer.js";

/** Opens a capture file for reading (`direction` in) or creates one. */
export async function openPcap(
  arena: ArenaMemory,
  locator: Locator,
  options: DriverOptions,
): Promise<PortDriver> {
  if (options.direction === "both")
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": a capture file goes one way`, {
      hint: "open it with direction in or out",
    });
  return options.direction === "in"
    ? openInput(arena, locator, options)
    : openOutput(arena, locator, options);
}

/** A link type among a locator's options; undefined where it is not given. */
function linkTypeParameter(locator: Locator): number | undefined {
  const text = locator.parameters.get("linktype");
  if (text === undefined) return undefined;
  const number = parseLinkType(text);
  if (number === undefined)
    throw new MillraceError("ERR_LOCATOR", `"${locator.text}": there is no link type "${text}"`, {
      hint: "give a name such as EN10MB, RAW or LINUX_SLL, or a number of the tcpdump.org list",
    });
  return number;
}

/** What every capture file can do; `linkType` differs. */
function captureCapabilities(linkType: number): Capabilities {
  return {
    linkType: linkTypeOf(linkType),
    mtu: 262_144,
    queues: 1,
    live: false,
    fragments: 65_535,
    checksum: { rx: false, tx: false },
    segmentation: false,
    headerSplit: false,
    hash: false,
    timestamps: "software",
    mode: "zero-copy",
  };
}

async function openInput(arena: ArenaMemory, locator: Locator, options: DriverOptions): Promise<PortDriver> {
  checkParameters(locator, ["truncated", "linktype"]);
  const truncated = choice(locator, "truncated", ["error", "quiet"]);
  const wanted = linkTypeParameter(locator);
  const reader = await openReader(arena, locator.place, {
    truncatedQuiet: truncated === "quiet",
    linkType: wanted ?? "first",
  });
  const count = (offset: number) => Number(arena.u64[(reader.state + offset) / 8]);
  let last = { packets: 0, bytes: 0, passed: 0, rejected: 0, copied: 0 };
  const counted = () => {
    if (!reader.closed) {
      const rejected = rejectedOf(reader);
      last = {
        packets: count(CAPTURE_PACKETS) + count(CAPTURE_PASSED) + rejected.packets,
        bytes: count(CAPTURE_BYTES) + count(CAPTURE_PASSED_BYTES) + rejected.bytes,
        passed: count(CAPTURE_PASSED),
        rejected: rejected.packets,
        copied: count(CAPTURE_COPIED),
      };
    }
    return last;
  };
  return {
    can: captureCapabilities(wanted ?? reader.interfaces[0]?.linkType ?? 1),
    get ended() {
      return reader.ended && reader.failure === undefined;
    },
    receive: (burst) => readCapture(reader, burst),
    send: () => {
      throw new MillraceError("ERR_CAPABILITY", `"${locator.text}" was opened for reading`);
    },
    readable: (signal) => captureReadable(reader, signal),
    writable: () => Promise.resolve(),
    counters: (): DriverCounters => {
      const { packets, bytes, passed, rejected, copied } = counted();
      return {
        received: { packets, bytes },
        transmitted: { packets: 0, bytes: 0 },
        dropped: {
          ...(passed === 0 ? {} : { linktype: passed }),
          ...(rejected === 0 ? {} : { filter: rejected }),
        },
        copies: copied === 0 ? {} : { copybreak: copied },
        held: 0,
      };
    },
    attachFilter: (program) => (attachReaderFilter(reader, program, options.maps) ? "wasm" : undefined),
    peer: (number) => reader.interfaces[number]?.name ?? `interface ${number}`,
    close: async () => {
      counted();
      await closeReader(reader);
    },
  };
}

/** The format that a file's name asks for: `.pcap`, `.cap` and `.dmp` are pcap, everything else pcapng. */
export function formatOfName(path: string): "pcap" | "pcapng" {
  return /\.(pcap|cap|dmp)$/.test(path) ? "pcap" : "pcapng";
}

async function openOutput(arena: ArenaMemory, locator: Locator, options: DriverOptions): Promise<PortDriver> {
  checkParameters(locator, ["format", "precision", "snaplen", "linktype", "flush"]);
  const linkType = linkTypeParameter(locator) ?? linkTypeNumber(options.linkType ?? "EN10MB");
  const snaplen = numberParameter(locator, "snaplen", 1, SNAPLEN) ?? SNAPLEN;
  const format = choice(locator, "format", ["pcap", "pcapng"]) ?? formatOfName(locator.place);
  const nano = choice(locator, "precision", ["micro", "nano"]) === "nano";
  const flush = locator.parameters.has("flush");
  const application = "millrace";
  const writer = await openWriter(
    arena,
    locator.place,
    { linkType },
    { format, nano, snaplen, flush, application },
  );
  let transmitted = { packets: 0, bytes: 0 };
  const counted = () => {
    if (!writer.closed) {
      const { packets, bytes } = writtenPackets(writer);
      transmitted = { packets, bytes };
    }
    return transmitted;
  };
  return {
    can: captureCapabilities(linkType),
    ended: false,
    receive: () => {
      throw new MillraceError("ERR_CAPABILITY", `"${locator.text}" was opened for writing`);
    },
    send: (burst, first) => {
      const now = performance.timeOrigin + performance.now();
      setFallbackTime(writer, Math.floor(now / 1000), Math.floor((now % 1000) * 1e6));
      return writeBurst(writer, burst, first);
    },
    readable: () => Promise.resolve(),
    writable: (signal) => writerReady(writer, signal),
    counters: () => ({
      received: { packets: 0, bytes: 0 },
      transmitted: counted(),
      dropped: {},
      // Every byte goes through a block on its way to the file.
      copies: { kernel: counted().bytes },
      held: 0,
    }),
    close: async () => {
      if (writer.closed) return;
      const { packets } = counted();
      const at = (performance.timeOrigin + performance.now()) / 1000;
      await writeStatistics(writer, { index: 0, at, delivered: packets });
      await closeWriter(writer);
    },
  };
}

function choice<T extends string>(locator: Locator, key: string, among: readonly T[]): T | undefined {
  const text = locator.parameters.get(key);
  const found = among.find((one) => one === text);
  if (text !== undefined && found === undefined)
    throw new MillraceError(
      "ERR_LOCATOR",
      `"${locator.text}": ${key} is ${among.join(" or ")}, not "${text}"`,
    );
  return found;
}
