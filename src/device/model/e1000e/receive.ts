import { crc32 } from "node:zlib";
import {
  RX_DONE,
  RX_END,
  RX_IP_BAD,
  RX_IP_SUM,
  RX_L4_BAD,
  RX_L4_SUM,
  RX_UDP_SUM,
  RX_VLAN,
  RXD_HEADER,
  RXD_LENGTH,
  RXD_LENGTHS,
  RXD_RSS_HASH,
  RXD_RSS_TYPE,
  RXD_STATUS,
  RXD_VLAN,
} from "../../../kernels/e1000e.js";
import { RECEIVE_BUFFER } from "../../e1000e/assumptions.js";
import * as r from "../../e1000e/registers.js";
import { bump, type ModelCard, reg, ringBase, setReg } from "./card.js";
import { passes, type Spread, spread } from "./filter.js";
import { type Headers, parseHeaders, pseudoSum, sumOf, u16 } from "./headers.js";
import { raiseReceive } from "./interrupts.js";

const FRAMES_A_STEP = 64;

/** Whether another frame may come: with flow control, not once the buffer is filled to the high mark. */
export function takes(card: ModelCard): boolean {
  if (card.pulled || (reg(card, r.RCTL) & r.RCTL_EN) === 0) return true; // it comes, and is lost
  const high = reg(card, r.FCRTH);
  if ((reg(card, r.CTRL) & r.CTRL_TFCE) === 0 || high === 0 || card.arrivedBytes < high) return true;
  bump(card, "tx_flow_control_xoff");
  return false;
}

/** A frame at the card's connector: counted, filtered, and kept in its buffer until the bus master gets to it. */
export function arrive(card: ModelCard, frame: Uint8Array): void {
  if (card.pulled || (reg(card, r.RCTL) & r.RCTL_EN) === 0) return;
  bump(card, "rx_total");
  if (!passes(card, frame)) return;
  if (card.arrivedBytes + frame.length > RECEIVE_BUFFER) {
    bump(card, "rx_missed");
    return;
  }
  bump(card, "rx_good");
  bump(card, "rx_bytes", frame.length + 4);
  if ((frame[0] & 1) !== 0)
    bump(card, frame.subarray(0, 6).every((byte) => byte === 255) ? "rx_broadcast" : "rx_multicast");
  card.arrived.push(frame);
  card.arrivedBytes += frame.length;
}

/** The bus master's half of receiving. True: it did something. */
export function receive(card: ModelCard): boolean {
  let done = 0;
  let queues = 0;
  for (; done < FRAMES_A_STEP && card.arrived.length > 0; done++) {
    const frame = card.arrived[0];
    const headers = parseHeaders(frame);
    const to = spread(card, frame, headers);
    const stored = store(card, frame, headers, to);
    if (stored === "full") break;
    card.arrived.shift();
    card.arrivedBytes -= frame.length;
    if (stored === "done") queues |= 1 << to.queue;
  }
  for (let queue = 0; queue < 2; queue++) if ((queues & (1 << queue)) !== 0) raiseReceive(card, queue);
  return done > 0;
}

/** Buffers of one descriptor, as RCTL and PSRCTL say: sizes, 0 where there is none. */
function bufferSizes(card: ModelCard): number[] {
  const control = reg(card, r.RCTL);
  if ((control & r.RCTL_DTYP_SPLIT) !== 0) {
    const split = reg(card, r.PSRCTL);
    return [
      (split & 0x7f) * 128,
      ((split >>> 8) & 0x3f) * 1024,
      ((split >>> 16) & 0x3f) * 1024,
      ((split >>> 24) & 0x3f) * 1024,
    ];
  }
  const code = (control >>> r.RCTL_BSIZE_SHIFT) & 3;
  const flexible = (control >>> 27) & 15; // FLXBUF, in KB
  if (flexible !== 0) return [flexible * 1024];
  return [(control & r.RCTL_BSEX) !== 0 ? 32768 >>> code : 2048 >>> code];
}

/** Writes one frame to memory. `lost`: an address was not to be reached; the packet is gone, as on the real bus. */
function store(card: ModelCard, whole: Uint8Array, headers: Headers, to: Spread): "done" | "full" | "lost" {
  const add = to.queue * r.QUEUE_STRIDE;
  const control = reg(card, r.RCTL);
  const split = (control & r.RCTL_DTYP_SPLIT) !== 0;
  const { frame, tag } = strip(card, whole);
  const shift = whole.length - frame.length;
  const body = (control & r.RCTL_SECRC) !== 0 ? frame : withCheck(frame);
  const sizes = bufferSizes(card);
  const header = split ? headerLength(headers, shift, sizes[0]) : 0;
  const pieces = divide(body.length, sizes, header);
  const units = split ? 2 : 1;
  const count = reg(card, r.RDLEN, add) >>> 4;
  let head = reg(card, r.RDH, add);
  const tail = reg(card, r.RDT, add);
  const free = count === 0 ? 0 : (tail - head + count) % count;
  if (free < pieces.length * units || tail >= count) {
    if (card.waiting !== whole) bump(card, "rx_no_buffer");
    card.waiting = whole;
    return "full";
  }
  const status = describe(card, whole, headers);
  const base = ringBase(card, r.RDBAL, r.RDBAH, to.queue);
  let at = 0;
  let result: "done" | "lost" = "done";
  pieces.forEach((lengths, index) => {
    const last = index === pieces.length - 1;
    const place = base + 16 * head;
    const desc = new Uint8Array(16 * units);
    if (!card.host.dmaRead(place, desc)) result = "lost";
    const view = new DataView(desc.buffer);
    const addresses = lengths.map(
      (_, i) => view.getUint32(8 * i + 4, true) * 2 ** 32 + view.getUint32(8 * i, true),
    );
    lengths.forEach((length, i) => {
      if (length > 0 && result === "done")
        if (!card.host.dmaWrite(addresses[i], body.subarray(at, at + length))) result = "lost";
      at += length;
    });
    desc.fill(0);
    if (last) {
      view.setUint32(RXD_RSS_TYPE, to.type | (to.queue << 8), true);
      view.setUint32(RXD_RSS_HASH, to.hash, true);
      view.setUint16(RXD_VLAN, tag ?? 0, true);
    }
    view.setUint16(RXD_LENGTH, lengths[0], true);
    if (split) {
      view.setUint16(RXD_HEADER, header === 0 ? 0 : header | 0x8000, true);
      for (let i = 1; i < 4; i++) view.setUint16(RXD_LENGTHS + 2 * (i - 1), lengths[i] ?? 0, true);
    }
    const flags = last ? RX_DONE | RX_END | status | (tag === undefined ? 0 : RX_VLAN) : RX_DONE;
    // The body first, the done bit last: who sees the bit sees all of it.
    if (!card.host.dmaWrite(place, desc) || !card.host.dmaFlag(place + RXD_STATUS, flags >>> 0))
      result = "lost";
    head = (head + units) % count;
  });
  setReg(card, r.RDH, head, add);
  return result;
}

/** How the bytes of a frame fall into the buffers of one descriptor after the other. */
function divide(length: number, sizes: readonly number[], header: number): number[][] {
  const pieces: number[][] = [];
  let left = length;
  while (left > 0) {
    const first = pieces.length === 0;
    // A split frame has its header in the first descriptor's buffer 0, and nothing in the others'.
    const lengths = sizes.map((size, index) => {
      const room = header > 0 && index === 0 ? (first ? header : 0) : size;
      const part = Math.min(room, left);
      left -= part;
      return part;
    });
    pieces.push(lengths);
  }
  return pieces;
}

/** Bytes up to the data: of TCP and UDP after their header, of other IP after the IP header; 0: not split. */
function headerLength(headers: Headers, stripped: number, room: number): number {
  if (!headers.ipv4 && !headers.ipv6) return 0;
  const length = (headers.l5 > 0 ? headers.l5 : headers.l4) - stripped;
  return length > room ? 0 : length;
}

function strip(
  card: ModelCard,
  frame: Uint8Array,
): { readonly frame: Uint8Array; readonly tag: number | undefined } {
  if ((reg(card, r.CTRL) & r.CTRL_VME) === 0 || u16(frame, 12) !== reg(card, r.VET))
    return { frame, tag: undefined };
  const out = new Uint8Array(frame.length - 4);
  out.set(frame.subarray(0, 12));
  out.set(frame.subarray(16), 12);
  return { frame: out, tag: u16(frame, 14) };
}

function withCheck(frame: Uint8Array): Uint8Array {
  const out = new Uint8Array(frame.length + 4);
  out.set(frame);
  new DataView(out.buffer).setUint32(frame.length, crc32(frame), true);
  return out;
}

/** Checksum results, as far as RXCSUM asks for them. */
function describe(card: ModelCard, frame: Uint8Array, headers: Headers): number {
  const control = reg(card, r.RXCSUM);
  const { l3, l4, ipv4, tcp, udp, end } = headers;
  let status = 0;
  if ((control & r.RXCSUM_IPOFL) !== 0 && ipv4) {
    status |= RX_IP_SUM;
    if (sumOf(frame, l3, l4) !== 0xffff) status |= RX_IP_BAD;
  }
  const unchecked = udp && u16(frame, l4 + 6) === 0;
  if ((control & r.RXCSUM_TUOFL) !== 0 && (tcp || udp) && !unchecked) {
    status |= RX_L4_SUM | (udp ? RX_UDP_SUM : 0);
    if (sumOf(frame, l4, end, pseudoSum(frame, headers)) !== 0xffff) status |= RX_L4_BAD;
  }
  return status;
}
