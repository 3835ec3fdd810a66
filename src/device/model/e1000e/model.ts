import { MillraceError } from "../../../errors.js";
import * as r from "../../e1000e/registers.js";
import type { MakeModel, ModelDevice, ModelHost } from "../device.js";
import { findWire, plugIn, unplug, type Wire, wireUp } from "../wire.js";
import { type ModelCard, reg, resetState, setReg } from "./card.js";
import { raiseCause, readCauses, signal, signalDue } from "./interrupts.js";
import { arrive, receive, takes } from "./receive.js";
import { transmit } from "./transmit.js";

const STAGING = 1 << 18; // bytes: the longest packet a context descriptor can announce

const KINDS: ReadonlyMap<number, r.RegisterKind> = kindsByOffset();

function kindsByOffset(): Map<number, r.RegisterKind> {
  const kinds = new Map<number, r.RegisterKind>();
  const put = (register: r.Register, count = 1, stride = 4) => {
    for (let i = 0; i < count; i++) kinds.set(register.offset + i * stride, register.kind);
  };
  for (const value of Object.values(r))
    if (typeof value === "object" && "offset" in value) put(value as r.Register);
  for (const counter of Object.values(r.COUNTERS)) put(counter);
  for (const wide of [r.COUNTERS.rx_bytes, r.COUNTERS.tx_bytes]) kinds.set(wide.offset + 4, "clear");
  for (const table of [r.MTA, r.VFTA]) put(table, 128);
  for (const pair of [r.RAL, r.RAH]) put(pair, 16, 8);
  put(r.RETA, 32);
  put(r.RSSRK, 10);
  put(r.EITR, 5);
  const queues = [r.RDBAL, r.RDBAH, r.RDLEN, r.RDH, r.RDT, r.RDTR, r.RXDCTL, r.RADV];
  for (const register of [
    ...queues,
    r.TDBAL,
    r.TDBAH,
    r.TDLEN,
    r.TDH,
    r.TDT,
    r.TIDV,
    r.TXDCTL,
    r.TADV,
    r.TARC,
  ])
    put(register, 2, r.QUEUE_STRIDE);
  return kinds;
}

/** A modelled 82574L on a wire; its inside is there for whoever wants it to misbehave. */
export function createModelE1000e(
  host: ModelHost,
  wire: Wire,
  mac: Uint8Array,
): { readonly device: ModelDevice; readonly card: ModelCard } {
  const card: ModelCard = {
    host,
    regs: new Uint32Array(r.BAR_BYTES / 4),
    wire,
    plug: {
      takes: () => takes(card),
      arrive: (frame) => arrive(card, frame),
      linkChanged: () => {
        if ((reg(card, r.CTRL) & r.CTRL_SLU) !== 0) raiseCause(card, r.CAUSE_LINK);
      },
    },
    mac,
    transmit: [0, 1].map(() => ({
      context: { low: 0, high: 0, command: 0, status: 0 },
      staging: new Uint8Array(STAGING),
      length: 0,
      spoiled: false,
    })),
    arrived: [],
    arrivedBytes: 0,
    leaving: [],
    told: 0,
    signalled: [0, 0, 0, 0, 0],
    postponed: 0,
    pausing: false,
    waiting: undefined,
    pulled: false,
    hung: false,
    signals: "right",
  };
  resetState(card);
  if (!plugIn(wire, card.plug))
    throw new MillraceError("ERR_DEVICE", "both ends of the wire are taken", {
      hint: "use another wire=NAME",
    });
  const device: ModelDevice = {
    vendor: r.VENDOR_INTEL,
    device: r.DEVICE_82574L,
    revision: 0,
    classCode: 0x020000,
    bars: [{ index: 0, bytes: r.BAR_BYTES, space: "memory" }],
    vectors: 5,
    read: (_bar, offset, bytes) => (bytes === 4 ? readRegister(card, offset) : 0xffffffff),
    write: (_bar, offset, bytes, value) => {
      if (bytes === 4) writeRegister(card, offset, Number(value));
    },
    work: () => work(card),
    due: () => signalDue(card),
    asserted: () => (reg(card, r.ICR) & reg(card, r.IMS)) !== 0,
    reset: () => resetState(card),
    close: () => unplug(wire, card.plug),
  };
  return { device, card };
}

function work(card: ModelCard): boolean {
  if (card.pulled) return false;
  if (card.signals === "storm") for (let vector = 0; vector < 5; vector++) card.host.interrupt(vector);
  const sent = transmit(card);
  const received = receive(card);
  if (card.postponed !== 0) signal(card);
  return sent || received;
}

function readRegister(card: ModelCard, offset: number): number {
  if (card.pulled) return 0xffffffff;
  switch (offset) {
    case r.STATUS.offset:
      return status(card);
    case r.ICR.offset:
      return readCauses(card);
    case r.ICS.offset:
    case r.IMC.offset:
      return 0; // write-only
    default:
  }
  const kind = KINDS.get(offset);
  if (kind === undefined) return 0;
  const value = card.regs[offset >>> 2];
  if (kind === "clear") card.regs[offset >>> 2] = 0;
  return value;
}

function status(card: ModelCard): number {
  const control = reg(card, r.CTRL);
  let value = r.STATUS_FULL_DUPLEX | r.STATUS_SPEED_1000;
  if ((control & r.CTRL_SLU) !== 0 && wireUp(card.wire, card.plug)) value |= r.STATUS_LINK_UP;
  if ((control & r.CTRL_MASTER_DISABLE) === 0) value |= r.STATUS_MASTER_ENABLED;
  if (card.pausing) value |= 1 << 4;
  return value;
}

function writeRegister(card: ModelCard, offset: number, value: number): void {
  if (card.pulled) return;
  switch (offset) {
    case r.CTRL.offset: {
      if ((value & r.CTRL_RST) !== 0) {
        resetState(card);
        return;
      }
      const was = reg(card, r.CTRL);
      setReg(card, r.CTRL, value);
      if (((was ^ value) & r.CTRL_SLU) !== 0) for (const plug of card.wire.plugs) plug.linkChanged();
      return;
    }
    case r.ICR.offset:
      setReg(card, r.ICR, reg(card, r.ICR) & ~value);
      card.told &= ~value;
      return;
    case r.ICS.offset:
      raiseCause(card, value);
      return;
    case r.IMS.offset:
      setReg(card, r.IMS, reg(card, r.IMS) | value);
      signal(card);
      return;
    case r.IMC.offset:
      setReg(card, r.IMS, reg(card, r.IMS) & ~value);
      return;
    case r.EERD.offset:
      setReg(card, r.EERD, eeprom(card, value));
      return;
    case r.MDIC.offset:
      setReg(card, r.MDIC, phy(card, value));
      return;
    default:
  }
  const kind = KINDS.get(offset);
  if (kind === "plain" || kind === "special") card.regs[offset >>> 2] = value;
}

/** EERD: the first three words of the EEPROM are the station address; the sum of the first 64 is 0xBABA. */
function eeprom(card: ModelCard, value: number): number {
  const word = (value >>> 2) & 0x3fff;
  const address = [0, 2, 4].map((at) => card.mac[at] | (card.mac[at + 1] << 8));
  const data =
    word < 3 ? address[word] : word === 63 ? (0xbaba - address.reduce((a, b) => a + b)) & 0xffff : 0;
  return (value & 0xfffc) | r.EERD_DONE | (data << 16);
}

/** MDIC: the PHY's control and status as far as anyone asks: link, autonegotiation done. */
function phy(card: ModelCard, value: number): number {
  const register = (value >>> 16) & 31;
  const up = (status(card) & r.STATUS_LINK_UP) !== 0;
  const data =
    register === 1 ? 0x7949 | (up ? 0x24 : 0) : register === 2 ? 0x0141 : register === 3 ? 0x0cb1 : 0x1140;
  return ((value & r.MDIC_READ) !== 0 ? (value & 0xffff0000) | data : value) | r.MDIC_READY;
}

let cards = 0;

/** As `openBus` wants it: `wire` names the cable, `mac` the address (`02:00:00:00:00:01`). */
export const makeE1000e: MakeModel = (host, parameters) => {
  const mac = parseMac(parameters.get("mac")) ?? Uint8Array.of(0x02, 0x4d, 0x49, 0x4c, 0x4c, ++cards);
  return createModelE1000e(host, findWire(parameters.get("wire")), mac).device;
};

function parseMac(text: string | undefined): Uint8Array | undefined {
  if (text === undefined) return undefined;
  const bytes = text
    .split(":")
    .map((part) => (/^[0-9a-f]{1,2}$/i.test(part) ? Number.parseInt(part, 16) : -1));
  if (bytes.length !== 6 || bytes.some((byte) => byte < 0))
    throw new MillraceError("ERR_DEVICE", `"${text}" is no station address`, {
      hint: "write 02:00:00:00:00:01",
    });
  return Uint8Array.from(bytes);
}
