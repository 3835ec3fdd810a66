import { MillraceError } from "../errors.js";
import { WASM, type WasmMemory } from "../kernels/webassembly.js";
import { linkTypeNumber, linkTypeOf } from "../packet/linktype.js";
import type { LinkType, Packet } from "../packet/types.js";
import type { ClassicProgram } from "./classic.js";
import { suggestion } from "./fault.js";
import { interpret } from "./interpret.js";
import { readNumbers } from "./listing.js";
import { compileProgram } from "./program.js";
import { type FilterLinkType, LINK_TYPES } from "./state.js";
import { verify } from "./verify.js";
import { compileModule, instantiateClassifier } from "./wasm.js";

/** A compiled filter. */
export interface Filter {
  /** As it was given. */
  readonly expression: string;
  /** Classic BPF (struct sock_filter): returns the snap length for a match, else 0. */
  readonly program: ClassicProgram;
  /** Whether a packet, from its link layer header on, matches. A packet too short for a test does not. */
  matches(packet: Packet | Uint8Array): boolean;
}

export interface FilterOptions {
  /** Link type of the packets; EN10MB when it is not given. */
  readonly linkType?: LinkType;
  /** Bytes of a packet that a match keeps, 1 to 2^32 - 1; 262,144 when it is not given. */
  readonly snaplen?: number;
  /**
   * True for packets of a live port, whose outermost VLAN tag may stand beside their bytes: the kernel and cards
   * take it out. The program then looks there too, as a socket filter or over a burst.
   */
  readonly tagsBeside?: boolean;
  /**
   * True for packets of a capture file: which interface they came from and which way they went is refused where they
   * do not say so, and an address family of NULL and LOOP may be another system's than Linux's.
   */
  readonly fromFile?: boolean;
}

/** tcpdump's default. */
export const DEFAULT_SNAPLEN = 262_144;

/**
 * Compiles an expression of the pcap-filter(7) language; the empty one matches everything. Host names are looked
 * up once, here. Throws ERR_FILTER, with the column at fault and a hint.
 */
export function compileFilter(expression: string, options: FilterOptions = {}): Filter {
  const linkType = filterLinkType(options.linkType ?? "EN10MB");
  const snaplen = options.snaplen ?? DEFAULT_SNAPLEN;
  if (!(Number.isInteger(snaplen) && snaplen >= 1 && snaplen <= 0xffffffff))
    throw new MillraceError("ERR_FILTER", `filter: a snap length of ${snaplen} bytes is not possible`, {
      hint: "give 1 to 4294967295 bytes",
    });
  const { tagsBeside = false, fromFile = false } = options;
  return filterOf(expression, compileProgram(expression, { linkType, snaplen, tagsBeside, fromFile }));
}

/** A filter from classic BPF in numbers, as tcpdump -ddd prints it. Throws ERR_FILTER for one that must not be run. */
export function readFilter(numbers: string): Filter {
  return filterOf(numbers, readNumbers(numbers));
}

/** The link type by the name under which filters are compiled. Throws ERR_FILTER for one they are not compiled for. */
export function filterLinkType(linkType: LinkType): FilterLinkType {
  const name = typeof linkType === "number" ? linkTypeOf(linkType) : linkTypeOf(linkTypeNumber(linkType));
  const known = LINK_TYPES.find((each) => each === name);
  if (known !== undefined) return known;
  if (name === "DATAGRAM")
    throw new MillraceError(
      "ERR_FILTER",
      "filters look at headers, and datagrams of a socket come without them",
      {
        hint: `read them by packet: with "udp port 5000" as filter; filters are for ${LINK_TYPES.join(", ")}`,
      },
    );
  throw new MillraceError("ERR_FILTER", `filters are not compiled for link type ${String(linkType)}`, {
    hint: suggestion(String(linkType), LINK_TYPES) ?? `they are for ${LINK_TYPES.join(", ")}`,
  });
}

/** Bytes of memory in which single packets are looked at; longer ones are interpreted. */
const SCRATCH = 1 << 20;
let scratch: { readonly memory: WasmMemory; readonly bytes: Uint8Array } | undefined;

function scratchMemory() {
  if (scratch === undefined) {
    const pages = SCRATCH >>> 16;
    const memory = new WASM.Memory({ initial: pages, maximum: pages, shared: true });
    scratch = { memory, bytes: new Uint8Array(memory.buffer) };
  }
  return scratch;
}

function filterOf(expression: string, program: ClassicProgram): Filter {
  verify(program);
  let run: ((length: number, wireLength: number) => boolean) | undefined;
  const start = () => {
    const classifier = instantiateClassifier(compileModule([program]), scratchMemory().memory);
    return (length: number, wireLength: number) => classifier.match(0, 0, length, wireLength);
  };
  return {
    expression,
    program,
    matches(packet) {
      const own = packet instanceof Uint8Array;
      const wireLength = own ? packet.length : packet.wireLength;
      if (packet.length > SCRATCH) return interpret(program, own ? packet : packet.copy(), wireLength) !== 0;
      run ??= start();
      const { bytes } = scratchMemory();
      let at = 0;
      for (const piece of own ? [packet] : packet.pieces()) {
        bytes.set(piece, at);
        at += piece.length;
      }
      return run(at, wireLength);
    },
  };
}
