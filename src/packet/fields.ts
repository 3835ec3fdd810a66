// The kinds of fields that headers are made of.
import { MillraceError } from "../errors.js";
import { addressBytes, formatAddress, formatMac, parseMac } from "./address.js";
import type { Bytes, Field } from "./header.js";

export function u8(offset: number): Field<number> {
  return {
    read: (bytes, at) => bytes.u8(at + offset),
    write: (bytes, at, value) => bytes.setU8(at + offset, value),
  };
}
export function u16(offset: number): Field<number> {
  return {
    read: (bytes, at) => bytes.u16(at + offset),
    write: (bytes, at, value) => bytes.setU16(at + offset, value),
  };
}
export function u24(offset: number): Field<number> {
  return {
    read: (bytes, at) => (bytes.u16(at + offset) << 8) | bytes.u8(at + offset + 2),
    write(bytes, at, value) {
      bytes.setU16(at + offset, value >>> 8);
      bytes.setU8(at + offset + 2, value);
    },
  };
}
export function u32(offset: number): Field<number> {
  return {
    read: (bytes, at) => bytes.u32(at + offset),
    write: (bytes, at, value) => bytes.setU32(at + offset, value),
  };
}

/** `width` bits of a 32-bit word of which they leave `shift` below them. The word is read and written as bytes. */
export function bits(offset: number, shift: number, width: number, word: 1 | 2 | 4 = 4): Field<number> {
  const mask = width === 32 ? 0xffffffff : (1 << width) - 1;
  const whole = word === 1 ? u8(offset) : word === 2 ? u16(offset) : u32(offset);
  return {
    read: (bytes, at, size) => ((whole.read(bytes, at, size) >>> shift) & mask) >>> 0,
    write(bytes, at, value, size) {
      const rest = whole.read(bytes, at, size) & ~(mask << shift);
      whole.write(bytes, at, (rest | ((value & mask) << shift)) >>> 0, size);
    },
  };
}

export function flag(offset: number, shift: number, word: 1 | 2 | 4 = 1): Field<boolean> {
  const bit = bits(offset, shift, 1, word);
  return {
    read: (bytes, at, size) => bit.read(bytes, at, size) !== 0,
    write: (bytes, at, value, size) => bit.write(bytes, at, value ? 1 : 0, size),
  };
}

/** `number` stored in units of `unit`: a length in words, an offset in eights. */
export function scaled(field: Field<number>, unit: number): Field<number> {
  return {
    read: (bytes, at, size) => field.read(bytes, at, size) * unit,
    write: (bytes, at, value, size) => field.write(bytes, at, value / unit, size),
  };
}

export function readBytes(bytes: Bytes, at: number, length: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i++) out[i] = bytes.u8(at + i);
  return out;
}

export function writeBytes(bytes: Bytes, at: number, value: Uint8Array): void {
  for (let i = 0; i < value.length; i++) bytes.setU8(at + i, value[i]);
}

/** A hardware address of six bytes, as `02:00:00:00:00:01`. */
export function mac(offset: number): Field<string> {
  return {
    read: (bytes, at) => formatMac(readBytes(bytes, at + offset, 6)),
    write: (bytes, at, value) => writeBytes(bytes, at + offset, wantMac(value, 6)),
  };
}

export function wantMac(text: string, length: number): Uint8Array {
  const address = parseMac(text, length);
  if (address !== undefined) return address;
  throw new MillraceError("ERR_USAGE", `"${text}" is no hardware address of ${length} bytes`, {
    hint: "as 02:00:00:00:00:01",
  });
}

/** An IPv4 or IPv6 address as text. */
export function address(offset: number, length: 4 | 16): Field<string> {
  return {
    read: (bytes, at) => formatAddress(readBytes(bytes, at + offset, length)),
    write: (bytes, at, value) => writeBytes(bytes, at + offset, addressBytes(value, length)),
  };
}

/** Everything from `offset` to the end of the header, as bytes. What is written must have exactly that length. */
export function rest(offset: number): Field<Uint8Array> {
  return {
    read: (bytes, at, size) => readBytes(bytes, at + offset, size - offset),
    write(bytes, at, value, size) {
      if (value.length !== size - offset)
        throw new MillraceError(
          "ERR_BOUNDS",
          `${value.length} bytes of options do not fill the ${size - offset} there are`,
        );
      writeBytes(bytes, at + offset, value);
    },
  };
}
