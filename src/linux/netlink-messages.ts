// Netlink messages as bytes (linux/netlink.h): a header of 16 bytes, a body, attributes padded to 4 bytes.
// Everything is in the machine's order, which is little-endian wherever millrace runs.

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;
export const NLM_F_EXCL = 0x200;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

const HEADER = 16;
const NESTED = 0x8000;
const TYPE_MASK = 0x3fff;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Buffer;
}

export type Attributes = ReadonlyMap<number, Buffer>;

function align(length: number): number {
  return (length + 3) & ~3;
}

/** One attribute: a number is a u32, a string ends with a zero byte. */
export function attribute(type: number, value: number | string | Uint8Array): Buffer {
  const bytes = typeof value === "number" ? u32(value) : typeof value === "string" ? text(value) : value;
  const result = Buffer.alloc(align(4 + bytes.length));
  result.writeUInt16LE(4 + bytes.length, 0);
  result.writeUInt16LE(type, 2);
  result.set(bytes, 4);
  return result;
}

/** An attribute that holds attributes, after an optional header of its own. */
export function nested(type: number, ...parts: readonly Uint8Array[]): Buffer {
  return attribute(type | NESTED, Buffer.concat(parts));
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`, "utf8");
}

export function u32(value: number): Buffer {
  const result = Buffer.alloc(4);
  result.writeUInt32LE(value >>> 0);
  return result;
}

export function encodeMessage(message: NetlinkMessage): Buffer {
  const result = Buffer.alloc(align(HEADER + message.body.length));
  result.writeUInt32LE(HEADER + message.body.length, 0);
  result.writeUInt16LE(message.type, 4);
  result.writeUInt16LE(message.flags, 6);
  result.writeUInt32LE(message.sequence, 8);
  message.body.copy(result, HEADER);
  return result;
}

/** The messages in one datagram. A length that does not fit ends the list. */
export function decodeMessages(bytes: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  let at = 0;
  while (at + HEADER <= bytes.length) {
    const length = bytes.readUInt32LE(at);
    if (length < HEADER || length > bytes.length - at) break;
    messages.push({
      type: bytes.readUInt16LE(at + 4),
      flags: bytes.readUInt16LE(at + 6),
      sequence: bytes.readUInt32LE(at + 8),
      body: bytes.subarray(at + HEADER, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** The attributes in `bytes` by type; of several with one type the last. */
export function decodeAttributes(bytes: Buffer): Attributes {
  const attributes = new Map<number, Buffer>();
  let at = 0;
  while (at + 4 <= bytes.length) {
    const length = bytes.readUInt16LE(at);
    if (length < 4 || length > bytes.length - at) break;
    attributes.set(bytes.readUInt16LE(at + 2) & TYPE_MASK, bytes.subarray(at + 4, at + length));
    at += align(length);
  }
  return attributes;
}

/** A u32 attribute, or undefined where it is missing or too short. */
export function numberOf(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type);
  return value !== undefined && value.length >= 4 ? value.readUInt32LE(0) : undefined;
}

/** A string attribute without its final zero byte. */
export function textOf(attributes: Attributes, type: number): string | undefined {
  return attributes.get(type)?.toString("utf8").replace(/\0.*$/s, "");
}
