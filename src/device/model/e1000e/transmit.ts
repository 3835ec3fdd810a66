import {
  TX_DATA,
  TX_DONE,
  TX_END,
  TX_EXTENDED,
  TX_IP_SUM,
  TX_L4_SUM,
  TX_REPORT,
  TX_SEGMENT,
  TX_TAG,
  TXD_COMMAND,
  TXD_OPTIONS,
} from "../../../kernels/e1000e.js";
import * as r from "../../e1000e/registers.js";
import { peerTakes, sendOver, wireUp } from "../wire.js";
import { bump, type ModelCard, reg, ringBase, setReg, type Transmit } from "./card.js";
import { putU16, sumOf, u16 } from "./headers.js";
import { raiseTransmit } from "./interrupts.js";

const DESCRIPTORS_A_STEP = 64;
const SHORTEST = 60; // bytes without the check sequence

/** The bus master's half of sending: walks the ring, fetches what its descriptors name. True: it did something. */
export function transmit(card: ModelCard): boolean {
  if ((reg(card, r.TCTL) & r.TCTL_EN) === 0 || card.hung) return false;
  let busy = flush(card);
  for (let queue = 0; queue < 2; queue++) {
    const add = queue * r.QUEUE_STRIDE;
    const count = reg(card, r.TDLEN, add) >>> 4;
    const base = ringBase(card, r.TDBAL, r.TDBAH, queue);
    let reported = false;
    for (let done = 0; done < DESCRIPTORS_A_STEP && card.leaving.length === 0; done++) {
      const head = reg(card, r.TDH, add);
      const tail = reg(card, r.TDT, add);
      if (count === 0 || head === tail || tail >= count || !wireUp(card.wire, card.plug)) break;
      reported = process(card, card.transmit[queue], base + 16 * head) || reported;
      setReg(card, r.TDH, (head + 1) % count, add);
      busy = true;
      flush(card);
    }
    if (reported) raiseTransmit(card, queue);
  }
  return busy;
}

/** Puts on the wire what the other side takes. While it has asked for a pause, nothing more is fetched. */
function flush(card: ModelCard): boolean {
  let busy = false;
  while (card.leaving.length > 0) {
    const obeys = (reg(card, r.CTRL) & r.CTRL_RFCE) !== 0;
    if (obeys && !peerTakes(card.wire, card.plug)) {
      if (!card.pausing) bump(card, "rx_flow_control_xoff");
      card.pausing = true;
      return busy;
    }
    if (card.pausing) bump(card, "rx_flow_control_xon");
    card.pausing = false;
    const frame = card.leaving.shift()!;
    bump(card, "tx_good");
    bump(card, "tx_total");
    bump(card, "tx_bytes", frame.length + 4);
    if ((frame[0] & 1) !== 0)
      bump(card, frame.subarray(0, 6).every((byte) => byte === 255) ? "tx_broadcast" : "tx_multicast");
    sendOver(card.wire, card.plug, frame);
    busy = true;
  }
  return busy;
}

/** One descriptor. True when it was reported. */
function process(card: ModelCard, queue: Transmit, at: number): boolean {
  const bytes = new Uint8Array(16);
  if (!card.host.dmaRead(at, bytes)) return false;
  const view = new DataView(bytes.buffer);
  const command = view.getUint32(TXD_COMMAND, true);
  const options = view.getUint32(TXD_OPTIONS, true);
  const extended = (command & TX_EXTENDED) !== 0;
  if (extended && (command & 0x00f00000) === 0) {
    queue.context = {
      low: view.getUint32(0, true),
      high: view.getUint32(4, true),
      command,
      status: options,
    };
  } else if (!extended || (command & 0x00f00000) === TX_DATA) {
    fetch(card, queue, view, command & (extended ? 0xfffff : 0xffff));
    if ((command & TX_END) !== 0) {
      if (!queue.spoiled && queue.length >= 14) finish(card, queue, command, extended ? options : 0);
      queue.length = 0;
      queue.spoiled = false;
    }
  }
  if ((command & TX_REPORT) === 0) return false;
  return card.host.dmaFlag(at + TXD_OPTIONS, (options | TX_DONE) >>> 0);
}

function fetch(card: ModelCard, queue: Transmit, view: DataView, length: number): void {
  const address = view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
  const fits = queue.length + length <= queue.staging.length;
  const into = queue.staging.subarray(queue.length, queue.length + length);
  if (!fits || queue.spoiled || (length > 0 && !card.host.dmaRead(address, into))) queue.spoiled = true;
  else queue.length += length;
}

/** A packet is whole: tag, sums or segments, and off. */
function finish(card: ModelCard, queue: Transmit, command: number, options: number): void {
  const packet = queue.staging.slice(0, queue.length);
  const tagged = (command & TX_TAG) !== 0 && (reg(card, r.CTRL) & r.CTRL_VME) !== 0;
  const emit = (frame: Uint8Array) => {
    const whole = tagged ? withTag(frame, reg(card, r.VET), options >>> 16) : frame;
    if (whole.length >= SHORTEST) card.leaving.push(whole);
    else {
      const padded = new Uint8Array(SHORTEST);
      padded.set(whole);
      card.leaving.push(padded);
    }
  };
  if ((command & TX_SEGMENT) !== 0 && (queue.context.command & TX_SEGMENT) !== 0) {
    bump(card, "tx_segmented");
    for (const segment of segments(packet, queue, options)) emit(segment);
    return;
  }
  checksums(packet, queue, options);
  emit(packet);
}

/** Context offsets, in bytes from the packet's first (7.2.10; struct e1000_context_desc). */
function places(queue: Transmit, length: number) {
  const { low, high } = queue.context;
  const end = (word: number) => (word >>> 16 === 0 ? length : Math.min((word >>> 16) + 1, length));
  return {
    ipFrom: low & 0xff,
    ipField: (low >>> 8) & 0xff,
    ipEnd: end(low),
    l4From: high & 0xff,
    l4Field: (high >>> 8) & 0xff,
    l4End: end(high),
  };
}

/** Sums from a start to an end over whatever stands in the field, and puts the complement there. */
function checksums(packet: Uint8Array, queue: Transmit, options: number, l4Length = 0): void {
  const { ipFrom, ipField, ipEnd, l4From, l4Field, l4End } = places(queue, packet.length);
  if ((options & TX_IP_SUM) !== 0 && ipField + 2 <= packet.length)
    putU16(packet, ipField, ~sumOf(packet, ipFrom, ipEnd) & 0xffff);
  if ((options & TX_L4_SUM) !== 0 && l4Field + 2 <= packet.length) {
    const sum = ~sumOf(packet, l4From, l4End, l4Length) & 0xffff;
    putU16(packet, l4Field, sum === 0 ? 0xffff : sum);
  }
}

/** TCP segmentation: the headers again and again, lengths, numbers and flags set for each (7.2). */
function* segments(packet: Uint8Array, queue: Transmit, options: number): Generator<Uint8Array> {
  const headerLength = (queue.context.status >>> 8) & 0xff;
  const size = queue.context.status >>> 16;
  const { ipFrom, l4From } = places(queue, packet.length);
  const ipv4 = (queue.context.command & 0x02000000) !== 0;
  const first = new DataView(packet.buffer).getUint32(l4From + 4);
  const flags = packet[l4From + 13];
  const number = u16(packet, ipFrom + 4);
  if (size === 0 || headerLength < l4From + 20) return;
  for (let at = headerLength, index = 0; at < packet.length; at += size, index++) {
    const end = Math.min(at + size, packet.length);
    const segment = new Uint8Array(headerLength + end - at);
    segment.set(packet.subarray(0, headerLength));
    segment.set(packet.subarray(at, end), headerLength);
    if (ipv4) {
      putU16(segment, ipFrom + 2, segment.length - ipFrom);
      putU16(segment, ipFrom + 4, (number + index) & 0xffff);
    } else putU16(segment, ipFrom + 4, segment.length - ipFrom - 40);
    new DataView(segment.buffer).setUint32(l4From + 4, (first + at - headerLength) >>> 0);
    const last = end === packet.length;
    // FIN and PSH belong to the last segment, CWR to the first.
    segment[l4From + 13] = flags & (last ? 0xff : ~0x09) & (index === 0 ? 0xff : ~0x80);
    checksums(segment, queue, options, segment.length - l4From);
    yield segment;
  }
}

function withTag(frame: Uint8Array, type: number, tag: number): Uint8Array {
  const out = new Uint8Array(frame.length + 4);
  out.set(frame.subarray(0, 12));
  putU16(out, 12, type);
  putU16(out, 14, tag);
  out.set(frame.subarray(12), 16);
  return out;
}
