// IP reassembly (RFC 791 section 3.2, RFC 8200 section 4.5, RFC 5722), bounded in datagrams, fragments, bytes and time.
import { count, type PacketContext } from "./context.js";
import { firstBytes, type IpFragment, joinFragments, readFragment } from "./ipfragment.js";
import { linkTypeNumber } from "./linktype.js";
import { hold, vacate } from "./operations.js";
import type { LinkType } from "./types.js";

export interface ReassemblyOptions {
  readonly linkType: LinkType;
  /** Datagrams under way at most; the oldest gives way. 256 by default. */
  readonly datagrams?: number;
  /** Fragments held at most, each of which takes a frame or more; 1,024 by default. The oldest datagram gives way. */
  readonly fragments?: number;
  /** Payload bytes held at most, 4 MiB by default; the oldest gives way. */
  readonly bytes?: number;
  /** Milliseconds from the first fragment on, 30,000 by default. */
  readonly timeout?: number;
}

/** What became of fragments, in fragments but for `reassembled`. */
export interface ReassemblyCounters {
  reassembled: number;
  /** Fragments that went into a datagram. */
  joined: number;
  /** The same bytes again. */
  duplicates: number;
  /** Given up with their datagram: a fragment overlapped another (RFC 5722). */
  overlaps: number;
  /** Given up with their datagram: it took too long, or had to give way. */
  expired: number;
  /** Lengths that cannot be, and datagrams of more than 65,535 bytes or a thousand pieces. */
  malformed: number;
  /** Fragments held now. */
  held: number;
}

export interface Reassembler {
  readonly counters: ReassemblyCounters;
  /**
   * Takes a fragment out of its burst. Returns true when its datagram became whole: then the packet stands at the
   * end of the burst `to` (which may be the same), metadata from its first fragment. Fragments that were given
   * up are freed and counted. `now` is a clock in milliseconds.
   */
  feed(burst: number, packet: number, to: number, now: number): boolean;
  /** Gives up what took too long. */
  expire(now: number): void;
  close(): void;
}

interface Piece {
  readonly slot: number;
  readonly from: number;
  readonly to: number;
}

interface Datagram {
  readonly key: string;
  readonly since: number;
  pieces: Piece[];
  bytes: number;
  /** End of the payload, once the last fragment is there. */
  total: number | undefined;
}

const LARGEST = 65_535;

export function createReassembler(context: PacketContext, options: ReassemblyOptions): Reassembler {
  const { arena, ledger } = context;
  const { kernels } = arena;
  const link = linkTypeNumber(options.linkType);
  const most = {
    datagrams: options.datagrams ?? 256,
    fragments: options.fragments ?? 1024,
    bytes: options.bytes ?? 4 * 2 ** 20,
  };
  const timeout = options.timeout ?? 30_000;
  const underWay = new Map<string, Datagram>(); // oldest first
  let held = 0; // bytes
  const counters: ReassemblyCounters = {
    reassembled: 0,
    joined: 0,
    duplicates: 0,
    overlaps: 0,
    expired: 0,
    malformed: 0,
    held: 0,
  };

  const free = (slot: number): void => {
    kernels.burstRelease(slot, 0);
    context.freeSlot(slot);
    ledger.held--;
    count(ledger.dropped, "reassembly");
  };

  const forget = (datagram: Datagram): void => {
    underWay.delete(datagram.key);
    held -= datagram.bytes;
    counters.held -= datagram.pieces.length;
  };

  const giveUp = (datagram: Datagram, why: "overlaps" | "expired" | "malformed"): void => {
    counters[why] += datagram.pieces.length;
    forget(datagram);
    for (const piece of datagram.pieces) free(piece.slot);
  };

  const expire = (now: number): void => {
    for (const datagram of underWay.values()) {
      if (now - datagram.since < timeout) return;
      giveUp(datagram, "expired");
    }
  };

  const makeRoom = (): void => {
    for (const datagram of underWay.values()) {
      if (underWay.size <= most.datagrams && counters.held <= most.fragments && held <= most.bytes) return;
      giveUp(datagram, "expired");
    }
  };

  const keyOf = (slot: number, { family, network, header }: IpFragment): string => {
    const view = firstBytes(context, slot, family === 4 ? header + 20 : header + 8);
    if (family === 4)
      return `4 ${view.slice(network + 12, network + 20)} ${view.slice(network + 4, network + 6)} ${view[network + 9]}`;
    return `6 ${view.slice(network + 8, network + 40)} ${view.slice(header + 4, header + 8)}`;
  };

  return {
    counters,
    expire,
    feed(burst, packet, to, now) {
      expire(now);
      const fragment = readFragment(context, burst, packet, link);
      const slot = hold(context, burst, packet);
      ledger.held++;
      if (fragment === undefined) {
        counters.malformed++;
        free(slot);
        return false;
      }
      const { from, last } = placeOf(context, slot, fragment);
      const end = from + fragment.end - fragment.payload;
      const key = keyOf(slot, fragment);
      let datagram = underWay.get(key);
      if (end === from || (!last && end % 8 !== 0) || end > LARGEST) {
        counters.malformed++;
        free(slot);
        if (datagram !== undefined && end > LARGEST) giveUp(datagram, "malformed");
        return false;
      }
      if (datagram === undefined) {
        datagram = { key, since: now, pieces: [], bytes: 0, total: undefined };
        underWay.set(key, datagram);
      }
      const at = datagram.pieces.findIndex((piece) => piece.to > from);
      const other = at < 0 ? undefined : datagram.pieces[at];
      if (other !== undefined && other.from === from && other.to === end) {
        counters.duplicates++;
        free(slot);
        return false;
      }
      const known = datagram.total;
      if (
        (other !== undefined && other.from < end) ||
        (known !== undefined && (end > known || (last && end !== known))) ||
        (last && (datagram.pieces.at(-1)?.to ?? 0) > end)
      ) {
        counters.overlaps++;
        free(slot);
        giveUp(datagram, "overlaps");
        return false;
      }
      datagram.pieces.splice(at < 0 ? datagram.pieces.length : at, 0, { slot, from, to: end });
      datagram.bytes += end - from;
      held += end - from;
      counters.held++;
      if (last) datagram.total = end;
      if (datagram.bytes !== datagram.total) {
        makeRoom();
        return false;
      }
      forget(datagram);
      return deliver(datagram, to);
    },
    close() {
      for (const datagram of underWay.values()) giveUp(datagram, "expired");
    },
  };

  function deliver({ pieces, total }: Datagram, to: number): boolean {
    const whole = joinFragments(
      context,
      pieces.map((piece) => piece.slot),
      link,
      total as number,
    );
    if (whole === undefined) {
      ledger.held -= pieces.length;
      count(ledger.dropped, "reassembly", pieces.length);
      counters.malformed += pieces.length;
      return false;
    }
    ledger.held -= pieces.length - 1;
    count(ledger.consumed, "reassemble", pieces.length - 1);
    if (kernels.packetMove(whole, 0, to) === 0) {
      counters.expired += pieces.length; // the burst has no room for it
      free(whole);
      return false;
    }
    vacate(context, whole);
    ledger.held--;
    counters.reassembled++;
    counters.joined += pieces.length;
    return true;
  }
}

/** Where a fragment's payload lies in its datagram, and whether it is the last. */
function placeOf(context: PacketContext, slot: number, { family, network, header }: IpFragment) {
  const bytes = firstBytes(context, slot, header + 8);
  const at = family === 4 ? network + 6 : header + 2;
  const word = (bytes[at] << 8) | bytes[at + 1];
  if (family === 4) return { from: (word & 0x1fff) * 8, last: (word & 0x2000) === 0 };
  return { from: word & 0xfff8, last: (word & 1) === 0 };
}
