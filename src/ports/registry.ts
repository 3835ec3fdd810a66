import { MillraceError } from "../errors.js";
import { openPcap } from "./pcap/port.js";
import type { OpenDriver } from "./port.js";

/** Every kind of port, one line each. A kind is loaded when it is first opened, but for the one that starts fastest. */
export const PORT_KINDS = {
  nic: async () => (await import("./nic/nic.js")).openNicPort,
  pcap: async () => openPcap,
  packet: async () => (await import("./packet/packet.js")).openPacket,
  tap: async () => (await import("./tap/tap.js")).openTapPort,
  udp: async () => (await import("./udp/udp.js")).openUdp,
  loop: async () => (await import("./loop/loop.js")).openLoop,
  null: async () => (await import("./null.js")).openNull,
  xdp: async () => (await import("./xdp/port.js")).openXdp,
} as const satisfies Readonly<Record<string, () => Promise<OpenDriver>>>;

export type PortKind = keyof typeof PORT_KINDS;

/** The opener of a kind of port. Throws ERR_LOCATOR for one that does not exist. */
export async function findOpener(kind: string): Promise<OpenDriver> {
  if (!isPortKind(kind))
    throw new MillraceError("ERR_LOCATOR", `there is no kind of port "${kind}"`, {
      hint: `the kinds are ${Object.keys(PORT_KINDS).join(", ")}`,
    });
  return PORT_KINDS[kind]();
}

function isPortKind(kind: string): kind is PortKind {
  return Object.hasOwn(PORT_KINDS, kind);
}
