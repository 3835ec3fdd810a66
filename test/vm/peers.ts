// The kernel's side of the guest: the interfaces that the cards are cabled to.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** The kernel's interface on the device at a PCI address. */
export function interfaceAt(address: string): string {
  const folder = `/sys/bus/pci/devices/${address}`;
  const holder = readdirSync(folder).find((name) => /^virtio\d/.test(name));
  const [name] = readdirSync(`${folder}/${holder === undefined ? "" : `${holder}/`}net`);
  assert.ok(name, `the kernel drives no interface at ${address}`);
  return name;
}

export function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });
}

/** Gives the kernel's interface at a PCI address an IPv4 address, and one neighbour: the card it is cabled to. */
export async function setUpPeer(
  address: string,
  own: string,
  neighbour: string,
  mac: Uint8Array,
): Promise<string> {
  const name = interfaceAt(address);
  writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "1");
  ip("addr", "replace", `${own}/24`, "dev", name);
  ip("link", "set", name, "up");
  await eventually(`${name} has a carrier`, () => hasCarrier(name));
  const text = [...mac].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  ip("neigh", "replace", neighbour, "lladdr", text, "dev", name);
  return name;
}

/** Before an interface has a carrier, the kernel drops what is sent over it without a word. */
function hasCarrier(name: string): boolean {
  return readFileSync(`/sys/class/net/${name}/carrier`, "utf8").trim() === "1";
}

export function macOf(name: string): Uint8Array {
  const text = readFileSync(`/sys/class/net/${name}/address`, "utf8").trim();
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

/** Milliseconds after which something that does not happen never will: a loaded host is slow, but not that slow. */
export const PATIENCE = 120_000;

/** Asks again until it holds. Throws when it never does. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + PATIENCE;
  while (!(await holds())) {
    if (performance.now() > limit) throw new Error(`${what}: not within ${PATIENCE} ms`);
    await sleep(1);
  }
}

/** Takes what is still under way, so that no later test meets it: until nothing came for a while. */
export async function untilQuiet(take: () => number): Promise<void> {
  for (let silent = 0; silent < 20; ) {
    silent = take() > 0 ? 0 : silent + 1;
    await sleep(10);
  }
}
