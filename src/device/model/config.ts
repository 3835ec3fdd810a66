import type { InterruptKind } from "../bus/bus.js";
import type { ModelDevice } from "./device.js";

/** A modelled function's configuration space: 256 bytes, and which bits of them a write can change. */
export interface ConfigSpace {
  readonly bytes: Uint8Array;
  readonly writable: Uint8Array;
}

// PCI Local Bus Specification 3.0, 6.1 (type 0 header), 6.8.1 (MSI) and 6.8.2 (MSI-X).
export const COMMAND = 0x04;
export const COMMAND_IO = 1;
export const COMMAND_MEMORY = 2;
export const COMMAND_BUS_MASTER = 4;
const STATUS = 0x06;
const STATUS_CAPABILITIES = 0x10;
const REVISION = 0x08;
const FIRST_BAR = 0x10;
const CAPABILITIES_POINTER = 0x34;
const INTERRUPT_PIN = 0x3d;
const FIRST_CAPABILITY = 0x40;
const CAPABILITY_VENDOR = 0x09;
const CAPABILITY_MSI = 0x05;
const CAPABILITY_MSIX = 0x11;

/** `kind`: how it raises interrupts, of the ways it has. */
export function createConfig(model: ModelDevice, kind: InterruptKind): ConfigSpace {
  const bytes = new Uint8Array(256);
  const writable = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x00, model.vendor, true);
  view.setUint16(0x02, model.device, true);
  view.setUint32(REVISION, (model.classCode << 8) | model.revision, true);
  writable[COMMAND] = COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER;
  writable[COMMAND + 1] = 0x04; // INTx disable
  for (const bar of model.bars) {
    const at = FIRST_BAR + 4 * bar.index;
    view.setUint32(at, bar.space === "io" ? 1 : 0, true);
    // Address bits below the size read 0: that is how software learns the size.
    new DataView(writable.buffer).setUint32(at, ~(bar.bytes - 1), true);
  }
  let link = CAPABILITIES_POINTER;
  let next = FIRST_CAPABILITY;
  const add = (id: number, body: Uint8Array) => {
    view.setUint16(STATUS, STATUS_CAPABILITIES, true);
    bytes[link] = next;
    bytes[next] = id;
    bytes.set(body, next + 2);
    link = next + 1;
    next = (next + 2 + body.length + 3) & ~3;
  };
  if (kind === "msix") add(CAPABILITY_MSIX, msix(model.vectors));
  if (kind === "msi") add(CAPABILITY_MSI, new Uint8Array(8)); // control word, address, data: one vector
  if (kind === "intx") bytes[INTERRUPT_PIN] = 1; // INTA#
  for (const body of model.capabilities ?? []) add(CAPABILITY_VENDOR, body);
  return { bytes, writable };
}

function msix(vectors: number): Uint8Array {
  const body = new Uint8Array(10);
  new DataView(body.buffer).setUint16(0, vectors - 1, true);
  return body;
}

/** 1, 2 or 4 bytes, little-endian; all ones beyond the end, as from a bus without an answer. */
export function configRead(config: ConfigSpace, offset: number, width: number): number {
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 256 + (config.bytes[offset + i] ?? 0xff);
  return value;
}

export function configWrite(config: ConfigSpace, offset: number, width: number, value: number): void {
  for (let i = 0; i < width && offset + i < config.bytes.length; i++) {
    const mask = config.writable[offset + i];
    const byte = (value >>> (8 * i)) & 0xff;
    config.bytes[offset + i] = (config.bytes[offset + i] & ~mask) | (byte & mask);
  }
}
