import { BURST_METAS, CHECKSUM_MASK, CHECKSUM_PARTIAL, META_FLAGS, META_SIZE } from "../kernels/structs.js";
import { addSums, complement, sumBytes } from "./checksum.js";
import type { PacketContext } from "./context.js";
import { descriptorWord, push } from "./operations.js";
import type { ChecksumField, Template } from "./template.js";

/** Offset of the packet's metadata. */
export function metaOf(context: PacketContext, burst: number, packet: number): number {
  return context.arena.u32[(burst + BURST_METAS) >>> 2] + packet * META_SIZE;
}

/**
 * Puts a template's headers before a packet that is only payload. Lengths and IPv4 header checksums are final.
 * Within a tunnel the transport checksums are final too; otherwise the one there is is left as CHECKSUM_PARTIAL,
 * for the card or for the edge to finish.
 */
export function applyTemplate(
  context: PacketContext,
  template: Template,
  burst: number,
  packet: number,
): void {
  const { bytes } = template;
  const { u8, u32, u16, kernels } = context.arena;
  push(context, burst, packet, bytes.length);
  const at = u32[descriptorWord(context, burst, packet)];
  u8.set(bytes, at);
  const total = kernels.packetLength(burst, packet);
  const put = (offset: number, value: number) => {
    u8[at + offset] = value >>> 8;
    u8[at + offset + 1] = value;
  };
  for (const { at: field, from } of template.lengths) {
    const length = total - from;
    put(field, length > 0xffff ? 0 : length); // a super-frame: segments get their own
  }
  for (const { at: header, sum } of template.headerChecksums)
    put(header + 10, complement(addSums(sum, (u8[at + header + 2] << 8) | u8[at + header + 3])));
  const { checksums } = template;
  for (let i = checksums.length - 1; i >= 0; i--) {
    const field = checksums[i];
    const covered = total - field.from;
    if (!template.tunnel) {
      if (field.pseudo) put(field.at, pseudoSum(field, covered));
      const flags = (metaOf(context, burst, packet) + META_FLAGS) >>> 1;
      u16[flags] = (u16[flags] & ~CHECKSUM_MASK) | CHECKSUM_PARTIAL;
      return;
    }
    const sum = addSums(
      kernels.packetChecksum(burst, packet, field.from, covered),
      field.pseudo ? pseudoSum(field, covered) : 0,
    );
    put(field.at, complement(sum) === 0 && field.protocol === 17 ? 0xffff : complement(sum));
  }
}

/** Folded sum of a pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1). */
export function pseudoSum(field: ChecksumField, length: number): number {
  const tail = addSums(field.protocol, addSums(length & 0xffff, length >>> 16));
  return addSums(field.addresses, tail);
}

/** A whole packet from a template and a payload, all checksums made, outside any arena: for tests and for show. */
export function buildPacket(template: Template, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(template.bytes.length + payload.length);
  whole.set(template.bytes);
  whole.set(payload, template.bytes.length);
  const view = new DataView(whole.buffer);
  for (const { at, from } of template.lengths) view.setUint16(at, whole.length - from);
  for (const { at, sum } of template.headerChecksums)
    view.setUint16(at + 10, complement(addSums(sum, view.getUint16(at + 2))));
  for (const field of [...template.checksums].reverse()) {
    const covered = whole.subarray(field.from);
    const sum = addSums(sumBytes(covered), field.pseudo ? pseudoSum(field, covered.length) : 0);
    view.setUint16(field.at, complement(sum) === 0 && field.protocol === 17 ? 0xffff : complement(sum));
  }
  return whole;
}
